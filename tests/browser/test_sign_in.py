"""Coming in and going out: guests, accounts, mistakes."""

from __future__ import annotations

from playwright.async_api import expect

from tests.browser.people import People, Person

PASSWORD = "correct horse battery"


async def register(person: Person, name: str, password: str = PASSWORD) -> None:
    await person.open()
    await person.page.get_by_role("button", name="Make an account").click()
    await person.page.get_by_label("Your name").fill(name)
    await person.page.get_by_label("Password").fill(password)
    await person.page.get_by_role("button", name="Make the account").click()


async def log_in(person: Person, name: str, password: str) -> None:
    await person.page.get_by_role("button", name="Log in", exact=True).click()
    await person.page.get_by_label("Your name").fill(name)
    await person.page.get_by_label("Password").fill(password)
    await person.page.get_by_role("button", name="Log in", exact=True).click()


async def test_an_account_works_on_another_device(people: People) -> None:
    """Who registers finds their rooms and messages again after logging in somewhere else."""
    ann = await people.person()
    await register(ann, "Ann")
    await ann.connected()
    await expect(ann.page.locator("#account-role")).to_have_text("member")
    await ann.create_room("Lobby")
    await ann.say("from the first device")
    other = await people.person()
    await other.open("lobby")
    await log_in(other, "Ann", PASSWORD)
    await other.connected()
    await other.in_room("Lobby")
    await other.sees("from the first device")


async def test_a_wrong_password_is_explained(people: People) -> None:
    """A wrong password is said beside its field, which has the focus; the right one lets in."""
    ann = await people.person()
    ann.watch.expect("status of 401")
    await register(ann, "Ann")
    await ann.connected()
    other = await people.person()
    other.watch.expect("status of 401")
    await other.open()
    await log_in(other, "Ann", "wrong password")
    await expect(other.page.locator("#sign-in-password-error")).not_to_be_empty()
    await expect(other.page.get_by_label("Password")).to_be_focused()
    await other.page.get_by_label("Password").fill(PASSWORD)
    await expect(other.page.locator("#sign-in-password-error")).to_be_empty()
    await other.page.get_by_label("Password").press("Enter")
    await other.connected()


async def test_an_empty_name_is_asked_for(people: People) -> None:
    """Without a name nobody comes in; the field says so."""
    ann = await people.person()
    await ann.open()
    await ann.page.get_by_label("Your name").fill("   ")
    await ann.page.get_by_role("button", name="Come in", exact=True).click()
    await expect(ann.page.locator("#sign-in-name-error")).not_to_be_empty()
    await expect(ann.page.get_by_label("Your name")).to_be_focused()


async def test_a_weak_password_is_refused_with_the_servers_reason(people: People) -> None:
    """What the server does not accept is said beside the field it names."""
    ann = await people.person()
    ann.watch.expect("status of 422")
    await register(ann, "Ann", "x")
    await expect(ann.page.locator("#sign-in-password-error")).not_to_be_empty()
    await expect(ann.name_dialog).to_be_visible()


async def test_a_members_name_is_taken(people: People) -> None:
    """A guest cannot take the name of a member."""
    ann = await people.person()
    await register(ann, "Ann")
    await ann.connected()
    other = await people.person()
    other.watch.expect("status of 409")
    await other.open()
    await other.page.get_by_label("Your name").fill("ANN")
    await other.page.get_by_role("button", name="Come in", exact=True).click()
    await expect(other.page.locator("#sign-in-name-error")).not_to_be_empty()


async def test_a_guest_can_keep_the_name(people: People) -> None:
    """A guest who makes an account stays in the room, with what they said."""
    ann = await people.person("Ann")
    await ann.create_room("Lobby")
    await ann.say("as a guest")
    await ann.page.get_by_role("button", name="Keep this name").click()
    await expect(ann.page.get_by_label("Your name")).to_have_value("Ann")
    await ann.page.get_by_label("Password").fill(PASSWORD)
    await ann.page.get_by_role("button", name="Make the account").click()
    await expect(ann.name_dialog).to_be_hidden()
    await ann.connected()
    await expect(ann.page.locator("#account-role")).to_have_text("member")
    await ann.say("as a member")
    await ann.sees("as a guest", "as a member")
    await expect(ann.page.locator(".message.own")).to_have_count(2)


async def test_logging_out_leaves_nothing_behind(people: People) -> None:
    """After logging out the name is asked for in every tab, and drafts and rooms are gone from the browser."""
    ann = await people.person("Ann")
    await ann.create_room("Lobby")
    tab = await people.another_tab(ann)
    await tab.open("lobby")
    await tab.in_room("Lobby")
    await ann.box.fill("a secret draft")
    await ann.page.get_by_role("button", name="Log out").click()
    await ann.page.get_by_role("dialog", name="Log out?").get_by_role("button", name="Log out").click()
    for window in (ann, tab):
        await expect(window.name_dialog).to_be_visible()
    await expect(ann.page.locator("#my-rooms-list a")).to_have_count(0)
    kept = await ann.page.evaluate("JSON.stringify(Object.entries(localStorage))")
    assert "secret" not in kept
    await ann.page.get_by_label("Your name").fill("Bea")
    await ann.page.get_by_label("Your name").press("Enter")
    for window in (ann, tab):
        await window.connected()
        await expect(window.page.locator("#account-name")).to_have_text("Bea")
        await expect(window.page.locator(".message")).to_have_count(0)


async def test_the_name_dialog_cannot_be_escaped(people: People) -> None:
    """Escape does not close the dialog behind which nobody is."""
    ann = await people.person()
    await ann.open()
    await expect(ann.name_dialog).to_be_visible()
    for _ in range(3):
        await ann.page.keyboard.press("Escape")
    await expect(ann.name_dialog).to_be_visible()

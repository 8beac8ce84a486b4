"""The keyboard alone, and what a screen reader is told."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.browser.people import People

# A control without a name is one that somebody cannot use. The browser computes names for its own tests and ours.
NAMELESS = """() => [...document.querySelectorAll("a[href], button, input, textarea, select, [tabindex='0'], dialog")]
  .filter((element) => element.checkVisibility({ visibilityProperty: true }) && !element.closest("[inert]"))
  .filter((element) => !(element.computedName ?? name(element)))
  .map((element) => element.outerHTML);
function name(element) {
  const by = (element.getAttribute("aria-labelledby") ?? "").split(" ").filter(Boolean);
  const parts = by.map((id) => document.getElementById(id)?.textContent ?? "");
  const labels = [...(element.labels ?? [])].map((label) => label.textContent);
  return [element.getAttribute("aria-label"), ...parts, ...labels, element.textContent].join("").trim();
}"""


async def start_of_page(page: Page) -> None:
    """Put the focus before everything, where it is when a page has just been opened."""
    await page.evaluate("() => { document.body.tabIndex = -1; document.body.focus(); }")


async def nameless(page: Page) -> list[str]:
    found: list[str] = await page.evaluate(f"{NAMELESS}")
    return found


async def test_the_keyboard_is_enough(people: People) -> None:
    """Without a mouse: come in, make a room, write, go to another room and back, see who is there, leave."""
    ann = await people.person()
    keyboard = ann.page.keyboard
    await ann.open()
    await expect(ann.page.get_by_label("Your name")).to_be_focused()
    await keyboard.type("Ann")
    await keyboard.press("Enter")
    await ann.connected()
    await expect(ann.name_dialog).to_be_hidden()
    for title in ("Garden", "Lobby"):
        new_room = ann.page.get_by_role("button", name="New room").first
        await new_room.focus()
        await keyboard.press("Enter")
        await expect(ann.page.get_by_label("What is it called?")).to_be_focused()
        await keyboard.type(title)
        await keyboard.press("Enter")
        await ann.in_room(title)
        await expect(ann.box).to_be_focused()
    await keyboard.type("first line")
    await keyboard.press("Shift+Enter")
    await keyboard.type("second line")
    await keyboard.press("Enter")
    await ann.sees("first line\nsecond line")
    await ann.room_link("Lobby").focus()
    await keyboard.press("ArrowUp")
    await expect(ann.room_link("Garden")).to_be_focused()
    await keyboard.press("Enter")
    await ann.in_room("Garden")
    await ann.sees()
    await ann.page.get_by_role("button", name="Leave this room").focus()
    await keyboard.press("Enter")
    await expect(ann.page.locator("#more-rooms-list a")).to_have_count(1)


async def test_the_room_list_is_one_stop(people: People) -> None:
    """Tab reaches the list once; arrows, Home and End move inside it."""
    ann = await people.person("Ann")
    for title in ("Attic", "Barn", "Cellar"):
        await ann.create_room(title)
    links = ann.page.locator("#my-rooms-list a")
    await expect(ann.page.locator("#rooms-pane a[tabindex='0']")).to_have_count(1)
    await ann.room_link("Cellar").focus()
    for key, title in (("Home", "Attic"), ("ArrowDown", "Barn"), ("End", "Cellar"), ("ArrowUp", "Barn")):
        await ann.page.keyboard.press(key)
        await expect(ann.room_link(title)).to_be_focused()
    await expect(ann.page.locator("#rooms-pane a[tabindex='0']")).to_have_count(1)
    await ann.page.keyboard.press("Tab")
    await expect(links.nth(2)).not_to_be_focused()
    await expect(ann.page.locator("#rooms-pane a:focus")).to_have_count(0)


async def test_the_skip_link_leads_to_the_box(people: People) -> None:
    """The first Tab stop of the page skips the rooms."""
    ann = await people.person("Ann")
    await ann.create_room("Lobby")
    await start_of_page(ann.page)
    await ann.page.keyboard.press("Tab")
    await expect(ann.page.get_by_role("button", name="Skip to the message box")).to_be_focused()
    await ann.page.keyboard.press("Enter")
    await expect(ann.box).to_be_focused()


async def test_enter_that_chooses_a_word_sends_nothing(people: People) -> None:
    """While an input method composes a word, Enter belongs to it."""
    ann = await people.person("Ann")
    await ann.create_room("Lobby")
    await ann.box.fill("かな")
    press = "(box, init) => box.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true, ...init }))"
    await ann.box.evaluate(press, {"isComposing": True})
    await ann.box.evaluate(press, {"keyCode": 229})
    await expect(ann.box).to_have_value("かな")
    await ann.box.press("Enter")
    await ann.sees("かな")


@pytest.mark.parametrize("width", [390, 820, 1440])
async def test_every_control_has_a_name(people: People, width: int) -> None:
    """Each control that can be reached has a name, in every state of the page and at every width."""
    ann = await people.person(viewport={"width": width, "height": 800})
    await ann.open()
    await expect(ann.name_dialog).to_be_visible()
    assert await nameless(ann.page) == []
    await ann.come_in("Ann")
    assert await nameless(ann.page) == []
    await ann.ask_for_a_room()
    assert await nameless(ann.page) == []
    await ann.page.keyboard.press("Escape")
    await ann.page.keyboard.press("Escape")
    await ann.create_room("Lobby")
    await ann.say("https://example.org/")
    assert await nameless(ann.page) == []


async def test_landmarks_and_headings(people: People) -> None:
    """The page has one main part with the room's name as its heading, navigation, and the people beside it."""
    ann = await people.person("Ann")
    await ann.create_room("Lobby")
    for role, name in (("navigation", "Rooms"), ("complementary", "People here (1)"), ("region", "Messages")):
        await expect(ann.page.get_by_role(role, name=name)).to_be_visible()  # type: ignore[arg-type]  # a role as text
    await expect(ann.page.get_by_role("main").get_by_role("heading", level=1)).to_have_text("Lobby")
    await expect(ann.page.get_by_role("heading", level=1)).to_have_count(1)
    assert await ann.page.locator("html").get_attribute("lang") == "en"
    await expect(ann.room_link("Lobby")).to_have_attribute("aria-current", "page")


async def test_new_messages_are_announced_and_history_is_not(people: People) -> None:
    """The live region says what others write now: not what was there before, and not one's own words."""
    ann = await people.person("Ann")
    await ann.create_room("Lobby")
    ben = await people.person("Ben", "lobby")
    await ann.say("before Ben came")
    await ben.join("Lobby")
    await ben.sees("before Ben came")
    await ben.say("my own")
    await ann.say("live")
    announcer = ben.page.get_by_role("log", name="New messages")
    await expect(announcer.locator("p")).to_have_text(["Ann: live"])
    await expect(announcer).to_have_attribute("aria-live", "polite")


async def test_the_state_of_the_connection_is_announced(people: People) -> None:
    """The banner is a status, and its countdown is not read out every second."""
    ann = await people.person("Ann")
    people.expect_lost_connections()
    await people.server.kill()
    status = ann.page.locator("#banner[role='status']")
    await expect(status).to_contain_text("The connection is lost")
    await expect(ann.page.locator("#banner-countdown")).to_have_attribute("aria-hidden", "true")


async def test_focus_is_visible(people: People) -> None:
    """What the keyboard reaches has a ring around it."""
    ann = await people.person("Ann")
    await ann.create_room("Lobby")
    await start_of_page(ann.page)
    for _ in range(6):
        await ann.page.keyboard.press("Tab")
        ring = await ann.page.evaluate(
            """() => {
              const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
              const around = getComputedStyle(document.activeElement.closest(".composer-box") ?? document.body);
              return (outlineStyle !== "none" && parseFloat(outlineWidth) >= 2) || around.boxShadow !== "none";
            }"""
        )
        assert ring, await ann.page.evaluate("document.activeElement.outerHTML")


async def test_motion_can_be_reduced(people: People) -> None:
    """Who asks for less motion gets none."""
    ann = await people.person("Ann", reduced_motion="reduce")
    await ann.create_room("Lobby")
    moving = """() => [...document.querySelectorAll("*")].filter((element) => {
      const { animationName, transitionDuration } = getComputedStyle(element);
      return animationName !== "none" || transitionDuration !== "0s";
    }).length"""
    assert await ann.page.evaluate(moving) == 0

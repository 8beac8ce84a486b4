"""Talking: what one person does, the others see."""

from __future__ import annotations

import re

from playwright.async_api import expect

from tests.browser.people import People


async def test_two_people_talk(people: People) -> None:
    """What one says stands on the other's screen, in order, with the name; one's own is on the other side."""
    ann = await people.person("Ann")
    await ann.create_room("Lobby", "Everything and nothing")
    ben = await people.person("Ben", "lobby")
    await ben.join("Lobby")
    await ann.say("Hello?")
    await expect(ben.messages).to_have_text(["Hello?"])
    await ben.say("Hello Ann")
    await ben.say("How are you?")
    for person in (ann, ben):
        await person.sees("Hello?", "Hello Ann", "How are you?")
    await expect(ann.page.locator(".message.other .author")).to_have_text(["Ben"])
    await expect(ann.page.locator(".message.own .text")).to_have_text(["Hello?"])
    await expect(ben.page.locator("#room-topic")).to_have_text("Everything and nothing")


async def test_rooms_are_apart(people: People) -> None:
    """A message appears in its room only; other rooms say how many are unread, in the list and in the title."""
    ann = await people.person("Ann")
    await ann.create_room("Lobby")
    await ann.create_room("Garden")
    ben = await people.person("Ben", "lobby")
    await ben.join("Lobby")
    await ben.say("one")
    await ben.say("two")
    await ann.sees()
    await expect(ann.room_link("Lobby, 2 here, 2 unread")).to_be_visible()
    await expect(ann.page).to_have_title("(2) Garden · Switchboard")
    await ann.go("Lobby")
    await ann.sees("one", "two")
    await expect(ann.room_link("Lobby, 2 here")).to_have_accessible_name("Lobby, 2 here")
    await expect(ann.page).to_have_title("Lobby · Switchboard")


async def test_what_was_read_stays_read(people: People) -> None:
    """The read mark reaches the server: another tab and a reload know it."""
    ann = await people.person("Ann")
    await ann.create_room("Lobby")
    await ann.create_room("Garden")
    tab = await people.another_tab(ann)
    await tab.open("garden")
    await tab.in_room("Garden")
    ben = await people.person("Ben", "lobby")
    await ben.join("Lobby")
    await ben.say("news")
    await expect(tab.room_link("1 unread")).to_be_visible()
    await ann.go("Lobby")
    await ann.sees("news")
    await expect(tab.room_link("1 unread")).to_have_count(0)
    await tab.page.reload()
    await tab.in_room("Garden")
    await expect(tab.room_link("Lobby, 2 here")).to_have_accessible_name("Lobby, 2 here")


async def test_people_come_and_go(people: People) -> None:
    """The list of people follows who is there; so do the counts, also for somebody who is in no room."""
    ann = await people.person("Ann")
    await ann.create_room("Lobby")
    names = ann.page.locator("#people-list .person-name")
    await expect(names).to_have_text(["Ann"])
    await ann.create_room("Garden")
    await ann.go("Lobby")
    onlooker = await people.person("Zoe")
    ben = await people.person("Ben", "lobby")
    await ben.join("Lobby")
    await expect(names).to_have_text(["Ann", "Ben"])
    await expect(ann.page.locator("#people-toggle-count")).to_have_text("2")
    await expect(onlooker.room_link("Lobby, 2 here")).to_be_visible()
    await ben.page.close()
    await expect(names).to_have_text(["Ann"])


async def test_typing_is_seen(people: People) -> None:
    """Who writes is announced to the others in the room, and the word goes when the message comes."""
    ann = await people.person("Ann")
    await ann.create_room("Lobby")
    ben = await people.person("Ben", "lobby")
    await ben.join("Lobby")
    await ben.box.press_sequentially("Hel")
    await expect(ann.page.locator("#typing")).to_contain_text(re.compile("Ben.? is typing"))
    await expect(ben.page.locator("#typing")).to_be_empty()
    await ben.box.press("Enter")
    await ann.sees("Hel")
    await expect(ann.page.locator("#typing")).to_be_empty()


async def test_a_room_can_be_left_and_joined_again(people: People) -> None:
    """After leaving, the room is under "More rooms"; the notice offers the way back, and nothing is lost."""
    ann = await people.person("Ann")
    await ann.create_room("Lobby")
    await ann.say("still here")
    await ann.page.get_by_role("button", name="Leave this room").click()
    await expect(ann.page.locator("#more-rooms-list a")).to_have_count(1)
    await expect(ann.box).to_be_hidden()
    await ann.page.get_by_role("button", name="Join again").click()
    await ann.in_room("Lobby")
    await ann.sees("still here")


async def test_private_rooms_are_seen_by_members_only(people: People) -> None:
    """Somebody else sees neither the room in the list nor at its address."""
    ann = await people.person("Ann")
    await ann.create_room("Birthday", private=True)
    ben = await people.person("Ben", "birthday")
    await expect(ben.page.get_by_role("heading", name="This room is not here")).to_be_visible()
    await expect(ben.room_link("Birthday")).to_have_count(0)


async def test_a_taken_room_name_is_explained(people: People) -> None:
    """Two rooms cannot have one name; the dialog says so and stays."""
    ann = await people.person("Ann")
    await ann.create_room("Lobby")
    await ann.ask_for_a_room()
    await ann.page.get_by_label("What is it called?").fill("lobby!")
    await ann.page.get_by_role("button", name="Make the room").click()
    await expect(ann.page.locator("#new-room-error")).to_contain_text("already")
    await expect(ann.page.get_by_label("What is it called?")).to_be_focused()


async def test_the_address_is_the_room(people: People) -> None:
    """Back and forward go through the rooms; a reload stays; coming back without an address leads to the last one."""
    ann = await people.person("Ann")
    await ann.create_room("Lobby")
    await ann.create_room("Garden")
    await ann.page.go_back()
    await ann.in_room("Lobby")
    await ann.page.go_forward()
    await ann.in_room("Garden")
    await ann.page.reload()
    await ann.in_room("Garden")
    await ann.page.goto("about:blank")
    await ann.open()
    await ann.in_room("Garden")


async def test_drafts_stay_with_their_room(people: People) -> None:
    """What one has begun to write is there after looking into another room, and after a reload."""
    ann = await people.person("Ann")
    await ann.create_room("Lobby")
    await ann.create_room("Garden")
    await ann.box.fill("half a thou")
    await ann.go("Lobby")
    await expect(ann.box).to_have_value("")
    await ann.page.reload()
    await ann.go("Garden")
    await expect(ann.box).to_have_value("half a thou")


async def test_new_messages_wait_below_a_divider(people: People) -> None:
    """What came while one was elsewhere stands below "New"; one's own next message clears it."""
    ann = await people.person("Ann")
    await ann.create_room("Lobby")
    await ann.say("old")
    await ann.create_room("Garden")
    ben = await people.person("Ben", "lobby")
    await ben.join("Lobby")
    await ben.say("new one")
    await expect(ann.room_link("1 unread")).to_be_visible()
    await ann.go("Lobby")
    await ann.sees("old", "new one")
    rows = ann.page.locator("#message-list > .row:is(.new, .message)")
    await expect(rows).to_have_class([re.compile("own"), re.compile("new"), re.compile("other")])
    await ann.say("thanks")
    await expect(ann.page.locator(".row.new")).to_have_count(0)


async def test_too_long_is_said_before_it_is_sent(people: People) -> None:
    """Near the limit a counter appears; beyond it the message cannot be sent, and stays in the box."""
    ann = await people.person("Ann")
    await ann.create_room("Lobby")
    counter = ann.page.locator("#counter")
    await ann.box.fill("x" * 100)
    await expect(counter).to_be_empty()
    await ann.box.fill("x" * 3990)
    await expect(counter).to_have_text("10 characters left")
    await ann.box.fill("🙂" * 4001)
    await expect(counter).to_have_text("1 characters too many")
    await ann.box.press("Enter")
    await expect(ann.page.get_by_role("button", name="Send")).to_be_disabled()
    await ann.sees()
    await ann.box.fill("🙂" * 4000)
    await ann.box.press("Enter")
    await ann.sees("🙂" * 4000)


async def test_a_newcomer_without_a_choice_need_not_make_one(people: People) -> None:
    """Where there is one room, who comes in is in it; who has left it is not put back."""
    ann = await people.person("Ann")
    await ann.create_room("Lobby")
    ben = await people.person("Ben")
    await ben.in_room("Lobby")
    await ben.page.get_by_role("button", name="Leave this room").click()
    await expect(ben.box).to_be_hidden()
    await ben.open()
    await ben.page.reload()
    await ben.connected()
    await expect(ben.page.get_by_role("heading", name="Where to?")).to_be_visible()

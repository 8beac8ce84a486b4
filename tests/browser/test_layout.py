"""Wide, medium, narrow; light and dark. The pictures go to artifacts/screenshots."""

from __future__ import annotations

from typing import Literal

import pytest
from playwright.async_api import expect

from tests.browser.people import People, Person

SIZES = {"wide": (1440, 900), "medium": (820, 1000), "narrow": (390, 844)}

OVERFLOW = (
    "() => document.documentElement.scrollWidth > innerWidth || document.documentElement.scrollHeight > innerHeight"
)


async def lively(people: People, **context: object) -> Person:
    """Return somebody in a room where things happen."""
    ben = await people.person("Ben Okafor")
    await ben.create_room("Boat trip", "Saturday, if the weather holds")
    await ben.create_room("Lobby", "Everything and nothing")
    await ben.create_room("Book circle", "This month: The Summer Book")
    await ben.create_room("Garden plans", "Beds, seeds, and who waters in August")
    mira = await people.person("Mira Lindqvist", "garden-plans")
    await mira.join("Garden plans")
    ann = await people.person("Ann Keller", "garden-plans", **context)
    await ann.join("Garden plans")
    for room in ("lobby", "boat-trip", "book-circle"):
        await ann.open(room)
        await ann.page.get_by_role("button", name="Join this room").click()
        await expect(ann.box).to_be_visible()
    await ann.page.goto(f"{people.server.url}/#garden-plans")
    await ann.in_room("Garden plans")
    await expect(ann.page.locator("#people-toggle-count")).to_have_text("3")
    await ben.say("Morning! The seedlings on my windowsill are taller than the cat.")
    await ben.say("Anyone need tomatoes? I have eleven too many.")
    await mira.say("Two for me, please. I can trade: the rhubarb is exploding.")
    await ann.say("I made a plan of the beds, tell me what you think:")
    await ann.say("https://example.org/garden/plan")
    await mira.say(
        "Looks great. One thought: beans next to the fence, then they can climb and nobody has to build.\n\n"
        "I counted the hours of sun as well:\n• north bed: 4 h\n• by the shed: 7 h\n• fence: all day"
    )
    await ben.say("Fence for the beans, sold.")
    await ann.say("Then it is settled. I bring the string, Ben brings tomatoes.")
    await ann.say("Saturday at ten?")
    await mira.say("Ten is good.")
    await ben.go("Boat trip")
    await ben.say("The forecast says wind from the west, 3 to 4.")
    await ben.say("I'd call that perfect.")
    jo = await people.person("Jo", "garden-plans")
    await jo.join("Garden plans")
    await expect(ann.page.locator("#people-toggle-count")).to_have_text("4")
    await expect(ann.messages.last).to_have_text("Ten is good.")
    await jo.box.press_sequentially("See")
    await expect(ann.page.locator("#typing")).not_to_be_empty()
    return ann


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
async def test_nothing_overflows(people: People, size: str, scheme: Literal["light", "dark"]) -> None:
    """At every size the page fits its window, the last message and the box are in view."""
    width, height = SIZES[size]
    ann = await lively(people, viewport={"width": width, "height": height}, color_scheme=scheme)
    await ann.picture(f"{size}-{scheme}")
    assert not await ann.page.evaluate(OVERFLOW)
    await expect(ann.messages.last).to_be_in_viewport(ratio=1)
    await expect(ann.box).to_be_in_viewport(ratio=1)


async def test_wide_shows_all_three_panes(people: People) -> None:
    """On a wide screen rooms, messages and people stand side by side; the people can be put away."""
    ann = await people.person("Ann", viewport={"width": 1440, "height": 900})
    await ann.create_room("Lobby")
    rooms, people_pane = ann.page.locator("#rooms-pane"), ann.page.locator("#people-pane")
    await expect(rooms).to_be_in_viewport()
    await expect(people_pane).to_be_in_viewport()
    toggle = ann.page.get_by_role("button", name="People: 1 here")
    await expect(toggle).to_have_attribute("aria-expanded", "true")
    await toggle.click()
    await expect(people_pane).to_be_hidden()
    await expect(toggle).to_have_attribute("aria-expanded", "false")


async def test_narrow_shows_one_pane_and_drawers(people: People) -> None:
    """On a phone the rooms are a drawer: it takes the focus, and goes by Escape, a touch beside it, or a choice."""
    ann = await people.person("Ann", viewport={"width": 390, "height": 844})
    opener = ann.page.get_by_role("button", name="Rooms", exact=True)
    rooms = ann.page.locator("#rooms-pane")
    await expect(rooms).to_be_hidden()
    await ann.create_room("Attic")
    await ann.create_room("Barn")
    await opener.click()
    await expect(rooms).to_be_in_viewport()
    await expect(ann.room_link("Barn")).to_be_focused()
    await ann.picture("narrow-drawer")
    await ann.page.keyboard.press("Escape")
    await expect(rooms).to_be_hidden()
    await expect(opener).to_be_focused()
    await opener.click()
    await ann.page.mouse.click(380, 400)
    await expect(rooms).to_be_hidden()
    await opener.click()
    await ann.go("Attic")
    await expect(rooms).to_be_hidden()
    await ann.page.get_by_role("button", name="People: 1 here").click()
    await expect(ann.page.locator("#people-pane")).to_be_in_viewport()
    assert not await ann.page.evaluate(OVERFLOW)


async def test_colours_follow_the_system_or_a_choice(people: People) -> None:
    """The button goes from the system's colours to light, to dark and back; the choice survives a reload."""
    ann = await people.person("Ann", color_scheme="dark")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    dark = await ann.page.evaluate(ground)
    await ann.page.get_by_role("button", name="Colours: as the system").click()
    light = await ann.page.evaluate(ground)
    assert light != dark
    await ann.page.reload()
    await ann.connected()
    assert await ann.page.evaluate(ground) == light
    await ann.page.get_by_role("button", name="Colours: light").click()
    assert await ann.page.evaluate(ground) == dark
    await ann.page.get_by_role("button", name="Colours: dark").click()
    await expect(ann.page.get_by_role("button", name="Colours: as the system")).to_be_visible()
    assert await ann.page.evaluate(ground) == dark


async def test_endless_words_and_names_break_nothing(people: People) -> None:
    """Text without spaces and the longest names stay inside their places, on a phone too."""
    ann = await people.person("W" * 32, viewport={"width": 390, "height": 844})
    await ann.create_room("M" * 40, "topic " * 30)
    await ann.say("x" * 2000)
    await ann.say("https://example.org/" + "y" * 300)
    await ann.picture("narrow-endless")
    assert not await ann.page.evaluate(OVERFLOW)
    inside = "() => { const list = document.getElementById('messages'); return list.scrollWidth <= list.clientWidth; }"
    assert await ann.page.evaluate(inside)


async def test_an_empty_server_says_what_to_do(people: People) -> None:
    """Where there is no room yet, a friendly sentence leads to the first one."""
    ann = await people.person("Ann", viewport={"width": 1440, "height": 900})
    await ann.picture("empty-wide-light")
    main = ann.page.get_by_role("main")
    await main.get_by_role("button", name="New room").click()
    await expect(ann.page.get_by_role("dialog", name="New room")).to_be_visible()
    await ann.picture("create-room-wide-light")

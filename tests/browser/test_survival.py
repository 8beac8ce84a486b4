"""Surviving: reloads, lost servers, power cuts. Nothing is lost, nothing doubled, nothing out of order."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.async_api import Browser, expect

from tests.browser.conftest import SETTINGS
from tests.browser.people import People, people_at
from tests.browser.wire import TOO_SLOW, Peer, Wire
from tests.support.server import Server


async def test_a_reload_keeps_everything(people: People) -> None:
    """After a reload one is the same person, in the same room, with the same messages."""
    ann = await people.person("Ann")
    await ann.create_room("Lobby")
    await ann.say("one")
    await ann.say("two")
    await ann.page.reload()
    await ann.in_room("Lobby")
    await ann.sees("one", "two")
    await expect(ann.page.locator("#account-name")).to_have_text("Ann")
    await expect(ann.page.locator(".message.own")).to_have_count(2)


async def test_the_server_is_killed_and_comes_back(people: People, server: Server) -> None:
    """Two people in two rooms go on without a reload after kill -9; what they wrote arrives, once, in order."""
    ann = await people.person("Ann")
    await ann.create_room("Lobby")
    await ann.create_room("Garden")
    ben = await people.person("Ben", "lobby")
    await ben.join("Lobby")
    await ben.room_link("Garden").click()
    await ben.join("Garden")
    await ann.say("before")
    await ben.say("before too")
    people.expect_lost_connections()
    await server.kill()
    for person in (ann, ben):
        await expect(person.banner).to_be_visible()
    for text in ("ann 1", "ann 2", "ann 3"):
        await ann.write(text)
    await expect(ann.pending).to_have_count(3)
    await ben.go("Lobby")
    await ben.write("ben in the lobby")
    await ann.picture("reconnecting-wide-light")
    await server.start()
    for person in (ann, ben):
        await person.connected()
    await ann.sees("before", "before too", "ann 1", "ann 2", "ann 3")
    await ben.sees("ben in the lobby")
    await ben.go("Garden")
    await ben.sees("before", "before too", "ann 1", "ann 2", "ann 3")
    await ann.go("Lobby")
    await ann.sees("ben in the lobby")
    await ben.say("live again")
    await ann.go("Garden")
    await ann.sees("before", "before too", "ann 1", "ann 2", "ann 3", "live again")


async def test_killed_again_and_again_while_writing(people: People, server: Server) -> None:
    """Messages written around three kills are all there, once each, in the order written, for everybody."""
    ann = await people.person("Ann")
    await ann.create_room("Lobby")
    ben = await people.person("Ben", "lobby")
    await ben.join("Lobby")
    people.expect_lost_connections()
    texts = [f"message {n}" for n in range(24)]
    for n, text in enumerate(texts):
        await ann.write(text)
        if n % 8 == 4:
            await server.kill()
        if n % 8 == 7:
            await server.start()
    for person in (ann, ben):
        await person.connected()
        await person.sees(*texts)
    await ben.page.reload()
    await ben.sees(*texts)


async def test_the_outbox_survives_a_reload_while_the_server_is_down(people: People, server: Server) -> None:
    """What was written while the server was down is sent after the page was gone, too: once, and in order."""
    ann = await people.person("Ann")
    await ann.create_room("Lobby")
    await ann.say("before")
    people.expect_lost_connections()
    await server.kill()
    await expect(ann.banner).to_be_visible()
    await ann.write("kept 1")
    await ann.write("kept 2")
    await ann.page.goto("about:blank")
    await server.start()
    await ann.open("lobby")
    await ann.in_room("Lobby")
    await ann.sees("before", "kept 1", "kept 2")
    ben = await people.person("Ben", "lobby")
    await ben.join("Lobby")
    await ben.sees("before", "kept 1", "kept 2")


async def test_two_tabs_share_one_outbox(people: People, server: Server) -> None:
    """Both tabs show what either wrote while the server was down, and it is sent once, in the order written."""
    ann = await people.person("Ann")
    await ann.create_room("Lobby")
    tab = await people.another_tab(ann)
    await tab.open("lobby")
    await tab.in_room("Lobby")
    people.expect_lost_connections()
    await server.kill()
    for window in (ann, tab):
        await expect(window.banner).to_be_visible()
    texts = [f"message {n}" for n in range(10)]
    for n, text in enumerate(texts):
        await (ann, tab)[n % 2].write(text)
        await expect((tab, ann)[n % 2].pending).to_have_count(n + 1)
    await server.start()
    for window in (ann, tab):
        await window.connected()
        await window.sees(*texts)
    await tab.page.reload()
    await tab.sees(*texts)


async def test_the_banner_counts_down_and_can_be_hurried(browser: Browser, tmp_path: Path) -> None:
    """While the connection is lost the banner says so and when it tries again; "Try now" does it at once."""
    patient = {**SETTINGS, "server.reconnect_min_seconds": 300, "server.reconnect_max_seconds": 300}
    async with Server(tmp_path, patient) as server, people_at(browser, server) as people:
        ann = await people.person("Ann")
        await ann.create_room("Lobby")
        people.expect_lost_connections()
        await server.kill()
        await expect(ann.banner).to_contain_text("The connection is lost")
        await expect(ann.page.locator("#banner-countdown")).to_have_text(re.compile(r"Next try in (300|29\d) s\."))
        await ann.write("meanwhile")
        await server.start()
        await ann.page.get_by_role("button", name="Try now").click()
        await ann.connected()
        await ann.sees("meanwhile")


async def test_somebody_cut_off_catches_up(people: People) -> None:
    """Somebody whose connection was away sees what was said meanwhile, without a gap or a repeat, and no reload."""
    ann = await people.person("Ann")
    await ann.create_room("Lobby")
    ben = await people.person()
    wire = await Wire.to(ben.page)
    await ben.come_in("Ben", "lobby")
    await ben.join("Lobby")
    await ann.say("one")
    await ben.sees("one")
    await wire.cut(TOO_SLOW)
    await expect(ben.banner).to_be_visible()
    texts = ["one", *(f"missed {n}" for n in range(10))]
    for text in texts[1:]:
        await ann.say(text)
    await ben.write("from the dark")
    wire.mend()
    await ben.connected()
    for person in (ann, ben):
        await person.sees(*texts, "from the dark")


async def test_somebody_away_for_long_starts_from_the_newest(people: People) -> None:
    """When more was missed than the server sends at once, the newest page is shown, and the rest is above it."""
    ann = await people.person("Ann")
    await ann.create_room("Lobby")
    ben = await people.person()
    wire = await Wire.to(ben.page)
    await ben.come_in("Ben", "lobby")
    await ben.join("Lobby")
    await ann.say("first")
    await ben.sees("first")
    await wire.cut(TOO_SLOW)
    peer = await Peer.come_in(people.server, "Cy")
    async with peer:
        await peer.call("rooms.join", room="lobby")
        await peer.send_many("lobby", [f"missed {n}" for n in range(300)])
    wire.mend()
    await ben.connected()
    await expect(ben.messages.last).to_have_text("missed 299")
    texts = await ben.page.locator("#message-list .text").all_text_contents()
    assert texts == [f"missed {n}" for n in range(300 - len(texts), 300)]


async def test_a_lost_event_is_noticed_and_filled(people: People) -> None:
    """When an event is missing, the jump of `rev` is seen, and the room is completed from the server."""
    ann = await people.person("Ann")
    await ann.create_room("Lobby")
    ben = await people.person()
    wire = await Wire.to(ben.page)
    await ben.come_in("Ben", "lobby")
    await ben.join("Lobby")
    await ann.say("one")
    await ben.sees("one")
    wire.lose = "lost on the way"
    await ann.say("lost on the way")
    wire.lose = None
    await ann.say("three")
    await ben.sees("one", "lost on the way", "three")


async def test_an_acknowledgement_that_is_lost_doubles_nothing(people: People) -> None:
    """A message whose acknowledgement never came is sent again with the same nonce, and stands there once."""
    ann = await people.person()
    wire = await Wire.to(ann.page)
    await ann.come_in("Ann")
    await ann.create_room("Lobby")
    await ann.say("one")
    wire.mute = True
    await ann.write("two")
    await wire.sent_with("two")
    await wire.cut(TOO_SLOW)
    wire.mute = False
    wire.mend()
    await ann.connected()
    await ann.sees("one", "two")
    await ann.page.reload()
    await ann.sees("one", "two")
    assert wire.sends("two") == 2

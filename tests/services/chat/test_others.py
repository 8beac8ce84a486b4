"""What the chat's processes tell each other beside messages: memberships, devices, read marks, and who is where."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from server import NotAllowed, NotFound, TooManyRequests
from server.db import Unavailable
from server.pubsub import topics
from server.service.harness import Client, ServiceHarness
from services.chat import Chat, activity, between, others, service, wire
from services.chat.store import Store
from tests.services.chat.people import ROOM, Held, say
from tests.services.chat.processes import LossyBroker, eventually, live, processes

Chats = list[ServiceHarness[Chat]]


@pytest.fixture
def broker() -> LossyBroker:
    broker = LossyBroker()
    broker.about = "~chat/news"
    return broker


@pytest.fixture
async def chats(broker: LossyBroker, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> AsyncIterator[Chats]:
    monkeypatch.setattr(service, "TICK_SECONDS", 0.01)
    async with processes(2, f"sqlite:///{tmp_path / 'test.db'}", broker) as chats:
        yield chats
        assert [chat.incidents for chat in chats] == [[], []]


@pytest.fixture
async def ann(chats: Chats) -> Client:
    """Ann, connected to the first process."""
    return await chats[0].connect("ann")


@pytest.fixture
async def phone(chats: Chats, ann: Client) -> Client:
    """Ann's phone, connected to the second process."""
    return await chats[1].connect(ann.user)


@pytest.fixture
async def ben(chats: Chats) -> Client:
    """Ben, connected to the first process."""
    return await chats[0].connect("ben")


async def member(client: Client, room: str = "lobby") -> bool:
    """Tell whether the process of a client takes them for a member."""
    with suppress(NotAllowed, NotFound):
        await client.call("read", room=room, seq=0)
        return True
    return False


def in_the_room(client: Client, chat: ServiceHarness[Chat]) -> bool:
    """Tell whether a client would hear the lobby."""
    assert client.user is not None
    return any(caller.state.rooms for caller in chat.service._clients.of(client.user.id))


# Memberships.


async def test_a_leave_is_known_in_every_process(chats: Chats, ann: Client, phone: Client, ben: Client) -> None:
    """Who leaves on one device is out on all, wherever they are connected, and hears nothing more."""
    for client in (ann, phone, ben):
        await client.call("rooms.join", room="lobby")
    await ann.call("rooms.leave", room="lobby")
    await eventually(lambda: not in_the_room(phone, chats[1]))
    assert not await member(phone)
    await eventually(lambda: [user.name for user in live(chats[1]).presence.members()] == ["ben"])
    await say(ben, "not for ann")
    await phone.call("rooms.join", room="lobby")
    await say(ben, "for ann")
    assert (await phone.event("message"))["message"]["text"] == "for ann"


async def test_a_private_room_is_left_in_every_process(chats: Chats, ann: Client, phone: Client) -> None:
    """Who left a private room does not know of it any more, in no process."""
    await ann.call("rooms.create", room="secret", visibility="private")
    await phone.call("rooms.join", room="secret")
    await ann.call("rooms.leave", room="secret")
    await eventually(lambda: not in_the_room(phone, chats[1]))
    with pytest.raises(NotFound):
        await phone.call("messages.history", room="secret")


async def test_a_leave_that_comes_late_ends_no_newer_membership(
    chats: Chats, ann: Client, phone: Client, broker: LossyBroker
) -> None:
    """Who came back meanwhile stays: what others tell is a reason to look, and the database is believed."""
    await ann.call("rooms.join", room="lobby")
    await phone.call("rooms.join", room="lobby")
    broker.will_always("late")
    await ann.call("rooms.leave", room="lobby")
    await ann.call("rooms.join", room="lobby")
    broker.will_always("deliver")
    broker.release()
    await eventually(lambda: not chats[1].service._others._checks._suspects)
    assert await member(phone)
    assert in_the_room(phone, chats[1])


async def test_a_join_after_a_leave_elsewhere(
    chats: Chats, ann: Client, phone: Client, ben: Client, broker: LossyBroker
) -> None:
    """Who joins again is a member, also where the leave was not heard of yet and is heard of then."""
    for client in (ann, phone, ben):
        await client.call("rooms.join", room="lobby")
    broker.will_always("late")
    await ann.call("rooms.leave", room="lobby")
    await phone.call("rooms.join", room="lobby")
    broker.will_always("deliver")
    broker.release()
    await eventually(lambda: not chats[1].service._others._checks._suspects)
    await phone.call("rooms.list")
    await say(ben, "for ann")
    assert (await phone.event("message"))["message"]["text"] == "for ann"
    assert await member(ann)


async def test_a_lost_leave_is_found_after_a_gap(chats: Chats, ann: Client, phone: Client, broker: LossyBroker) -> None:
    """When something may be lost, those who are in rooms are looked up, and who is no member leaves."""
    stays = await chats[1].connect("stays")
    for client in (ann, phone, stays):
        await client.call("rooms.join", room="lobby")
    broker.will_always("drop")
    await ann.call("rooms.leave", room="lobby")
    assert in_the_room(phone, chats[1])
    broker.gap()
    await eventually(lambda: not in_the_room(phone, chats[1]))
    room = await phone.event("room")
    while room.get("role", "") is not None:
        room = await phone.event("room")
    assert not await member(phone)
    assert await member(stays)
    assert in_the_room(stays, chats[1])


async def test_memberships_are_looked_up_while_the_broker_is_away(
    chats: Chats, ann: Client, phone: Client, broker: LossyBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes that cannot tell each other of a leave find out all the same."""
    monkeypatch.setattr(others, "COMPARE_SECONDS", 0.0)
    await ann.call("rooms.join", room="lobby")
    await phone.call("rooms.join", room="lobby")
    broker.will_always("drop")
    broker.connected = False
    await ann.call("rooms.leave", room="lobby")
    await eventually(lambda: not in_the_room(phone, chats[1]))


async def test_a_look_that_fails_is_repeated(
    chats: Chats, ann: Client, phone: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the database is away nobody is taken out; when it is back, who left is."""
    await ann.call("rooms.join", room="lobby")
    await phone.call("rooms.join", room="lobby")
    look = Held(monkeypatch, "members", answered=False, error=Unavailable("not now"))
    await ann.call("rooms.leave", room="lobby")
    await look.begun()
    assert in_the_room(phone, chats[1])
    look.go_on()
    await eventually(lambda: not in_the_room(phone, chats[1]))


async def test_a_gap_takes_no_membership_from_under_a_request(
    chats: Chats, ann: Client, broker: LossyBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who joins at the moment of a gap has joined."""
    await say_in_lobby(chats[1])
    live_before = Held(monkeypatch, "changed")
    joining = asyncio.create_task(ann.call("rooms.join", room="lobby"))
    await live_before.begun()
    broker.gap()
    chats[0].service._others.tick()
    live_before.go_on()
    assert (await joining)["room"]["role"] == "member"


async def say_in_lobby(chat: ServiceHarness[Chat]) -> None:
    author = await chat.connect("author")
    await author.call("rooms.join", room="lobby")
    await say(author, "a")
    await author.leave()


# Devices.


async def test_devices_learn_of_joins_and_leaves(ann: Client, phone: Client) -> None:
    """What a room is to somebody now is told to their devices in other processes."""
    await ann.call("rooms.join", room="lobby")
    room = await phone.event("room")
    assert (set(room), room["role"]) == (ROOM, "member")
    await ann.call("rooms.leave", room="lobby")
    while "role" not in (room := await phone.event("room")):
        pass
    assert room["role"] is None


async def test_a_room_that_is_made_elsewhere(chats: Chats, ann: Client, phone: Client) -> None:
    """Everybody in every process learns of a public room; the owner's devices learn last that they own it."""
    ben = await chats[1].connect("ben")
    await ann.call("rooms.create", room="garden", title="Garden")
    told = await ben.event("room")
    assert (set(told), told["room"], told["title"], told["role"]) == (ROOM, "garden", "Garden", None)
    assert [(await phone.event("room"))["role"] for _ in range(2)] == [None, "owner"]
    await ann.call("rooms.create", room="secret", visibility="private")
    assert (await phone.event("room"))["room"] == "secret"
    await ann.call("rooms.create", room="shed")
    assert (await ben.event("room"))["room"] == "shed"


async def test_devices_elsewhere_learn_last_that_a_room_is_theirs(
    chats: Chats, ann: Client, phone: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it takes to tell everybody of a room, its owner's devices are told after that."""
    monkeypatch.setattr(topics, "PART", 1)
    for number in range(5):
        await chats[1].connect(f"somebody {number}")
    tablet = await chats[1].connect(ann.user)
    await ann.call("rooms.create", room="garden")
    for device in (phone, tablet):
        assert [(await device.event("room"))["role"] for _ in range(2)] == [None, "owner"]


async def test_read_marks_reach_devices_elsewhere(
    chats: Chats, ann: Client, phone: Client, ben: Client, broker: LossyBroker
) -> None:
    """What was read on one device is read on all, and goes forwards only, whatever comes twice or late."""
    for client in (ann, ben, phone):
        await client.call("rooms.join", room="lobby")
    await say(ben, *"abc")
    await phone.event("message")
    await eventually(lambda: live(chats[1]).published_rev == 3)
    broker.will_always("late")
    await ann.call("read", room="lobby", seq=1)
    chats[0].service._others.tick()
    broker.will_always("twice")
    await ann.call("read", room="lobby", seq=2)
    assert await phone.event("read") == {"room": "lobby", "seq": 2}
    broker.release()
    await ann.call("read", room="lobby", seq=3)
    assert await phone.event("read") == {"room": "lobby", "seq": 3}
    (room,) = (await phone.call("rooms.list"))["rooms"]
    assert room["read_seq"] == 3


async def test_a_limit_holds_over_all_processes(tmp_path: Any) -> None:
    """What somebody writes in one process counts in the others."""
    async with processes(2, f"sqlite:///{tmp_path / 'test.db'}", None, {"messages_per_minute": 20}) as chats:
        ann = await chats[0].connect("ann")
        phone = await chats[1].connect(ann.user)
        await ann.call("rooms.join", room="lobby")
        with pytest.raises(TooManyRequests):
            for number in range(30):
                await say(ann, str(number))

        async def refused() -> bool:
            with suppress(TooManyRequests):
                await say(phone, "from the phone")
                return False
            return True

        async with asyncio.timeout(10):
            while not await refused():
                pass


# Who is where, for people who are not there.


async def listed(client: Client, name: str = "lobby") -> dict[str, Any]:
    rooms: list[dict[str, Any]] = (await client.call("rooms.list"))["rooms"]
    return next(room for room in rooms if room["room"] == name)


async def activity_of(client: Client, present: int, last_rev: int) -> dict[str, Any]:
    """Wait until somebody is told that a room is like that."""
    while True:
        room: dict[str, Any] = await client.event("room")
        if (room["present"], room["last_rev"]) == (present, last_rev):
            return room


async def test_activity_reaches_processes_in_which_a_room_is_not_live(chats: Chats, ann: Client, phone: Client) -> None:
    """Who is connected elsewhere sees a room's counts move, in events and in the list, and sees it empty again."""
    await ann.call("rooms.join", room="lobby")
    await say(ann, "a")
    told = await activity_of(phone, 1, 1)
    assert set(told) == ROOM - {"role", "read_seq"}
    assert chats[1].service._rooms.get("lobby") is None
    room = await listed(phone)
    assert (room["present"], room["last_rev"]) == (1, 1)
    await ann.leave()
    await activity_of(phone, 0, 1)
    assert (await listed(phone))["present"] == 0


async def test_a_newcomer_asks(chats: Chats, ann: Client, broker: LossyBroker, tmp_path: Any) -> None:
    """A process that starts later learns who is where."""
    await ann.call("rooms.join", room="lobby")
    async with processes(1, f"sqlite:///{tmp_path / 'test.db'}", broker) as (late,):
        await eventually(lambda: late.service._activity.present("lobby") == 1)
        ben = await late.connect("ben")
        assert (await listed(ben))["present"] == 1


async def test_what_a_process_told_ends_with_it(chats: Chats, ann: Client, phone: Client) -> None:
    """When a process is gone nobody is in the rooms of which it alone told, and everybody learns of that."""
    await ann.call("rooms.join", room="lobby")
    await activity_of(phone, 1, 0)
    chats[1].service.peers.gone(chats[0].service.peers.me)
    await activity_of(phone, 0, 0)
    assert (await listed(phone))["present"] == 0


async def test_what_nobody_tells_again_ends_after_a_gap(
    chats: Chats, ann: Client, phone: Client, broker: LossyBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That a room is empty may have been lost: it is taken for empty when nobody says otherwise."""
    await ann.call("rooms.join", room="lobby")
    await activity_of(phone, 1, 0)
    broker.will_always("drop")
    await ann.leave()
    await eventually(lambda: live(chats[0]).presence.count == 0)
    for _ in range(3):
        chats[0].service._others.tick()
    broker.will_always("deliver")
    assert (await listed(phone))["present"] == 1
    monkeypatch.setattr(activity, "ANSWER_SECONDS", 0.0)
    broker.gap()
    await activity_of(phone, 0, 0)


async def test_a_gap_leaves_what_is_told_again(
    chats: Chats, ann: Client, phone: Client, broker: LossyBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others tell again what is so still, when they are asked after a gap."""
    await ann.call("rooms.join", room="lobby")
    await activity_of(phone, 1, 0)
    monkeypatch.setattr(activity, "ANSWER_SECONDS", 3600.0)
    broker.gap()
    known = chats[1].service._activity
    # The answer may come at once; that something was doubted can still be seen by the time it was given.
    await eventually(lambda: known._doubted_until > time.monotonic() + 1800)
    await eventually(lambda: not known._doubted)
    assert known.present("lobby") == 1


def test_rooms_elsewhere_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many rooms are remembered; the one that was told of the longest ago gives way."""
    monkeypatch.setattr(activity, "MOST_ROOMS", 2)
    known = activity.Activity(_Silent(), _Silent())  # type: ignore[arg-type]  # nobody is here, no room is live
    for name in ("one", "two", "one", "three"):
        known.hear("p", between.Active(wire.RoomActivity(name, "", "", "private", 1, 0), here=True))
    assert [known.present(name) for name in ("one", "two", "three")] == [1, 0, 1]


class _Silent:
    """Neither says nor has anything."""


async def test_who_is_left_tells_anew(chats: Chats, ann: Client) -> None:
    """When a process is gone the others tell how their rooms are now: some of the people may have been there."""
    await ann.call("rooms.join", room="lobby")
    known = chats[0].service._activity
    known.tell_here()
    list(known.for_others())
    assert list(known.for_others()) == []
    known.gone("another")
    (told,) = known.for_others()
    assert (told.room.room, told.here) == ("lobby", True)


def test_two_processes_tell_of_a_room() -> None:
    """A room that two tell of goes on when one of them is gone; an older number does not take a newer one back."""
    known = activity.Activity(_Silent(), ())  # type: ignore[arg-type]  # nobody is here, no room is live
    for process, last_rev in (("p", 7), ("q", 5)):
        known.hear(process, between.Active(wire.RoomActivity("one", "", "", "private", 2, last_rev), here=True))
    known.gone("p")
    assert known.present("one") == 2
    assert known._elsewhere["one"].room.last_rev == 7
    known.gone("q")
    assert known.present("one") == 0


async def test_news_that_is_not_understood(chats: Chats, ann: Client, phone: Client) -> None:
    """What another version of the program says is passed over, and what comes then is heard."""
    chats[0].service.channel("news").send(b"\xc1")
    chats[0].service.channel("news").send(b"\x91\x92\xa3new\x01")
    await ann.call("rooms.join", room="lobby")
    assert (await phone.event("room"))["role"] == "member"


async def test_nothing_is_collected_where_nobody_else_is(chat: ServiceHarness[Chat]) -> None:
    """In a single process no read mark and no activity is kept for others."""
    ann = await chat.connect("ann")
    await ann.call("rooms.join", room="lobby")
    await say(ann, "a")
    await ann.call("read", room="lobby", seq=1)
    assert chat.service._others._reads == {}
    await eventually(lambda: not chat.service._activity._caused)
    store = Store(chat.db)
    assert await store.heads([live(chat).row.id]) == {live(chat).row.id: 1}

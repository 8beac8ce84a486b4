"""A room in several processes: all subscribers have every event, once and in order, whatever the broker does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from server.db import Unavailable, now
from server.service.harness import Client, ServiceHarness
from services.chat import Chat, between, liveroom, others, service, wire
from services.chat.store import Draft, Store
from tests.services.chat.people import Held, say, texts
from tests.services.chat.processes import LossyBroker, compare, eventually, live, processes

Chats = list[ServiceHarness[Chat]]


@pytest.fixture
def broker() -> LossyBroker:
    return LossyBroker()


@pytest.fixture
async def chats(database_url: str, broker: LossyBroker, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Chats]:
    monkeypatch.setattr(service, "TICK_SECONDS", 0.01)
    async with processes(3, database_url, broker) as chats:
        yield chats
        assert [chat.incidents for chat in chats] == [[], [], []]


@pytest.fixture
async def people(chats: Chats) -> list[Client]:
    """Somebody in each process, all of them in the lobby."""
    people = [await chat.connect(name) for chat, name in zip(chats, ("ann", "ben", "cat"), strict=True)]
    for person in people:
        await person.call("rooms.join", room="lobby")
    return people


class Reads:
    """Counts how often missing events are read from the database."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        changed = Store.changed

        async def counted(store: Store, *args: Any) -> list[wire.Entry]:
            self.count += 1
            return await changed(store, *args)

        monkeypatch.setattr(Store, "changed", counted)


@pytest.fixture
def reads(people: list[Client], monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is ahead of its turn waits longer than any test takes."""
    monkeypatch.setattr(liveroom, "GAP_SECONDS", 3600.0)


@pytest.fixture
def no_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is compared with the database but when a test does."""
    monkeypatch.setattr(others, "COMPARE_SECONDS", 3600.0)


@pytest.fixture
def comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every tick it is compared."""
    monkeypatch.setattr(others, "COMPARE_SECONDS", 0.0)


async def hear(person: Client, count: int) -> list[int]:
    return [(await person.event("message"))["rev"] for _ in range(count)]


async def all_hear(people: list[Client], wanted: list[str]) -> None:
    """Assert that everybody hears these messages, in order, as the first ones of the lobby, and the same bytes."""
    streams = [[await person.event("message") for _ in wanted] for person in people]
    assert [event["rev"] for event in streams[0]] == list(range(1, len(wanted) + 1))
    assert [event["message"]["text"] for event in streams[0]] == wanted
    assert all(stream == streams[0] for stream in streams)


async def test_everybody_hears_everybody(people: list[Client], reads: Reads) -> None:
    """Who is connected to whichever process hears the room, and nothing is read from the database for that."""
    wanted = []
    for number in range(4):
        for person in people:
            wanted.append(f"{number} of {person.user.name if person.user else ''}")
            await say(person, wanted[-1])
    await all_hear(people, wanted)
    assert reads.count == 0


async def test_all_talk_at_once(people: list[Client]) -> None:
    """Commits of all processes at the same time: one order, and each author's own in it."""
    count = 40

    async def talk(person: Client, number: int) -> None:
        for turn in range(count):
            await say(person, f"{number} {turn}")

    await asyncio.gather(*(talk(person, number) for number, person in enumerate(people)))
    streams = [[await person.event("message") for _ in range(3 * count)] for person in people]
    assert streams[0] == streams[1] == streams[2]
    assert [event["rev"] for event in streams[0]] == list(range(1, 3 * count + 1))
    for number in range(3):
        own = [text for event in streams[0] if (text := event["message"]["text"]).startswith(f"{number} ")]
        assert own == [f"{number} {turn}" for turn in range(count)]


@pytest.mark.usefixtures("patient", "no_comparison")
async def test_late_events_wait_for_their_turn(people: list[Client], broker: LossyBroker, reads: Reads) -> None:
    """Events that come in another order are given in theirs, without a look into the database."""
    broker.will_always("late")
    for person in people:
        await say(person, *"ab", room="lobby")
    broker.will_always("deliver")
    broker.release()
    await all_hear(people, list("ababab"))
    assert reads.count == 0


@pytest.mark.usefixtures("patient", "no_comparison")
async def test_repeated_events_are_given_once(people: list[Client], broker: LossyBroker, reads: Reads) -> None:
    """What is heard twice is published once."""
    broker.will_always("twice")
    for person in people:
        await say(person, "a")
    await all_hear(people, list("aaa"))
    assert reads.count == 0


@pytest.mark.usefixtures("no_comparison")
async def test_a_lost_event_is_found_with_the_next(people: list[Client], broker: LossyBroker) -> None:
    """An event that stays away while later ones are there is read from the database."""
    broker.will("drop", "drop")
    await say(people[0], *"ab")
    await all_hear(people, ["a", "b"])


@pytest.mark.usefixtures("no_comparison")
async def test_a_lost_last_event_is_found_by_comparing(chats: Chats, people: list[Client], broker: LossyBroker) -> None:
    """Nothing tells of the last event but the database; one comparison is enough."""
    broker.will_always("drop")
    await say(people[0], *"abc")
    assert [live(chat).published_rev for chat in chats] == [3, 0, 0]
    await compare(chats)
    await all_hear(people, list("abc"))


@pytest.mark.usefixtures("comparison")
async def test_rooms_are_compared_by_themselves(people: list[Client], broker: LossyBroker) -> None:
    """A lost last event is found without anybody's doing."""
    broker.will_always("drop")
    await say(people[0], "a")
    await all_hear(people, ["a"])


async def test_nothing_is_compared_where_nobody_else_is(chat: ServiceHarness[Chat], ann: Client) -> None:
    """A single process does not look into the database for what others may have written, and sends nothing."""
    await ann.call("rooms.join", room="lobby")
    await say(ann, "a")
    heads = chat.service._others._heads
    for _ in range(20):
        await asyncio.sleep(0)
        chat.service._others.tick()
    assert heads._comparing is None


async def test_nothing_is_encoded_where_nobody_else_is(ann: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a single process no event is made for others."""
    monkeypatch.delattr(between, "pack_entries")
    await ann.call("rooms.join", room="lobby")
    await say(ann, *"abc")
    assert await hear(ann, 3) == [1, 2, 3]


@pytest.mark.usefixtures("no_comparison")
async def test_the_database_carries_while_the_broker_is_away(people: list[Client], broker: LossyBroker) -> None:
    """FAULTS 10: processes that cannot tell each other anything find what the others wrote a moment later."""
    broker.will_always("drop")
    broker.connected = False
    for person in people:
        await say(person, "a")
    await all_hear(people, list("aaa"))


@pytest.mark.usefixtures("no_comparison")
async def test_a_gap_is_filled_at_once(people: list[Client], broker: LossyBroker) -> None:
    """When the broker says that something may be lost, nobody waits for the next comparison."""
    broker.will_always("drop")
    for person in people:
        await say(person, "a")
    broker.will_always("deliver")
    broker.gap()
    await all_hear(people, list("aaa"))


async def test_comparing_goes_on_after_the_database_was_away(
    chats: Chats, people: list[Client], broker: LossyBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comparison that fails is no incident, and the next one finds what it would have found."""
    broker.will_always("drop")
    await say(people[0], "a")
    with monkeypatch.context() as patched:
        patched.setattr(Store, "heads", _away)
        await compare(chats)
    await compare(chats)
    await all_hear(people, ["a"])


async def _away(*_: object) -> None:
    raise Unavailable("not now")


# At the same time.


@pytest.mark.usefixtures("patient", "no_comparison")
async def test_an_event_that_overtakes_ones_own(
    people: list[Client], reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another process commits after a commit of this one may be heard before this one's own is answered."""
    commit = Held(monkeypatch, "append")
    sending = asyncio.create_task(say(people[0], "a"))
    await commit.begun()
    await say(people[1], "b")
    commit.go_on()
    await sending
    await all_hear(people, ["a", "b"])
    assert reads.count == 0


@pytest.mark.usefixtures("patient", "no_comparison")
async def test_ones_own_event_overtakes_anothers(people: list[Client], broker: LossyBroker, reads: Reads) -> None:
    """A sender is answered though an earlier event of another process was not heard yet, and both come in order."""
    broker.will("late", "late")
    await say(people[1], "a")
    (sent,) = await say(people[0], "b")
    assert sent["rev"] == 2
    assert texts((await people[0].call("messages.history", room="lobby"))["messages"]) == ["a", "b"]
    broker.release()
    await all_hear(people, ["a", "b"])
    assert reads.count == 0


@pytest.mark.usefixtures("no_comparison")
async def test_what_is_heard_while_the_database_is_read(
    chats: Chats, people: list[Client], broker: LossyBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events that come while missing ones are being read are neither lost nor given twice, nor given too early."""
    broker.will("drop", "drop", "drop", "drop")
    await say(people[0], "a", "b")
    reading = Held(monkeypatch, "changed")
    live(chats[1]).doubt()
    await reading.begun()  # it has read two
    broker.will("drop", "late", "deliver", "deliver", "deliver", "deliver")
    await say(people[0], *"cde")
    reading.go_on()
    await all_hear(people[:2], list("abcde"))
    broker.release()
    await compare(chats)
    await all_hear(people[2:], list("abcde"))


@pytest.mark.usefixtures("no_comparison")
async def test_what_is_heard_and_read_is_given_once(
    chats: Chats, people: list[Client], broker: LossyBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events that are heard while the database is asked for the same ones are not given again."""
    broker.will_always("late")
    await say(people[0], "a", "b")
    reading = Held(monkeypatch, "changed")
    live(chats[1]).doubt()
    await reading.begun()
    broker.will_always("deliver")
    broker.release()
    assert live(chats[1]).published_rev == 2
    reading.go_on()
    await eventually(lambda: not live(chats[1]).unsure)
    await say(people[0], "c")
    await all_hear(people, list("abc"))


@pytest.mark.parametrize("answered", [True, False])
@pytest.mark.usefixtures("patient", "no_comparison")
async def test_nothing_is_missed_while_a_room_is_opened(
    chats: Chats, monkeypatch: pytest.MonkeyPatch, *, answered: bool
) -> None:
    """What is committed while another process opens the room is in its snapshot or follows it."""
    ann, ben = await chats[0].connect("ann"), await chats[1].connect("ben")
    await ann.call("rooms.join", room="lobby")
    opening = Held(monkeypatch, "room", answered=answered)
    joining = asyncio.create_task(ben.call("rooms.join", room="lobby"))
    await opening.begun()
    await say(ann, *"ab")
    opening.go_on()
    joined = await joining
    heard = texts(joined["messages"])
    heard += [(await ben.event("message"))["message"]["text"] for _ in range(2 - len(heard))]
    assert heard == ["a", "b"]
    await say(ann, "c")
    assert await hear(ben, 1) == [3]


async def test_a_room_that_is_not_there_leaves_nothing_behind(chats: Chats, broker: LossyBroker) -> None:
    """Names that somebody makes up are not listened to."""
    ann = await chats[0].connect("ann")
    before = set(broker._receivers)
    for number in range(5):
        with pytest.raises(Exception, match="no such room"):
            await ann.call("rooms.join", room=f"nowhere-{number}")
    assert set(broker._receivers) == before


@pytest.mark.usefixtures("patient", "no_comparison")
async def test_resuming_at_a_process_that_is_behind(chats: Chats, people: list[Client], broker: LossyBroker) -> None:
    """A client that comes from another process, and has events that this one has not, goes on without a gap."""
    broker.will_always("drop")
    await say(people[0], *"abc")
    await hear(people[0], 3)
    moved = await chats[1].connect(people[0].user)
    joined = await moved.call("rooms.join", room="lobby", after=3)
    assert (joined["messages"], joined["last_rev"], joined["complete"]) == ([], 3, True)
    await say(moved, "d")
    assert await hear(moved, 1) == [4]


# Whatever comes.


@pytest.mark.usefixtures("no_comparison")
async def test_events_that_are_not(chats: Chats, people: list[Client]) -> None:
    """What is not understood, or tells of an event that the database does not have, is not waited for for ever."""
    room = live(chats[0])
    room.hear("another", b"\xc1 not this version's")
    room.hear("another", next(between.pack_entries([wire.Entry(99, 99, b"{}")])))
    assert room.unsure
    await eventually(lambda: not room.unsure)
    await say(people[1], "a")
    await all_hear(people, ["a"])


@pytest.mark.usefixtures("patient", "no_comparison")
async def test_what_waits_for_its_turn_has_a_bound(
    people: list[Client], broker: LossyBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When too much is ahead, all of it is read from the database instead."""
    monkeypatch.setattr(liveroom, "MAX_AHEAD", 3)
    broker.will("drop", "drop")
    wanted = list("abcdefgh")
    await say(people[0], *wanted)
    await all_hear(people, wanted)


async def test_large_commits_travel_in_parts(people: list[Client], monkeypatch: pytest.MonkeyPatch) -> None:
    """Brokers bound what they carry: no message is much longer than a part, however much is committed together."""
    monkeypatch.setattr(between, "PART_BYTES", 1000)
    await asyncio.gather(*(say(people[0], f"{number} {'x' * 300}") for number in range(20)))
    streams = [[(await person.event("message"))["rev"] for _ in range(20)] for person in people]
    assert streams == [list(range(1, 21))] * 3


def test_parts() -> None:
    """Every entry is in one part, in order; a part is longer than the bound only where a single entry is."""
    entries = [wire.Entry(rev, rev, b"x" * size) for rev, size in enumerate((10, 200_000, 100_000, 300_000, 5, 5), 1)]
    parts = [between.unpack_entries(part) for part in between.pack_entries(entries)]
    assert [entry for part in parts for entry in part] == entries
    assert [[entry.rev for entry in part] for part in parts] == [[1, 2], [3], [4], [5, 6]]


async def test_a_stranger_writes(chats: Chats, people: list[Client]) -> None:
    """What somebody wrote and told nobody comes before what is told next."""
    room = live(chats[0]).row
    assert people[0].user is not None
    author = wire.User(people[0].user.id, "ann")
    await Store(chats[0].db).append(room.id, [Draft(author, "untold", "a", now(), None)])
    await say(people[1], "b")
    await all_hear(people, ["a", "b"])

"""The sequencer of a room: what it promises when commits fail, hang, or end nobody knows how."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from server import Unavailable, User
from server.auth.accounts import MIGRATIONS
from server.db import Database, OutcomeUnknown, now
from server.db import Unavailable as DatabaseUnavailable
from server.deadlines import Deadlines
from server.net.frames import encode
from server.pubsub.delivery import Batch
from server.pubsub.local import LocalBroker
from server.pubsub.peers import Channel, Peers
from server.pubsub.presence import Presences
from server.pubsub.topics import Topics
from services.chat import liveroom, wire
from services.chat.liveroom import LiveRoom
from services.chat.membership import Memberships
from services.chat.models import Room
from services.chat.recent import Budget
from services.chat.rooms import Rooms
from services.chat.store import Draft, Store

CHAT = Path(liveroom.__file__).parent / "migrations"
ANN = wire.User(1, "ann")
WAIT_SECONDS = 10.0
"""How long a test waits for what has to come, before it fails."""


class Listener:
    """A subscriber that notes the numbers that it hears."""

    def __init__(self) -> None:
        self.events: list[wire.MessageEvent] = []
        self.heard = asyncio.Condition()

    def deliver(self, batch: Batch) -> None:
        for frame in batch.all.split(b'"jsonrpc":"2.0"}')[:-1]:
            text = frame[frame.index(b'{"method"') :] + b'"jsonrpc":"2.0"}'
            event = msgspec.json.decode(text)
            if event["method"] == "message":
                self.events.append(msgspec.convert(event["params"], wire.MessageEvent))

    def add_close_callback(self, callback: Any) -> None:
        """It never closes."""

    def remove_close_callback(self, callback: Any) -> None:
        """It never closes."""

    @property
    def revs(self) -> list[int]:
        return [event.rev for event in self.events]


class FaultyStore(Store):
    """A store whose next commits do what a test says."""

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self.faults: list[str] = []
        self.batches: list[int] = []
        self.read_faults: list[str] = []

    async def sent(self, drafts: Sequence[Draft]) -> dict[tuple[int, str], wire.Sent]:
        await self.read_fault()
        return await super().sent(drafts)

    async def changed(self, room: Room, after: int, upto: int, limit: int) -> list[wire.Entry]:
        await self.read_fault()
        return await super().changed(room, after, upto, limit)

    async def read_fault(self) -> None:
        fault = self.read_faults.pop(0) if self.read_faults else ""
        if fault == "refused":
            raise DatabaseUnavailable("not now")
        if fault == "hangs":
            await asyncio.Event().wait()
        if fault == "broken":
            raise RuntimeError("a bug")

    async def append(self, room: int, drafts: Sequence[Draft]) -> int:
        self.batches.append(len(drafts))
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "refused":
            raise DatabaseUnavailable("not now")
        if fault == "hangs":
            await asyncio.Event().wait()
        last = await super().append(room, drafts)
        if fault == "unknown":
            raise OutcomeUnknown("the connection was lost")
        if fault == "late":
            await asyncio.Event().wait()
        return last


class Stage:
    """A room, a store and a listener."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.store = FaultyStore(db)
        self.tasks: set[asyncio.Task[Any]] = set()
        self.warnings: list[str] = []
        self.deadlines = Deadlines()
        self.broker = LocalBroker()
        self.topics = Topics(encode, self.broker)
        self.peers = Peers(self.broker)
        self.presences = Presences()
        self.listener = Listener()
        self.memberships = Memberships(self.store, self.spawn)
        self.rooms = Rooms(self.store, self.peers.channel, self.peers.settled, self.make)
        self.room: LiveRoom

    def make(self, row: Room, channel: Channel) -> LiveRoom:
        return LiveRoom(
            row,
            self.store,
            self.topics.topic(row.name),
            channel,
            self.presences.presence(row.name),
            members=self.memberships.of(row.id),
            budget=Budget(10**6),
            spawn=self.spawn,
            limit=self.deadlines.limit,
            warn=lambda event, **_: self.warnings.append(event),
            changed=lambda live, here: None,
        )

    def spawn(self, work: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def open(self) -> None:
        await self.store.create_room(Room(name="lobby"), None)
        room = await self.rooms.open("lobby")
        assert room is not None
        self.room = room
        room.topic.subscribe(self.listener)

    def send(self, nonce: str, user: wire.User = ANN) -> asyncio.Future[wire.Sent]:
        return self.room.queue(Draft(user, nonce, f"text of {nonce}", now(), None))

    async def quiet(self) -> None:
        """Wait until everything that was begun is through, and heard."""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while self.tasks:
                    await asyncio.wait(tuple(self.tasks))
        except TimeoutError:
            for task in self.tasks:
                task.cancel()
            raise
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.fixture
async def stage(database_url: str) -> AsyncIterator[Stage]:
    async with await Database.open(database_url) as db:
        await db.migrate("auth", MIGRATIONS)
        await db.migrate("chat", CHAT)
        for name in ("ann", "ben"):
            await User(name=name).insert(db)
        stage = Stage(db)
        await stage.open()
        yield stage
        await stage.quiet()


async def test_what_comes_during_a_commit_goes_into_the_next(stage: Stage) -> None:
    """A room has one commit at a time, and it takes everything that waited."""
    sent = await asyncio.gather(*(stage.send(f"n{number}") for number in range(50)))
    assert [result.seq for result in sent] == list(range(1, 51))
    assert len(stage.store.batches) <= 2
    await stage.quiet()
    assert stage.listener.revs == list(range(1, 51))


async def test_a_refused_commit_is_unavailable(stage: Stage) -> None:
    """Nothing is published or acknowledged; a retry goes through; no number is lost."""
    stage.store.faults = ["refused"]
    with pytest.raises(Unavailable):
        await stage.send("a")
    assert (await stage.send("a")).seq == 1
    await stage.quiet()
    assert stage.listener.revs == [1]
    assert stage.warnings


@pytest.mark.parametrize("fault", ["unknown", "late"])
async def test_an_unknown_outcome_is_settled_by_the_nonce(
    stage: Stage, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAULTS 7: the commit happened, the answer was lost: a retry gives the first result, subscribers hear it once."""
    monkeypatch.setattr(liveroom, "COMMIT_SECONDS", 0.05)
    stage.store.faults = [fault]
    with pytest.raises(Unavailable):
        await stage.send("a")
    assert (await stage.send("b")).seq == 2
    assert (await stage.send("a")).seq == 1
    await stage.quiet()
    assert stage.listener.revs == [1, 2]


async def test_a_commit_that_hangs_has_a_deadline(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS 6: a database that does not answer makes senders try again, not wait."""
    monkeypatch.setattr(liveroom, "COMMIT_SECONDS", 0.05)
    stage.store.faults = ["hangs"]
    results = await asyncio.gather(stage.send("a"), stage.send("b"), return_exceptions=True)
    assert all(isinstance(result, Unavailable) for result in results)
    assert (await stage.send("a")).seq == 1


async def test_events_of_others_are_filled_in(stage: Stage) -> None:
    """What another process commits between is read from the database and published in order, before what is newer."""
    other = Store(stage.db)
    await stage.send("a")
    await other.append(stage.room.row.id, [Draft(wire.User(2, "ben"), f"o{n}", "other", now(), None) for n in range(3)])
    assert (await stage.send("b")).seq == 5
    await stage.quiet()
    assert stage.listener.revs == [1, 2, 3, 4, 5]
    assert [event.message.user.name for event in stage.listener.events] == ["ann", "ben", "ben", "ben", "ann"]


async def test_publication_heals_by_itself(stage: Stage) -> None:
    """When the gap cannot be read at once, `work`, which runs now and then, publishes it later, in order."""
    stage.store.faults = ["unknown"]
    with pytest.raises(Unavailable):
        await stage.send("a")
    await stage.quiet()
    stage.rooms.tidy()
    await stage.quiet()
    assert stage.listener.revs == [1]


@pytest.mark.parametrize("fault", ["refused", "hangs", "broken"])
async def test_a_look_up_by_nonce_that_fails_leaves_nobody_waiting(
    stage: Stage, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it cannot be said what became of a nonce, senders try again, and the nonce is free for that."""
    first = await stage.send("a")
    monkeypatch.setattr(liveroom, "COMMIT_SECONDS", 0.05)
    stage.store.read_faults = [fault]
    async with asyncio.timeout(WAIT_SECONDS):
        with pytest.raises(Unavailable):
            await stage.send("a")
    await asyncio.gather(*stage.tasks, return_exceptions=True)
    monkeypatch.undo()
    assert await stage.send("a") == first
    assert (await stage.send("b")).seq == 2
    await stage.quiet()
    assert stage.listener.revs == [1, 2]


@pytest.mark.parametrize("fault", ["refused", "hangs"])
async def test_missing_events_that_cannot_be_read_hold_up_no_sender(
    stage: Stage, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Senders are answered while publication waits for the database; then everything comes, in order, once."""
    monkeypatch.setattr(liveroom, "COMMIT_SECONDS", 0.05)
    other = Store(stage.db)
    await other.append(stage.room.row.id, [Draft(wire.User(2, "ben"), "o", "other", now(), None)])
    stage.store.read_faults = [fault]
    assert (await stage.send("a")).seq == 2
    await stage.quiet()
    assert stage.listener.revs == []
    monkeypatch.undo()
    assert (await stage.send("b")).seq == 3
    await stage.quiet()
    assert stage.listener.revs == [1, 2, 3]


async def test_a_failed_commit_fails_its_whole_batch_and_no_other(stage: Stage) -> None:
    """All or none: who was in the batch is told, is not in the history, and what waited behind it goes through."""
    ahead = stage.send("ahead")
    await asyncio.sleep(0)  # its commit runs now
    stage.store.faults = ["refused"]
    batch = [stage.send(f"n{number}") for number in range(3)]
    assert (await ahead).seq == 1
    outcomes = await asyncio.gather(*batch, return_exceptions=True)
    assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
    assert (await stage.send("behind")).seq == 2
    await stage.quiet()
    assert stage.store.batches == [1, 3, 1]
    assert [event.message.text for event in stage.listener.events] == ["text of ahead", "text of behind"]


async def test_a_commit_that_lands_after_it_was_given_up_on_is_heard(stage: Stage) -> None:
    """When a retry finds out that the first try went through after all, subscribers hear it without another message."""
    stage.store.faults = ["refused"]
    with pytest.raises(Unavailable):
        await stage.send("a")
    stage.rooms.tidy()
    await stage.quiet()  # as far as the room can tell now, there was nothing
    await Store(stage.db).append(stage.room.row.id, [Draft(ANN, "a", "text of a", now(), None)])
    assert (await stage.send("a")).seq == 1
    await stage.quiet()
    stage.rooms.tidy()
    await stage.quiet()
    assert stage.listener.revs == [1]


async def test_the_queue_has_a_bound(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than so many waiting messages are refused at once."""
    monkeypatch.setattr(liveroom, "MAX_QUEUED", 5)
    waiting = [stage.send(f"n{number}") for number in range(5)]
    with pytest.raises(Unavailable):
        stage.send("one too many")
    assert [(await sent).seq for sent in waiting] == [1, 2, 3, 4, 5]


async def test_giving_up_on_an_answer_takes_nothing_back(stage: Stage) -> None:
    """A client that goes while its message is on its way leaves a message, once."""
    sent = stage.send("a")
    sent.cancel()
    await stage.quiet()
    assert stage.listener.revs == [1]
    assert (await stage.send("a")).seq == 1


async def test_large_backlogs_go_in_several_commits(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit has a bound too, and the order is kept over several."""
    monkeypatch.setattr(liveroom, "MAX_BATCH", 7)
    sent = await asyncio.gather(*(stage.send(f"n{number}") for number in range(30)))
    assert [result.seq for result in sent] == list(range(1, 31))
    assert max(stage.store.batches) <= 7


async def test_what_was_said_before_is_read_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody who comes at once shares one query, and what is published meanwhile follows what it found."""
    await asyncio.gather(*(stage.send(f"n{number}") for number in range(100)))
    await stage.quiet()
    stage.room.recent.forget()
    reads: list[int] = []
    changed = FaultyStore.changed

    async def counted(self: FaultyStore, room: Room, after: int, upto: int, limit: int) -> list[wire.Entry]:
        reads.append(after)
        await stage.send("meanwhile")
        return await changed(self, room, after, upto, limit)

    monkeypatch.setattr(FaultyStore, "changed", counted)
    await asyncio.gather(*(stage.room.remember() for _ in range(10)))
    assert reads == [100 - liveroom.REMEMBERED]
    known = stage.room.recent.since(reads[0])
    assert known is not None
    assert [entry.rev for entry in known] == list(range(reads[0] + 1, 102))


async def test_idle_rooms_are_forgotten(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rooms that nobody uses leave memory; those in use stay, and a forgotten one comes back as it was."""
    monkeypatch.setattr(Rooms, "MAX_IDLE", 0)
    monkeypatch.setattr(Rooms, "IDLE_SECONDS", -1.0)
    await stage.store.create_room(Room(name="other"), None)
    await stage.rooms.open("other")
    stage.rooms.tidy()
    assert [room.name for room in stage.rooms] == ["lobby"]
    again = await stage.rooms.open("other")
    assert again is not None
    assert again.published_rev == 0

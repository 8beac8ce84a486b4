"""What is kept in memory of a room: it answers as the database would, or not at all, and it is bounded."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.db import now
from server.service.harness import ServiceHarness
from services.chat import Chat, recent, wire
from services.chat.liveroom import LiveRoom
from services.chat.models import Message, Room
from services.chat.recent import ENTRY_BYTES, Answer, Budget, Recent
from services.chat.store import Draft
from services.chat.wire import EVERYTHING, Entry

States = list[tuple[int, int]]
"""`seq` and `rev` of messages."""
PLENTY = 10**9


def entry(seq: int, rev: int, size: int = 0) -> Entry:
    return Entry(seq, rev, b'{"seq":%d,"rev":%d,"text":"%s"}' % (seq, rev, b"x" * size))


def states(entries: list[Entry]) -> States:
    return [(entry.seq, entry.rev) for entry in entries]


def told(answer: Answer | None) -> tuple[States, bool] | None:
    """Return what an answer says, as a client reads it."""
    if answer is None:
        return None
    return [(message["seq"], message["rev"]) for message in json.loads(bytes(answer.messages))], answer.whole


class History:
    """All messages of a room, as the database has them: the truth."""

    def __init__(self) -> None:
        self.messages: dict[int, Entry] = {}
        self.last = 0

    def happen(self, number: int, size: int = 0) -> Entry:
        """Let a message be new, or an older one be changed."""
        self.last += 1
        seq = self.last if number >= len(self.messages) else sorted(self.messages)[number]
        self.messages[seq] = entry(seq, self.last, size)
        return self.messages[seq]

    def changed(self, after: int, upto: int = PLENTY) -> list[Entry]:
        """Return the messages that changed last between two events, in the order of the changes."""
        found = [entry for entry in self.messages.values() if after < entry.rev <= upto]
        return sorted(found, key=lambda entry: entry.rev)

    def page(self, before: int, limit: int) -> tuple[States, bool]:
        """Return the newest messages before one, and whether that is all there is."""
        older = states([self.messages[seq] for seq in sorted(self.messages) if seq < before])
        return older[max(0, len(older) - limit) :], len(older) <= limit

    def snapshot(self, after: int | None, limit: int) -> tuple[States, bool]:
        """Return the answer to a join."""
        page, whole = self.page(PLENTY, limit)
        if after is None:
            return page, whole
        if after <= self.last:
            changed = states(self.changed(after))
            if len(changed) <= limit:
                return changed, True
        return page, False


class Memory:
    """A room in memory, and the truth about it."""

    def __init__(self, budget: Budget) -> None:
        self.history = History()
        self.recent = Recent(budget, 0)

    @property
    def kept(self) -> int:
        return sum(len(entry.message) + ENTRY_BYTES for entry in self.recent._entries)

    def check_page(self, before: int, limit: int) -> None:
        answer = told(self.recent.page(before, limit))
        if answer is None:
            known = [seq for seq in self.history.messages if self.recent.floor < seq < before]
            assert self.recent.floor > 0, "memory that reaches back to the beginning knows everything"
            assert len(known) < limit or not limit
        else:
            assert answer == self.history.page(before, limit), (before, limit)

    def check_snapshot(self, after: int | None, limit: int) -> None:
        answer, expected = told(self.recent.snapshot(after, limit)), self.history.snapshot(after, limit)
        floor = self.recent.floor
        if answer is None:
            assert floor > 0, "memory that reaches back to the beginning knows everything"
            assert (
                after is None or after < floor or after > self.history.last or len(self.history.changed(after)) > limit
            )
        else:
            assert answer == expected, (after, limit)

    def check_since(self, after: int) -> None:
        changed = self.recent.since(after)
        assert (changed is None) is (after < self.recent.floor)
        if changed is not None:
            assert changed == self.history.changed(after), after

    def check_all(self) -> None:
        last = self.history.last
        for limit in (0, 1, 2, 3, 5, last, 50):
            for number in range(last + 3):
                if limit or number > 1:  # `test_nothing_before_the_first` is about the rest
                    self.check_page(number, limit)
                self.check_snapshot(number, limit)
            self.check_page(EVERYTHING, limit)
            self.check_snapshot(None, limit)
        for after in range(last + 1):
            self.check_since(after)


numbers = st.integers(0, 12)
# Each step: what, which room, and two numbers: which message, what is asked for, how far back is read.
steps = st.lists(
    st.tuples(
        st.sampled_from(["new", "new", "new", "edit", "fill", "late fill", "page", "snapshot", "since", "close"]),
        st.integers(0, 2),
        numbers,
        numbers,
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(program=steps, most=st.sampled_from([0, 1, 2, 5, 256]), budget_bytes=st.sampled_from([0, 600, 1500, PLENTY]))
def test_it_answers_as_the_database_would_or_not_at_all(
    program: list[tuple[str, int, int, int]], most: int, budget_bytes: int
) -> None:
    """Whatever is new, edited, filled in, looked for and pushed out, an answer is never wrong, stale or out of order.

    And what is counted is what is kept, and no more than may be, but for the room that came last; who gives way was
    looked at least recently.
    """
    budget = Budget(budget_bytes)
    rooms = [Memory(budget) for _ in range(3)]
    touched: list[Memory] = []  # the least recently looked at first
    asked: dict[Memory, tuple[list[Entry], int, int]] = {}
    with mock.patch.object(recent, "MOST_ENTRIES", most):
        for step, number, first, second in program:
            room = rooms[number]
            had = [other for other in touched if len(other.recent)]
            if step in ("new", "edit"):
                room.recent.add(room.history.happen(PLENTY if step == "new" else first, 10 * second))
            elif step == "fill":
                floor = room.recent.floor
                start = max(0, floor - second)
                room.recent.fill(room.history.changed(start, floor), start, floor)
            elif step == "late fill":
                # The database was asked a while ago: what was dropped since, or changed, makes the answer older.
                older, start, floor = asked.pop(room, ([], 0, -1))
                room.recent.fill(older, start, floor)
                start, floor = max(0, room.recent.floor - second), room.recent.floor
                asked[room] = (room.history.changed(start, floor), start, floor)
            elif step == "page":
                room.check_page(first + 2, second)
            elif step == "snapshot":
                room.check_snapshot(None if first == 12 else first, second)
            elif step == "since":
                room.check_since(first)
            else:
                room.recent.close()
                assert len(room.recent) == 0
            if step != "since":
                touched = [other for other in touched if other is not room] + [room]
            gone = [other for other in had if not len(other.recent) and other is not room]
            assert gone == [other for other in had if other is not room][: len(gone)]
            assert budget.total == sum(room.kept for room in rooms)
            assert budget.total <= budget_bytes or sum(room.kept > 0 for room in rooms) == 1
            assert all(len(room.recent) <= most for room in rooms)
        for room in rooms:
            assert room.recent.last == room.history.last
            room.check_all()


def test_an_answer_is_worked_out_once() -> None:
    """The same question between two events has the same answer, the very object; an event makes it another."""
    room = Memory(Budget(PLENTY))
    for number in range(1, 6):
        room.recent.add(room.history.happen(PLENTY))
        assert room.recent.page(number, 2) is room.recent.page(number, 2)
        assert room.recent.snapshot(number, 9) is room.recent.snapshot(number, 9)
    room.recent.add(room.history.happen(PLENTY))
    first = room.recent.snapshot(None, 2)
    room.recent.add(room.history.happen(0))
    assert told(room.recent.snapshot(None, 2)) == told(first) == ([(5, 5), (6, 6)], False)
    assert room.recent.snapshot(None, 2) is not first


def test_more_questions_than_answers_are_kept() -> None:
    """Beyond so many different questions answers are not kept, and are right all the same."""
    room = Memory(Budget(PLENTY))
    for _ in range(recent.ANSWERS + 20):
        room.recent.add(room.history.happen(PLENTY))
    for _ in range(2):
        for before in range(2, recent.ANSWERS + 20):
            room.check_page(before, 3)
    assert len(room.recent._answers) == recent.ANSWERS


def test_who_was_looked_at_least_recently_gives_way_first() -> None:
    """A room that somebody reads stays; the one that nobody looked at is forgotten, and is right again afterwards."""
    one = len(entry(1, 1).message) + ENTRY_BYTES
    budget = Budget(3 * one)
    first, second, third, fourth = (Memory(budget) for _ in range(4))
    for room in (first, second, third):
        room.recent.add(room.history.happen(PLENTY))
    assert budget.total == 3 * one
    assert told(first.recent.page(EVERYTHING, 1)) == ([(1, 1)], True)
    fourth.recent.add(fourth.history.happen(PLENTY))
    assert [len(room.recent) for room in (first, second, third, fourth)] == [1, 0, 1, 1]
    assert second.recent.page(EVERYTHING, 1) is None
    second.recent.add(second.history.happen(PLENTY))
    assert [len(room.recent) for room in (first, second, third, fourth)] == [1, 1, 0, 1]
    assert told(second.recent.page(EVERYTHING, 1)) == ([(2, 2)], False)


def test_what_is_kept_for_answers_is_bounded_too() -> None:
    """Whoever asks many different questions does not make a room keep more than rooms may: answers count as well."""
    most = 100_000
    budget = Budget(most)
    rooms = [Memory(budget) for _ in range(4)]
    for room in rooms:
        for _ in range(40):
            room.recent.add(room.history.happen(PLENTY, 1000))
        for limit in range(1, 41):
            room.check_page(EVERYTHING, limit)
    answers = [answer for room in rooms for answer in room.recent._answers.values() if answer is not None]
    kept = sum(len(bytes(answer.messages)) for answer in answers)
    assert kept + sum(room.kept for room in rooms) <= 2 * most


def test_nothing_before_the_first() -> None:
    """Before the first message there is no more, also for who wants none."""
    room = Memory(Budget(PLENTY))
    with mock.patch.object(recent, "MOST_ENTRIES", 2):
        for _ in range(4):
            room.recent.add(room.history.happen(PLENTY))
        for before in range(6):
            room.check_page(before, 0)


def test_to_forget_is_to_count_out() -> None:
    """A room that forgets, for whatever reason, leaves its bytes to others, and can begin anew."""
    budget = Budget(PLENTY)
    room = Memory(budget)
    for _ in range(3):
        room.recent.add(room.history.happen(PLENTY))
    room.recent.forget()
    assert (budget.total, room.kept) == (0, 0)
    room.recent.add(room.history.happen(PLENTY))
    assert budget.total == room.kept > 0
    room.check_all()


# Beside the database.


@pytest.fixture
async def lobby(database_url: str) -> AsyncIterator[tuple[ServiceHarness[Chat], LiveRoom]]:
    async with ServiceHarness(Chat, {"messages_per_minute": 0}, database=database_url) as chat:
        await chat.user("ann")
        live = await chat.service._rooms.open("lobby")
        assert live is not None
        yield chat, live


class Beside:
    """The lobby in the database, and memories of different sizes that were told of the same events."""

    def __init__(self, chat: ServiceHarness[Chat], live: LiveRoom) -> None:
        self.db = chat.db
        self.pages = chat.service._pages
        self.store = chat.service._store
        self.live = live
        self.memories = {most: Recent(Budget(PLENTY), 0) for most in (0, 2, 5, 256)}

    async def happen(self, seq: int | None) -> None:
        """Write a message, or change an older one as versions to come will do it: the same `seq`, a new `rev`."""
        room = self.live.row
        last = 1 + await Room.select(self.db, Room.last_rev).where(Room.id == room.id).scalar()
        if seq is None:
            await self.store.append(room.id, [Draft(wire.User(1, "ann"), f"nonce {last}", "it's", now(), None)])
        else:
            await Room.update(self.db).set(Room.last_rev, last).where(Room.id == room.id)
            edited = Message.update(self.db).set(Message.rev, last).set(Message.text, f"better {last}")
            assert await edited.where(Message.room == room.id, Message.seq == seq) == 1
        (event,) = await self.store.changed(room, last - 1, EVERYTHING, 2)
        for most, memory in self.memories.items():
            with mock.patch.object(recent, "MOST_ENTRIES", most):
                memory.add(event)

    async def compare(self, number: int | None, limit: int) -> int:
        """Ask memories and database the same; returns how many questions memory answered."""
        (last,) = {memory.last for memory in self.memories.values()}
        before = EVERYTHING if number is None else number
        entries, whole = await self.pages.read_snapshot(self.live, number, last, limit)
        page = await self.pages.read_page(self.live, before, limit)
        joined = Answer(wire.array(entries), whole)
        pairs = [(memory.snapshot(number, limit), joined) for memory in self.memories.values()]
        pairs += [(memory.page(before, limit), page) for memory in self.memories.values()]
        answered = [(known, truth) for known, truth in pairs if known is not None]
        for known, truth in answered:
            assert (bytes(known.messages), known.whole) == (bytes(truth.messages), truth.whole), (number, limit)
        return len(answered)

    async def fill(self) -> None:
        """Read a part of what memories do not have."""
        for memory in self.memories.values():
            start, floor = max(0, memory.floor - 6), memory.floor
            memory.fill(await self.store.changed(self.live.row, start, floor, 100), start, floor)
            for after in range(start, memory.last + 1):
                assert memory.since(after) == await self.store.changed(self.live.row, after, EVERYTHING, 100)


async def test_memory_and_database_agree(lobby: tuple[ServiceHarness[Chat], LiveRoom]) -> None:
    """However little of a room is in memory, what it answers is what the service reads from the database."""
    beside = Beside(*lobby)
    for seq in (None, None, None, 2, None, None, None, 1, 1, 5, None, None, None, 11, 2, None):
        await beside.happen(seq)
    questions = list(itertools.product((None, *range(2, 19)), (0, 1, 3, 6, 50)))
    answered = sum([await beside.compare(number, limit) for number, limit in questions])
    await beside.fill()
    assert sum([await beside.compare(number, limit) for number, limit in questions]) > answered > 200


def test_half_gives_way() -> None:
    """Where memory is short, the rooms that were looked at least recently are forgotten, until half is left."""
    budget = Budget(PLENTY)
    rooms = [Memory(budget) for _ in range(4)]
    for room in rooms:
        room.recent.add(room.history.happen(PLENTY))
    before = budget.total
    rooms[0].check_page(EVERYTHING, 10)
    assert budget.shrink() == before // 2
    assert [len(room.recent) for room in rooms] == [1, 0, 0, 1]
    while budget.total:
        assert budget.shrink()
    assert budget.shrink() == 0

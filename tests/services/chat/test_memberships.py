"""Who is a member, as the queue of looks, joins and leaves knows it: what the database has, whatever comes when."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server import Unavailable, User
from server.auth.accounts import MIGRATIONS
from server.db import Database, DatabaseError, OutcomeUnknown
from server.db import Unavailable as DatabaseUnavailable
from services.chat import membership
from services.chat import store as store_module
from services.chat.membership import MOST_TOGETHER, QUERY_SECONDS, Members, Memberships
from services.chat.models import Room
from services.chat.store import Pair, Standing, Store
from tests.server.test_deadlines import run, virtual

ROOMS, USERS = 2, 3


class Bug(Exception):
    """What no code expects."""


class Rows:
    """The memberships in a database, and all that they ever were: for each the moments at which it changed."""

    def __init__(self) -> None:
        self.read: dict[Pair, int] = {}
        self.moment = 0
        self.past: defaultdict[Pair, list[tuple[int, bool]]] = defaultdict(lambda: [(0, False)])
        self.joined: Counter[Pair] = Counter()

    def become(self, pair: Pair) -> None:
        if pair not in self.read:
            self.read[pair] = 0
            self.joined[pair] += 1
            self._note(pair)

    def end(self, pair: Pair) -> None:
        if self.read.pop(pair, None) is not None:
            self._note(pair)

    def standings(self, pairs: Sequence[Pair]) -> dict[Pair, Standing]:
        return {pair: Standing("member", self.read[pair]) for pair in pairs if pair in self.read}

    def was(self, pair: Pair, begin: int) -> set[bool]:
        """Return whether there was a member at any moment since one."""
        past = self.past[pair]
        at_begin = [member for moment, member in past if moment <= begin][-1]
        return {at_begin, *(member for moment, member in past if moment > begin)}

    def _note(self, pair: Pair) -> None:
        self.moment += 1
        self.past[pair].append((self.moment, pair in self.read))


class SlowStore:
    """A store whose queries go on when a test says so: once to the database, and once back with the answer.

    Attributes:
        faults: what becomes of the next queries: raised before the database did it, or after; or no answer ever comes.
    """

    def __init__(self) -> None:
        self.rows = Rows()
        self.faults: list[str] = []
        self.queries: list[tuple[str, int]] = []
        self.free = True
        self._held: list[asyncio.Future[None]] = []

    def go_on(self) -> None:
        """Let what is held make its next step."""
        held, self._held = self._held, []
        for future in held:
            if not future.done():
                future.set_result(None)

    def go_on_always(self) -> None:
        self.free = True
        self.go_on()

    async def members(self, pairs: Sequence[Pair]) -> dict[Pair, Standing]:
        return await self._query("members", pairs, lambda: self.rows.standings(pairs))

    async def add_members(self, pairs: Sequence[Pair]) -> dict[Pair, Standing]:
        def add() -> dict[Pair, Standing]:
            for pair in pairs:
                self.rows.become(pair)
            return self.rows.standings(pairs)

        return await self._query("add", pairs, add)

    async def remove_members(self, pairs: Sequence[Pair]) -> None:
        def remove() -> dict[Pair, Standing]:
            for pair in pairs:
                self.rows.end(pair)
            return {}

        await self._query("remove", pairs, remove)

    async def _query(
        self, what: str, pairs: Sequence[Pair], work: Callable[[], dict[Pair, Standing]]
    ) -> dict[Pair, Standing]:
        assert len(pairs) == len(set(pairs)), "one pair, one place in the query"
        self.queries.append((what, len(pairs)))
        fault = self.faults.pop(0) if self.faults else ""
        await self._hold()
        if fault == "refused":
            raise DatabaseUnavailable("not now")
        if fault == "bug":
            raise Bug
        if fault == "hangs":
            await asyncio.Event().wait()
        answer = work()
        await self._hold()
        if fault == "unknown":
            raise OutcomeUnknown("the connection was lost")
        if fault == "late":
            await asyncio.Event().wait()
        return answer

    async def _hold(self) -> None:
        if not self.free:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._held.append(future)
            await future


class Scene:
    """Rooms, a store, and everything that was asked."""

    def __init__(self) -> None:
        self.store = SlowStore()
        self.workers: list[asyncio.Task[None]] = []
        self.memberships = Memberships(cast("Store", self.store), self.spawn)
        self.rooms = [self.memberships.of(room) for room in range(ROOMS)]
        self.asked: list[asyncio.Task[Any]] = []
        self.joined: Counter[Pair] = Counter()
        self.seen: dict[Pair, int] = {}

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self.workers.append(task)
        return task

    def ask(self, what: str, room: int, user: int) -> asyncio.Task[Any]:
        task = asyncio.create_task(self._ask(what, self.rooms[room], user))
        self.asked.append(task)
        return task

    async def _ask(self, what: str, members: Members, user: int) -> None:
        pair, begin = (members.room, user), self.store.rows.moment
        if what == "look":
            found = await members.look(user)
            assert (found is not None) in self.store.rows.was(pair, begin), "what a look found was never so meanwhile"
        elif what == "join":
            new = await members.join(user)
            self.joined[pair] += new
            assert True in self.store.rows.was(pair, begin), "who joined was a member"
        else:
            await members.leave(user)
            assert False in self.store.rows.was(pair, begin), "who left was no member"

    def read(self, room: int, user: int, seq: int) -> None:
        """Mark what was read, as the chat does: in memory at once, in the database later."""
        known = self.rooms[room].known(user)
        if known is not None:
            known.read_seq = max(known.read_seq, seq)

    def check_read_marks(self) -> None:
        for members, user in itertools.product(self.rooms, range(USERS)):
            known, pair = members.known(user), (members.room, user)
            if known is None:
                self.seen.pop(pair, None)
            else:
                assert known.read_seq >= self.seen.get(pair, 0), "a read mark goes forwards"
                self.seen[pair] = known.read_seq

    async def turn(self) -> None:
        """Let everything happen that can happen now."""
        for _ in range(8):
            await asyncio.sleep(0)
            self.check_read_marks()

    async def quiet(self) -> list[BaseException]:
        """Let everything come to its end; returns what was raised."""
        self.store.go_on_always()
        outcomes = await asyncio.gather(*self.asked, return_exceptions=True)
        self.asked.clear()
        await asyncio.gather(*self.workers, return_exceptions=True)
        await self.turn()
        return [outcome for outcome in outcomes if isinstance(outcome, BaseException)]

    async def check(self) -> None:
        """What is known is so, and whoever asks is told so."""
        self.store.faults.clear()
        for members, user in itertools.product(self.rooms, range(USERS)):
            pair = (members.room, user)
            truth = pair in self.store.rows.read
            assert truth or members.known(user) is None, "somebody is known who is no member"
            found = await members.look(user)
            assert (found is not None) is truth
            assert (members.known(user) is not None) is truth
            assert members._leaving is None


FAULTS = ["refused", "unknown", "hangs", "late", "bug"]
asks = st.tuples(
    st.sampled_from(["look", "join", "join", "leave", "leave"]), st.integers(0, ROOMS - 1), st.integers(0, USERS - 1)
)
goes = st.tuples(st.sampled_from(["go", "go", "turn"]), st.just(0), st.just(0))
reads = st.tuples(st.just("read"), st.integers(0, ROOMS - 1), st.integers(0, USERS - 1))
accidents = st.tuples(st.sampled_from([*FAULTS, "cancel", "kill"]), st.integers(0, 5), st.just(0))


async def perform(program: list[tuple[str, int, int]]) -> tuple[Scene, list[BaseException]]:
    scene = Scene()
    scene.store.free = False
    for place, (step, number, user) in enumerate(program):
        if step in ("look", "join", "leave"):
            scene.ask(step, number, user)
        elif step == "read":
            scene.read(number, user, place)
        elif step == "go":
            scene.store.go_on()
            await scene.turn()
        elif step == "turn":
            await scene.turn()
        elif step == "cancel":
            for task in scene.asked[number : number + 1]:
                task.cancel()
        elif step == "kill":
            await scene.turn()
            for worker in scene.workers:
                worker.cancel()
        else:
            scene.store.faults.append(step)
    raised = await scene.quiet()
    await scene.check()
    return scene, raised


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(asks, asks, goes, reads), max_size=40))
def test_what_is_known_is_what_the_database_has(program: list[tuple[str, int, int]]) -> None:
    """Whatever is asked while whatever is on its way: each is told what was so meanwhile, and one join is the first.

    Read marks that are not written yet survive what is read meanwhile.
    """

    async def main() -> None:
        scene, raised = await perform(program)
        assert raised == []
        assert scene.joined == scene.store.rows.joined, "as many joins were told to be new as there were"

    run(main)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(asks, asks, goes, reads, accidents), max_size=40))
@example(
    [
        ("join", 0, 0),
        ("go", 0, 0),
        ("go", 0, 0),
        ("go", 0, 0),
        ("go", 0, 0),
        ("go", 0, 0),
        ("unknown", 0, 0),
        ("leave", 0, 0),
    ]
)
@example(
    [
        ("join", 0, 0),
        ("go", 0, 0),
        ("go", 0, 0),
        ("go", 0, 0),
        ("go", 0, 0),
        ("go", 0, 0),
        ("late", 0, 0),
        ("leave", 0, 0),
    ]
)
def test_whatever_goes_wrong_nobody_waits_for_ever(program: list[tuple[str, int, int]]) -> None:
    """Queries that fail, hang, or end nobody knows how; who asks, or the work itself, is cancelled: all come to an end.

    Those who are told an error are told to try again. Afterwards what is known is so, though nobody tried again.
    """

    async def main() -> None:
        scene, raised = await perform(program)
        allowed = (Unavailable, DatabaseError, asyncio.CancelledError)
        assert [error for error in raised if not isinstance(error, allowed)] == []
        assert all(scene.joined[pair] <= times for pair, times in scene.store.rows.joined.items())

    run(main)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("what", ["look", "join", "leave"])
def test_an_error_is_for_those_who_asked_then(fault: str, what: str) -> None:
    """A query that goes wrong is an error for those in it, within the deadline; who asks next is answered."""

    async def main() -> None:
        scene = Scene()
        if what == "leave":
            await asyncio.gather(*(scene.ask("join", 0, user) for user in range(USERS)))
        scene.store.faults = [fault]
        began = virtual().time()
        asked = [scene.ask(what, 0, user) for user in range(USERS)]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(outcome, Unavailable | DatabaseError) for outcome in outcomes), outcomes
        assert all(scene.rooms[0].known(user) is None or (0, user) in scene.store.rows.read for user in range(USERS))
        assert virtual().time() - began == (QUERY_SECONDS if fault in ("hangs", "late") else 0)
        await asyncio.gather(*(scene.ask(what, 0, user) for user in range(USERS)))
        scene.asked.clear()
        await asyncio.gather(*scene.workers, return_exceptions=True)
        await scene.check()
        assert len(scene.store.rows.read) == (USERS if what == "join" else 0)

    run(main)


@pytest.mark.parametrize("moment", [0, 1, 2, 5])
def test_work_that_is_cancelled_leaves_nobody_waiting(moment: int) -> None:
    """When the coroutine that asks is cancelled, in a query or before it began, all are told; the next one works."""

    async def main() -> None:
        scene = Scene()
        scene.store.free = False
        asked = [asyncio.ensure_future(scene.rooms[0].join(user)) for user in range(USERS)]
        await asyncio.sleep(0)
        assert len(scene.workers) == 1
        for _ in range(moment):
            await asyncio.sleep(0)
        scene.workers[0].cancel()
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [Unavailable] * USERS
        scene.store.go_on_always()
        assert await scene.rooms[0].join(0)

    run(main)


def test_who_is_cancelled_harms_nobody() -> None:
    """Of several who join at once and some of whom are gone, one that is left is told that it was new."""

    async def main() -> None:
        scene = Scene()
        scene.store.free = False
        asked = [asyncio.ensure_future(scene.rooms[0].join(0)) for _ in range(4)]
        await scene.turn()
        asked[0].cancel()
        asked[2].cancel()
        await scene.turn()
        scene.store.go_on_always()
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes[::2]] == [asyncio.CancelledError] * 2
        assert outcomes[1::2] in ([True, False], [False, True])

    run(main)


def test_a_leave_that_nobody_waits_for_is_done() -> None:
    """Whoever is cut off while they leave has left, and a join afterwards is a new one."""

    async def main() -> None:
        scene = Scene()
        assert await scene.rooms[0].join(0)
        assert not await scene.rooms[0].join(0)
        leaving = scene.ask("leave", 0, 0)
        await asyncio.sleep(0)
        leaving.cancel()
        assert await scene.rooms[0].join(0)
        await scene.quiet()
        await scene.check()

    run(main)


def test_many_at_once_cost_a_few_queries() -> None:
    """A thousand who look, join, or leave at the same moment are asked for in full queries; who is known costs none."""

    async def main() -> None:
        scene = Scene()
        users, full = 500, [MOST_TOGETHER] * (1000 // MOST_TOGETHER)

        async def everybody(what: str) -> list[tuple[str, int]]:
            scene.store.queries.clear()
            people = [(members, user) for members in scene.rooms for user in range(users)]
            await asyncio.gather(*(getattr(members, what)(user) for members, user in people))
            return scene.store.queries

        assert await everybody("look") == [("members", size) for size in full]
        assert await everybody("join") == [(query, size) for size in full for query in ("members", "add")]
        assert await everybody("join") == await everybody("look") == []
        assert await everybody("leave") == [("remove", size) for size in full]
        assert scene.store.rows.read == {}

    run(main)


def test_who_asks_during_a_query_shares_the_next() -> None:
    """All that comes while the database works goes into one query, whatever room it is about."""

    async def main() -> None:
        scene = Scene()
        scene.store.free = False
        first = scene.ask("look", 0, 0)
        await scene.turn()
        others = [scene.ask("look", room, user) for room in range(ROOMS) for user in range(USERS) for _ in range(5)]
        await scene.turn()
        scene.store.go_on_always()
        await asyncio.gather(first, *others)
        assert scene.store.queries == [("members", 1), ("members", ROOMS * USERS)]

    run(main)


def test_a_look_that_is_late_takes_no_read_mark_back() -> None:
    """What one device has read stays read although another device's look, begun before, is answered after it."""

    async def main() -> None:
        scene = Scene()
        scene.store.rows.become((0, 0))
        scene.store.free = False
        first = scene.ask("look", 0, 0)
        await scene.turn()
        second = scene.ask("look", 0, 0)
        await scene.turn()
        scene.store.go_on()
        await scene.turn()
        scene.store.go_on()
        await first
        scene.read(0, 0, 50)
        scene.store.go_on_always()
        await second
        known = scene.rooms[0].known(0)
        assert known is not None
        assert known.read_seq == 50

    run(main)


# On a database.


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with await Database.open(database_url) as db:
        await db.migrate("auth", MIGRATIONS)
        await db.migrate("chat", Path(store_module.__file__).parent / "migrations")
        await User.insert_many(db, [{User.name: f"user {number}"} for number in range(1, 21)])
        store = Store(db)
        for name in ("lobby", "tea"):
            await store.create_room(Room(name=name), None)
        yield store


async def test_crowds_on_a_database(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty people who join and leave two rooms at once, again and again: in the end the database says the same."""
    monkeypatch.setattr(membership, "MOST_TOGETHER", 7)
    tasks: set[asyncio.Task[None]] = set()

    def spawn(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task

    memberships = Memberships(store, spawn)
    rooms = [memberships.of(room) for room in (1, 2)]
    pairs = [(members.room, user) for members in rooms for user in range(1, 21)]

    async def person(members: Members, user: int) -> int:
        new = 0
        for turn in range(3):
            new += await members.join(user)
            assert await members.look(user) is not None
            if (user + turn) % 3:
                await members.leave(user)
                assert await members.look(user) is None
        return new

    new = await asyncio.gather(*(person(members, user) for members in rooms for user in range(1, 21)))
    assert new == [3 - (user % 3 == 0) - ((user + 1) % 3 == 0) for user in list(range(1, 21)) * 2]
    truth = await store.members(pairs)
    assert truth.keys() == {(room, user) for room, user in pairs if (user + 2) % 3 == 0}
    assert {(m.room, u): m.known(u) for m in rooms for u in range(1, 21) if m.known(u)} == truth

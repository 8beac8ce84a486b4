"""Three nodes, and all that is under and between them fails while hundreds talk: FAULTS 1, 3, 5, 6, 10 and 11.

`SWITCHBOARD_TEST_FAULTS` says how many faults there are, for a longer run, and `SWITCHBOARD_TEST_SEED` which ones; the
seed of a run is printed.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.faults.test_kill import whole_history
from tests.support.chatclient import CallError, ChatClient, Talker, guest_cookies
from tests.support.cluster import NO_LIMITS, Cluster, tell, until
from tests.support.history import Journal, Meter
from tests.support.mariadb import MariaDb, private_mariadb
from tests.support.nats import Nats, private_nats
from tests.support.server import SCALE, Server

CLIENTS = 300
ROOMS = 12
FAULTS = int(os.environ.get("SWITCHBOARD_TEST_FAULTS", "5"))
SEED = int(os.environ.get("SWITCHBOARD_TEST_SEED", "1"))
PAUSE_SECONDS = (2.0, 6.0)
"""Between two messages of one person."""
PRESENCE_SECONDS = 15
NOTICED_SECONDS = 20
ANSWER_SECONDS = 5.0
END_SECONDS = 60
"""In which everybody has said the last, and has heard everything."""
LEAVING = 30
"""People who vanish at the same time as something fails, and are not to be taken for present."""


class Person(Talker):
    """Somebody who talks as long as they are here, and may be away for a while.

    Attributes:
        here: set while they are not away.
    """

    def __init__(self, servers: Sequence[str], cookie: str, room: str, journal: Journal) -> None:
        super().__init__(servers, cookie, room, journal)
        self.here = asyncio.Event()
        self.here.set()

    @property
    def id(self) -> int:
        """The user's id."""
        number: int = self.welcome["user"]["id"]
        return number

    def go(self) -> None:
        """Vanish, and stay away."""
        self.here.clear()
        self.vanish()

    async def come_back(self) -> None:
        while True:
            await self.here.wait()
            await super().come_back()
            if self.here.is_set():
                return
            self.vanish()

    async def live(self, over: asyncio.Event) -> None:
        """Say something now and then."""
        count = 0
        while not over.is_set():
            await self.say_all([f"{self.id}:{count}"])
            count += 1
            if await self.ended(random.uniform(*PAUSE_SECONDS)):
                await self.come_back()


class Observer(ChatClient):
    """Looks, on one node, who is in which room, and so is in each of them."""

    async def present(self, room: str) -> set[int]:
        """Return who is in a room."""
        joined = await self.call("rooms.join", room=room, limit=1)
        return {user["id"] for user in joined["present"]}

    async def ensure(self) -> None:
        """Be connected."""
        if not self.connected:
            await self.close()
            await self.open()


class World:
    """Everything that may fail, and everybody who suffers from it."""

    def __init__(self, cluster: Cluster, database: MariaDb, nats: Nats, rooms: Sequence[str]) -> None:
        self.cluster = cluster
        self.database = database
        self.nats = nats
        self.rooms = rooms
        self.chance = random.Random(SEED)
        self.people: list[Person] = []
        self.observers: dict[Server, Observer] = {}
        self.up = set(cluster.nodes)

    async def health(self, node: Server) -> dict[str, Any]:
        """Return what a node says about itself; nothing where it does not."""
        try:
            async with httpx.AsyncClient(timeout=ANSWER_SECONDS) as http:
                said: dict[str, Any] = (await http.get(f"{node.url}/health")).json()
                return said
        except httpx.HTTPError:
            return {}

    async def noticed(self, what: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until every node says so about itself."""

        async def all_say() -> bool:
            said = await asyncio.gather(*(self.health(node) for node in self.up))
            return all(one and what(one) for one in said)

        await until("the nodes notice", all_say, NOTICED_SECONDS)

    async def wrong(self) -> str:
        """Say what is wrong about who is present; nothing when all is right."""
        here = [person for person in self.people if person.here.is_set()]
        lost = [person for person in here if not person.connected]
        if lost:
            return f"{len(lost)} people are not back"
        nodes = list(self.up)
        try:
            views = await asyncio.gather(*(self._look(node) for node in nodes))
        except (OSError, TimeoutError, ConnectionClosed, InvalidHandshake, CallError) as error:
            return f"an observer has no answer: {error!r}"
        observers = {self.observers[node].welcome["user"]["id"] for node in nodes}
        for room in self.rooms:
            truth = observers | {person.id for person in here if person.room == room}
            for node, view in zip(nodes, views, strict=True):
                if view[room] != truth:
                    number = self.cluster.nodes.index(node) + 1
                    return f"node {number}, {room}: beside them {view[room] - truth}, missing {truth - view[room]}"
            for person in here:
                if person.room == room and person.present != truth:
                    number = self.cluster.urls.index(person.server) + 1
                    return (
                        f"somebody of node {number} in {room} was told of {person.present - truth} beside them "
                        f"and not of {truth - person.present}"
                    )
        return ""

    async def _look(self, node: Server) -> dict[str, set[int]]:
        observer = self.observers[node]
        async with asyncio.timeout(ANSWER_SECONDS):
            await observer.ensure()
            seen = await asyncio.gather(*(observer.present(room) for room in self.rooms))
        return dict(zip(self.rooms, seen, strict=True))

    async def presence_is_right(self, after: str) -> float:
        """Wait until every node, and everybody, has it right who is present; returns how long it took, in seconds."""
        wrong = ""

        async def right() -> bool:
            nonlocal wrong
            wrong = await self.wrong()
            return not wrong

        try:
            return await until("presence is right", right, PRESENCE_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"seed {SEED}, {after}: {wrong}") from error

    def some_leave(self, among: Sequence[Person] = ()) -> list[Person]:
        """Let some people vanish, of some or of all."""
        people = [person for person in among or self.people if person.here.is_set()]
        leaving = self.chance.sample(people, min(len(people), LEAVING))
        for person in leaving:
            person.go()
        return leaving


Fault = Callable[[World], AbstractAsyncContextManager[None]]
"""Inside, what failed is there again, or was seen to be gone for good; what comes behind brings everything back."""


@asynccontextmanager
async def node_is_killed(world: World) -> AsyncIterator[None]:
    """The main process of a node is over at once, and its machine does not come back soon."""
    node = world.chance.choice(world.cluster.nodes)
    world.some_leave([person for person in world.people if person.server == node.url])
    world.up.discard(node)
    await node.kill()
    yield
    await node.start()
    world.up.add(node)


@asynccontextmanager
async def worker_is_killed(world: World) -> AsyncIterator[None]:
    """A worker is over at once."""
    node, pid = await _a_worker(world)
    world.some_leave([person for person in world.people if person.server == node.url])
    os.kill(pid, 9)
    yield


@asynccontextmanager
async def worker_is_frozen(world: World) -> AsyncIterator[None]:
    """A worker does nothing for some seconds."""
    node, pid = await _a_worker(world)
    world.cluster.freeze(pid)
    world.some_leave([person for person in world.people if person.server == node.url])

    async def named() -> bool:
        said = await world.health(node)
        return "has not answered" in str(said)

    try:
        await until("a worker that does not answer is named", named, NOTICED_SECONDS)
    finally:
        world.cluster.thaw(pid)
    yield


@asynccontextmanager
async def nats_is_killed(world: World) -> AsyncIterator[None]:
    """NATS is over, and started again."""
    world.nats.kill()
    world.some_leave()
    await world.noticed(lambda said: said["status"] == "degraded" and not said["broker"]["connected"])
    await asyncio.to_thread(world.nats.start)
    yield


@asynccontextmanager
async def nats_is_frozen(world: World) -> AsyncIterator[None]:
    """NATS does not answer for a while."""
    world.nats.freeze()
    world.some_leave()
    await world.noticed(lambda said: not said["broker"]["connected"])
    world.nats.thaw()
    yield


@asynccontextmanager
async def database_is_killed(world: World) -> AsyncIterator[None]:
    """The database is over, and started again."""
    world.database.kill()
    world.some_leave()
    await world.noticed(lambda said: said["status"] == "failing")
    await asyncio.to_thread(world.database.start)
    yield


@asynccontextmanager
async def database_is_frozen(world: World) -> AsyncIterator[None]:
    """The database does not answer for a while."""
    world.database.freeze()
    world.some_leave()
    await world.noticed(lambda said: said["status"] == "failing")
    world.database.thaw()
    yield


ALL: list[Fault] = [
    node_is_killed,
    worker_is_killed,
    worker_is_frozen,
    nats_is_killed,
    nats_is_frozen,
    database_is_killed,
    database_is_frozen,
]


async def _a_worker(world: World) -> tuple[Server, int]:
    workers = [(node, pid) for node in world.cluster.nodes for pid in await world.cluster.workers(node)]
    return world.chance.choice(workers)


async def test_whatever_fails_nothing_is_lost_and_presence_comes_right(tmp_path: Path) -> None:
    """300 people on three nodes talk while nodes, workers, NATS and the database fail: the history is sound.

    Acknowledged is a part of the history, no nonce is there twice, each author's messages stand in the order sent, and
    what everybody heard, over whichever nodes, is the room's order without a gap or a repeat. And within 15 seconds of
    every fault every node, and everybody, has it right who is present in each room.
    """
    tell(f"SWITCHBOARD_TEST_SEED={SEED}")
    with private_mariadb() as database, private_nats() as nats:
        # What is given up on soon makes the test short; the limits themselves are settings.
        url = database.url(database.new_database(), query_seconds=1, connect_seconds=1, wait_seconds=1)
        settings = NO_LIMITS | {"server.drain_seconds": 1}
        async with Cluster(tmp_path, url, nats.url, settings=settings) as cluster:
            world = World(cluster, database, nats, [f"room-{number}" for number in range(ROOMS)])
            meter = Meter()
            journals = {room: Journal(meter) for room in world.rooms}
            await _let_everybody_in(world, journals)
            over = asyncio.Event()
            talking = [asyncio.create_task(person.live(over)) for person in world.people]
            try:
                await world.presence_is_right("the beginning")
                for fault in _faults(world.chance):
                    await _suffer(world, fault, meter)
                over.set()
                async with asyncio.timeout(END_SECONDS * SCALE):
                    await asyncio.gather(*talking)
                    for room, journal in journals.items():
                        await _check(world, room, journal)
            finally:
                for task in talking:
                    task.cancel()
                await asyncio.gather(*talking, return_exceptions=True)
                await asyncio.gather(*(client.close() for client in (*world.people, *world.observers.values())))


async def _suffer(world: World, fault: Fault, meter: Meter) -> None:
    """Let something fail, and see that presence comes right; without those who vanished with it, and with them."""
    name = getattr(fault, "__name__", "")
    began, before = time.monotonic(), meter.count
    async with fault(world):
        seconds = await world.presence_is_right(name)
    for person in world.people:
        person.here.set()
    await world.presence_is_right(f"after {name}, when all are back")
    lasted = time.monotonic() - began
    tell(f"{name}: presence right after {seconds:.1f} s; {meter.count - before} messages in {lasted:.1f} s")


def _faults(chance: random.Random) -> list[Fault]:
    """Return as many faults as are asked for, and each kind as often as each other."""
    faults: list[Fault] = []
    while len(faults) < FAULTS:
        faults += chance.sample(ALL, len(ALL))
    return faults[:FAULTS]


async def _let_everybody_in(world: World, journals: dict[str, Journal]) -> None:
    urls = world.cluster.urls
    cookies = await guest_cookies(urls[0], [f"guest {number}" for number in range(CLIENTS + len(urls))])
    for node in world.cluster.nodes:
        world.observers[node] = Observer(node.url, cookies.pop())
        await world.observers[node].open()
    for room in world.rooms:
        await world.observers[world.cluster.nodes[0]].call("rooms.create", room=room)
    for number, cookie in enumerate(cookies):
        room = world.rooms[number % ROOMS]
        world.people.append(Person(urls, cookie, room, journals[room]))
    await asyncio.gather(*(person.come_back() for person in world.people))


async def _check(world: World, room: str, journal: Journal) -> None:
    history = await whole_history(next(iter(world.observers.values())), room)
    listeners = [person for person in world.people if person.room == room]
    await asyncio.gather(*(person.hear_until(len(history)) for person in listeners))
    assert journal.problems(history) == [], f"seed {SEED}"

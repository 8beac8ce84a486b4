"""The worst moments: thousands of cancellations, a server that dies or freezes, a network that is cut at the commit."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from server.db.backends import Statement
from server.db.errors import OutcomeUnknown, Unavailable
from server.db.mysql.backend import MySQLBackend
from tests.server.db.mysql.conftest import OpenBackend, eventually, run, select
from tests.server.db.mysql.proxy import Proxy
from tests.server.db.mysql.test_pool import no_more_than_its_own
from tests.support.mariadb import MariaDb

CANCELLATIONS = 10_000
AT_ONCE = 100
QUICK = {"pool": 5, "query_seconds": 0.3, "connect_seconds": 0.3, "wait_seconds": 0.3}
INSERT = "INSERT INTO people (name) VALUES (%s)"


async def test_cancellation_storm(open_backend: OpenBackend) -> None:
    """Whatever is cancelled at whatever moment: units are whole or absent, and no connection is lost or half-used."""
    backend = await open_backend(pool=5, wait_seconds=60)
    await run(backend, "CREATE TABLE people (id BIGINT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(100) UNIQUE)")
    await run(backend, INSERT, "first")
    dice = random.Random(7)
    outcomes: Counter[str] = Counter()

    async def query(number: int) -> None:
        halves = [Statement(INSERT, (f"{number}{half}",)) for half in "ab"]
        match number % 4:
            case 0:
                await backend.write(halves)
            case 1:
                session = await backend.begin(60)
                try:
                    await session.execute(halves[:1])
                    await session.execute(halves[1:])
                    await session.commit()
                finally:
                    session.abandon()
            case 2:
                assert await select(backend, "SELECT %s, name FROM people WHERE id = 1", number) == [(number, "first")]
            case _:
                assert await select(backend, "SELECT %s", number) == [(number,)]

    async def cancel(number: int) -> None:
        task = asyncio.create_task(query(number))
        await asyncio.sleep(dice.uniform(0, 0.02))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if task.cancelled():
            outcomes["cancelled"] += 1
        else:
            task.result()
            outcomes["done"] += 1

    for start in range(0, CANCELLATIONS, AT_ONCE):
        await asyncio.gather(*(cancel(number) for number in range(start, start + AT_ONCE)))
    assert min(outcomes["cancelled"], outcomes["done"]) > CANCELLATIONS / 20, outcomes
    assert (backend.pool.in_use, backend.pool.waiting) == (0, 0)
    results = await asyncio.gather(*(select(backend, "SELECT %s", number) for number in range(50)))
    assert results == [[(number,)] for number in range(50)]
    await no_more_than_its_own(backend)
    names = [str(name)[:-1] for (name,) in await select(backend, "SELECT name FROM people WHERE name <> 'first'")]
    assert set(Counter(names).values()) <= {2}


class Load:
    """Reads and units without end, and what became of them.

    Args:
        backend: gets the load.
    """

    def __init__(self, backend: MySQLBackend) -> None:
        self.written: list[str] = []
        self.unknown: list[str] = []
        self.failed = self.done = 0
        self._backend = backend
        self._number = 0
        self._tasks = [asyncio.create_task(self._work()) for _ in range(20)]

    async def until(self, done: int = 0, failed: int = 0) -> None:
        """Wait until some more have succeeded, and some more have failed."""
        done, failed = self.done + done, self.failed + failed

        async def enough() -> bool:
            for task in self._tasks:
                if task.done():
                    task.result()
            return self.done >= done and self.failed >= failed

        await eventually(enough)

    async def stop(self) -> None:
        """End it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            self._number += 1
            name = f"n{self._number}"
            try:
                await select(self._backend, "SELECT name FROM people LIMIT 3")
                await self._backend.write([Statement(INSERT, (name + half,)) for half in "ab"])
                self.written.append(name)
                self.done += 1
            except OutcomeUnknown:
                self.unknown.append(name)
                self.failed += 1
            except Unavailable:
                self.failed += 1
            await asyncio.sleep(0.001)


@pytest.fixture
async def private(mariadb: MariaDb, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MySQLBackend]:
    """A backend on the tests' own server, which may be killed."""
    monkeypatch.setattr("server.db.mysql.connecting.GRACE_SECONDS", 0.1)
    backend = await MySQLBackend.open(mariadb.url(mariadb.new_database(), **QUICK))
    await run(backend, "CREATE TABLE people (id BIGINT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(100) UNIQUE)")
    yield backend
    await backend.close()


async def whole(backend: MySQLBackend, load: Load) -> None:
    """Check that units are whole or absent, and those that were acknowledged are there."""
    names = Counter(str(name)[:-1] for (name,) in await select(backend, "SELECT name FROM people"))
    assert set(names.values()) <= {2}
    assert names.keys() >= set(load.written)


@pytest.mark.parametrize("kind", ["kill", "freeze"])
async def test_the_server_goes_and_comes_back(mariadb: MariaDb, private: MySQLBackend, kind: str) -> None:
    """While it is away, requests fail in time; when it is back, they work without a restart."""
    load = Load(private)
    try:
        await load.until(done=100)
        if kind == "kill":
            await asyncio.to_thread(mariadb.kill)
        else:
            mariadb.freeze()
        await load.until(failed=100)
        with pytest.raises(Unavailable) as caught:
            await select(private, "SELECT 1")
        assert "p@ss" not in str(caught.value)
        if kind == "kill":
            await asyncio.to_thread(mariadb.start)
        else:
            mariadb.thaw()
        await load.until(done=100)
    finally:
        if kind == "freeze":
            mariadb.thaw()
        await load.stop()
    assert private.pool.size <= 5
    assert (private.pool.in_use, private.pool.waiting) == (0, 0)
    await whole(private, load)
    await no_more_than_its_own(private)


@asynccontextmanager
async def through(proxy: Proxy, mariadb: MariaDb, private: MySQLBackend) -> AsyncIterator[MySQLBackend]:
    """Open another backend on the same database, behind a proxy."""
    url = mariadb.url(private.pool._options.database, **QUICK)
    backend = await MySQLBackend.open(url.replace(f":{mariadb.port}/", f":{proxy.port}/"))
    try:
        yield backend
    finally:
        await backend.close()


@pytest.mark.parametrize("delivers", [True, False])
@pytest.mark.parametrize("kind", ["unit", "single", "session"])
async def test_cut_in_a_commit(mariadb: MariaDb, private: MySQLBackend, kind: str, delivers: bool) -> None:
    """Whether the server got it or not, nobody here can know: OutcomeUnknown, and the unit is whole or absent."""
    async with Proxy.to("127.0.0.1", mariadb.port) as proxy, through(proxy, mariadb, private) as backend:
        halves = [Statement(INSERT, (half,)) for half in "ab"]
        proxy.delivers = delivers
        if kind == "session":
            session = await backend.begin(60)
            await session.execute(halves)
            proxy.cut_at = b"COMMIT"
            with pytest.raises(OutcomeUnknown):
                await session.commit()
        else:
            proxy.cut_at = b"INSERT"
            with pytest.raises(OutcomeUnknown):
                await backend.write(halves if kind == "unit" else halves[:1])
        proxy.cut_at = b""
        expected = [] if not delivers else [("a",)] if kind == "single" else [("a",), ("b",)]

        async def is_written() -> bool:
            return await select(private, "SELECT name FROM people ORDER BY id") == expected

        await eventually(is_written)
        assert await select(backend, "SELECT 1") == [(1,)]
        assert (backend.pool.size, backend.pool.in_use) == (1, 0)


async def test_cut_before_the_commit(mariadb: MariaDb, private: MySQLBackend) -> None:
    """Where no commit was under way nothing was written, and that is said: Unavailable, not OutcomeUnknown."""
    async with Proxy.to("127.0.0.1", mariadb.port) as proxy, through(proxy, mariadb, private) as backend:
        session = await backend.begin(60)
        proxy.cut_at = b"INSERT"
        with pytest.raises(Unavailable) as caught:
            await session.execute([Statement(INSERT, ("a",))])
        assert not isinstance(caught.value, OutcomeUnknown)
        with pytest.raises(Unavailable) as caught:
            connection = await backend.pool.acquire()
            connection.most_bytes = 60
            backend.pool.release(connection)
            await backend.write([Statement(INSERT, (half,)) for half in "ab"])
        assert not isinstance(caught.value, OutcomeUnknown)
    assert await select(private, "SELECT count(*) FROM people") == [(0,)]


async def test_connecting_fails_for_all_who_wait(mariadb: MariaDb, private: MySQLBackend) -> None:
    """When nobody has a connection and none can be made, those who wait need not each find out."""
    options = QUICK | {"pool": 1, "wait_seconds": 3600}
    backend = await MySQLBackend.open(mariadb.url(private.pool._options.database, **options))
    backend.pool.drop_idle()
    await asyncio.to_thread(mariadb.kill)
    results = await asyncio.gather(*(select(backend, "SELECT 1") for _ in range(1000)), return_exceptions=True)
    assert all(isinstance(result, Unavailable) and "not available" in str(result) for result in results)
    assert (backend.pool.size, backend.pool.in_use, backend.pool.waiting) == (0, 0, 0)
    await asyncio.to_thread(mariadb.start)
    assert await select(backend, "SELECT 1") == [(1,)]
    await backend.close()

"""The pool: bounded, fair, with a deadline on every wait, and nothing leaks from it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from server.db.backends import Statement
from server.db.errors import Unavailable
from server.db.mysql.backend import MySQLBackend
from server.db.mysql.connection import Connection
from tests.server.db.mysql.conftest import OpenBackend, eventually, run, select

ID = "SELECT connection_id()"


async def test_connections_are_opened_when_they_are_needed(open_backend: OpenBackend) -> None:
    """One at first, then as many as run at once, and never more than the bound."""
    backend = await open_backend(pool=3)
    await asyncio.gather(*(select(backend, "SELECT 1") for _ in range(1)))
    assert backend.pool.size == 1
    tasks = [asyncio.create_task(select(backend, "SELECT sleep(0.01)")) for _ in range(20)]
    while not all(task.done() for task in tasks):
        assert backend.pool.size <= 3
        await asyncio.sleep(0)
    assert (backend.pool.size, backend.pool.idle, backend.pool.in_use, backend.pool.waiting) == (3, 3, 0, 0)


async def test_first_come_first_served(open_backend: OpenBackend) -> None:
    """Connections are given out in the order in which they were asked for; nobody overtakes."""
    backend = await open_backend(pool=2)
    pool = backend.pool
    held = [await pool.acquire(), await pool.acquire()]
    order: list[int] = []

    async def use(number: int) -> None:
        connection = await pool.acquire()
        order.append(number)
        await connection.run([b"SELECT 1"], 5)
        pool.release(connection)

    tasks = [asyncio.create_task(use(number)) for number in range(50)]
    await asyncio.sleep(0)
    assert (pool.waiting, pool.in_use) == (50, 2)
    for number in (5, 17, 49):
        tasks[number].cancel()
    for connection in held:
        pool.release(connection)
        late = asyncio.create_task(use(100))
        tasks.append(late)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [number for number in range(50) if number not in (5, 17, 49)] + [100, 100]
    assert (pool.in_use, pool.waiting) == (0, 0)


async def test_a_wait_has_a_deadline(open_backend: OpenBackend) -> None:
    """Whoever gets no connection in time is told to try again; the others are not touched."""
    backend = await open_backend(pool=1, wait_seconds=0.05)
    held = await backend.pool.acquire()
    results = await asyncio.gather(*(select(backend, "SELECT 1") for _ in range(10)), return_exceptions=True)
    assert all(isinstance(result, Unavailable) and "busy; try again" in str(result) for result in results)
    assert backend.pool.waiting == 0
    backend.pool.release(held)
    assert await select(backend, "SELECT 1") == [(1,)]


async def test_the_number_of_waiters_is_bounded(open_backend: OpenBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the database is busy at once."""
    monkeypatch.setattr("server.db.mysql.pool.MOST_WAITING", 3)
    backend = await open_backend(pool=1)
    held = await backend.pool.acquire()
    tasks = [asyncio.create_task(select(backend, "SELECT 1")) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="busy"):
        await select(backend, "SELECT 1")
    backend.pool.release(held)
    assert await asyncio.gather(*tasks) == [[(1,)]] * 3


async def test_cancelled_as_it_is_served(open_backend: OpenBackend) -> None:
    """A waiter that is cancelled at the moment when a connection is handed to it passes it on."""
    backend = await open_backend(pool=1, wait_seconds=60)
    held = await backend.pool.acquire()
    waiters = [asyncio.create_task(backend.pool.acquire()) for _ in range(3)]
    await asyncio.sleep(0)
    backend.pool.release(held)
    waiters[0].cancel()
    waiters[1].cancel()
    await asyncio.gather(*waiters[:2], return_exceptions=True)
    backend.pool.release(await waiters[2])
    assert (backend.pool.size, backend.pool.in_use, backend.pool.waiting) == (1, 0, 0)


async def test_a_dead_connection_is_replaced(open_backend: OpenBackend) -> None:
    """The server ends idle connections: the next read works, whether it was seen before or only then."""
    backend, other = await open_backend(pool=2), await open_backend()
    [(before,)] = await select(backend, ID)
    await run(other, f"KILL {before}")
    [(after,)] = await select(backend, ID)
    assert after != before
    assert backend.pool.size == 1


async def test_an_idle_connection_is_tried_first(open_backend: OpenBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was idle for longer is pinged, and replaced when it is dead; so even a write does not fail."""
    backend, other = await open_backend(pool=2), await open_backend()
    [(before,)] = await select(backend, ID)
    [connection] = backend.pool._idle
    connection.used_at -= 3600
    assert await select(backend, ID) == [(before,)]
    connection.used_at -= 3600
    monkeypatch.setattr(Connection, "alive", property(lambda self: not self._ended))  # as if nobody had said so
    await run(other, f"KILL {before}")
    [result] = await backend.write([Statement(ID)])
    assert result.rows[0][0] != before
    assert backend.pool.size == 1


async def test_a_read_is_repeated_where_nothing_was_answered(
    open_backend: OpenBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that turns out to be dead only when it is used does not fail a read."""
    backend, other = await open_backend(), await open_backend()
    [(before,)] = await select(backend, ID)
    monkeypatch.setattr(Connection, "alive", property(lambda self: not self._ended))  # as if nobody had said so
    await run(other, f"KILL {before}")
    [(after,)] = await select(backend, ID)
    assert after != before


async def test_connections_have_an_age(open_backend: OpenBackend) -> None:
    """One that is too old is not used again."""
    backend = await open_backend(pool=2, age_seconds=60)
    before = await select(backend, ID)
    backend.pool._idle[0].opened_at -= 60
    after = await select(backend, ID)
    assert after != before
    connection = await backend.pool.acquire()
    connection.opened_at -= 60
    backend.pool.release(connection)
    assert backend.pool.size == 0


async def test_an_open_transaction_is_not_passed_on(open_backend: OpenBackend) -> None:
    """A connection that is given back in a transaction is closed."""
    backend = await open_backend(pool=1)
    [(before,)] = await select(backend, ID)
    await run(backend, "BEGIN")
    assert backend.pool.idle == 0
    assert await select(backend, ID) != [(before,)]


async def test_a_session_where_literals_are_unsafe_is_closed(open_backend: OpenBackend) -> None:
    """Whoever changes how literals are read has changed it for nobody else, and not even for the next query."""
    backend = await open_backend(pool=1)
    await run(backend, "SET sql_mode = 'NO_BACKSLASH_ESCAPES'")
    assert backend.pool.size == 0
    assert await select(backend, "SELECT %s", "\\' OR 1 = 1 -- ") == [("\\' OR 1 = 1 -- ",)]


async def test_close_waits_for_what_runs(open_backend: OpenBackend) -> None:
    """What runs is finished, what waits is told, and nothing new begins."""
    backend = await open_backend(pool=1)
    running = asyncio.create_task(select(backend, "SELECT sleep(0.05)"))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(select(backend, "SELECT 1"))
    await asyncio.sleep(0)
    await backend.close()
    assert await running == [(0,)]
    with pytest.raises(Unavailable, match="closed"):
        await waiting
    with pytest.raises(Unavailable, match="closed"):
        await select(backend, "SELECT 1")
    assert backend.pool.size == 0


async def test_close_does_not_wait_for_ever(open_backend: OpenBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its deadline, what still runs is ended."""
    monkeypatch.setattr("server.db.mysql.pool.CLOSE_SECONDS", 0.05)
    backend = await open_backend(pool=1)
    running = asyncio.create_task(select(backend, "SELECT sleep(20)"))
    await asyncio.sleep(0)
    await backend.close()
    with pytest.raises(Unavailable, match="closed"):
        await running


async def test_a_cancelled_attempt_is_closed(open_backend: OpenBackend) -> None:
    """Connections that are being opened for somebody who goes away are closed, at whatever moment."""
    backend = await open_backend(pool=5)
    held = await backend.pool.acquire()
    for step in range(100):
        task = asyncio.create_task(backend.pool.acquire())
        for _ in range(step % 25):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            backend.pool.release(await task)
    backend.pool.release(held)
    assert backend.pool.in_use == 0
    await no_more_than_its_own(backend)


async def no_more_than_its_own(backend: MySQLBackend) -> None:
    """Wait until the server, too, has only the connections that the pool knows."""

    async def equal() -> bool:
        count = await select(backend, "SELECT count(*) FROM information_schema.processlist WHERE db = database()")
        return count == [(backend.pool.size,)]

    await eventually(equal)

"""Transactions whose statements come one by one, and streams: in order, bounded, and over when they are over."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from server.db.backends import Statement
from server.db.errors import QueryError, TransactionConflict, Unavailable, UniqueViolation
from server.db.mysql.backend import MySQLBackend
from tests.server.db.mysql.conftest import OpenBackend, eventually, run, select

ROWS = 200_000
READ_AHEAD_BYTES = 1024 * 1024
"""More than what one reading from the socket may leave behind, and far less than the rows."""

COUNT = Statement("SELECT count(*) FROM people", writes=False)
NUMBERS = Statement("SELECT a.n * 1000 + b.n AS number, repeat('x', 100) FROM numbers a, numbers b", writes=False)


def insert(name: str) -> Statement:
    """Return a statement that inserts a person."""
    return Statement("INSERT INTO people (name) VALUES (%s)", (name,))


@pytest.fixture
async def numbers(people: MySQLBackend) -> MySQLBackend:
    """A backend whose database has rows enough for a stream."""
    await run(people, "CREATE TABLE numbers (n BIGINT PRIMARY KEY)")
    await run(people, "INSERT INTO numbers VALUES " + ", ".join(f"({number})" for number in range(1000)))
    return people


async def test_commit_and_roll_back(people: MySQLBackend) -> None:
    """What is inside is one thing; several statements are one call; afterwards the connection serves others."""
    session = await people.begin(60)
    results = await session.execute([insert("a"), COUNT, insert("b")])
    assert [result.rows for result in results] == [[], [(1,)], []]
    assert await select(people, "SELECT count(*) FROM people") == [(0,)]
    await session.commit()
    assert await select(people, "SELECT count(*) FROM people") == [(2,)]
    session = await people.begin(60)
    await session.execute([insert("c")])
    await session.roll_back()
    await session.roll_back()
    assert await select(people, "SELECT count(*) FROM people") == [(2,)]
    assert people.pool.in_use == 0
    with pytest.raises(QueryError, match="is over"):
        await session.execute([COUNT])
    with pytest.raises(QueryError, match="is over"):
        await session.commit()
    await (await people.begin(60)).commit()  # nothing happened


async def test_a_failed_statement_leaves_it_usable(people: MySQLBackend) -> None:
    """Also when it is the very first."""
    await run(people, "INSERT INTO people (name) VALUES ('a')")
    session = await people.begin(60)
    for _ in range(2):
        with pytest.raises(UniqueViolation):
            await session.execute([insert("a")])
    await session.execute([insert("b")])
    with pytest.raises(QueryError):
        await session.execute([Statement("SELECT nothing")])
    await session.execute([Statement("SAVEPOINT s"), insert("c"), Statement("ROLLBACK TO s")])
    await session.commit()
    assert await select(people, "SELECT name FROM people ORDER BY id") == [("a",), ("b",)]


async def test_its_deadline_ends_it(people: MySQLBackend) -> None:
    """Even when nobody calls; a statement that runs then is ended as well."""
    session = await people.begin(0.05)
    await session.execute([insert("a")])

    async def is_over() -> bool:
        return people.pool.in_use == 0

    await eventually(is_over)
    with pytest.raises(QueryError, match="is over"):
        await session.execute([COUNT])
    session = await people.begin(0.05)
    with pytest.raises(QueryError, match="is over"):
        await session.execute([insert("b"), Statement("SELECT sleep(1)")])
    assert await select(people, "SELECT count(*) FROM people") == [(0,)]


async def test_abandon(people: MySQLBackend) -> None:
    """Nothing is left, on no connection, without a wait."""
    session = await people.begin(60)
    await session.execute([insert("a")])
    session.abandon()
    session.abandon()
    assert people.pool.in_use == 0
    await session.roll_back()
    with pytest.raises(QueryError, match="is over"):
        await session.execute([COUNT])
    assert await select(people, "SELECT count(*) FROM people") == [(0,)]


async def test_cancelling_a_statement_ends_it(people: MySQLBackend) -> None:
    """The connection is not used again: what the server still sends is nobody's."""
    session = await people.begin(60)
    await session.execute([insert("a")])
    task = asyncio.create_task(session.execute([Statement("SELECT sleep(1)")]))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(QueryError, match="is over"):
        await session.execute([COUNT])
    assert await select(people, "SELECT count(*) FROM people") == [(0,)]
    assert (people.pool.in_use, people.pool.size) == (0, people.pool.idle)


async def test_two_statements_at_once_are_refused(people: MySQLBackend) -> None:
    """A connection has one conversation; the second is told so, and the first is not disturbed."""
    session = await people.begin(60)
    first = asyncio.create_task(session.execute([Statement("SELECT sleep(0.05)")]))
    await asyncio.sleep(0)
    with pytest.raises(QueryError, match="another statement"):
        await session.execute([COUNT])
    assert (await first)[0].rows == [(0,)]
    await session.commit()


async def test_a_deadlock_is_a_conflict(people: MySQLBackend) -> None:
    """Of two transactions that wait for each other one is rolled back and over; the other one goes on."""
    await run(people, "INSERT INTO people VALUES (1, 'a'), (2, 'b')")
    sessions = [await people.begin(60), await people.begin(60)]
    update = "UPDATE people SET name = concat(name, %s) WHERE id = %s"
    for number, session in enumerate(sessions, 1):
        await session.execute([Statement(update, ("x", number))])
    results = await asyncio.gather(
        *(session.execute([Statement(update, ("y", 3 - number))]) for number, session in enumerate(sessions, 1)),
        return_exceptions=True,
    )
    [failed] = [number for number, result in enumerate(results) if isinstance(result, TransactionConflict)]
    with pytest.raises(QueryError, match="is over"):
        await sessions[failed].execute([COUNT])
    await sessions[1 - failed].commit()
    names = [name for (name,) in await select(people, "SELECT name FROM people ORDER BY id")]
    assert sorted(str(name)[1:] for name in names) == ["x", "y"]
    assert people.pool.size == people.pool.idle == 2


async def test_a_lost_connection_ends_it(people: MySQLBackend) -> None:
    """A session whose connection the server ended is over, and says that the database was away."""
    session = await people.begin(60)
    [result] = await session.execute([Statement("SELECT connection_id()", writes=False)])
    await run(people, f"KILL {result.rows[0][0]}")
    with pytest.raises(Unavailable):
        await session.execute([insert("a")])
    with pytest.raises(QueryError, match="is over"):
        await session.commit()


async def test_schema_sessions(people: MySQLBackend) -> None:
    """Foreign keys are not enforced while tables are rebuilt, and are for everybody else and afterwards."""
    await run(people, "CREATE TABLE child (parent BIGINT, FOREIGN KEY (parent) REFERENCES people (id))")
    flag = Statement("SELECT @@foreign_key_checks", writes=False)
    session = await people.begin(60, schema=True)
    assert (await session.execute([flag]))[0].rows == [(0,)]
    await session.execute([Statement("INSERT INTO child VALUES (5)"), Statement("ALTER TABLE child ADD c BIGINT")])
    # A change of the schema commits; what follows is a transaction again.
    await session.execute([insert("a")])
    assert await select(people, "SELECT count(*) FROM people") == [(0,)]
    await session.commit()
    assert await select(people, "SELECT count(*) FROM people") == [(1,)]
    for _ in range(3):
        assert (await people.read(flag)).rows == [(1,)]


async def test_stream_in_pages(numbers: MySQLBackend) -> None:
    """All rows, in order, in pages of the size that was asked for; afterwards the connection serves others."""
    statement = Statement("SELECT n FROM numbers ORDER BY n", writes=False)
    pages = [page async for page in numbers.stream(statement, 300)]
    assert [len(page) for page in pages] == [300, 300, 300, 100]
    assert [n for page in pages for (n,) in page] == list(range(1000))
    assert [page async for page in numbers.stream(Statement("SELECT 1 FROM numbers WHERE n < 0"), 10)] == []
    [limits] = await select(numbers, "SELECT @@net_write_timeout, @@global.net_write_timeout")
    assert limits[0] == limits[1]
    assert numbers.pool.size == numbers.pool.idle


async def test_stream_has_bounded_memory(numbers: MySQLBackend) -> None:
    """While whoever reads thinks, the server waits: what is read ahead does not grow with the result."""
    count = most = 0
    async with aclosing(numbers.stream(Statement(f"{NUMBERS.sql} LIMIT {ROWS}", writes=False), 1000)) as pages:
        async for page in pages:
            [connection] = numbers.pool._used
            count += len(page)
            if count % 20_000 == 0:
                await asyncio.sleep(0.01)  # time for more to come, if nothing holds it back
            most = max(most, len(connection._reader._buffer))  # type: ignore[attr-defined]  # looked into
    assert count == ROWS
    assert most < READ_AHEAD_BYTES


async def test_stream_closed_early(numbers: MySQLBackend) -> None:
    """The rest is not read: the connection is closed, and nothing is left in use."""
    async with aclosing(numbers.stream(NUMBERS, 10)) as pages:
        async for page in pages:
            assert len(page) == 10
            break
    assert (numbers.pool.in_use, numbers.pool.idle) == (0, 0)
    assert await select(numbers, "SELECT 1") == [(1,)]


async def test_stream_that_fails(numbers: MySQLBackend) -> None:
    """A wrong statement is a QueryError, and the session's limits stay what they are for others."""
    with pytest.raises(QueryError):
        await anext(numbers.stream(Statement("SELECT nothing"), 10))
    [limits] = await select(numbers, "SELECT @@net_write_timeout, @@global.net_write_timeout")
    assert limits[0] == limits[1]


async def test_stream_in_a_session(numbers: MySQLBackend) -> None:
    """It sees what the transaction wrote; meanwhile nothing else runs; closed early, the transaction goes on."""
    session = await numbers.begin(60)
    pages = session.stream(Statement("SELECT n FROM numbers ORDER BY n", writes=False), 600)
    assert len(await anext(pages)) == 600
    with pytest.raises(QueryError, match="a stream is open"):
        await session.execute([COUNT])
    with pytest.raises(QueryError, match="a stream is open"):
        await session.commit()
    assert [len(page) async for page in pages] == [400]
    await session.execute([insert("a")])
    seen = [page async for page in session.stream(Statement("SELECT name FROM people", writes=False), 10)]
    assert seen == [[("a",)]]
    async with aclosing(session.stream(Statement(f"{NUMBERS.sql} LIMIT 10000", writes=False), 10)) as closed:
        await anext(closed)
    await session.commit()
    assert await select(numbers, "SELECT name FROM people") == [("a",)]


async def test_a_session_ends_with_its_stream(numbers: MySQLBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """When there is too much to drop, the transaction is over; rolled back in a stream, the connection is closed."""
    monkeypatch.setattr("server.db.mysql.connection.DRAIN_SECONDS", 0.0)
    session = await numbers.begin(60)
    await session.execute([insert("a")])
    async with aclosing(session.stream(NUMBERS, 10)) as pages:
        await anext(pages)
    with pytest.raises(QueryError, match="is over"):
        await session.execute([COUNT])
    session = await numbers.begin(60)
    async with aclosing(session.stream(NUMBERS, 10)) as pages:
        await anext(pages)
        await session.roll_back()
        with pytest.raises(QueryError, match="is over"):
            await anext(pages)
    assert numbers.pool.in_use == 0
    assert await select(numbers, "SELECT count(*) FROM people") == [(0,)]


async def test_cancelled_while_it_begins(open_backend: OpenBackend) -> None:
    """A transaction that nobody gets holds no connection."""
    backend = await open_backend(pool=1)
    for _ in range(20):
        task = asyncio.create_task(backend.begin(60, schema=True))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert backend.pool.in_use == 0

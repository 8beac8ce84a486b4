"""Units and transactions on every database: all or nothing, seen when they are done, and never stuck."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any

import pytest

from server.db import (
    Database,
    DatabaseError,
    OutcomeUnknown,
    QueryError,
    Statement,
    Transaction,
    TransactionConflict,
    Unavailable,
    UniqueViolation,
)
from tests.server.db.conftest import on_servers
from tests.server.db.tables import Author, Note, Pair


def named(name: str) -> Any:
    """Return an insert for a unit."""
    return Author.insert_many(None, [{Author.name: name}])


async def names(db: Database) -> list[str]:
    """Return the names of all authors, in order."""
    return await Author.select(db, Author.name).order_by(Author.name).scalars()


# Units.


async def test_atomic_is_all_or_nothing(db: Database) -> None:
    """A unit that violates a constraint leaves nothing behind; what ran beside it is not touched."""
    await Author(name="taken").insert(db)
    good = db.atomic([named("a"), named("b")])
    bad = db.atomic([named("c"), named("taken")])
    also_good = db.atomic([named("d").returning(Author.name)])
    results = await asyncio.gather(good, bad, also_good, return_exceptions=True)
    assert results[0] == [1, 1]
    assert isinstance(results[1], UniqueViolation)
    assert results[2] == [[("d",)]]
    assert await names(db) == ["a", "b", "d", "taken"]


async def test_a_wrong_statement_ends_a_unit(db: Database) -> None:
    """Also an error that is the program's leaves nothing behind."""
    wrong = Author.update().set(Author.born, None).where(Note.comment == "x")
    with pytest.raises(QueryError):
        await db.atomic([named("a"), wrong])
    with pytest.raises(QueryError, match="all_rows"):
        await db.atomic([named("a"), Author.delete_from()])
    assert await names(db) == []
    assert await db.atomic([]) == []


async def test_a_unit_gives_the_result_of_each_query(db: Database) -> None:
    """Also of reads, which see what was written before them."""
    count_all = Author.select(None, Author.name).order_by(Author.name)
    rename = Author.update().set(Author.name, "z").where(Author.name == "a")
    gone = Author.delete_from().where(Author.name == "b")
    results = await db.atomic([named("a"), count_all, named("b"), count_all, rename, gone, count_all])
    assert results == [1, [("a",)], 1, [("a",), ("b",)], 1, 1, [("z",)]]


async def test_a_unit_sees_its_own_writes(db: Database) -> None:
    """A counter can be raised and used in one unit, without a round trip between."""
    await Pair(left=1, order="counter", value=0).insert(db)
    value = Pair.select(None, Pair.value).where(Pair.order == "counter")

    async def number() -> None:
        await db.atomic(
            [
                Pair.update().set(Pair.value, Pair.value + 1).where(Pair.left == 1, Pair.order == "counter"),
                Author.insert_many(None, [{Author.id: value, Author.name: value.concat("")}]),
            ]
        )

    await asyncio.gather(*(number() for _ in range(100)))
    assert await Author.select(db, Author.id).order_by(Author.id).scalars() == list(range(1, 101))


async def test_a_write_is_seen_by_the_next_read(db: Database) -> None:
    """Whoever awaited a write finds it, on whatever connection."""
    for number in range(50):
        await Author(name=str(number)).insert(db)
        counts = await asyncio.gather(*(Author.select(db).count() for _ in range(4)))
        assert counts == [number + 1] * 4


# Transactions.


async def test_transaction_commits_and_rolls_back(db: Database) -> None:
    """What is inside is one thing: there at the end, or never; until then nobody else sees it."""
    async with db.transaction() as tx:
        await Author(name="kept").insert(tx)
        assert await Author.select(tx).count() == 1
        assert await Author.select(db).count() == 0
    with pytest.raises(KeyError):
        async with db.transaction() as tx:
            await Author(name="lost").insert(tx)
            raise KeyError
    assert await names(db) == ["kept"]
    with pytest.raises(QueryError, match="is over"):
        await Author(name="late").insert(tx)


async def test_nested_transactions_are_savepoints(db: Database) -> None:
    """An inner failure undoes the inner part alone, at any depth; an outer one undoes everything."""
    async with db.transaction() as tx:
        await Author(name="outer").insert(tx)
        async with tx.transaction() as inner:
            await Author(name="inner").insert(inner)
            with pytest.raises(KeyError):
                async with inner.transaction() as innermost:
                    await Author(name="innermost").insert(innermost)
                    raise KeyError
            await Author(name="later").insert(inner)
        with pytest.raises(UniqueViolation):
            async with tx.transaction() as second:
                await Author(name="second").insert(second)
                await Author(name="inner").insert(second)
        async with tx.transaction() as third:
            await Author(name="third").insert(third)
    assert await names(db) == ["inner", "later", "outer", "third"]
    with pytest.raises(KeyError):
        async with db.transaction() as tx:
            async with tx.transaction() as inner:
                await Author(name="x").insert(inner)
            raise KeyError
    assert await names(db) == ["inner", "later", "outer", "third"]


async def test_a_failed_statement_leaves_the_transaction_usable(db: Database) -> None:
    """A violation, or a mistake, inside a transaction can be caught and worked around."""
    await Author(name="a").insert(db)
    async with db.transaction() as tx:
        await Author(name="b").insert(tx)
        with pytest.raises(UniqueViolation):
            await Author(name="a").insert(tx)
        with pytest.raises(QueryError):
            await tx.execute(Statement("SELECT nothing FROM nowhere", (), writes=False))
        await Author(name="c").insert(tx)
    assert await names(db) == ["a", "b", "c"]


async def test_a_stuck_transaction_does_not_hold_the_database(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    """A transaction has a deadline; then it is rolled back, says so, and others write."""
    await Pair(left=1, order="x", value=0).insert(db)
    change = Pair.update().set(Pair.value, 1).where(Pair.left == 1, Pair.order == "x")
    with pytest.raises(QueryError, match="is over"):
        async with db.transaction(seconds=0.05) as tx:
            await Author(name="stuck").insert(tx)
            await tx.run(change)
            await db.run(change)  # waits until it was taken back
            await Author(name="late").insert(tx)
    assert await names(db) == []
    assert await Pair.select(db, Pair.value).scalar() == 1
    assert "transaction too slow, rolled back" in caplog.messages
    async with db.transaction() as tx:
        await Author(name="works").insert(tx)


async def test_cancelling_a_transaction_rolls_it_back(db: Database) -> None:
    """Cancellation leaves nothing half-done, and others go on at once."""
    reached = asyncio.Event()

    async def work() -> None:
        async with db.transaction() as tx:
            await Author(name="half").insert(tx)
            reached.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await Author(name="half").insert(db)
    assert await names(db) == ["half"]


async def test_cancelling_inside_a_savepoint(db: Database) -> None:
    """A timeout around an inner part undoes the inner part alone, or ends all of it; never a part of it."""
    try:
        async with db.transaction() as tx:
            await Author(name="outer").insert(tx)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02), tx.transaction() as inner:
                    await Author(name="inner").insert(inner)
                    await asyncio.Event().wait()
            await Author(name="after").insert(tx)
    except DatabaseError:
        assert await names(db) == []
    else:
        assert await names(db) == ["after", "outer"]


async def test_a_transaction_cannot_be_repeated_as_a_context(db: Database) -> None:
    """What has no function cannot be called again."""
    with pytest.raises(QueryError, match="cannot be repeated"):
        async with db.transaction(retries=3):
            pass


# Conflicts.


async def test_run_gives_what_the_function_gives(db: Database) -> None:
    """It commits at the end, and rolls back when anything is raised."""

    async def work(tx: Transaction) -> int:
        return (await Author(name="a").insert(tx)).id

    async def fail(tx: Transaction) -> None:
        await Author(name="b").insert(tx)
        raise KeyError

    assert await db.transaction(retries=2).run(work) == 1
    with pytest.raises(KeyError):
        await db.transaction(retries=2).run(fail)
    assert await names(db) == ["a"]


async def test_a_conflict_is_repeated_as_often_as_was_said(db: Database) -> None:
    """And the last one is raised; other errors are not repeated."""
    attempts = 0

    async def conflict(tx: Transaction) -> int:
        nonlocal attempts
        attempts += 1
        await Author(name="a").insert(tx)
        if attempts < 3:
            raise TransactionConflict("a deadlock")
        return attempts

    assert await db.transaction(retries=2).run(conflict) == 3
    assert await names(db) == ["a"]
    attempts = 0
    await Author.delete_from(db).all_rows()
    with pytest.raises(TransactionConflict):
        await db.transaction(retries=1).run(conflict)
    assert attempts == 2
    attempts = 0
    with pytest.raises(TransactionConflict):
        await db.transaction().run(conflict)
    assert attempts == 1
    assert await names(db) == []

    async def violate(tx: Transaction) -> None:
        nonlocal attempts
        attempts += 1
        await Author.insert_many(tx, [{Author.name: "a"}, {Author.name: "a"}])

    attempts = 0
    with pytest.raises(UniqueViolation):
        await db.transaction(retries=5).run(violate)
    assert attempts == 1


@on_servers
async def test_a_deadlock_is_repeated(db: Database) -> None:
    """Two transactions that wait for each other both succeed: one of them at its second attempt."""
    await Pair.insert_many(db, [{Pair.left: n, Pair.order: "x", Pair.value: 0} for n in (1, 2)])
    barrier = asyncio.Barrier(2)
    attempts = 0

    def add(tx: Transaction, left: int) -> Any:
        return Pair.update(tx).set(Pair.value, Pair.value + 1).where(Pair.left == left, Pair.order == "x")

    async def move(first: int, second: int) -> None:
        met = False

        async def work(tx: Transaction) -> None:
            nonlocal met, attempts
            attempts += 1
            assert await add(tx, first) == 1
            if not met:
                met = True
                await barrier.wait()
            assert await add(tx, second) == 1

        await db.transaction(retries=5).run(work)

    await asyncio.gather(move(1, 2), move(2, 1))
    assert await Pair.select(db, Pair.value).scalars() == [2, 2]
    assert attempts > 2


@on_servers
async def test_a_deadlock_without_repetition_is_an_error(db: Database) -> None:
    """One of the two is rolled back as a whole, is told so, and cannot go on; the other one is done."""
    await Pair.insert_many(db, [{Pair.left: n, Pair.order: "x", Pair.value: 0} for n in (1, 2)])
    barrier = asyncio.Barrier(2)

    async def move(first: int, second: int) -> None:
        async with db.transaction() as tx:
            for left in (first, second):
                update = Pair.update(tx).set(Pair.value, Pair.value + 1)
                try:
                    await update.where(Pair.left == left, Pair.order == "x")
                except TransactionConflict:
                    with pytest.raises(QueryError, match="is over"):
                        await Author(name="x").insert(tx)
                    raise
                if left == first:
                    await barrier.wait()

    results = await asyncio.gather(move(1, 2), move(2, 1), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["NoneType", "TransactionConflict"]
    assert await Pair.select(db, Pair.value).scalars() == [1, 1]


@on_servers
async def test_a_lock_that_is_not_free_in_time(database_url: str, db: Database) -> None:
    """It is a conflict, which can be repeated; the waiting transaction is rolled back as a whole."""
    await Pair(left=1, order="x", value=0).insert(db)
    change = Pair.update().set(Pair.value, 7).where(Pair.left == 1, Pair.order == "x")
    separator = "&" if "?" in database_url else "?"
    async with await Database.open(f"{database_url}{separator}lock_seconds=1") as hasty:
        async with db.transaction() as tx:
            await tx.run(change)
            with pytest.raises(TransactionConflict, match="not free in time"):
                await hasty.run(change)
            with pytest.raises(TransactionConflict, match="not free in time"):
                async with hasty.transaction() as waiting:
                    await Author(name="waiting").insert(waiting)
                    await waiting.run(change)
        await hasty.run(change)
    assert await names(db) == []
    assert await Pair.select(db, Pair.value).scalar() == 7


async def test_many_transactions_at_once_lose_nothing(db: Database) -> None:
    """However they get in each other's way, with enough repetitions each adds what it adds, once."""
    await Pair.insert_many(db, [{Pair.left: n, Pair.order: "x", Pair.value: 0} for n in range(3)])
    dice = random.Random(5)

    async def add(tx: Transaction) -> None:
        for left in dice.sample(range(3), 2):
            pair = await Pair.select(tx).where(Pair.left == left, Pair.order == "x").for_update().one()
            assert pair.value is not None
            pair.value += 1
            await pair.save(tx)

    await asyncio.gather(*(db.transaction(retries=50).run(add) for _ in range(25)))
    assert sum(await Pair.select(db, Pair.value).scalars()) == 50


# Cancellation.


async def test_cancellation_storm(db: Database) -> None:
    """Thousands of queries cancelled at random moments: units are whole or absent, and everything works afterwards."""
    dice = random.Random(7)

    async def unit(number: int) -> None:
        match number % 4:
            case 0:
                await db.atomic([named(f"{number}{part}") for part in "ab"])
            case 1:
                async with db.transaction() as tx:
                    await Author(name=f"{number}a").insert(tx)
                    await Author(name=f"{number}b").insert(tx)
            case 2:
                async for _ in Author.select(db).limit(7).stream(2):
                    pass
            case _:
                await Author.select(db).limit(5)

    outcomes: set[type[BaseException] | None] = set()
    for _ in range(20):
        start = dice.randrange(10**9)
        tasks = [asyncio.create_task(unit(start + n)) for n in range(60)]
        for task in tasks:
            for _ in range(dice.randrange(4)):
                await asyncio.sleep(0)
            if dice.random() < 0.5:
                task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        outcomes |= {None if result is None else type(result) for result in results}
    assert outcomes <= {None, asyncio.CancelledError, Unavailable, OutcomeUnknown}
    # What was cancelled may still be written: as soon as everything was answered, it is whole or absent.
    async with db.transaction() as tx:
        await Author(name="works").insert(tx)
    written = await names(db)
    assert len(written) > 100
    assert {name[:-1] for name in written if name.endswith("a")} == {
        name[:-1] for name in written if name.endswith("b")
    }
    assert len(await asyncio.gather(*(Author.select(db).count() for _ in range(40)))) == 40


# Opening, closing and watching.


async def test_a_slow_query_is_logged_without_its_arguments(
    database_url: str, db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """With its SQL and how long it took; units and transactions, too; what is fast is not."""
    caplog.set_level(logging.WARNING, "db")
    await Author(name="fast").insert(db)
    assert caplog.records == []
    async with await Database.open(database_url, slow_seconds=1e-9) as slow:
        await Author.select(slow).where(Author.name == "secret")
        await slow.atomic([named("secret1"), named("secret2")])
        async with slow.transaction() as tx:
            await Author(name="secret3").insert(tx)
    fields = [getattr(record, "fields", {}) for record in caplog.records if record.message == "slow query"]
    assert len(fields) >= 3
    assert fields[0]["sql"].startswith("SELECT id, name, born FROM authors WHERE name =")
    assert "; " in fields[1]["sql"]
    assert fields[2]["sql"].startswith("INSERT INTO authors")
    assert all(field["seconds"] >= 0 for field in fields)
    assert "secret" not in caplog.text + str(fields)


async def test_a_closed_database(database_url: str) -> None:
    """It says so, whatever it is asked; closing it twice is no error."""
    database = await Database.open(database_url)
    await database.ping()
    await database.close()
    await database.close()
    for refused in (
        database.ping(),
        Author.select(database).count(),
        Author(name="x").insert(database),
        database.atomic([named("x"), named("y")]),
    ):
        with pytest.raises(Unavailable, match="closed"):
            await refused
    with pytest.raises(Unavailable, match="closed"):
        async with database.transaction():
            pass


async def test_closing_finishes_what_was_begun(database_url: str, db: Database) -> None:
    """Nothing that was begun is lost by closing."""
    other = await Database.open(database_url)
    tasks = [asyncio.create_task(Author(name=f"a{n}").insert(other)) for n in range(30)]
    await asyncio.sleep(0)
    await other.close()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    acknowledged = {result.name for result in results if isinstance(result, Author)}
    assert {result for result in results if not isinstance(result, Author | Unavailable)} == set()
    assert acknowledged <= set(await names(db))


@pytest.mark.parametrize("url", ["oracle://x", "", "x", "postgres://user:secret@host/x", "://"])
async def test_unknown_kinds_of_databases(url: str) -> None:
    """What is no URL of a known kind is an error that says which are known, and shows no password."""
    with pytest.raises(QueryError, match="no kind of database") as wrong:
        await Database.open(url)
    assert "secret" not in str(wrong.value)


async def test_a_lock_of_its_own(db: Database) -> None:
    """Somebody who has the lock can go on and give it back."""
    async with db.lock("migrations", 1.0):
        await Author(name="x").insert(db)
    async with db.lock("migrations", 1.0):
        assert await names(db) == ["x"]


@on_servers
async def test_a_lock_keeps_others_out(db: Database) -> None:
    """Whoever comes too late is told in time."""
    async with db.lock("migrations", 1.0):
        with pytest.raises(Unavailable):
            async with db.lock("migrations", 0.01):
                pass
        async with db.lock("another", 0.01):
            pass


async def test_gathered_queries_of_one_transaction_take_turns(db: Database) -> None:
    """What is gathered inside a transaction runs one after the other, on every database."""
    async with db.transaction() as tx:
        await asyncio.gather(*(Author(name=f"a{number}").insert(tx) for number in range(20)))
        counts = await asyncio.gather(*(Author.select(tx).count() for _ in range(5)))
    assert counts == [20] * 5

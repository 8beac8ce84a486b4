"""Units, transactions and group commit: all or nothing, durable, and never stuck."""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from server.db import Database, QueryError, Unavailable, UniqueViolation, UnusableDatabase
from tests.server.db.tables import Author, Note, Pair

ROOT = Path(__file__).parents[3]


async def test_atomic_is_all_or_nothing(db: Database) -> None:
    """A unit that violates a constraint leaves nothing behind; what ran beside it is not touched."""
    good = db.atomic([Author.insert_many(None, [{Author.name: "a"}]), Author.insert_many(None, [{Author.name: "b"}])])
    bad = db.atomic([Author.insert_many(None, [{Author.name: "c"}]), Author.insert_many(None, [{Author.name: "a"}])])
    also_good = db.atomic([Author.insert_many(None, [{Author.name: "d"}]).returning(Author.name)])
    results = await asyncio.gather(good, bad, also_good, return_exceptions=True)
    assert results[0] == [1, 1]
    assert isinstance(results[1], UniqueViolation)
    assert results[2] == [[("d",)]]
    assert await Author.select(db, Author.name).order_by(Author.name) == [("a",), ("b",), ("d",)]


async def test_a_unit_sees_its_own_writes(db: Database) -> None:
    """A counter can be raised and used in one unit, without a round trip between."""
    await Pair(left=1, order="counter", value=0).insert(db)
    value = Pair.select(None, Pair.value).where(Pair.order == "counter")

    async def number() -> None:
        await db.atomic(
            [
                Pair.update().set(Pair.value, Pair.value + 1).where(Pair.order == "counter"),
                Author.insert_many(None, [{Author.id: value, Author.name: value.concat("")}]),
            ]
        )

    await asyncio.gather(*(number() for _ in range(200)))
    assert await Author.select(db, Author.id).order_by(Author.id) == [(n,) for n in range(1, 201)]


async def test_units_share_commits(db: Database) -> None:
    """What arrives while a commit runs goes into the next one: far fewer commits than units."""
    commits = itertools.count()
    connection = db._backend._writer._connection  # type: ignore[attr-defined]  # SQLite's, looked into
    connection.set_commit_hook(lambda: next(commits) < 0)
    await asyncio.gather(*(Author(name=f"a{n}").insert(db) for n in range(500)))
    assert 1 <= next(commits) <= 50


async def test_a_write_is_seen_by_the_next_read(db: Database) -> None:
    """Whoever awaited a write finds it, on any reader."""
    for number in range(100):
        await Author(name=str(number)).insert(db)
        counts = await asyncio.gather(*(Author.select(db).count() for _ in range(4)))
        assert counts == [number + 1] * 4


async def test_transaction_commits_and_rolls_back(db: Database) -> None:
    """What is inside is one thing: there at the end, or never."""
    async with db.transaction() as tx:
        await Author(name="kept").insert(tx)
        assert await Author.select(tx).count() == 1
        assert await Author.select(db).count() == 0
    with pytest.raises(KeyError):
        async with db.transaction() as tx:
            await Author(name="lost").insert(tx)
            raise KeyError
    assert await Author.select(db, Author.name) == [("kept",)]
    with pytest.raises(QueryError, match="is over"):
        await Author(name="late").insert(tx)


async def test_nested_transactions_are_savepoints(db: Database) -> None:
    """An inner failure undoes the inner part alone, at any depth."""
    async with db.transaction() as tx:
        await Author(name="outer").insert(tx)
        async with tx.transaction() as inner:
            await Author(name="inner").insert(inner)
            with pytest.raises(KeyError):
                async with inner.transaction() as innermost:
                    await Author(name="innermost").insert(innermost)
                    raise KeyError
    assert await Author.select(db, Author.name).order_by(Author.id) == [("outer",), ("inner",)]


async def test_a_failed_statement_leaves_the_transaction_usable(db: Database) -> None:
    """A violation inside a transaction can be caught and worked around."""
    await Author(name="a").insert(db)
    async with db.transaction() as tx:
        with pytest.raises(UniqueViolation):
            await Author(name="a").insert(tx)
        await Author(name="b").insert(tx)
    assert await Author.select(db).count() == 2


async def test_a_stuck_transaction_does_not_hold_the_database(db: Database) -> None:
    """A transaction has a deadline; then it is rolled back, says so, and others write."""
    with pytest.raises(QueryError, match="is over"):
        async with db.transaction(seconds=0.05) as tx:
            await Author(name="stuck").insert(tx)
            await Author(name="other").insert(db)  # waits until the writer took itself back
            await Author(name="late").insert(tx)
    assert await Author.select(db, Author.name) == [("other",)]


async def test_cancelling_a_transaction_rolls_it_back(db: Database) -> None:
    """Cancellation at any point leaves nothing half-done, and the writer goes on."""
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
    await Author(name="after").insert(db)
    assert await Author.select(db, Author.name) == [("after",)]


async def test_cancellation_storm(db: Database) -> None:
    """Thousands of queries cancelled at random moments: units are whole or absent, and everything works afterwards."""
    dice = random.Random(7)

    async def unit(number: int) -> None:
        names = [Author.insert_many(None, [{Author.name: f"{number}{part}"}]) for part in "ab"]
        match number % 3:
            case 0:
                await db.atomic(names)
            case 1:
                async with db.transaction() as tx:
                    await Author(name=f"{number}a").insert(tx)
                    await Author(name=f"{number}b").insert(tx)
            case _:
                await Author.select(db).limit(5)

    for _ in range(30):
        start = dice.randrange(10**9)
        tasks = [asyncio.create_task(unit(start + n)) for n in range(60)]
        for task in tasks:
            for _ in range(dice.randrange(3)):
                await asyncio.sleep(0)
            if dice.random() < 0.5:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    names = [name for (name,) in await Author.select(db, Author.name)]
    assert len(names) > 100
    assert {name[:-1] for name in names if name.endswith("a")} == {name[:-1] for name in names if name.endswith("b")}
    async with db.transaction() as tx:
        await Author(name="works").insert(tx)
    assert db._backend._waiting == 0  # type: ignore[attr-defined]  # SQLite's, looked into


async def test_a_full_disk_is_an_error_and_heals(db: Database) -> None:
    """FAULTS 8: nothing is acknowledged that is not there, reads go on, and with room everything goes on."""
    connection = db._backend._writer._connection  # type: ignore[attr-defined]  # SQLite's, made full
    pages = connection.pragma("page_count")
    connection.pragma("max_page_count", pages + 5)
    author = await Author(name="a").insert(db)
    acknowledged = 0
    with pytest.raises(Unavailable):
        for number in range(1000):
            await Note(author=author.id, number=number, comment="x" * 500).insert(db)
            acknowledged += 1
    assert await Note.select(db).count() == acknowledged
    connection.pragma("max_page_count", 1_000_000)
    await Note(author=author.id, number=5000).insert(db)
    assert await Note.select(db).count() == acknowledged + 1


async def test_another_program_that_writes_is_waited_for(db: Database) -> None:
    """A lock that another process holds for a moment, such as a backup's, is no error."""
    other = apsw.Connection(str(db._backend.path))  # type: ignore[attr-defined]  # SQLite's file
    other.execute("BEGIN IMMEDIATE")
    insert = asyncio.ensure_future(Author(name="a").insert(db))
    assert await Author.select(db).count() == 0
    other.execute("COMMIT")
    await insert
    other.close()


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
async def test_a_damaged_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    """FAULTS 9: what is no database is named, and not touched."""
    file = tmp_path / "damaged.db"
    file.write_bytes(content)
    with pytest.raises(UnusableDatabase, match=r"damaged\.db"):
        await Database.open(f"sqlite:///{file}")
    assert file.read_bytes() == content


async def test_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative and absolute files, folders that are not there yet, temporary databases, and nonsense."""
    monkeypatch.chdir(tmp_path)
    for url, file in (("sqlite:///deep/er/a.db", "deep/er/a.db"), (f"sqlite:////{tmp_path}/b.db", "b.db")):
        async with await Database.open(url) as database:
            await database.ping()
        assert (tmp_path / file).exists()
    async with await Database.open("sqlite://:memory:") as database:
        path = database._backend.path  # type: ignore[attr-defined]  # SQLite's temporary file
        await database.ping()
    assert not path.exists()
    with pytest.raises(QueryError, match="no kind of database"):
        await Database.open("oracle://x")
    with pytest.raises(Unavailable, match="closed"):
        await database.ping()


async def test_wrong_sql_is_a_programming_error(db: Database) -> None:
    """A query over a table that is not there says so, and hurts nothing."""

    class Missing(Author):
        dbo_tablename = "missing"

    with pytest.raises(QueryError, match="missing"):
        await Missing.select(db)
    with pytest.raises(QueryError, match="missing"):
        await Missing.update(db).set(Missing.name, "x").all_rows()
    await Author(name="fine").insert(db)


KILLED = """
import asyncio, sys
from server.db import Database
from tests.server.db.conftest import create_all
from tests.server.db.tables import Author

async def main():
    db = await Database.open(f"sqlite:///{sys.argv[1]}")
    await create_all(db)
    async def unit(number):
        await db.atomic([Author.insert_many(None, [{Author.name: f"{number}{part}"}]) for part in "abc"])
        print(number, flush=True)
    for start in range(0, 10**6, 20):
        await asyncio.gather(*(unit(start + n) for n in range(20)))

asyncio.run(main())
"""


@pytest.mark.parametrize("acknowledged", [1, 150, 400])
async def test_kill_in_the_middle_of_commits(tmp_path: Path, acknowledged: int) -> None:
    """FAULTS 1 and 2: after kill -9 what was acknowledged is there, and every unit is whole or absent."""
    file = tmp_path / "killed.db"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, str(file), stdout=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    seen = {(await process.stdout.readline()).decode().strip() for _ in range(acknowledged)}
    process.send_signal(signal.SIGKILL)
    rest = await process.stdout.read()
    await process.wait()
    seen |= {line for line in rest.decode().splitlines(keepends=False) if line and rest.endswith(b"\n")}
    async with await Database.open(f"sqlite:///{file}") as db:
        names = {name for (name,) in await Author.select(db, Author.name)}
    parts = {part: {name[:-1] for name in names if name.endswith(part)} for part in "abc"}
    assert parts["a"] == parts["b"] == parts["c"]
    assert seen <= parts["a"]

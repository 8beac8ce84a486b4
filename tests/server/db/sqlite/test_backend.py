"""What only the SQLite backend promises: shared commits, and a file that survives whatever happens to us."""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import cast

import apsw
import pytest

from server.db import Database, QueryError, Statement, Unavailable, UnusableDatabase
from server.db.sqlite.backend import MAX_WAITING, SQLiteBackend
from tests.server.db.tables import Author, Note, Pair

ROOT = Path(__file__).parents[4]


def backend(db: Database) -> SQLiteBackend:
    """Look into a database."""
    return cast("SQLiteBackend", db._backend)


async def test_units_share_commits(sqlite_db: Database) -> None:
    """What arrives while a commit runs goes into the next one: far fewer commits than units."""
    commits = itertools.count()
    connection = backend(sqlite_db)._writer._connection
    connection.set_commit_hook(lambda: next(commits) < 0)
    await asyncio.gather(*(Author(name=f"a{n}").insert(sqlite_db) for n in range(500)))
    assert 1 <= next(commits) <= 50


async def test_a_bad_unit_in_a_shared_commit_is_alone(sqlite_db: Database) -> None:
    """Of many units that share a commit only the one that fails fails; the others are in it."""
    await Author(name="taken").insert(sqlite_db)
    units = [
        sqlite_db.atomic(
            [
                Author.insert_many(None, [{Author.name: f"a{n}"}]),
                Author.insert_many(None, [{Author.name: "taken" if n % 10 == 3 else f"b{n}"}]),
            ]
        )
        for n in range(100)
    ]
    results = await asyncio.gather(*units, return_exceptions=True)
    failed = [n for n, result in enumerate(results) if isinstance(result, Exception)]
    assert failed == list(range(3, 100, 10))
    assert await Author.select(sqlite_db).count() == 1 + 2 * 90


async def test_commits_are_on_the_disk(sqlite_db: Database) -> None:
    """The connection that writes waits for the disk, and enforces foreign keys; the others cannot write."""
    connection = backend(sqlite_db)._writer._connection
    assert connection.pragma("journal_mode") == "wal"
    assert connection.pragma("synchronous") == 2
    assert connection.pragma("foreign_keys") == 1
    with pytest.raises((QueryError, Unavailable)):
        await sqlite_db.execute(Statement("DELETE FROM authors", (), writes=False))


async def test_synchronous_is_an_option(tmp_path: Path) -> None:
    """A log that may lose its last moments in a power failure need not wait for the disk."""
    async with await Database.open(f"sqlite:///{tmp_path}/x.db?synchronous=normal") as db:
        assert backend(db)._writer._connection.pragma("synchronous") == 1
    for options in ("synchronous=off", "synchronous=", "cache=1", "x"):
        with pytest.raises(QueryError, match="no options but"):
            await Database.open(f"sqlite:///{tmp_path}/x.db?{options}")


async def test_cancellations_leave_nothing_waiting(sqlite_db: Database) -> None:
    """Whatever was cancelled is not counted as waiting for ever."""
    dice = random.Random(3)
    for start in range(0, 1000, 50):
        tasks = [asyncio.create_task(Author(name=f"{start + n}").insert(sqlite_db)) for n in range(50)]
        await asyncio.sleep(0)
        for task in tasks:
            if dice.random() < 0.7:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    async with sqlite_db.transaction() as tx:
        await Author(name="works").insert(tx)
    await Author.select(sqlite_db).count()
    assert backend(sqlite_db)._waiting == 0


async def test_too_much_at_once_is_refused(sqlite_db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is bounded: beyond it the database says that it is busy, and goes on when there is room."""
    assert MAX_WAITING > 1000
    monkeypatch.setattr("server.db.sqlite.backend.MAX_WAITING", 3)
    tasks = [asyncio.create_task(Author(name=f"a{n}").insert(sqlite_db)) for n in range(5)]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result).__name__ for result in results] == ["Author"] * 3 + ["Unavailable"] * 2
    await Author(name="room").insert(sqlite_db)
    assert await Author.select(sqlite_db).count() == 4


async def test_a_full_disk_is_an_error_and_heals(sqlite_db: Database) -> None:
    """FAULTS 8: nothing is acknowledged that is not there, reads go on, and with room everything goes on."""
    connection = backend(sqlite_db)._writer._connection
    pages = connection.pragma("page_count")
    assert isinstance(pages, int)
    connection.pragma("max_page_count", pages + 5)
    author = await Author(name="a").insert(sqlite_db)
    acknowledged = 0
    with pytest.raises(Unavailable):
        for number in range(1000):
            await Note(author=author.id, number=number, comment="x" * 500).insert(sqlite_db)
            acknowledged += 1
    assert await Note.select(sqlite_db).count() == acknowledged
    with pytest.raises(Unavailable):
        async with sqlite_db.transaction() as tx:
            for number in range(1000):
                await Note(author=author.id, number=2000 + number, comment="x" * 500).insert(tx)
    connection.pragma("max_page_count", 1_000_000)
    await Note(author=author.id, number=5000).insert(sqlite_db)
    assert await Note.select(sqlite_db).count() == acknowledged + 1


async def test_another_program_that_writes_is_waited_for(sqlite_db: Database) -> None:
    """A lock that another process holds for a moment, such as a backup's, is no error."""
    other = apsw.Connection(str(backend(sqlite_db).path))
    other.execute("BEGIN IMMEDIATE")
    insert = asyncio.ensure_future(Author(name="a").insert(sqlite_db))
    assert await Author.select(sqlite_db).count() == 0
    other.execute("COMMIT")
    await insert
    other.close()


async def test_another_program_that_writes_for_ever(sqlite_db: Database) -> None:
    """It is not waited for for ever: units and transactions are refused, and work when it is gone."""
    backend(sqlite_db)._writer._connection.set_busy_timeout(1)
    other = apsw.Connection(str(backend(sqlite_db).path))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable):
        await Author(name="a").insert(sqlite_db)
    with pytest.raises(Unavailable):
        async with sqlite_db.transaction():
            pass
    other.execute("COMMIT")
    other.close()
    await Author(name="a").insert(sqlite_db)


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
async def test_a_damaged_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    """FAULTS 9: what is no database is named, and not touched."""
    file = tmp_path / "damaged.db"
    file.write_bytes(content)
    with pytest.raises(UnusableDatabase, match=r"damaged\.db"):
        await Database.open(f"sqlite:///{file}")
    assert file.read_bytes() == content


async def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """What cannot be opened is named."""
    with pytest.raises((Unavailable, UnusableDatabase), match=str(tmp_path)):
        await Database.open(f"sqlite:///{tmp_path}")


async def test_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative and absolute files, folders that are not there yet, and temporary databases."""
    monkeypatch.chdir(tmp_path)
    for url, file in (("sqlite:///deep/er/a.db", "deep/er/a.db"), (f"sqlite:////{tmp_path}/b.db", "b.db")):
        async with await Database.open(url) as database:
            await database.ping()
        assert (tmp_path / file).exists()
    async with await Database.open("sqlite://:memory:") as database:
        path = backend(database).path
        await database.ping()
    assert not path.exists()


async def test_two_databases_on_one_file(sqlite_db: Database, sqlite_file: Path) -> None:
    """Two of them, as two processes have them, see each other's commits and take turns in writing."""
    async with await Database.open(f"sqlite:///{sqlite_file}") as other:
        pair = await Pair(left=1, order="x", value=0).insert(sqlite_db)

        async def raise_(db: Database) -> None:
            update = Pair.update(db).set(Pair.value, Pair.value + 1)
            assert await update.where(Pair.left == 1, Pair.order == "x") == 1

        await asyncio.gather(*(raise_(db) for db in (sqlite_db, other) for _ in range(20)))
        assert (await pair.refresh(other)).value == 40


async def test_transactions_wait_for_each_other(sqlite_db: Database) -> None:
    """One has the file to itself: what another one reads and writes does not come between."""
    await Pair(left=1, order="x", value=0).insert(sqlite_db)

    async def raise_() -> None:
        async with sqlite_db.transaction() as tx:
            value = await Pair.select(tx, Pair.value).scalar()
            await asyncio.sleep(0)
            await Pair.update(tx).set(Pair.value, value + 1).all_rows()

    await asyncio.gather(*(raise_() for _ in range(20)))
    assert await Pair.select(sqlite_db, Pair.value).scalar() == 20


KILLED = """
import asyncio, sys
from server.db import Database
from tests.server.db.tables import Author, create_all

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
        names = set(await Author.select(db, Author.name).scalars())
    parts = {part: {name[:-1] for name in names if name.endswith(part)} for part in "abc"}
    assert parts["a"] == parts["b"] == parts["c"]
    assert seen <= parts["a"]

"""Migrations: numbered, once, in order, and refused where the database knows more."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import server.auth.accounts
from server.auth.models import Session, User
from server.db import Database, DbObject, MigrationFailed, NewerSchema, Statement
from server.db.migrations import AppliedMigration, BegunMigration, begun, load, plan
from server.db.schema import create_index, create_table
from services.chat.models import Member, Message, Room
from tests.support.mariadb import MariaDb

ROOT = Path(__file__).parents[3]
PROCESS = """
import asyncio, pathlib, sys
from server.db import Database
async def main():
    async with await Database.open(sys.argv[1]) as db:
        print(*await db.migrate("svc", pathlib.Path(sys.argv[2])))
asyncio.run(main())
"""
FIRST = """
from server.db import CreateIndex, CreateTable, Integer, Text, index
steps = [
    CreateTable("things", {"id": Integer(primary_key=True), "name": Text(max_length=9)}),
    CreateIndex("things", index("name")),
]
"""
SECOND = """
from server.db import AddColumn, RunSql, Text
steps = [
    AddColumn("things", "colour", Text(nullable=True)),
    RunSql({name: ["INSERT INTO things (name) VALUES ('x')"] for name in ("sqlite", "mysql")}),
]
"""
BROKEN = """
from server.db import CreateTable, Integer, RunSql
steps = [
    CreateTable("more", {"id": Integer(primary_key=True)}),
    RunSql({name: ["INSERT INTO nowhere VALUES (1)"] for name in ("sqlite", "mysql")}),
]
"""


def write(folder: Path, *texts: str) -> Path:
    folder.mkdir(exist_ok=True)
    for number, text in enumerate(texts, start=1):
        (folder / f"{number:04}_step.py").write_text(text)
    return folder


@pytest.fixture(params=("sqlite", "mariadb"))
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without any table, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    server: MariaDb = request.getfixturevalue("mariadb")
    return server.url(server.new_database())


@pytest.fixture
def mariadb_url(mariadb: MariaDb) -> str:
    """The URL of an empty database on the server."""
    return mariadb.url(mariadb.new_database())


@pytest.fixture
async def empty(url: str) -> AsyncIterator[Database]:
    """A database without any table, of each kind."""
    async with await Database.open(url) as database:
        yield database


async def names(db: Database) -> list[str]:
    rows = await db.execute(Statement("SELECT name FROM things ORDER BY id", (), writes=False))
    return [row[0] for row in rows.rows]


async def test_each_runs_once_in_order(empty: Database, tmp_path: Path) -> None:
    """What was applied is not applied again; what is new is."""
    folder = write(tmp_path / "m", FIRST)
    assert await empty.migrate("svc", folder) == ["0001_step"]
    assert await empty.migrate("svc", folder) == []
    write(folder, FIRST, SECOND)
    assert await empty.migrate("svc", folder) == ["0002_step"]
    assert await names(empty) == ["x"]
    assert await AppliedMigration.select(empty).where(AppliedMigration.service == "svc").count() == 2


async def test_two_that_start_together_are_safe(url: str, tmp_path: Path) -> None:
    """Two that share nothing but the database apply each migration once between them."""
    folder = write(tmp_path / "m", FIRST, SECOND)
    databases = [await Database.open(url) for _ in range(2)]
    applied = await asyncio.gather(*(db.migrate("svc", folder) for db in databases))
    assert sorted(applied[0] + applied[1]) == ["0001_step", "0002_step"]
    assert await names(databases[0]) == ["x"]
    for db in databases:
        await db.close()


def test_two_processes_that_start_together_are_safe(url: str, tmp_path: Path) -> None:
    """Two processes apply each migration once between them, whichever comes first."""
    folder = write(tmp_path / "m", FIRST, SECOND)
    command = [sys.executable, "-c", PROCESS, url, str(folder)]
    processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sorted(name for output in outputs for name in output) == ["0001_step", "0002_step"]


async def test_a_failed_one_leaves_no_trace_and_names_its_statement(tmp_path: Path) -> None:
    """On SQLite a migration is whole or absent; the error says which statement; it can be mended and run again."""
    folder = write(tmp_path / "m", FIRST, BROKEN)
    async with await Database.open(f"sqlite:///{tmp_path / 'empty.db'}") as db:
        with pytest.raises(MigrationFailed, match=r"0002_step of svc.*INSERT INTO nowhere"):
            await db.migrate("svc", folder)
        tables = await db.execute(Statement("SELECT name FROM sqlite_schema WHERE name = 'more'", (), writes=False))
        assert tables.rows == []
        write(folder, FIRST, SECOND)
        assert await db.migrate("svc", folder) == ["0002_step"]


async def test_a_failed_one_goes_on_where_it_stopped(mariadb_url: str, tmp_path: Path) -> None:
    """On MariaDB what was done stays; the error names the statement, and the mended migration goes on there."""
    folder = write(tmp_path / "m", FIRST, BROKEN)
    async with await Database.open(mariadb_url) as db:
        with pytest.raises(MigrationFailed, match=r"0002_step of svc, statement 2 of 2.*INSERT INTO nowhere"):
            await db.migrate("svc", folder)
        assert await begun(db, "svc") == {2: 1}
        write(folder, FIRST, BROKEN.replace("nowhere", "more"))
        assert await db.migrate("svc", folder) == ["0002_step"]
        assert await begun(db, "svc") == {}
        rows = await db.execute(Statement("SELECT id FROM more", (), writes=False))
        assert rows.rows == [(1,)]


@pytest.mark.parametrize("statements", [1, 2])
async def test_a_statement_that_nobody_wrote_down_is_not_repeated(
    mariadb_url: str, tmp_path: Path, statements: int
) -> None:
    """A crash between a change of the schema and its note is no obstacle, whichever statement it was."""
    folder = write(tmp_path / "m", FIRST)
    async with await Database.open(mariadb_url) as db:
        (planned,) = plan(db.dialect, "svc", load(folder))
        await db.migrate("other", write(tmp_path / "none"))
        for statement in planned.statements[:statements]:
            await db.execute(Statement(statement))
        await BegunMigration(service="svc", number=1, done=statements - 1).insert(db)
        assert await db.migrate("svc", folder) == ["0001_step"]
        assert await names(db) == []


async def test_rows_are_written_once_by_a_migration_that_fails(mariadb_url: str, tmp_path: Path) -> None:
    """Statements that change rows are written down together with what they change."""
    both = BROKEN.replace(
        "INSERT INTO nowhere VALUES (1)", 'INSERT INTO more VALUES (1)", "INSERT INTO nowhere VALUES (1)'
    )
    folder = write(tmp_path / "m", both)
    async with await Database.open(mariadb_url) as db:
        for _ in range(2):
            with pytest.raises(MigrationFailed, match="statement 3 of 3"):
                await db.migrate("svc", folder)
        rows = await db.execute(Statement("SELECT id FROM more", (), writes=False))
        assert rows.rows == [(1,)]


async def test_a_newer_database_is_refused(empty: Database, tmp_path: Path) -> None:
    """FAULTS 9: a version that knows less than the database does not touch it, and says what to do."""
    await empty.migrate("svc", write(tmp_path / "new", FIRST, SECOND))
    with pytest.raises(NewerSchema, match="0002_step of svc, which this version does not know"):
        await empty.migrate("svc", write(tmp_path / "old", FIRST))


@pytest.mark.parametrize("text", ["steps = [", "no_steps = 1", "raise ValueError"])
def test_broken_files_are_named(tmp_path: Path, text: str) -> None:
    """A file that cannot be read is named."""
    with pytest.raises(MigrationFailed, match=r"0001_step\.py"):
        load(write(tmp_path / "m", text))


def test_numbers_have_no_gap(tmp_path: Path) -> None:
    """A lost file is noticed."""
    folder = write(tmp_path / "m", FIRST, SECOND)
    (folder / "0001_step.py").unlink()
    with pytest.raises(MigrationFailed, match="without a gap"):
        load(folder)
    assert load(tmp_path / "none") == []


async def schema(db: Database) -> set[tuple[str, str]]:
    query = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name <> 'db_migrations'"
    # A column that was added later stands in a line of its own otherwise.
    return {(row[0], "".join(row[1].split())) for row in (await db.execute(Statement(query, (), writes=False))).rows}


async def test_the_classes_are_what_the_migrations_make(tmp_path: Path) -> None:
    """The tables of accounts and chat, as the classes describe them, are those that the migrations make."""
    chat = Path(__file__).parents[3] / "services" / "chat" / "migrations"
    classes: tuple[type[DbObject], ...] = (User, Session, Room, Member, Message)
    migrated = await Database.open("sqlite://:memory:")
    declared = await Database.open("sqlite://:memory:")
    await migrated.migrate("auth", server.auth.accounts.MIGRATIONS)
    await migrated.migrate("chat", chat)
    for cls in classes:
        columns = {column.name: column for column in cls.dbo_columns}
        for sql in create_table(declared.dialect, cls.dbo_tablename, columns):
            await declared.execute(Statement(sql))
        for index in cls.dbo_indexes:
            await declared.execute(Statement(create_index(declared.dialect, cls.dbo_tablename, index)))
    assert await schema(migrated) == await schema(declared)
    await migrated.close()
    await declared.close()

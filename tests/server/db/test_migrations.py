"""Migrations: numbered, once, in order, and refused where the database knows more."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import server.auth.accounts
from server.auth.models import Session, User
from server.db import Database, DbObject, MigrationFailed, NewerSchema, Statement
from server.db.migrations import AppliedMigration, load
from server.db.schema import create_index, create_table
from services.chat.models import Member, Message, Room

FIRST = """
from server.db import CreateIndex, CreateTable, Integer, Text, index
steps = [CreateTable("things", {"id": Integer(primary_key=True), "name": Text()}), CreateIndex("things", index("name"))]
"""
SECOND = """
from server.db import AddColumn, RunSql, Text
steps = [
    AddColumn("things", "colour", Text(nullable=True)),
    RunSql({"sqlite": ["INSERT INTO things (name) VALUES ('x')"]}),
]
"""
BROKEN = """
from server.db import CreateTable, Integer, RunSql
steps = [CreateTable("more", {"id": Integer(primary_key=True)}), RunSql({"sqlite": ["INSERT INTO nowhere VALUES (1)"]})]
"""


def write(folder: Path, *texts: str) -> Path:
    folder.mkdir(exist_ok=True)
    for number, text in enumerate(texts, start=1):
        (folder / f"{number:04}_step.py").write_text(text)
    return folder


@pytest.fixture
async def empty(tmp_path: Path) -> Database:
    return await Database.open(f"sqlite:///{tmp_path / 'empty.db'}")


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
    await empty.close()


async def test_two_that_start_together_are_safe(tmp_path: Path) -> None:
    """Two processes on one file apply each migration once between them."""
    folder = write(tmp_path / "m", FIRST, SECOND)
    databases = [await Database.open(f"sqlite:///{tmp_path / 'both.db'}") for _ in range(2)]
    applied = await asyncio.gather(*(db.migrate("svc", folder) for db in databases))
    assert sorted(applied[0] + applied[1]) == ["0001_step", "0002_step"]
    assert await names(databases[0]) == ["x"]
    for db in databases:
        await db.close()


async def test_a_failed_one_leaves_no_trace_and_names_its_statement(empty: Database, tmp_path: Path) -> None:
    """A migration is whole or absent; the error says which statement; it can be mended and run again."""
    folder = write(tmp_path / "m", FIRST, BROKEN)
    with pytest.raises(MigrationFailed, match=r"0002_step of svc.*INSERT INTO nowhere"):
        await empty.migrate("svc", folder)
    tables = await empty.execute(Statement("SELECT name FROM sqlite_schema WHERE name = 'more'", (), writes=False))
    assert tables.rows == []
    write(folder, FIRST, SECOND)
    assert await empty.migrate("svc", folder) == ["0002_step"]
    await empty.close()


async def test_a_newer_database_is_refused(empty: Database, tmp_path: Path) -> None:
    """FAULTS 9: a version that knows less than the database does not touch it, and says what to do."""
    await empty.migrate("svc", write(tmp_path / "new", FIRST, SECOND))
    with pytest.raises(NewerSchema, match="0002_step of svc, which this version does not know"):
        await empty.migrate("svc", write(tmp_path / "old", FIRST))
    await empty.close()


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
    return {(row[0], row[1]) for row in (await db.execute(Statement(query, (), writes=False))).rows}


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

"""Migrations: numbered Python files, each applied once, in order.

A file `0001_initial.py` has a list named `steps`. Steps are declarations, so that one file serves every database:

    steps = [
        CreateTable("notes", {"id": Integer(primary_key=True), "text": Text(max_length=200)}),
        CreateIndex("notes", index("text")),
    ]
"""

from __future__ import annotations

import asyncio
import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from server.db.columns import Column, Integer, Text, Timestamp, now
from server.db.dialects import Dialect
from server.db.errors import DatabaseError, MigrationFailed, NewerSchema, Unavailable
from server.db.objects import DbObject
from server.db.queries import Statement, Transactional
from server.db.schema import Index, column_definition, create_index, create_table

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.py")


class Step(Protocol):
    """One change of the schema."""

    def statements(self, dialect: Dialect) -> Iterator[str]:
        """Yield it as SQL."""


class CreateTable(msgspec.Struct, frozen=True):
    """A new table with its columns."""

    table: str
    columns: Mapping[str, Any]

    def statements(self, dialect: Dialect) -> Iterator[str]:
        yield from create_table(dialect, self.table, self.columns)


class CreateIndex(msgspec.Struct, frozen=True):
    """A new index over several columns."""

    table: str
    index: Index

    def statements(self, dialect: Dialect) -> Iterator[str]:
        yield create_index(dialect, self.table, self.index)


class AddColumn(msgspec.Struct, frozen=True):
    """A new column of a table that is there; it is nullable, because rows may be there too."""

    table: str
    name: str
    column: Any

    def statements(self, dialect: Dialect) -> Iterator[str]:
        column: Column[Any] = self.column
        definition = column_definition(dialect, self.name, column, alone=False)
        yield f"ALTER TABLE {dialect.quote(self.table)} ADD COLUMN {definition}"


class RunSql(msgspec.Struct, frozen=True):
    """Statements as they are, for each database by its name, as in `{"sqlite": [...], "mysql": [...]}`."""

    sql: Mapping[str, Sequence[str]]

    def statements(self, dialect: Dialect) -> Iterator[str]:
        yield from self.sql[dialect.name]


class AppliedMigration(DbObject):
    """A migration that was applied."""

    dbo_tablename = "db_migrations"
    service = Text(max_length=100, primary_key=True)
    number = Integer(primary_key=True)
    name = Text(max_length=200)
    applied_at = Timestamp(default=now)


class Migration(msgspec.Struct, frozen=True):
    """A migration file."""

    number: int
    name: str
    steps: Sequence[Any]


async def migrate(db: Transactional, service: str, folder: Path) -> list[str]:
    """Apply what was not applied yet; see `Database.migrate`."""
    migrations = await asyncio.to_thread(load, folder)
    await _prepare(db)
    await _refuse_newer(db, service, migrations)
    return [migration.name for migration in migrations if await _apply(db, service, migration)]


def load(folder: Path) -> list[Migration]:
    """Read the migration files of a folder, in order.

    Raises:
        MigrationFailed: a number is missing or double, or a file is broken.
    """
    files = sorted(file for file in folder.iterdir() if _FILE.fullmatch(file.name)) if folder.is_dir() else []
    migrations = [_load_file(file) for file in files]
    if [migration.number for migration in migrations] != list(range(1, len(migrations) + 1)):
        raise MigrationFailed(f"{folder}: migrations are numbered 0001, 0002 and so on, without a gap")
    return migrations


def _load_file(file: Path) -> Migration:
    spec = importlib.util.spec_from_file_location(f"migration_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        steps = module.steps
    except Exception as error:
        raise MigrationFailed(f"{file}: {type(error).__name__}: {error}") from error
    return Migration(int(file.stem[:4]), file.stem, steps)


async def _prepare(db: Transactional) -> None:
    columns = {column.name: column for column in AppliedMigration.dbo_columns}
    for sql in create_table(db.dialect, AppliedMigration.dbo_tablename, columns):
        await db.execute(Statement(sql.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1)))


async def _refuse_newer(db: Transactional, service: str, migrations: Sequence[Migration]) -> None:
    newer = (
        await AppliedMigration.select(db)
        .where((AppliedMigration.service == service) & (AppliedMigration.number > len(migrations)))
        .order_by(AppliedMigration.number)
        .first()
    )
    if newer is not None:
        raise NewerSchema(
            f"the database has migration {newer.name} of {service}, which this version does not know; "
            "run the version that made it, or a newer one"
        )


async def _apply(db: Transactional, service: str, migration: Migration) -> bool:
    """Apply one migration; False when it was applied before, perhaps by another process a moment ago."""
    statement = ""
    try:
        async with db.transaction(seconds=600) as tx:
            if await AppliedMigration.get(tx, service, migration.number) is not None:
                return False
            for step in migration.steps:
                for statement in step.statements(db.dialect):
                    await tx.execute(Statement(statement))
            await AppliedMigration(service=service, number=migration.number, name=migration.name).insert(tx)
    except Unavailable:
        raise
    except DatabaseError as error:
        raise MigrationFailed(f"migration {migration.name} of {service}: {error}: {statement}") from error
    return True

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
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import msgspec

from server.db.backends import Statement
from server.db.column_types import Integer, Text, Timestamp
from server.db.columns import now
from server.db.dialects import Dialect
from server.db.errors import DatabaseError, MigrationFailed, NewerSchema, QueryError, Unavailable
from server.db.objects import DbObject
from server.db.queries import Executor
from server.db.schema import create_table
from server.db.steps import Schema, Step

LOCK_SECONDS = 60.0
"""How long to wait for another process that is migrating."""
MIGRATION_SECONDS = 3600.0
_ENFORCE = "SET SESSION foreign_key_checks = 1"
"""As MySQL and MariaDB have it: no other database here has changes of the schema that commit by themselves."""
_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.py")


class Migrated(Executor, Protocol):
    """What can be migrated: a `Database`."""

    def transaction(self, seconds: float, *, schema: bool = ...) -> AbstractAsyncContextManager[Executor]: ...
    def lock(self, name: str, seconds: float) -> AbstractAsyncContextManager[None]: ...


class AppliedMigration(DbObject):
    """A migration that was applied."""

    dbo_tablename = "db_migrations"
    service = Text(max_length=100, primary_key=True)
    number = Integer(primary_key=True)
    name = Text(max_length=200)
    applied_at = Timestamp(default=now)


class BegunMigration(DbObject):
    """A migration that is being applied, where a database commits every change of the schema by itself.

    Attributes:
        done: how many of its statements were run.
    """

    dbo_tablename = "db_migrations_begun"
    service = Text(max_length=100, primary_key=True)
    number = Integer(primary_key=True)
    done = Integer(default=0)


class Migration(msgspec.Struct, frozen=True):
    """A migration file.

    Args:
        number: from 1, without a gap.
        name: the file's, without its ending.
        steps: what it does.
    """

    number: int
    name: str
    steps: Sequence[Step]


class Planned(msgspec.Struct, frozen=True):
    """A migration that was not applied yet.

    Args:
        migration: the migration.
        statements: what will run.
        rebuilds: whether it makes tables anew.
    """

    migration: Migration
    statements: Sequence[str]
    rebuilds: bool


async def migrate(db: Migrated, service: str, folder: Path) -> list[str]:
    """Apply what was not applied yet; see `Database.migrate`."""
    migrations = await asyncio.to_thread(load, folder)
    async with db.lock("migrations", LOCK_SECONDS):
        await _prepare(db)
        planned = await pending(db, service, migrations)
        return [one.migration.name for one in planned if await _apply(db, service, one)]


async def pending(db: Executor, service: str, migrations: Sequence[Migration]) -> list[Planned]:
    """Return what was not applied yet, in order.

    Raises:
        NewerSchema: the database was migrated by a newer version.
        MigrationFailed: a migration cannot be written for this database.
    """
    done = await applied_numbers(db, service)
    newer = sorted(number for number in done if number > len(migrations))
    if newer:
        raise NewerSchema(
            f"the database has migration {done[newer[0]]} of {service}, which this version does not know; "
            "run the version that made it, or a newer one"
        )
    return [planned for planned in plan(db.dialect, service, migrations) if planned.migration.number not in done]


async def applied_numbers(db: Executor, service: str) -> dict[int, str]:
    """Return the numbers and names of the migrations that were applied; none where there is no table for them."""
    return {row.number: row.name for row in await applied(db, service)}


async def applied(db: Executor, service: str) -> list[AppliedMigration]:
    """Return the migrations that were applied, in order; none where there is no table for them."""
    query = AppliedMigration.select(None).where(AppliedMigration.service == service)
    try:
        return await db.run(query.order_by(AppliedMigration.number))
    except QueryError:
        return []  # a database that was never migrated


async def begun(db: Executor, service: str) -> dict[int, int]:
    """Return the numbers of the migrations that have stopped half-way, and how many statements each has run."""
    if db.dialect.transactional_ddl:
        return {}
    query = BegunMigration.select(None).where(BegunMigration.service == service)
    try:
        return {row.number: row.done for row in await db.run(query)}
    except QueryError:
        return {}


def plan(dialect: Dialect, service: str, migrations: Sequence[Migration]) -> list[Planned]:
    """Write the statements of all migrations, each for the schema that those before it made.

    Raises:
        MigrationFailed: one cannot be written for this database.
    """
    schema: Schema = {}
    planned = []
    for migration in migrations:
        statements: list[str] = []
        try:
            for step in migration.steps:
                statements += step.statements(dialect, schema)
                step.apply(schema)
        except (DatabaseError, LookupError, ValueError) as error:
            raise MigrationFailed(f"migration {migration.name} of {service}: {error}") from error
        planned.append(Planned(migration, statements, any(step.rebuilds for step in migration.steps)))
    return planned


def schema_after(migrations: Sequence[Migration]) -> Schema:
    """Return the schema that migrations make."""
    schema: Schema = {}
    for migration in migrations:
        for step in migration.steps:
            step.apply(schema)
    return schema


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


async def _prepare(db: Executor) -> None:
    tables: list[type[DbObject]] = (
        [AppliedMigration] if db.dialect.transactional_ddl else [AppliedMigration, BegunMigration]
    )
    for table in tables:
        for sql in create_table(db.dialect, table.dbo_tablename, table.dbo_by_name):
            await db.execute(Statement(sql.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1)))


async def _apply(db: Migrated, service: str, planned: Planned) -> bool:
    """Apply one migration; False when it was applied before, perhaps by another process a moment ago."""
    run = _apply_whole if db.dialect.transactional_ddl else _apply_resumable
    return await run(db, service, planned)


async def _apply_whole(db: Migrated, service: str, planned: Planned) -> bool:
    """Apply it in one transaction: a migration that fails leaves no trace."""
    migration, statement = planned.migration, ""
    try:
        async with db.transaction(MIGRATION_SECONDS, schema=planned.rebuilds) as tx:
            if await AppliedMigration.get(tx, service, migration.number) is not None:
                return False
            for statement in planned.statements:
                await tx.execute(Statement(statement))
            statement = "COMMIT"  # where the foreign keys of tables that were made anew are looked at
            await AppliedMigration(service=service, number=migration.number, name=migration.name).insert(tx)
    except Unavailable:
        raise
    except DatabaseError as error:
        raise MigrationFailed(f"migration {migration.name} of {service}: {error}: {statement}") from error
    return True


async def _apply_resumable(db: Migrated, service: str, planned: Planned) -> bool:
    """Apply it statement by statement; one that fails is where the next start goes on."""
    migration = planned.migration
    progress = await BegunMigration.get(db, service, migration.number)
    resumed = progress is not None
    if progress is None:
        progress = await BegunMigration(service=service, number=migration.number).insert(db)
    for number, statement in enumerate(planned.statements[progress.done :], start=progress.done + 1):
        try:
            await _run_once(db, statement, progress, perhaps_done=resumed)
        except Unavailable:
            raise
        except DatabaseError as error:
            raise MigrationFailed(
                f"migration {migration.name} of {service}, statement {number} of {len(planned.statements)}: {error}: "
                f"{statement}; what was done before it stays, and the next start goes on with it"
            ) from error
        resumed = False
    async with db.transaction(MIGRATION_SECONDS) as tx:
        await AppliedMigration(service=service, number=migration.number, name=migration.name).insert(tx)
        await progress.delete(tx)
    return True


async def _run_once(db: Migrated, statement: str, progress: BegunMigration, *, perhaps_done: bool) -> None:
    """Run a statement, and write that down with it: in the same transaction, unless it commits by itself.

    The first one after a crash may have been run without anybody having written it down.
    """
    # `schema` gives it more time than a query has, and takes the foreign keys away, which are wanted here: what is
    # declared has to be true of the rows that are there.
    async with db.transaction(MIGRATION_SECONDS, schema=True) as tx:
        await tx.execute(Statement(_ENFORCE))
        try:
            await tx.execute(Statement(statement))
        except QueryError as error:
            # The server's own error, which has the number, may be behind ours.
            causes = [cause for cause in (error, error.__context__) if isinstance(cause, Exception)]
            if not perhaps_done or not any(map(db.dialect.means_done, causes)):
                raise
        progress.done += 1
        await progress.save(tx)

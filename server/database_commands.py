"""`switchboard db`: what an operator does with the database, and what somebody who writes a service does.

Exit status: 0 fine, 1 failure at run time, 2 wrong usage, 65 a database that cannot be used or a migration that failed
(EX_DATAERR of sysexits.h), 78 bad configuration. `status` is fine whatever it finds, pending migrations included: the
server applies them when it starts.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import shtab

from server.config import Settings
from server.db import Database, DatabaseError, DbObject, MigrationFailed, UnusableDatabase
from server.db.autogenerate import make
from server.db.copying import Progress, Verified, copy_all
from server.db.dialects import Dialect
from server.db.migrations import Planned, applied, begun, load, pending, plan
from server.db.mysql.dialect import MARIADB, MYSQL
from server.db.mysql.url import redacted
from server.db.sqlite.backend import parse_url
from server.db.sqlite.dialect import SQLITE
from server.engine import EXIT_DATA, EXIT_FAILURE, EXIT_FINE
from server.errors import ServiceError
from server.migrated import Migrated, all_migrated, migrated
from server.progress import ProgressBar

DIALECTS: dict[str, Dialect] = {"sqlite": SQLITE, "mysql": MYSQL, "mariadb": MARIADB}
SCHEMES = ("sqlite", "mysql", "mariadb")


def add_to(commands: Any) -> None:
    """Add `db` and its own commands to the command's parser."""
    parser = commands.add_parser("db", help="look after the database: migrations, and moving it elsewhere")
    own = parser.add_subparsers(dest="db_command", required=True, metavar="COMMAND")
    own.add_parser("status", help="which migrations are applied, and which are not")
    own.add_parser("plan", help="what the migrations that are not applied would do")
    own.add_parser("upgrade", help="apply what is not applied; the server does the same when it starts")
    sql = own.add_parser("sql", help="the SQL of the migrations that are not applied")
    sql.add_argument("--dialect", choices=tuple(DIALECTS), help="for this kind of database instead of the configured")
    making = own.add_parser("make", help="write a service's next migration from what has changed in its classes")
    making.add_argument("service", metavar="SERVICE", help="its name in the configuration, or auth")
    making.add_argument("--name", metavar="WORDS", help="what the migration does, for its file's name")
    copying = own.add_parser("copy", help="copy everything into an empty database; begun copies go on")
    copying.add_argument("source", metavar="FROM", type=_url, help="URL of the database that is read")
    copying.add_argument("target", metavar="TO", type=_url, help="URL of the database that is written")
    for command in own.choices.values():
        file = command.add_argument(
            "--config", metavar="FILE", type=Path, help="configuration file (default: config.toml, if it is there)"
        )
        file.complete = shtab.FILE


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Run one of the commands; returns the exit status.

    Args:
        options: what was parsed.
        settings: the configuration.
    """
    try:
        asyncio.run(_COMMANDS[options.db_command](options, settings))
    except (UnusableDatabase, MigrationFailed) as error:
        return _fail(str(error), EXIT_DATA)
    except (DatabaseError, ServiceError) as error:
        return _fail(str(error), EXIT_FAILURE)
    except OSError as error:
        return _fail(str(error), EXIT_FAILURE)
    except KeyboardInterrupt:
        return _fail("stopped; what was done stays, and the same command goes on with it", EXIT_FAILURE)
    return EXIT_FINE


# Migrations.


async def _status(_: argparse.Namespace, settings: Settings) -> None:
    async with _existing(settings.database_url) as db:
        for one in all_migrated(settings):
            _say(one.name)
            rows = await applied(db, one.name) if db is not None else []
            waiting = await _pending(db, one)
            stopped = await begun(db, one.name) if db is not None else {}
            for row in rows:
                _say(f"  {row.name}  applied {row.applied_at:%Y-%m-%d %H:%M:%S} UTC")
            for planned in waiting:
                done = stopped.get(planned.migration.number)
                half = "" if done is None else f": stopped after {done} of {len(planned.statements)} statements"
                _say(f"  {planned.migration.name}  pending{half}")
            if not rows and not waiting:
                _say("  no migrations")


async def _plan(_: argparse.Namespace, settings: Settings) -> None:
    async with _existing(settings.database_url) as db:
        found = [(one, planned) for one in all_migrated(settings) for planned in await _pending(db, one)]
    for one, planned in found:
        _say(f"{one.name} {planned.migration.name}")
        for step in planned.migration.steps:
            _say(f"  {step.words}")
    if not found:
        _say("Everything is applied.")


async def _sql(options: argparse.Namespace, settings: Settings) -> None:
    dialect = DIALECTS[options.dialect] if options.dialect else None
    for one, planned in await _to_write(settings, dialect):
        _say(f"-- {one.name} {planned.migration.name}")
        for statement in planned.statements:
            _say(f"{statement};")


async def _to_write(settings: Settings, dialect: Dialect | None) -> list[tuple[Migrated, Planned]]:
    """Return the migrations whose SQL is wanted: what is pending, or all where nobody can tell."""
    found = []
    try:
        async with _existing(settings.database_url) as db:
            for one in all_migrated(settings):
                waiting = await _pending(db, one)
                numbers = {planned.migration.number for planned in waiting}
                if dialect is not None:
                    waiting = [p for p in plan(dialect, one.name, load(one.folder)) if p.migration.number in numbers]
                found += [(one, planned) for planned in waiting]
    except (UnusableDatabase, MigrationFailed):
        raise
    except DatabaseError:
        if dialect is None:
            raise
        return [(one, p) for one in all_migrated(settings) for p in plan(dialect, one.name, load(one.folder))]
    return found


async def _upgrade(_: argparse.Namespace, settings: Settings) -> None:
    async with await _open(settings.database_url) as db:
        names = await _migrate(db, all_migrated(settings))
    if not names:
        _say("Everything is applied.")


async def _make(options: argparse.Namespace, settings: Settings) -> None:
    one = migrated(options.service, settings)
    if one.single_file:
        raise ServiceError(one.name, "is a single file; a service with migrations is a package, a folder of its own")
    made = await asyncio.to_thread(make, one.folder, one.classes, options.name)
    _say("Nothing has changed." if made is None else str(made.path))


async def _pending(db: Database | None, one: Migrated) -> list[Planned]:
    """Return what is pending; all of it where there is no database yet."""
    migrations = await asyncio.to_thread(load, one.folder)
    return plan(SQLITE, one.name, migrations) if db is None else await pending(db, one.name, migrations)


async def _migrate(db: Database, all_of_them: Sequence[Migrated]) -> list[str]:
    names = []
    for one in all_of_them:
        for name in await db.migrate(one.name, one.folder):
            _say(f"{one.name}: applied {name}")
            names.append(name)
    return names


# Copying.


async def _copy(options: argparse.Namespace, settings: Settings) -> None:
    services = all_migrated(settings)
    async with _existing(options.source) as source:
        if source is None:
            raise DatabaseError(f"{redacted(options.source)}: there is no such file")
        for one in services:
            if await _pending(source, one):
                raise DatabaseError(
                    f"{redacted(options.source)} has migrations of {one.name} that are not applied; run "
                    "`switchboard db upgrade` with it as database.url first"
                )
        async with await _open(options.target) as target:
            await _migrate(target, services)
            verified = await _copied(source, target, [cls for one in services for cls in one.classes])
    for table in verified:
        _say(f"{table.table}: {table.rows:,} rows, checksum {table.checksum}")
    _say(f"Copied and verified {sum(table.rows for table in verified):,} rows.")


async def _copied(source: Database, target: Database, classes: Sequence[type[DbObject]]) -> list[Verified]:
    bar = ProgressBar(sys.stderr)

    def show(progress: Progress) -> None:
        bar.show(progress.doing, progress.done, progress.total)

    try:
        return await copy_all(source, target, classes, show)
    finally:
        bar.close()


# Databases.


async def _open(url: str) -> Database:
    """Open a database; what takes long here is no news."""
    return await Database.open(url, slow_seconds=0)


@asynccontextmanager
async def _existing(url: str) -> AsyncIterator[Database | None]:
    """Open a database that is only looked at; None where it would be a file that is not there yet."""
    if url.startswith("sqlite://"):
        file, _ = parse_url(url)
        if file is not None and not await asyncio.to_thread(Path(file).exists):
            yield None
            return
    async with await _open(url) as db:
        yield db


def _url(text: str) -> str:
    if text.partition("://")[0] not in SCHEMES or "://" not in text:
        raise argparse.ArgumentTypeError("a database's URL is sqlite:///FILE or mysql://USER:PASSWORD@HOST/NAME")
    return text


# Words.


def _say(text: str) -> None:
    print(text)  # noqa: T201 the command's own voice


def _fail(sentence: str, status: int) -> int:
    print(f"switchboard: {sentence}", file=sys.stderr)  # noqa: T201 the command's own voice
    return status


_COMMANDS: dict[str, Callable[[argparse.Namespace, Settings], Coroutine[Any, Any, None]]] = {
    "status": _status,
    "plan": _plan,
    "sql": _sql,
    "upgrade": _upgrade,
    "make": _make,
    "copy": _copy,
}

"""Copying: everything arrives as it is, whatever stops it on the way, and what differs is found."""

from __future__ import annotations

import asyncio
import datetime as dt
import decimal
import enum
import itertools
import signal
import subprocess
import sys
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from server.db import (
    Boolean,
    Bytes,
    Database,
    Date,
    DbObject,
    Decimal,
    Enum,
    Float,
    ForeignKey,
    Integer,
    Json,
    Reference,
    Statement,
    Text,
    Timestamp,
    Unavailable,
    Uuid,
    Version,
)
from server.db.copying import Copied, CopyFailed, Progress, Verified, copy_all, in_order
from server.db.objects import values_of
from server.db.schema import TableDefinition
from tests.support.mariadb import MariaDb

ROOT = Path(__file__).parents[3]


class Mood(enum.Enum):
    """A choice."""

    FINE = "fine"
    SO_SO = "so-so"


class Detail(msgspec.Struct):
    """What is inside JSON."""

    n: int


class Person(DbObject):
    """Every kind of column, without a value in some rows, and a reference to a row that may come later."""

    dbo_tablename = "copy_persons"
    id = Integer(primary_key=True)
    friend: ForeignKey[Person, Reference[Person] | None] = ForeignKey("self", nullable=True)
    team: ForeignKey[Team, Reference[Team] | None] = ForeignKey("Team", nullable=True)
    name = Text(max_length=30, unique=True)
    story = Text(nullable=True)
    weight = Float(nullable=True)
    balance = Decimal(12, 3, nullable=True)
    awake = Boolean(nullable=True)
    born = Date(nullable=True)
    seen_at = Timestamp(nullable=True)
    picture = Bytes(nullable=True)
    token = Uuid(nullable=True)
    mood = Enum(Mood, nullable=True)
    detail = Json(Detail, nullable=True)
    version = Version()


class Team(DbObject):
    """It refers to persons, and they to it."""

    dbo_tablename = "copy_teams"
    id = Uuid(primary_key=True)
    leader = ForeignKey(Person)


class Visit(DbObject):
    """A key of three columns, of which one is a reference."""

    dbo_tablename = "copy_visits"
    person = ForeignKey(Person, primary_key=True)
    at = Timestamp(primary_key=True)
    room = Text(max_length=10, primary_key=True)


class Node(DbObject):
    """A tree whose root is its own parent: no row can be without a reference."""

    dbo_tablename = "copy_nodes"
    id = Integer(primary_key=True)
    parent: ForeignKey[Node, Reference[Node]] = ForeignKey("self")


TABLES: tuple[type[DbObject], ...] = (Visit, Team, Node, Person)
PEOPLE = 3000
MOMENT = dt.datetime(2026, 2, 3, 4, 5, 6, 789012, tzinfo=dt.UTC)
STORIES = ["", 'it\'s \\ "here" %s ?', "Zoë 🐚\0\n\t", None, "x" * 5000]


def person(number: int) -> Person:
    """Return a row in which each kind of column takes its turn with having no value."""
    some = number % 3 != 0
    return Person(
        id=number,
        name=f"person {number}",
        story=STORIES[number % len(STORIES)],
        weight=[0.1 + number, -0.0, 1e300, 5e-324][number % 4] if some else None,
        balance=decimal.Decimal(number * 7 - 1000) / 1000 if some else None,
        awake=number % 2 == 0 if some else None,
        born=dt.date(1900, 1, 1) + dt.timedelta(days=number) if some else None,
        seen_at=MOMENT + dt.timedelta(microseconds=number) if some else None,
        picture=bytes(range(number % 256)) if some else None,
        token=uuid.UUID(int=number) if some else None,
        mood=Mood.SO_SO if some else None,
        detail=Detail(number) if some else None,
    )


async def create(db: Database) -> None:
    """Make the tables; references in a circle need a moment without them."""
    async with db.transaction(60.0, schema=True) as tx:
        for cls in TABLES:
            for sql in TableDefinition.of(cls).create(db.dialect):
                await tx.execute(Statement(sql))


async def fill(db: Database) -> None:
    """Write the rows; references go forwards, backwards and to the row itself."""
    numbers = range(1, PEOPLE + 1)
    await Person.insert_many(db, [person(number) for number in numbers])
    teams = [Team(id=uuid.UUID(int=number * 17 % 101), leader=number) for number in range(1, 100)]
    await Team.insert_many(db, teams)
    for number, team in zip(itertools.count(1, 29), teams, strict=False):
        query = Person.update(db).where(Person.id == number)
        await query.set(Person.friend, PEOPLE + 1 - number).set(Person.team, team.id)
    await Visit.insert_many(
        db, [Visit(person=n, at=MOMENT + dt.timedelta(days=d), room=f"r{n % 7}") for n in numbers[:700] for d in (0, 1)]
    )
    async with db.transaction(60.0, schema=True) as tx:
        await Node.insert_many(tx, [Node(id=number, parent=number % 1500 + 1) for number in range(1, 1501)])


def ignore(_: Progress) -> None:
    """Look at no progress."""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a SQLite database with rows."""

    async def make(url: str) -> None:
        async with await Database.open(url) as db:
            await create(db)
            await fill(db)

    url = f"sqlite:///{tmp_path_factory.mktemp('copy') / 'filled.db'}"
    asyncio.run(make(url))
    return url


@pytest.fixture(params=("sqlite", "mariadb"))
def target_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'target.db'}"
    server: MariaDb = request.getfixturevalue("mariadb")
    return server.url(server.new_database())


async def rows_of(db: Database, cls: type[DbObject]) -> list[list[Any]]:
    """Return all rows of a table."""
    return [list(values_of(row).values()) for row in await cls.select(db).order_by(*cls.dbo_expressions[:3])]


async def tables_of(db: Database) -> set[str]:
    """Return the names of all tables."""
    sqlite = "SELECT name FROM sqlite_schema WHERE type = 'table'"
    query = sqlite if db.dialect.name == "sqlite" else "SHOW TABLES"
    return {row[0] for row in (await db.execute(Statement(query, (), writes=False))).rows}


async def test_there_and_back(filled: str, mariadb: MariaDb, tmp_path: Path) -> None:
    """From SQLite to MariaDB and back again, all rows are equal, and the checksums are those of the beginning."""
    urls = [filled, mariadb.url(mariadb.new_database()), f"sqlite:///{tmp_path / 'back.db'}"]
    async with AsyncExitStack() as stack:
        first, second, third = [await stack.enter_async_context(await Database.open(url)) for url in urls]
        await create(second)
        await create(third)
        there = await copy_all(first, second, TABLES, ignore)
        assert await copy_all(second, third, TABLES, ignore) == there
        assert {one.table: one.rows for one in there} == {
            "copy_persons": PEOPLE, "copy_teams": 99, "copy_visits": 1400, "copy_nodes": 1500,
        }  # fmt: skip
        for cls in TABLES:
            expected = await rows_of(first, cls)
            assert await rows_of(second, cls) == expected
            assert await rows_of(third, cls) == expected
        for db in (second, third):
            assert "db_copies" not in await tables_of(db)


async def test_keys_go_on_where_they_were(filled: str, target_url: str) -> None:
    """The database counts on behind the keys that were copied."""
    async with await Database.open(filled) as source, await Database.open(target_url) as target:
        await create(target)
        await copy_all(source, target, TABLES, ignore)
        made = await Person(name="new").insert(target)
        assert made.id == PEOPLE + 1


async def test_it_tells_how_far_it_is(filled: str, target_url: str) -> None:
    """Progress never goes back, and ends with all of it."""
    seen: list[Progress] = []
    async with await Database.open(filled) as source, await Database.open(target_url) as target:
        await create(target)
        await copy_all(source, target, TABLES, seen.append)
    done = [progress.done for progress in seen]
    assert done == sorted(done)
    assert done[-1] == seen[-1].total == 3 * (PEOPLE + 99 + 1400 + 1500)


KILLED = """
import asyncio, os, signal, sys
from server.db import Database
from server.db.copying import copy_all
from tests.server.db.test_copying import TABLES, create
async def main(source_url, target_url, rows, first):
    def kill(progress):
        if progress.done >= rows:
            os.kill(os.getpid(), signal.SIGKILL)
    async with await Database.open(source_url) as source, await Database.open(target_url) as target:
        if first:
            await create(target)
        await copy_all(source, target, TABLES, kill)
asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "first"))
"""


def copy_and_be_killed(*arguments: str) -> None:
    """Run a copy in a process of its own, which does not live long."""
    command = [sys.executable, "-c", KILLED, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


async def test_what_was_killed_goes_on(filled: str, target_url: str) -> None:
    """Killed again and again, wherever it was, a copy is complete in the end, without a row too much."""
    total = 3 * (PEOPLE + 99 + 1400 + 1500)
    for number, rows in enumerate((1, 1200, 3200, 4300, 7000, total)):
        await asyncio.to_thread(copy_and_be_killed, filled, target_url, str(rows), "again" if number else "first")
    async with await Database.open(filled) as source, await Database.open(target_url) as target:
        verified = await copy_all(source, target, TABLES, ignore)
        for cls in TABLES:
            assert await rows_of(target, cls) == await rows_of(source, cls)
    assert sum(one.rows for one in verified) == PEOPLE + 99 + 1400 + 1500


class Gone(Exception):
    """What stops a copy."""


def stop_at(rows: int) -> Any:
    """Return what stops a copy when it has gone so far."""

    def report(progress: Progress) -> None:
        if progress.done >= rows:
            raise Gone

    return report


async def test_what_was_copied_is_not_copied_again(filled: str, target_url: str) -> None:
    """A resumed copy begins where the first one ended."""
    async with await Database.open(filled) as source, await Database.open(target_url) as target:
        await create(target)
        with pytest.raises(Gone):
            await copy_all(source, target, TABLES, stop_at(2500))
        seen: list[Progress] = []
        await copy_all(source, target, TABLES, seen.append)
        assert seen[0].done >= 1000


async def test_a_row_that_was_changed_is_found(filled: str, target_url: str) -> None:
    """The checksum sees one letter of one row, in a copy that was resumed as well."""
    async with await Database.open(filled) as source, await Database.open(target_url) as target:
        await create(target)
        with pytest.raises(Gone):
            await copy_all(source, target, TABLES, stop_at(2500))
        await Person.update(target).where(Person.id == 7).set(Person.story, "another")
        with pytest.raises(CopyFailed, match="copy_persons has the checksum"):
            await copy_all(source, target, TABLES, ignore)


@pytest.mark.parametrize("begun", [False, True])
async def test_rows_of_somebody_else_are_not_mixed_in(filled: str, target_url: str, *, begun: bool) -> None:
    """A target that has rows which no copy has written is refused, and left as it is."""
    async with await Database.open(filled) as source, await Database.open(target_url) as target:
        await create(target)
        if begun:
            with pytest.raises(Gone):
                await copy_all(source, target, TABLES, stop_at(1))
        await Person(id=PEOPLE + 5, name="somebody").insert(target)
        rows = await Person.select(target).count()
        with pytest.raises(CopyFailed, match="the target has rows in copy_persons that no copy has written"):
            await copy_all(source, target, TABLES, ignore)
        assert await Person.select(target).count() == rows
        assert await Team.select(target).count() == 0


async def test_json_and_choices_that_nobody_knows_any_more_are_copied(target_url: str, tmp_path: Path) -> None:
    """Values go over as the database keeps them: a field or a member that the classes have lost is not lost."""
    insert = Statement(
        "INSERT INTO copy_persons (id, name, mood, detail, version) VALUES (1, 'a', 'gone', '{\"old\": [1, 2.50]}', 1)"
    )
    async with (
        await Database.open(f"sqlite:///{tmp_path / 'source.db'}") as source, await Database.open(target_url) as target,
    ):  # fmt: skip
        await create(source)
        await create(target)
        await source.execute(insert)
        await copy_all(source, target, TABLES, ignore)
        rows = await target.execute(Statement("SELECT mood, detail FROM copy_persons", (), writes=False))
        assert rows.rows == [("gone", '{"old": [1, 2.50]}')]


async def test_an_empty_database_is_a_copy_too(target_url: str, tmp_path: Path) -> None:
    """Without rows there is nothing to copy, and that is verified."""
    async with (
        await Database.open(f"sqlite:///{tmp_path / 'source.db'}") as source, await Database.open(target_url) as target,
    ):  # fmt: skip
        await create(source)
        await create(target)
        verified: list[Verified] = await copy_all(source, target, TABLES, ignore)
        assert [one.rows for one in verified] == [0, 0, 0, 0]


async def test_two_copies_at_once_are_one_too_many(filled: str, mariadb: MariaDb) -> None:
    """On a server a second copy into the same database is refused while the first one runs."""
    url = mariadb.url(mariadb.new_database())
    async with await Database.open(filled) as source, await Database.open(url) as target:
        await create(target)
        async with target.lock("copy", 1.0):
            with pytest.raises(Unavailable, match="somebody else has the lock"):
                await copy_all(source, target, TABLES, ignore)


def test_tables_that_are_referred_to_come_first() -> None:
    """The order is that of the references; what closes a circle is left out at first."""
    order = [(one.name, one.later, one.whole) for one in in_order(TABLES)]
    assert order == [
        ("copy_nodes", (), True), ("copy_persons", ("friend", "team"), False), ("copy_visits", (), False),
        ("copy_teams", (), False),
    ]  # fmt: skip


async def test_the_note_of_progress_is_readable(filled: str, target_url: str) -> None:
    """An operator can see in the database how far a copy is."""
    async with await Database.open(filled) as source, await Database.open(target_url) as target:
        await create(target)
        with pytest.raises(Gone):
            await copy_all(source, target, TABLES, stop_at(2500))
        notes: Sequence[Copied] = await Copied.select(target).order_by(Copied.part)
        assert [(note.part, note.rows, note.last_key, note.done) for note in notes] == [
            ("copy_nodes", 1500, None, True), ("copy_persons", 1000, [1000], False),
        ]  # fmt: skip

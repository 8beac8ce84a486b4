"""The tables that the tests of DbObject use: every kind of column, of key and of relation."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Sequence

import msgspec

from server.db import (
    BigInteger,
    Boolean,
    Bytes,
    Database,
    Date,
    DbObject,
    Decimal,
    Enum,
    Float,
    ForeignKey,
    FullText,
    Integer,
    Json,
    ManyToMany,
    Reference,
    Reverse,
    Statement,
    Text,
    Timestamp,
    Uuid,
    Version,
    current_timestamp,
    index,
    now,
    unique,
)
from server.db.fulltext import full_text_name
from server.db.schema import TableDefinition

MOMENT = dt.datetime(2026, 2, 3, 4, 5, 6, 789012, tzinfo=dt.UTC)


class Color(enum.Enum):
    """A choice, kept as text."""

    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    """A choice, kept as a whole number."""

    LOW = 1
    HIGH = 20


class Place(msgspec.Struct):
    """What a document has inside."""

    city: str
    floors: list[int] = []


class Author(DbObject):
    """Somebody who writes."""

    dbo_tablename = "authors"
    id = Integer(primary_key=True)
    name = Text(max_length=20, unique=True)
    born = Timestamp(nullable=True)
    notes: Reverse[Note] = Reverse("Note.author")


class Note(DbObject):
    """Something of many kinds."""

    dbo_tablename = "notes"
    dbo_indexes = (unique("author", "number"), index("score"))
    id = Integer(primary_key=True)
    author = ForeignKey(Author, on_delete="cascade")
    number = Integer(default=0)
    text = Text(max_length=100, default="")
    comment = Text(nullable=True)
    score = Float(default=1.5)
    done = Boolean(default=False)
    data = Bytes(nullable=True)
    tags = Json(list[str], default=list)
    made_at = Timestamp(default=now, immutable=True)
    labels: ManyToMany[Label] = ManyToMany("Label", through="NoteLabel")


class Pair(DbObject):
    """A composite key; `order` is a word of SQL."""

    dbo_tablename = "pairs"
    left = Integer(primary_key=True)
    order = Text(max_length=10, primary_key=True)
    value = Integer(nullable=True)


class Label(DbObject):
    """A natural key."""

    dbo_tablename = "labels"
    name = Text(max_length=20, primary_key=True)
    color = Enum(Color, default=Color.RED)
    notes: ManyToMany[Note] = ManyToMany(Note, through="NoteLabel")


class NoteLabel(DbObject):
    """Which note has which label."""

    dbo_tablename = "note_labels"
    note = ForeignKey(Note, primary_key=True, on_delete="cascade")
    label = ForeignKey(lambda: Label, primary_key=True, on_delete="cascade", index=True)


class Employee(DbObject):
    """A self reference, and a target that is defined later."""

    dbo_tablename = "employees"
    id = Integer(primary_key=True)
    name = Text(max_length=20)
    boss: ForeignKey[Employee, Reference[Employee] | None] = ForeignKey("self", nullable=True, on_delete="set null")
    department = ForeignKey(lambda: Department, nullable=True, on_delete="restrict")
    reports: Reverse[Employee] = Reverse("Employee.boss")


class Department(DbObject):
    """A key that the program makes."""

    dbo_tablename = "departments"
    id = Uuid(primary_key=True, default=uuid.uuid4)
    name = Text(max_length=20)
    members: Reverse[Employee] = Reverse("Employee.department")


class Document(DbObject):
    """An optimistic lock, and a value with an inside."""

    dbo_tablename = "documents"
    id = Integer(primary_key=True)
    title = Text(max_length=40)
    place = Json(Place, nullable=True)
    version = Version()


class Article(DbObject):
    """What is searched by words."""

    dbo_tablename = "articles"
    id = Integer(primary_key=True)
    title = Text(max_length=100)
    body = Text()
    words = FullText("title", "body")


class Everything(DbObject):
    """Every kind of column, with values and without."""

    dbo_tablename = "everything"
    id = Integer(primary_key=True)
    integer = Integer(nullable=True)
    big = BigInteger(nullable=True, index=True)
    real = Float(nullable=True)
    price = Decimal(12, 3, nullable=True)
    short = Text(max_length=50, nullable=True, index=True)
    long = Text(nullable=True)
    truth = Boolean(nullable=True)
    moment = Timestamp(nullable=True)
    day = Date(nullable=True)
    few = Bytes(max_length=50, nullable=True)
    many = Bytes(nullable=True)
    json = Json(dict[str, list[int | None]], nullable=True)
    color = Enum(Color, nullable=True)
    level = Enum(Level, nullable=True)
    key = Uuid(nullable=True, unique=True)


class Made(DbObject):
    """What the database makes."""

    dbo_tablename = "made"
    id = Integer(primary_key=True)
    at = Timestamp(default=current_timestamp())
    number = Integer(default=0)


TABLES: tuple[type[DbObject], ...] = (
    Author, Note, Pair, Label, NoteLabel, Department, Employee, Document, Article, Everything, Made,
)  # fmt: skip
"""In an order in which they can be made."""


async def create_all(database: Database, tables: Sequence[type[DbObject]] = TABLES) -> None:
    """Make tables, in one transaction where the database has that."""
    async with database.transaction(60.0) as tx:
        for table in tables:
            for sql in TableDefinition.of(table).create(database.dialect):
                await tx.execute(Statement(sql))


async def drop_all(database: Database, tables: Sequence[type[DbObject]]) -> None:
    """Remove tables that a test has made for itself."""
    for table in reversed(tables):
        for declared in table.dbo_fulltexts:
            name = full_text_name(table.dbo_tablename, declared.name)
            for sql in database.dialect.drop_full_text(table.dbo_tablename, name):
                await database.execute(Statement(sql))
        await database.execute(Statement(f"DROP TABLE {database.dialect.quote(table.dbo_tablename)}"))

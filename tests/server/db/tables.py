"""The tables that the tests of DbObject use."""

from __future__ import annotations

import datetime as dt

from server.db import (
    Boolean,
    Bytes,
    DbObject,
    Float,
    ForeignKey,
    Integer,
    Json,
    Text,
    Timestamp,
    index,
    now,
    unique,
)


class Author(DbObject):
    """Somebody who writes."""

    dbo_tablename = "authors"
    id = Integer(primary_key=True)
    name = Text(max_length=20, unique=True)
    born = Timestamp(nullable=True)


class Note(DbObject):
    """Something of every kind."""

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


class Pair(DbObject):
    """A composite key; `order` is a word of SQL."""

    dbo_tablename = "pairs"
    left = Integer(primary_key=True)
    order = Text(max_length=10, primary_key=True)
    value = Integer(nullable=True)


TABLES: tuple[type[DbObject], ...] = (Author, Note, Pair)
MOMENT = dt.datetime(2026, 2, 3, 4, 5, 6, 789012, tzinfo=dt.UTC)

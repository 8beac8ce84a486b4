"""How SQLite wants things written."""

from __future__ import annotations

import datetime as dt
from typing import Any

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.db import DbObject, ForeignKey, Integer, QueryError, Text, Timestamp, current_timestamp
from server.db.schema import TableDefinition
from server.db.sqlite.dialect import SQLITE
from tests.server.db.tables import Author, Employee, Made, Note, NoteLabel, Pair


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("name", "name"),
        ("Name", "Name"),
        ("order", '"order"'),
        ("Group", '"Group"'),
        ("naïve", '"naïve"'),
        ("_x1", "_x1"),
        ("key", '"key"'),
    ],
)
def test_names(name: str, quoted: str) -> None:
    """A name is quoted only where SQL would take it for something else."""
    assert SQLITE.quote(name) == quoted


@given(st.text(max_size=20))
def test_no_name_is_syntax(name: str) -> None:
    """FAULTS 30: whatever is asked for as a name is one name to SQLite, or refused."""
    try:
        quoted = SQLITE.quote(name)
    except QueryError:
        assert not name.isidentifier()
        return
    connection = apsw.Connection(":memory:")
    connection.execute(f"CREATE TABLE {quoted} (x)")
    assert connection.execute("SELECT count(*) FROM sqlite_schema").fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("table", "statements"),
    [
        (
            Author,
            [
                (
                    "CREATE TABLE authors (\n    id INTEGER NOT NULL PRIMARY KEY,\n    name TEXT NOT NULL,\n"
                    "    born INTEGER\n) STRICT"
                ),
                "CREATE UNIQUE INDEX authors_name ON authors (name)",
            ],
        ),
        (
            Pair,
            [
                (
                    'CREATE TABLE pairs (\n    "left" INTEGER NOT NULL,\n    "order" TEXT NOT NULL,\n'
                    "    value INTEGER,\n"
                    '    PRIMARY KEY ("left", "order")\n) STRICT'
                )
            ],
        ),
        (
            NoteLabel,
            [
                (
                    "CREATE TABLE note_labels (\n    note INTEGER NOT NULL,\n    label TEXT NOT NULL,\n"
                    "    PRIMARY KEY (note, label),\n"
                    "    CONSTRAINT fk_note_labels_note FOREIGN KEY (note) REFERENCES notes (id) ON DELETE CASCADE,\n"
                    "    CONSTRAINT fk_note_labels_label FOREIGN KEY (label) REFERENCES labels (name) "
                    "ON DELETE CASCADE\n) STRICT"
                ),
                "CREATE INDEX note_labels_label ON note_labels (label)",
            ],
        ),
        (
            Made,
            [
                (
                    "CREATE TABLE made (\n    id INTEGER NOT NULL PRIMARY KEY,\n"
                    "    at INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)),\n"
                    "    number INTEGER NOT NULL\n) STRICT"
                )
            ],
        ),
    ],
)
def test_tables(table: type[DbObject], statements: list[str]) -> None:
    """A table is made as one would make it by hand, its indexes after it."""
    assert list(TableDefinition.of(table).create(SQLITE)) == statements


def test_every_table_can_be_made() -> None:
    """SQLite takes what is written, and enforces the foreign keys in it."""
    connection = apsw.Connection(":memory:")
    for table in (Author, Note, Employee):
        for statement in TableDefinition.of(table).create(SQLITE):
            connection.execute(statement)
    keys = connection.execute("SELECT \"table\", on_delete FROM pragma_foreign_key_list('employees')").fetchall()
    assert sorted(keys) == [("departments", "RESTRICT"), ("employees", "SET NULL")]


@pytest.mark.parametrize(
    ("pattern", "glob"),
    [("a%", "a*"), ("a_", "a?"), ("a\\%", "a%"), ("a\\\\", "a\\"), ("a*?[]", "a[*][?][[]]"), ("a\\", "a\\"), ("", "")],
)
def test_like_is_glob(pattern: str, glob: str) -> None:
    """SQLite's LIKE does not heed case, and its GLOB does."""
    assert SQLITE.like(pattern) == (" GLOB {}", glob)


@given(st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.binary()
       | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")) | st.none())  # fmt: skip
def test_literals(value: Any) -> None:
    """What stands in a default is the value that it was."""
    connection = apsw.Connection(":memory:")
    assert connection.execute(f"SELECT {SQLITE.literal(value)}").fetchall() == [(value,)]


@given(st.datetimes(timezones=st.just(dt.UTC)), st.datetimes(timezones=st.just(dt.UTC)))
def test_moments_sort_as_they_are_kept(one: dt.datetime, other: dt.datetime) -> None:
    """A moment is a whole number that is larger for what is later."""
    keep = SQLITE.keeper(Timestamp().value_type)
    assert keep is not None
    assert (keep(one) < keep(other)) == (one < other)


def test_only_the_databases_own_defaults_are_in_the_table() -> None:
    """What the class makes is not the database's: the text of the table has only what the database computes."""

    class Defaulted(DbObject):
        dbo_tablename = "defaulted"
        id = Integer(primary_key=True)
        at = Timestamp(default=current_timestamp())
        text = Text(default="x")
        author = ForeignKey(Author, nullable=True)

    (sql,) = TableDefinition.of(Defaulted).create(SQLITE)
    assert "DEFAULT (CAST" in sql
    assert "'x'" not in sql

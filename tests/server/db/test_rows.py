"""One object's own row: statements that are written once, with the arguments of each object."""

from __future__ import annotations

from typing import Any

import pytest

from server.db import Database, QueryError, ValidationError
from server.db.dialects import Dialect
from server.db.mysql.dialect import MARIADB, MYSQL
from server.db.rows import DeleteRow, GetRow, InsertRow, UpdateRow, statement_for
from server.db.sqlite.dialect import SQLITE
from tests.server.db.golden import for_servers
from tests.server.db.tables import MOMENT, Author, Document, Label, Note, NoteLabel, Pair, Place

GOLDEN: list[tuple[Any, Any, list[str], str, str | None]] = [
    (GetRow, Author, [], "SELECT id, name, born FROM authors WHERE id = ?", None),
    (
        GetRow,
        Pair,
        [],
        'SELECT "left", "order", value FROM pairs WHERE "left" = ? AND "order" = ?',
        "SELECT `left`, `order`, value FROM pairs WHERE `left` = %s AND `order` = %s",
    ),
    (InsertRow, Author, ["id"], "INSERT INTO authors (name, born) VALUES (?, ?)", None),
    (InsertRow, Author, [], "INSERT INTO authors (id, name, born) VALUES (?, ?, ?)", None),
    (UpdateRow, Author, ["name", "born"], "UPDATE authors SET name = ?, born = ? WHERE id = ?", None),
    (
        UpdateRow,
        Document,
        ["title"],
        "UPDATE documents SET title = ?, version = version + 1 WHERE id = ? AND version = ?",
        None,
    ),
    (DeleteRow, NoteLabel, [], "DELETE FROM note_labels WHERE note = ? AND label = ?", None),
    (DeleteRow, Document, [], "DELETE FROM documents WHERE id = ? AND version = ?", None),
]


@pytest.mark.parametrize(("kind", "owner", "columns", "sqlite", "servers"), GOLDEN)
def test_golden_sql(kind: Any, owner: Any, columns: list[str], sqlite: str, servers: str | None) -> None:
    """A row is found by its whole key, and by its version where it is changed."""
    chosen = [owner.dbo_by_name[name] for name in columns]
    assert statement_for(kind, owner, SQLITE, chosen).sql == sqlite
    for dialect in (MYSQL, MARIADB):
        assert statement_for(kind, owner, dialect, chosen).sql == for_servers(sqlite, servers)


def test_a_statement_is_written_once() -> None:
    """For a class, a dialect and some columns there is one, and no other class has it."""
    one = statement_for(GetRow, Author, SQLITE)
    assert statement_for(GetRow, Author, SQLITE) is one
    assert statement_for(GetRow, Author, MYSQL) is not one
    name = Author.dbo_by_name["name"]
    assert statement_for(UpdateRow, Author, SQLITE, [name]) is statement_for(UpdateRow, Author, SQLITE, [name])
    assert statement_for(GetRow, Label, SQLITE) is not one


@pytest.mark.parametrize(("dialect", "moment"), [(SQLITE, 1770091506789012), (MYSQL, "2026-02-03 04:05:06.789012")])
def test_arguments_are_as_the_database_keeps_them(dialect: Dialect, moment: object) -> None:
    """In the order of the placeholders, each in the form of its column."""
    author = Author(id=5, name="a", born=MOMENT)
    insert = statement_for(InsertRow, Author, dialect, [Author.dbo_by_name["id"]])
    assert list(insert.statement(author.dbo_values).arguments) == ["a", moment]
    update = statement_for(UpdateRow, Author, dialect, [Author.dbo_by_name["born"]])
    assert list(update.statement(author.dbo_values).arguments) == [moment, 5]
    document = Document(id=3, title="t", place=Place("Oslo"))
    stored = statement_for(UpdateRow, Document, dialect, [Document.dbo_by_name["place"]])
    assert list(stored.statement(document.dbo_values).arguments) == ['{"city":"Oslo","floors":[]}', 3, 1]


def test_keys_are_checked() -> None:
    """A key of another type, or of another number of columns, is refused."""
    for key in (("1",), (1.5,), (True,), (None,), (b"1",)):
        with pytest.raises(QueryError, match="the key of Author"):
            statement_for(GetRow, Author, SQLITE).statement(key)
    for number in ((), (1, 2)):
        with pytest.raises(QueryError, match="has 1 columns"):
            statement_for(GetRow, Author, SQLITE).statement(number)


def test_references_are_keys() -> None:
    """An object stands for its key, also where it is a part of a key."""
    note, label = Note(id=4, author=1), Label(name="l")
    note.dbo_stored = label.dbo_stored = True
    assert list(statement_for(GetRow, NoteLabel, SQLITE).statement((note, label)).arguments) == [4, "l"]


async def test_get(db: Database) -> None:
    """A row by its key, or nothing."""
    assert await Author.get(db, 1) is None
    await Author(name="a", born=MOMENT).insert(db)
    author = await Author.get(db, 1)
    assert author is not None
    assert (author.name, author.born, author.dbo_stored) == ("a", MOMENT, True)
    assert await Author.prefix("x").get(db, 1) is not None


def test_what_is_missing_is_named() -> None:
    """An insert needs all values."""
    with pytest.raises(ValidationError, match=r"authors\.name: needs a value"):
        statement_for(InsertRow, Author, SQLITE).statement(Author(id=1).dbo_values)

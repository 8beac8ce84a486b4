"""Objects write their own rows, check their own values, and know what changed."""

from __future__ import annotations

import datetime as dt
from typing import Any, assert_type

import pytest

from server.db import (
    Database,
    ForeignKeyViolation,
    NotStored,
    QueryError,
    UniqueViolation,
    ValidationError,
    now,
)
from server.db.columns import ColumnExpression
from tests.server.db.tables import MOMENT, Author, Note, Pair


@pytest.fixture
async def ann(db: Database) -> Author:
    return await Author(name="ann").insert(db)


async def test_everything_comes_back_as_it_was(db: Database, ann: Author) -> None:
    """Each kind of value survives the database, to the microsecond and the byte."""
    note = Note(author=ann.id, number=-(2**63), text="grün 😀 \0", comment=None, score=0.1, done=True,
                data=b"\x00\xff", tags=["a", "b"], made_at=MOMENT)  # fmt: skip
    await note.insert(db)
    (read,) = await Note.select(db)
    assert read.dbo_values == note.dbo_values
    assert read.made_at == MOMENT
    assert read.made_at.tzinfo is dt.UTC
    assert read.done is True


async def test_insert_reads_what_the_database_made(db: Database) -> None:
    """The key comes from the database; defaults from the class."""
    first, second = await Author(name="a").insert(db), await Author(name="b").insert(db)
    assert (first.id, second.id) == (1, 2)
    assert first.dbo_stored
    given = await Author(id=77, name="c").insert(db)
    assert given.id == 77


async def test_an_object_is_inserted_once(db: Database, ann: Author) -> None:
    """An object that has a row does not get another one."""
    with pytest.raises(QueryError, match="stored already"):
        await ann.insert(db)


async def test_save_writes_what_changed_and_nothing_else(db: Database, ann: Author) -> None:
    """Another's change of another column survives; without a change there is no query."""
    note = await Note(author=ann.id, text="one").insert(db)
    await Note.update(db).set(Note.comment, "by somebody else").where(Note.id == note.id)
    note.text = "two"
    assert {column.name for column in note.dbo_changed} == {"text"}
    await note.save(db)
    assert not note.dbo_changed
    await note.refresh(db)
    assert (note.text, note.comment) == ("two", "by somebody else")
    note.text = "two"
    assert not note.dbo_changed

    class NoDatabase:
        dialect = db.dialect

        async def execute(self, statement: Any) -> Any:
            raise AssertionError("nothing changed")

    await note.save(NoDatabase())


async def test_save_inserts_a_new_object(db: Database) -> None:
    """Saving is enough for objects without a row."""
    assert (await Author(name="new").save(db)).id == 1


async def test_immutable_columns_are_never_written_again(db: Database, ann: Author) -> None:
    """What is immutable can be set until the insert, and not after it; nor by a query."""
    note = Note(author=ann.id)
    note.made_at = MOMENT
    await note.insert(db)
    with pytest.raises(ValidationError, match=r"notes\.made_at: is immutable"):
        note.made_at = now()
    with pytest.raises(ValidationError, match=r"notes\.id: is immutable"):
        Note.update(db).set(Note.id, 3)


async def test_delete_and_refresh_need_a_row(db: Database, ann: Author) -> None:
    """An object knows whether it is stored; what is gone is said to be gone."""
    twin = await Author.get(db, ann.id)
    assert twin is not None
    await ann.delete(db)
    assert await Author.get(db, ann.id) is None
    for gone in (twin.refresh(db), twin.delete(db), ann.delete(db), ann.refresh(db)):
        with pytest.raises(NotStored):
            await gone
    twin.name = "other"
    with pytest.raises(NotStored):
        await twin.save(db)
    assert (await ann.insert(db)).dbo_stored


async def test_composite_keys(db: Database) -> None:
    """A key of several columns, one of them named like a word of SQL, works everywhere."""
    pair = await Pair(left=1, order="a", value=5).insert(db)
    pair.value = 6
    await pair.save(db)
    read = await Pair.get(db, 1, "a")
    assert read is not None
    assert read.value == 6
    await read.delete(db)
    assert await Pair.select(db).count() == 0
    with pytest.raises(QueryError, match="has 2 columns"):
        await Pair.get(db, 1)


async def test_the_database_keeps_its_promises(db: Database, ann: Author) -> None:
    """Unique and foreign keys are the database's, and have errors of their own that tell no value."""
    with pytest.raises(UniqueViolation, match=r"authors\.name is taken") as taken:
        await Author(name="ann").insert(db)
    assert "'ann'" not in str(taken.value)
    with pytest.raises(ForeignKeyViolation):
        await Note(author=999).insert(db)
    await Note(author=ann).insert(db)
    await ann.delete(db)
    assert await Note.select(db).count() == 0


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("text", "x" * 101, "has at most 100 characters"),
        ("text", 3, "is text, not int"),
        ("text", None, "needs a value"),
        ("text", "\ud800", "surrogate"),
        ("number", "3", "is a whole number, not str"),
        ("number", True, "is a whole number, not bool"),
        ("number", 2**63, "does not fit into 64 bits"),
        ("score", "x", "is a number"),
        ("done", 1, "is true or false"),
        ("data", "x", "is bytes"),
        ("tags", [1], "Expected `str`"),
        ("made_at", dt.datetime(2026, 1, 1), "needs a time zone"),
        ("made_at", 3, "is a moment"),
        ("author", None, "needs a value"),
        ("author", "x", "is a whole number"),
    ],
)
def test_values_are_checked_when_they_are_set(column: str, value: object, reason: str) -> None:
    """An error names table, column and reason, where the mistake is made and not later."""
    with pytest.raises(ValidationError, match=reason) as wrong:
        Note(**{column: value})
    assert str(wrong.value).startswith(f"notes.{column}: ")
    note = Note()
    with pytest.raises(ValidationError):
        setattr(note, column, value)


def test_unknown_columns_and_unstored_targets() -> None:
    """A mistyped name is an error, and so is a reference to what has no key yet."""
    with pytest.raises(QueryError, match="Note has no column txt"):
        Note(txt="x")
    with pytest.raises(ValidationError, match="not stored yet"):
        Note(author=Author(name="new"))


async def test_missing_values_are_named(db: Database) -> None:
    """An insert without a required value says which."""
    with pytest.raises(ValidationError, match=r"notes\.author: needs a value"):
        await Note().insert(db)


def test_types() -> None:
    """On the class a column is an expression, on an object a value; nullable ones may be None."""
    assert_type(Note.number, ColumnExpression[int])
    assert_type(Note.comment, ColumnExpression[str | None])
    note = Note()
    assert_type(note.number, int)
    assert_type(note.comment, str | None)
    assert_type(note.made_at, dt.datetime)
    assert_type(note.author, int)
    assert_type(note.tags, list[str])
    assert repr(Note.number) == "<Note.number>"
    assert repr(note) == "<Note id=None>"

"""What every column has: defaults, checks, and errors that name table, column and reason."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from server.db import (
    Database,
    DbObject,
    Float,
    Integer,
    QueryError,
    Text,
    Timestamp,
    UniqueViolation,
    ValidationError,
    current_timestamp,
    length,
    now,
)
from server.db.expressions import Value
from server.db.objects import values_of
from server.db.value_types import INTEGER, TEXT
from tests.server.db.tables import Author, Note, create_all


def not_shouting(text: str) -> None:
    if text.isupper():
        raise ValueError("shouts")


class Message(DbObject):
    """Every option."""

    dbo_tablename = "messages"
    id = Integer(primary_key=True)
    text = Text(max_length=50, check=not_shouting, unique=True)
    stars = Integer(default=3, index=True)
    nothing = Integer(nullable=True)
    made_at = Timestamp(default=now, immutable=True)
    stored_at = Timestamp(default=current_timestamp())
    weight = Float(default=Value(1.5))
    phrase = Text(max_length=50, default=Value('it\'s a \\ "test" ?', TEXT))
    size = Integer(default=Value(-7, INTEGER))


@pytest.fixture
async def messages(db: Database) -> Database:
    await create_all(db, [Message])
    return db


async def test_defaults(messages: Database) -> None:
    """A value, a function, or an expression that the database evaluates, whose value is read back."""
    new = Message(text="a")
    assert (new.stars, new.nothing) == (3, None)
    assert abs(new.made_at - now()) < dt.timedelta(minutes=1)
    assert values_of(new)["stored_at"] is None
    await new.insert(messages)
    assert abs(new.stored_at - now()) < dt.timedelta(minutes=1)
    assert (new.weight, new.phrase, new.size) == (1.5, 'it\'s a \\ "test" ?', -7)
    assert await Message.select(messages, Message.phrase, Message.size).one() == (new.phrase, new.size)
    given = await Message(text="b", weight=2.5, size=1).insert(messages)
    assert (given.weight, given.size, given.phrase) == (2.5, 1, new.phrase)


def test_a_default_is_made_for_each() -> None:
    """A function is called for every object."""
    numbers = iter(range(10))

    class Numbered(DbObject):
        dbo_tablename = "numbered"
        id = Integer(primary_key=True, default=lambda: next(numbers))

    assert [Numbered().id for _ in range(3)] == [0, 1, 2]


async def test_a_default_that_does_not_fit(messages: Database) -> None:
    """A default is checked like any value before it is written."""

    class Strange(DbObject):
        dbo_tablename = "messages"
        id = Integer(primary_key=True)
        text: Text[Any] = Text(max_length=50, default=lambda: None)  # type: ignore[arg-type,return-value]  # tested

    with pytest.raises(ValidationError, match=r"messages\.text: needs a value"):
        await Strange().insert(messages)


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
    assert (wrong.value.table, wrong.value.column) == ("notes", column)
    note = Note()
    with pytest.raises(ValidationError):
        setattr(note, column, value)
    with pytest.raises(ValidationError):
        Note.insert_many(None, [{getattr(Note, column): value}])
    if column != "made_at":
        with pytest.raises(ValidationError):
            Note.update().set(getattr(Note, column), value)


async def test_checks_of_ones_own(messages: Database) -> None:
    """A check refuses a value with its reason wherever it is set."""
    for attempt in (
        lambda: Message(text="LOUD"),
        lambda: Message.insert_many(None, [{Message.text: "LOUD"}]),
        lambda: Message.update().set(Message.text, "LOUD"),
    ):
        with pytest.raises(ValidationError, match=r"^messages\.text: shouts$"):
            attempt()
    assert Message(text="quiet").text == "quiet"


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: Author(name="secret" * 10),
        lambda: Note(number="secret"),
        lambda: Note(score="secret"),
        lambda: Note(made_at="secret"),
        lambda: Note.update().set(Note.data, "secret"),
        lambda: Note(tags=[{"secret": 1}]),
        lambda: Note.insert_many(None, [{Note.author: "secret"}]),
    ],
)
def test_errors_do_not_tell_values(attempt: Callable[[], object]) -> None:
    """A password that does not fit stands in no log."""
    with pytest.raises(ValidationError) as wrong:
        attempt()
    assert "secret" not in str(wrong.value)


async def test_unique_columns(messages: Database) -> None:
    """No two rows have the same value; one that may be missing may be missing often."""
    await Message(text="a").insert(messages)
    with pytest.raises(UniqueViolation):
        await Message(text="a").insert(messages)
    await Message(text="A " + "a").insert(messages)


def test_a_value_stays_where_it_is_set() -> None:
    """Two objects, or two classes with the same column, share nothing."""
    one, two = Note(text="one"), Note(text="two")
    one.text = "three"
    assert (one.text, two.text) == ("three", "two")


def test_an_expression_is_no_value_of_an_object() -> None:
    """What only the database can compute is for queries."""
    with pytest.raises(ValidationError, match="is a whole number"):
        Note(number=length(Note.text))


def test_setting_the_same_value_is_no_change() -> None:
    """Only what is different is written."""
    note = Note.dbo_read(Note(author=1, text="a").dbo_values)
    note.text = "a"
    assert note.changed_columns() == []
    note.text = "b"
    assert [column.name for column in note.changed_columns()] == ["text"]


def test_truth_and_numbers_are_not_the_same_change() -> None:
    """A value of another type is refused, though Python takes True for 1."""
    note = Note.dbo_read(Note(author=1, done=True, number=1).dbo_values)
    with pytest.raises(ValidationError):
        note.done = 1  # type: ignore[assignment]  # what is tested
    with pytest.raises(ValidationError):
        note.number = True
    assert note.changed_columns() == []


def test_a_column_needs_a_table() -> None:
    """The name of a column is that of its attribute; a prefix has the same columns."""
    assert [column.name for column in Message.dbo_columns][:3] == ["id", "text", "stars"]
    assert Message.prefix("m") is Message.prefix("m")
    assert repr(Message.prefix("m").text) == "<Message.text>"
    with pytest.raises(QueryError, match="no column"):
        Message(txet="x")

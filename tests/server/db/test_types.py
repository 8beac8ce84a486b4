"""What mypy knows: these tests say it, and `make lint` proves it."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from typing import Any, assert_type

import msgspec

from server.db import (
    CommonTable,
    Database,
    Expression,
    ManyToMany,
    Predicate,
    Reference,
    Related,
    Reverse,
    Select,
    Statement,
    Transaction,
    case,
    coalesce,
    count,
    cte,
    length,
    max_,
    sum_,
    union,
)  # fmt: skip
from server.db.columns import ColumnExpression
from server.db.foreign_keys import ForeignKeyExpression
from server.db.selection import Selection
from tests.server.db.tables import (
    Author,
    Color,
    Department,
    Document,
    Employee,
    Everything,
    Label,
    Level,
    Made,
    Note,
    Pair,
    Place,
)  # fmt: skip


def test_columns() -> None:
    """On the class a column is an expression, on an object a value."""
    assert_type(Note.number, ColumnExpression[int])
    assert_type(Note.text, ColumnExpression[str])
    assert_type(Note.score, ColumnExpression[float])
    assert_type(Note.done, ColumnExpression[bool])
    assert_type(Note.tags, ColumnExpression[list[str]])
    assert_type(Note.made_at, ColumnExpression[dt.datetime])
    assert_type(Label.color, ColumnExpression[Color])
    assert_type(Department.id, ColumnExpression[uuid.UUID])
    assert_type(Document.version, ColumnExpression[int])
    note, label, department, document = Note(), Label(), Department(), Document()
    assert_type(note.number, int)
    assert_type(note.text, str)
    assert_type(note.score, float)
    assert_type(note.done, bool)
    assert_type(note.tags, list[str])
    assert_type(note.made_at, dt.datetime)
    assert_type(label.color, Color)
    assert_type(department.id, uuid.UUID)
    assert_type(document.version, int)


def test_nullable_columns() -> None:
    """One that may be without a value may be None."""
    assert_type(Note.comment, ColumnExpression[str | None])
    assert_type(Everything.price, ColumnExpression[decimal.Decimal | None])
    everything, document = Everything(), Document()
    assert_type(everything.integer, int | None)
    assert_type(everything.big, int | None)
    assert_type(everything.real, float | None)
    assert_type(everything.price, decimal.Decimal | None)
    assert_type(everything.short, str | None)
    assert_type(everything.truth, bool | None)
    assert_type(everything.moment, dt.datetime | None)
    assert_type(everything.day, dt.date | None)
    assert_type(everything.few, bytes | None)
    assert_type(everything.json, dict[str, list[int | None]] | None)
    assert_type(everything.color, Color | None)
    assert_type(everything.level, Level | None)
    assert_type(everything.key, uuid.UUID | None)
    assert_type(document.place, Place | None)
    assert_type(Made().at, dt.datetime)


def test_foreign_keys_and_relations() -> None:
    """A foreign key is a reference to its target, or None where it may be; what leads to many is a list of them."""
    note, employee, author = Note(author=1), Employee(), Author()
    assert_type(Note.author, ForeignKeyExpression[Author])
    assert_type(note.author, Reference[Author])
    assert_type(employee.boss, Reference[Employee] | None)
    assert_type(employee.department, Reference[Department] | None)
    assert_type(Author.notes, Reverse[Note])
    assert_type(author.notes, Related[Note])
    assert_type(Note.labels, ManyToMany[Label])
    assert_type(note.labels, Related[Label])
    assert employee.boss is None


def test_expressions() -> None:
    """Operators keep types, and comparisons are predicates."""
    assert_type(Note.number == 1, Predicate)
    assert_type(Note.number > 1, Predicate)
    assert_type((Note.number == 1) & ~(Note.text == "x"), Predicate)
    assert_type(Note.number + 1, Expression[int])
    assert_type(Note.number / 2, Expression[float])
    assert_type(Note.text.concat("x"), Expression[str])
    assert_type(Note.text.like("x"), Predicate)
    assert_type(count(), Expression[int])
    assert_type(length(Note.text), Expression[int])
    assert_type(max_(Note.made_at), Expression[dt.datetime | None])
    assert_type(sum_(Note.number), Expression[int | None])
    assert_type(coalesce(Note.comment, "x"), Expression[str])
    assert_type(case((Note.number > 1, "many"), else_="few"), Expression[str])
    assert isinstance(Note.number, Expression)


def test_queries() -> None:
    """Rows are objects, or tuples of what was asked for; a prefix is a class like its own."""
    assert_type(Note.select(None), Select[Note])
    assert_type(Note.select(None, Note.id), Select[tuple[int]])
    assert_type(Note.select(None, Note.id, Note.comment), Select[tuple[int, str | None]])
    assert_type(Note.select(None, Note.id, Note.text, Note.tags), Select[tuple[int, str, list[str]]])
    assert_type(Note.select(None, Note.id, Note.text, Note.done, count()), Select[tuple[int, str, bool, int]])
    assert_type(Note.prefix("n"), type[Note])
    assert_type(Note.prefix("n").select(None), Select[Note])
    assert_type(Note.select(None).where(Note.id == 1).order_by(Note.id.desc()).limit(1), Select[Note])
    assert_type(Note.select(None).with_(Note.author, Author.notes), Select[Note])
    assert_type(cte("x", Note.select(None)), CommonTable)
    assert Note.select(None).sql


class Line(msgspec.Struct):
    """Two columns."""

    id: int
    text: str


async def test_results(db: Database) -> None:
    """What comes back is what was asked for, or perhaps nothing."""
    await Author(name="a").insert(db)
    note = await Note(author=1, text="x").insert(db)
    assert_type(note, Note)
    assert_type(await note.save(db), Note)
    assert_type(await note.refresh(db), Note)
    assert_type(await Note.get(db, 1), Note | None)
    assert_type(await Note.select(db), list[Note])
    query = Note.select(db, Note.id, Note.text)
    assert_type(await query, list[tuple[int, str]])
    assert_type(await query.first(), tuple[int, str] | None)
    assert_type(await query.one(), tuple[int, str])
    assert_type(await query.count(), int)
    assert_type(await query.exists(), bool)
    assert_type(query.into(Line), Selection[Line])
    assert_type(await query.into(Line), list[Line])
    assert_type(await Note.select(db).first(), Note | None)
    assert_type(await Note.select(db).one(), Note)
    assert_type(await union(query, query), list[tuple[int, str]])
    async for row in query:
        assert_type(row, tuple[int, str])
    async for read in Note.select(db):
        assert_type(read, Note)
    assert_type(await note.author.get(db), Author)
    assert_type(note.author.loaded, Author)
    assert_type(await (await note.author.get(db)).notes.get(db), list[Note])


async def test_writes(db: Database) -> None:
    """A write gives a number, or the rows that it returns."""
    rows = [{Author.name: "a"}]
    assert_type(await Author.insert_many(db, rows), int)
    assert_type(await Author.update(db).set(Author.name, "b").all_rows(), int)
    update = Author.update(db).set(Author.name, "c").where(Author.id == 1)
    assert_type(await update.returning(Author.id), list[tuple[Any, ...]])
    assert_type(await Author.delete_from(db).where(Author.id == 1).returning(Author.id), list[tuple[Any, ...]])
    assert_type(await Author.delete_from(db).where(Author.id == 1), int)
    assert_type(await db.atomic([Author.insert_many(None, rows)]), list[Any])


async def test_transactions(db: Database) -> None:
    """A function's result is that of the transaction."""

    async def work(tx: Transaction) -> tuple[int, str]:
        await tx.execute(Statement("SELECT 1", (), writes=False))
        return 1, "x"

    assert_type(await db.transaction(retries=1).run(work), tuple[int, str])
    async with db.transaction() as tx:
        assert_type(tx, Transaction)
        async with tx.transaction() as inner:
            assert_type(inner, Transaction)


def test_what_mypy_refuses() -> None:
    """Each ignored line is a mistake that mypy finds: where it no longer does, the ignore is an error."""
    note, pair = Note(), Pair()
    _ = [
        lambda: setattr(note, "number", "x"),
        lambda: Note.number == "x",
        lambda: Note.select(None).where(True),  # type: ignore[arg-type]
        lambda: Note.number + "x",  # type: ignore[operator]
        lambda: Note.number.in_(["x"]),  # type: ignore[list-item]
        lambda: Note.number.between("a", "b"),  # type: ignore[arg-type]
        lambda: Note.select(None).order_by("x"),  # type: ignore[arg-type]
        lambda: Note.select(None).join("x", Note.id == 1),  # type: ignore[arg-type]
        lambda: note.nothing,  # type: ignore[attr-defined]
        lambda: Note.nothing,  # type: ignore[attr-defined]
        lambda: pair.left + "x",  # type: ignore[operator]
        lambda: Note.number & Note.number,  # type: ignore[misc, operator]
    ]

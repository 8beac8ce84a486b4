"""Functions of the database, and what their values are in Python."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import Any

import pytest

from server.db import (
    Database,
    QueryError,
    avg,
    case,
    coalesce,
    count,
    current_timestamp,
    exists,
    length,
    lower,
    max_,
    min_,
    now,
    sum_,
)  # fmt: skip
from server.db.compiler import Compilable
from server.db.sqlite.dialect import SQLITE
from server.db.writes import Assigned
from tests.server.db.golden import SERVERS, for_servers, golden
from tests.server.db.tables import MOMENT, Author, Color, Everything, Note, Pair


@pytest.mark.parametrize(
    ("expression", "sqlite", "servers", "arguments"),
    [
        (coalesce(Note.comment, "none"), "coalesce(comment, ?)", None, ["none"]),
        (
            case((Note.number > 1, "many"), (Note.number == 1, "one"), else_="none"),
            "CASE WHEN number > ? THEN ? WHEN number = ? THEN ? ELSE ? END",
            None,
            [1, "many", 1, "one", "none"],
        ),
        (case((Note.number > 1, Note.number), else_=0), "CASE WHEN number > ? THEN number ELSE ? END", None, [1, 0]),
        (count(), "count(*)", None, []),
        (count(Note.comment), "count(comment)", None, []),
        (count(Note.comment, distinct=True), "count(DISTINCT comment)", None, []),
        (sum_(Note.number), "sum(number)", None, []),
        (min_(Note.number), "min(number)", None, []),
        (max_(Note.number), "max(number)", None, []),
        (avg(Note.number), "avg(number)", "avg(number + 0e0)", []),
        (avg(Everything.price), "avg(price) / 1e3", "avg(price + 0e0)", []),
        (lower(Note.text), "lower(text)", None, []),
        (length(Note.text), "length(text)", "char_length(text)", []),
        (current_timestamp(), "CAST(unixepoch('subsec') * 1000000 AS INTEGER)", "utc_timestamp(6)", []),
        (
            exists(Note.select(None, Note.id).where(Note.author == Author.id)),
            "EXISTS (SELECT notes.id FROM notes WHERE notes.author = authors.id)",
            None,
            [],
        ),
        (
            ~exists(Note.select(None, Note.id).where(Note.author == Author.id)),
            "NOT (EXISTS (SELECT notes.id FROM notes WHERE notes.author = authors.id))",
            None,
            [],
        ),
    ],
)
def test_golden_sql(expression: Compilable, sqlite: str, servers: str | None, arguments: list[Any]) -> None:
    """A function is written as each database has it."""
    assert golden(expression, SQLITE) == (sqlite, arguments)
    for dialect in SERVERS:
        assert golden(expression, dialect) == (for_servers(sqlite, servers), arguments)


@pytest.fixture
async def prices(db: Database) -> Database:
    """Three rows with values and one without."""
    rows: list[Assigned] = [
        {Everything.integer: n, Everything.real: n / 2, Everything.price: decimal.Decimal(n) / 8,
         Everything.short: "ab" * n, Everything.moment: MOMENT + dt.timedelta(n), Everything.day: dt.date(2026, 1, n),
         Everything.color: Color.RED if n == 1 else Color.BLUE}
        for n in (1, 2, 4)
    ]  # fmt: skip
    await Everything.insert_many(db, [*rows, {}])
    return db


async def test_aggregates_are_values_of_their_columns_types(prices: Database) -> None:
    """What is added up, or is the smallest or the largest, is of the column's type; the mean is a float."""
    of = Everything
    row = await of.select(
        prices, count(), count(of.integer), sum_(of.integer), min_(of.integer), max_(of.integer), avg(of.integer)
    ).one()
    assert row == (4, 3, 7, 1, 4, 7 / 3)
    assert [type(value) for value in row] == [int, int, int, int, int, float]
    exact = await of.select(prices, sum_(of.price), min_(of.price), max_(of.price), avg(of.price)).one()
    assert exact == (decimal.Decimal("0.875"), decimal.Decimal("0.125"), decimal.Decimal("0.5"), pytest.approx(7 / 24))
    assert [type(value) for value in exact[:3]] == [decimal.Decimal] * 3
    assert await of.select(prices, sum_(of.real), avg(of.real)).one() == (3.5, pytest.approx(7 / 6))
    assert await of.select(prices, min_(of.moment), max_(of.day), max_(of.short)).one() == (
        MOMENT + dt.timedelta(1), dt.date(2026, 1, 4), "abababab",
    )  # fmt: skip
    assert await of.select(prices, count(of.color, distinct=True)).scalar() == 2


async def test_aggregates_over_nothing(db: Database) -> None:
    """Over no rows there are none, and everything else is None."""
    of = Everything
    row = await of.select(db, count(), sum_(of.integer), min_(of.price), max_(of.moment), avg(of.real)).one()
    assert row == (0, None, None, None, None)


async def test_coalesce_and_case(prices: Database) -> None:
    """Values instead of others, by what is missing and by predicates, also where they are arguments."""
    of = Everything
    texts = await of.select(prices, coalesce(of.short, "none")).order_by(of.id).scalars()
    assert texts == ["ab", "abab", "abababab", "none"]
    moments = await of.select(prices, coalesce(of.moment, MOMENT)).order_by(of.id).scalars()
    assert moments[3] == MOMENT
    prices_ = await of.select(prices, coalesce(of.price, decimal.Decimal("0.001"))).order_by(of.id).scalars()
    assert prices_[3] == decimal.Decimal("0.001")
    size = case((of.integer > 3, "big"), (of.integer > 1, "middle"), else_="other")
    assert await of.select(prices, size).order_by(of.id).scalars() == ["other", "middle", "big", "other"]
    assert await of.select(prices, of.id).where(size == "big").scalars() == [3]
    value = case((of.integer.is_not_null(), of.integer), else_=0)
    assert await of.select(prices, value).order_by(of.id).scalars() == [1, 2, 4, 0]
    assert await of.select(prices, sum_(case((of.integer > 1, 1), else_=0))).scalar() == 2
    with pytest.raises(QueryError, match="at least one predicate"):
        case(else_=1)


@pytest.mark.parametrize("text", ["", "abc", "ÄÖ ß", "😀a", "İ", "ΑΣ", "a\nb"])
async def test_texts(db: Database, text: str) -> None:
    """Characters are counted as Python counts them."""
    await Everything(short=text).insert(db)
    assert await Everything.select(db, length(Everything.short)).scalar() == len(text)


@pytest.mark.parametrize("text", ["", "ABC x", "ÄÖ É", "Ω", "😀A"])
async def test_lower(db: Database, text: str) -> None:
    """Lower case is that of all alphabets, not of ASCII alone."""
    await Everything(short=text).insert(db)
    assert await Everything.select(db, lower(Everything.short)).scalar() == text.lower()
    assert await Everything.select(db).where(lower(Everything.short) == text.lower()).count() == 1


async def test_the_present(db: Database) -> None:
    """The moment of the database is Python's, in UTC, also where it is compared and assigned."""
    await Everything(moment=MOMENT).insert(db)
    (present,) = await Everything.select(db, current_timestamp()).one()
    assert abs(present - now()) < dt.timedelta(minutes=1)
    assert present.tzinfo is dt.UTC
    assert await Everything.select(db).where(Everything.moment < current_timestamp()).count() == 1
    await Everything.update(db).set(Everything.moment, current_timestamp()).all_rows()
    moment = await Everything.select(db, Everything.moment).scalar()
    assert abs(moment - now()) < dt.timedelta(minutes=1)


async def test_exists(db: Database) -> None:
    """Whether another table has a row for this one, or none."""
    ann, ben = [await Author(name=name).insert(db) for name in ("ann", "ben")]
    await Note(author=ann).insert(db)
    own = Note.select(None, Note.id).where(Note.author == Author.id)
    assert [a.id for a in await Author.select(db).where(exists(own))] == [ann.id]
    assert [a.id for a in await Author.select(db).where(~exists(own))] == [ben.id]


async def test_a_query_is_a_value(db: Database) -> None:
    """A query of one value stands beside the columns of another."""
    ann, ben = [await Author(name=name).insert(db) for name in ("ann", "ben")]
    await Note.insert_many(db, [{Note.author: ann, Note.number: n} for n in range(3)])
    notes = Note.select(None, count()).where(Note.author == Author.id)
    rows = await Author.select(db, Author.name, notes.label("notes")).order_by(Author.id)
    assert rows == [("ann", 3), ("ben", 0)]
    assert await Author.select(db, Author.name).where(notes == 0).scalars() == [ben.name]


async def test_functions_inside_functions(db: Database) -> None:
    """They nest, and stand in predicates, orders and assignments."""
    await Pair.insert_many(db, [{Pair.left: n, Pair.order: "Ab" * n, Pair.value: v} for n, v in enumerate([5, None])])
    assert await Pair.select(db, length(lower(Pair.order))).order_by(Pair.left).scalars() == [0, 2]
    assert await Pair.select(db, Pair.left).order_by(coalesce(Pair.value, 100).desc()).scalars() == [1, 0]
    assert await Pair.update(db).set(Pair.value, coalesce(Pair.value, 0) + Pair.left).all_rows() == 2
    assert await Pair.select(db, Pair.value).order_by(Pair.left).scalars() == [5, 1]


async def test_the_last_of_each(db: Database) -> None:
    """A query of one value may have an order and a limit, and look at the row around it."""
    ann, ben = [await Author(name=name).insert(db) for name in ("ann", "ben")]
    await Note.insert_many(db, [{Note.author: ann, Note.number: n, Note.text: f"{n}"} for n in range(3)])
    last = Note.select(None, Note.text).where(Note.author == Author.id).order_by(Note.number.desc()).limit(1)
    rows = await Author.select(db, Author.name, last.label("last")).order_by(Author.id)
    assert rows == [("ann", "2"), (ben.name, None)]

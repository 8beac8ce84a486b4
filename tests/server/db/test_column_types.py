"""Every kind of column: its type in each database, and that each of its values comes back as it was."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.db import (
    BigInteger,
    Bytes,
    Database,
    DbObject,
    Decimal,
    Enum,
    Expression,
    Integer,
    QueryError,
    Text,
    ValidationError,
)  # fmt: skip
from server.db.columns import Column
from server.db.mysql.dialect import MARIADB, MYSQL
from server.db.sqlite.dialect import SQLITE
from tests.server.db.tables import MOMENT, Color, Everything, Level

TYPES = {
    "integer": ("INTEGER", "BIGINT"),
    "big": ("INTEGER", "BIGINT"),
    "real": ("REAL", "DOUBLE"),
    "price": ("INTEGER", "DECIMAL(12, 3)"),
    "short": ("TEXT", "VARCHAR(50)"),
    "long": ("TEXT", "LONGTEXT"),
    "truth": ("INTEGER", "TINYINT"),
    "moment": ("INTEGER", "DATETIME(6)"),
    "day": ("TEXT", "DATE"),
    "few": ("BLOB", "VARBINARY(50)"),
    "many": ("BLOB", "LONGBLOB"),
    "json": ("TEXT", "LONGTEXT"),
    "color": ("TEXT", "VARCHAR(4)"),
    "level": ("INTEGER", "BIGINT"),
    "key": ("BLOB", "BINARY(16)"),
}


def test_types_in_the_databases() -> None:
    """Each kind has one type in each database; no kind was forgotten here."""
    columns = [column for column in Everything.dbo_columns if not column.primary_key]
    assert [column.name for column in columns] == list(TYPES)
    for column in columns:
        sqlite, servers = TYPES[column.name]
        assert SQLITE.column_type(column.value_type) == sqlite
        assert MYSQL.column_type(column.value_type) == MARIADB.column_type(column.value_type) == servers


moments = st.datetimes(timezones=st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(hours=9, minutes=30))])).filter(
    lambda moment: 2 <= moment.year <= 9998
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "integer": st.integers(-(2**63), 2**63 - 1),
    "big": st.integers(-(2**63), 2**63 - 1),
    "real": st.floats(allow_nan=False, allow_infinity=False),
    "price": st.decimals(-999_999_999, 999_999_999, places=3, allow_nan=False, allow_infinity=False),
    "short": texts,
    "long": texts,
    "truth": st.booleans(),
    "moment": moments,
    "day": st.dates(),
    "few": st.binary(max_size=50),
    "many": st.binary(max_size=50),
    "json": st.dictionaries(texts, st.lists(st.none() | st.integers(-(2**53), 2**53), max_size=3), max_size=3),
    "color": st.sampled_from(Color),
    "level": st.sampled_from(Level),
    "key": st.uuids(),
}
rows = st.fixed_dictionaries({name: st.none() | strategy for name, strategy in VALUES.items()})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=rows)
async def test_round_trip(db: Database, values: dict[str, Any]) -> None:
    """Any value of any type is read back as it was, from an object and from a query, and is found by itself."""
    await Everything.delete_from(db).all_rows()
    await Everything(**values).insert(db)
    read = await Everything.select(db).one()
    for column in Everything.dbo_columns[1:]:
        value, expression = values[column.name], Everything.dbo_expressions[column.position]
        assert getattr(read, column.name) == value
        assert type(getattr(read, column.name)) is type(value)
        found = expression.is_null() if value is None else expression == value
        if value is None or column.name != "json":
            assert await Everything.select(db, expression).where(found) == [(value,)], column.name
    await Everything.delete_from(db).all_rows()
    await Everything.insert_many(db, [{getattr(Everything, name): value for name, value in values.items()}])
    assert (await Everything.select(db).one()).dbo_values[1:] == read.dbo_values[1:]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(rows, min_size=2, max_size=5))
async def test_order(db: Database, values: list[dict[str, Any]]) -> None:
    """Values of every type are ordered by the database as by Python, those that are missing first."""
    await Everything.delete_from(db).all_rows()
    await Everything.insert_many(
        db, [{getattr(Everything, n): v for n, v in row.items() if n != "key"} for row in values]
    )
    for name in VALUES.keys() - {"key", "json", "color", "level"}:
        expression: Expression[Any] = getattr(Everything, name)
        ordered = await Everything.select(db, expression).order_by(expression).scalars()
        given_values = [row[name] for row in values]
        missing = [value for value in given_values if value is None]
        assert ordered == missing + sorted(value for value in given_values if value is not None), name


EDGES: list[tuple[str, Any]] = [
    ("integer", 0),
    ("real", 5e-324),
    ("real", 1.7976931348623157e308),
    ("real", 0.1 + 0.2),
    ("price", decimal.Decimal("-999999999.999")),
    ("price", decimal.Decimal("0.001")),
    ("short", ""),
    ("short", " "),
    ("short", "\0"),
    ("short", "😀" * 50),
    ("long", "x" * 100_000),
    ("long", "\\' \" ; -- \n\r\x1a %s ?"),
    ("moment", dt.datetime(1, 1, 1, tzinfo=dt.UTC)),
    ("moment", dt.datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC)),
    ("moment", dt.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC)),
    ("moment", MOMENT.replace(microsecond=0)),
    ("day", dt.date(1, 1, 1)),
    ("day", dt.date(9999, 12, 31)),
    ("few", b""),
    ("few", b"\0" * 50),
    ("many", bytes(range(256)) * 400),
    ("json", {}),
    ("json", {"": [], "\0": [None, 2**53]}),
    ("key", uuid.UUID(int=0)),
    ("key", uuid.UUID(int=2**128 - 1)),
]


@pytest.mark.parametrize(("name", "value"), EDGES, ids=[f"{name}-{n}" for n, (name, _) in enumerate(EDGES)])
async def test_edges(db: Database, name: str, value: Any) -> None:
    """The smallest, the largest, the emptiest and the strangest value of a type comes back as it was."""
    await Everything(**{name: value}).insert(db)
    read = getattr(await Everything.select(db).one(), name)
    assert read == value
    assert str(read) == str(value)


async def test_moments_are_of_one_time_zone(db: Database) -> None:
    """A moment is the same wherever it was looked at; what comes back is UTC."""
    there = MOMENT.astimezone(dt.timezone(dt.timedelta(hours=-5)))
    everything = await Everything(moment=there).insert(db)
    assert everything.moment is not None
    assert everything.moment.tzinfo is dt.UTC
    assert await Everything.select(db, Everything.moment).where(Everything.moment == there).scalar() == MOMENT


async def test_decimals_have_their_places(db: Database) -> None:
    """A decimal number comes back exactly, and with all of its places."""
    await Everything(price=2).insert(db)
    price = await Everything.select(db, Everything.price).scalar()
    assert price == decimal.Decimal(2)
    assert isinstance(price, decimal.Decimal)
    assert str(price) == "2.000"
    assert (
        await Everything.select(db)
        .where(Everything.price.between(decimal.Decimal("1.999"), decimal.Decimal(2)))
        .exists()
    )


@pytest.mark.parametrize(
    ("column", "value"),
    [("price", decimal.Decimal("0.0001")), ("short", "x" * 51), ("few", b"x" * 51), ("color", "red"), ("level", 1)],
    ids=["price", "short", "few", "color", "level"],
)
async def test_what_does_not_fit_never_reaches_the_database(db: Database, column: str, value: object) -> None:
    """Nothing is rounded or cut off on any database."""
    with pytest.raises(ValidationError, match=rf"everything\.{column}: "):
        Everything(**{column: value})
    assert await Everything.select(db).count() == 0


def test_declarations_that_make_no_sense() -> None:
    """A column that cannot be is an error where it is declared."""

    class Mixed(enum.Enum):
        ONE = 1
        TWO = "two"

    class Empty(enum.Enum):
        pass

    for wrong in (
        lambda: Decimal(19, 2),
        lambda: Decimal(2, 3),
        lambda: Decimal(0, 0),
        lambda: Decimal(5, -1),
        lambda: Enum(Mixed),
        lambda: Enum(Empty),
    ):
        with pytest.raises(QueryError):
            wrong()


def test_keys_that_are_counted() -> None:
    """The only key, a whole number without a default, is counted by the database; no other column is."""

    class Numbered(DbObject):
        dbo_tablename = "numbered"
        id = BigInteger(primary_key=True)
        other = Integer(default=0)

    class Double(DbObject):
        dbo_tablename = "double"
        left = Integer(primary_key=True)
        right = Integer(primary_key=True)

    class Named(DbObject):
        dbo_tablename = "named"
        name = Text(primary_key=True, max_length=5)
        data = Bytes(max_length=5)

    counting: list[Column[Any]] = [
        column for table in (Numbered, Double, Named) for column in table.dbo_columns if column.counting
    ]
    assert [column.name for column in counting] == ["id"]

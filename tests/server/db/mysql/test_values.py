"""Values go in as literals and come out as they were; nothing in a value is ever SQL."""

from __future__ import annotations

import asyncio
import decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.db.backends import Statement
from server.db.errors import QueryError
from server.db.mysql.answers import LARGEST_PART
from server.db.mysql.backend import MySQLBackend
from server.db.mysql.literals import literal, rendered
from tests.server.db.mysql.conftest import run, select

ON_A_SERVER = settings(
    max_examples=200,
    deadline=None,
    # The database may be the same for all examples: they only select.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
TEXTS = st.lists(st.text() | st.text(alphabet="'\"\\%s;`-#/*\0\n\r\x1a\N{SNOWMAN}\N{PILE OF POO}"), min_size=1)


@ON_A_SERVER
@given(texts=TEXTS)
async def test_text_comes_back(backend: MySQLBackend, texts: list[str]) -> None:
    """Any text, with all that means something in SQL, is one value and the same value."""
    assert await select(backend, f"SELECT {', '.join(['%s'] * len(texts))}", *texts) == [tuple(texts)]


@ON_A_SERVER
@given(values=st.lists(st.binary(), min_size=1))
async def test_bytes_come_back(backend: MySQLBackend, values: list[bytes]) -> None:
    """Any bytes, none included, are the same bytes, and bytes still."""
    [row] = await select(backend, f"SELECT {', '.join(['%s'] * len(values))}", *values)
    assert row == tuple(values)
    assert all(isinstance(value, bytes) for value in row)


@ON_A_SERVER
@given(
    integer=st.integers(-(2**63), 2**63 - 1),
    number=st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False),
    exact=st.decimals(-(10**20), 10**20, places=6),
)
async def test_numbers_come_back(backend: MySQLBackend, integer: int, number: float, exact: decimal.Decimal) -> None:
    """Whole numbers are int, floats the same float, decimal numbers exact text."""
    [row] = await select(backend, "SELECT %s, %s, %s, %s", integer, number, exact, None)
    assert row[:2] == (integer, number)
    assert isinstance(row[0], int)
    assert isinstance(row[1], float)
    assert decimal.Decimal(str(row[2])) == exact
    assert row[3] is None


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), decimal.Decimal("nan"), decimal.Decimal("-inf"), [1], object(), bytearray(b"x")],
)
def test_what_is_no_value_is_refused(value: Any) -> None:
    """What has no literal is a mistake of the program, not text in a query."""
    with pytest.raises(QueryError):
        literal(value)


def test_half_a_character_is_refused() -> None:
    """A lone surrogate is no text; the error does not show it."""
    with pytest.raises(QueryError, match="surrogate"):
        rendered(Statement("SELECT %s", ("\ud800",)))


@pytest.mark.parametrize(("sql", "arguments"), [("SELECT %s", (1, 2)), ("SELECT %s, %s", (1,)), ("SELECT %d", ("x",))])
def test_arguments_have_to_match(sql: str, arguments: tuple[Any, ...]) -> None:
    """Too few, too many, or another placeholder: an error without the values."""
    with pytest.raises(QueryError, match="do not match"):
        rendered(Statement(sql, arguments))


def test_a_percent_sign_stands_for_itself_without_arguments() -> None:
    """Text without arguments is sent as it is."""
    assert rendered(Statement("SELECT 5 % 3")) == b"SELECT 5 % 3"


async def test_every_type_of_column(backend: MySQLBackend) -> None:
    """What is delivered for each type: int, float, str or bytes, and None."""
    columns = {
        "TINYINT": (-5, -5),
        "SMALLINT": (-300, -300),
        "MEDIUMINT": (70000, 70000),
        "INT": (2**31 - 1, 2**31 - 1),
        "BIGINT": (-(2**63), -(2**63)),
        "BIGINT UNSIGNED": (2**64 - 1, 2**64 - 1),
        "YEAR": (2024, 2024),
        "FLOAT": (1.5, 1.5),
        "DOUBLE": (1.1, 1.1),
        "DECIMAL(10, 2)": ("1.50", "1.50"),
        "DATE": ("2024-02-29", "2024-02-29"),
        "DATETIME(6)": ("2024-02-29 01:02:03.000004", "2024-02-29 01:02:03.000004"),
        "TIMESTAMP(6)": ("2024-02-29 01:02:03.000004", "2024-02-29 01:02:03.000004"),
        "TIME": ("12:00:01", "12:00:01"),
        "CHAR(5)": ("ä", "ä"),
        "VARCHAR(5)": ("ä ", "ä "),
        "TEXT": ("ä", "ä"),
        "LONGTEXT": ("ä", "ä"),
        "ENUM('a', 'b')": ("b", "b"),
        "BINARY(2)": (b"a\0", b"a\0"),
        "VARBINARY(5)": (b"\xff", b"\xff"),
        "LONGBLOB": (b"\0\xff", b"\0\xff"),
        "BIT(9)": (257, b"\x01\x01"),
        "JSON": ('{"a": 1}', '{"a": 1}'),
    }
    defined = ", ".join(f"c{number} {kind}" for number, kind in enumerate(columns))
    await run(backend, f"CREATE TABLE t (id BIGINT PRIMARY KEY AUTO_INCREMENT, {defined})")
    values = [given for given, _ in columns.values()]
    names = ", ".join(f"c{number}" for number in range(len(columns)))
    await run(backend, f"INSERT INTO t ({names}) VALUES ({', '.join(['%s'] * len(values))})", *values)
    await run(backend, "INSERT INTO t () VALUES ()")
    full, empty = await select(backend, f"SELECT {names} FROM t ORDER BY id")
    for kind, value, (_, expected) in zip(columns, full, columns.values(), strict=True):
        assert (value, type(value)) == (expected, type(expected)), kind
    assert empty == (None,) * len(columns)


async def test_computed_values(backend: MySQLBackend) -> None:
    """A sum of whole numbers is exact text that int() reads; a comparison is an int; joined text is str."""
    [row] = await select(backend, "SELECT sum(seq), 1 = 1, concat('a', 1), avg(seq + 0e0), max(seq) FROM "
                                  "(SELECT 1 AS seq UNION SELECT 2) AS s")  # fmt: skip
    assert row == ("3", 1, "a1", 1.5, 2)


async def test_text_is_compared_as_it_is(backend: MySQLBackend) -> None:
    """Literals, too, are compared by code points: case and trailing spaces matter."""
    assert await select(backend, "SELECT %s = %s, %s = %s, %s < %s", "a", "A", "a", "a ", "B", "a") == [(0, 0, 1)]


@pytest.mark.parametrize("extra", [-1, 0, 1, 17 * 1024 * 1024 - LARGEST_PART])
async def test_more_than_16_megabytes(backend: MySQLBackend, extra: int) -> None:
    """A value that fills the largest packet, or needs several, goes there and comes back."""
    sent = b"SELECT length('')"
    text = "x" * (LARGEST_PART - len(sent) - 1 + extra)
    assert await select(backend, "SELECT length(%s)", text) == [(len(text),)]
    count = LARGEST_PART - 4 + extra
    assert await select(backend, "SELECT repeat('x', %s), 1", count - 2) == [("x" * (count - 2), 1)]
    assert await select(backend, "SELECT repeat('x', %s)", count) == [("x" * count,)]


async def test_many_rows_do_not_hold_up_the_others(backend: MySQLBackend) -> None:
    """While a large result is read, other queries are answered."""
    await run(backend, "CREATE TABLE t (n BIGINT PRIMARY KEY)")
    await run(backend, "INSERT INTO t VALUES " + ", ".join(f"({number})" for number in range(2000)))
    large = asyncio.create_task(select(backend, "SELECT a.n, b.n FROM t a, t b LIMIT 200000"))
    small = 0
    while not large.done():
        await select(backend, "SELECT 1")
        small += 1
    assert len(await large) == 200_000
    assert small > 1

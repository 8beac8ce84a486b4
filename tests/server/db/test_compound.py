"""Unions: several queries as one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from server.db import Database, QueryError, count, union, union_all
from server.db.objects import values_of
from server.db.queries import Query
from server.db.selection import Counted
from server.db.sqlite.dialect import SQLITE
from tests.server.db.golden import SERVERS, for_servers, golden_query
from tests.server.db.tables import MOMENT, Author, Everything, Label, Note, Pair


@pytest.mark.parametrize(
    ("query", "sqlite", "servers", "arguments"),
    [
        (
            union(Note.select(None, Note.id), Author.select(None, Author.id)),
            "SELECT id FROM notes UNION SELECT id FROM authors",
            None,
            [],
        ),
        (
            union_all(
                Note.select(None, Note.id).where(Note.id < 3).order_by(Note.id.desc()).limit(1),
                Author.select(None, Author.id),
            )
            .order_by(Note.id.desc())
            .limit(2),
            (
                "SELECT * FROM (SELECT id FROM notes WHERE id < ? ORDER BY id DESC LIMIT ?) AS member_1 UNION "
                "ALL SELECT id FROM authors ORDER BY 1 DESC LIMIT ?"
            ),
            None,
            [3, 1, 2],
        ),
        (
            union(Note.select(None, Note.id), union_all(Author.select(None, Author.id), Label.select(None, count()))),
            (
                "SELECT id FROM notes UNION SELECT * FROM (SELECT id FROM authors UNION ALL SELECT count(*) "
                "FROM labels) AS member_2"
            ),
            None,
            [],
        ),
        (
            Counted(union(Note.select(None, Note.id), Author.select(None, Author.id))),
            "SELECT count(*) FROM (SELECT id FROM notes UNION SELECT id FROM authors) AS counted",
            None,
            [],
        ),
        (
            Note.select(None, Note.id).where(
                Note.id.in_(union(Note.select(None, Note.id), Author.select(None, Author.id)))
            ),
            ("SELECT id FROM notes WHERE id IN (SELECT notes.id FROM notes UNION SELECT authors.id FROM authors)"),
            None,
            [],
        ),
    ],
)
def test_golden_sql(query: Query[Any], sqlite: str, servers: str | None, arguments: list[Any]) -> None:
    """Members stand one after the other; one with an order or a window of its own is a table by itself."""
    assert golden_query(query, SQLITE) == (sqlite, arguments)
    for dialect in SERVERS:
        assert golden_query(query, dialect) == (for_servers(sqlite, servers), arguments)


@pytest.fixture
async def pairs(db: Database) -> Database:
    """The numbers from 0 to 5."""
    await Pair.insert_many(db, [{Pair.left: n, Pair.order: "x", Pair.value: n % 2} for n in range(6)])
    return db


async def test_each_row_once_or_all_of_them(pairs: Database) -> None:
    """A union has no duplicates; the other kind has all."""
    small = Pair.select(pairs, Pair.left).where(Pair.left < 3)
    middle = Pair.select(None, Pair.left).where(Pair.left.between(2, 4))
    assert sorted(await union(small, middle).scalars()) == [0, 1, 2, 3, 4]
    assert sorted(await union_all(small, middle).scalars()) == [0, 1, 2, 2, 3, 4]
    assert await union_all(small, middle).count() == 6
    assert await union(small, middle).exists()


async def test_order_and_window(pairs: Database) -> None:
    """The whole has an order and a window, and so may each member."""
    small = Pair.select(pairs, Pair.left, Pair.value)
    query = union(small, Pair.select(None, Pair.left + 10, Pair.value)).order_by(Pair.value.desc(), Pair.left.desc())
    assert [left for left, _ in await query.limit(4).offset(1)] == [13, 11, 5, 3]
    first = Pair.select(pairs, Pair.left).order_by(Pair.left).limit(1)
    last = Pair.select(None, Pair.left).order_by(Pair.left.desc()).limit(1)
    assert await union_all(first, last).order_by(Pair.left.desc()).scalars() == [5, 0]
    with pytest.raises(QueryError, match="columns of its first query"):
        await union(first, last).order_by(Pair.value)
    with pytest.raises(QueryError, match="nulls"):
        await union(first, last).order_by(Pair.left.asc(nulls="last"))


async def test_nested(pairs: Database) -> None:
    """A union of unions keeps its parts apart."""

    def only(*numbers: int) -> Any:
        return Pair.select(pairs, Pair.left).where(Pair.left.in_(numbers))

    assert sorted(await union_all(only(1), union(only(1, 2), only(2))).scalars()) == [1, 1, 2]
    assert sorted(await union(union_all(only(1), only(1)), only(2)).scalars()) == [1, 2]


async def test_rows_are_what_the_first_query_gives(db: Database) -> None:
    """Objects, values of their types, and Structs."""
    await Everything.insert_many(db, [{Everything.moment: MOMENT}, {}])
    moments = Everything.select(db, Everything.id, Everything.moment)
    rows = await union_all(moments.where(Everything.id == 1), moments.where(Everything.id == 2))
    assert sorted(rows, key=str) == [(1, MOMENT), (2, None)]
    authors = [await Author(name=name, born=MOMENT).insert(db) for name in ("a", "b")]
    query = Author.select(db)
    found = await union(query.where(Author.name == "a"), query.where(Author.name == "b")).order_by(Author.id)
    assert [values_of(author) for author in found] == [values_of(author) for author in authors]
    found[0].name = "c"
    await found[0].save(db)

    class Named(msgspec.Struct):
        name: str

    names = Author.select(db, Author.name)
    assert await union(names, names).order_by(Author.name).into(Named) == [Named("b"), Named("c")]
    assert [row async for row in union(names, names).order_by(Author.name)] == [("b",), ("c",)]
    assert await union(names, names).order_by(Author.name).first() == ("b",)


async def test_as_a_subquery(pairs: Database) -> None:
    """What `in_` looks through can be a union."""
    numbers = union(
        Pair.select(None, Pair.left).where(Pair.left < 1), Pair.select(None, Pair.left).where(Pair.left > 4)
    )
    assert await Pair.select(pairs, Pair.left).where(Pair.left.in_(numbers)).order_by(Pair.left).scalars() == [0, 5]


def test_members_have_as_many_columns() -> None:
    """A mistake is an error where it is made."""
    with pytest.raises(QueryError, match="same number of columns"):
        union(Note.select(None, Note.id), Author.select(None, Author.id, Author.name))

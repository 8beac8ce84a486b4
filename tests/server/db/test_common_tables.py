"""Common table expressions: a query under a name."""

from __future__ import annotations

from typing import Any

import pytest

from server.db import CommonTable, Database, QueryError, count, cte, union_all
from server.db.queries import Query
from server.db.sqlite.dialect import SQLITE
from tests.server.db.golden import SERVERS, for_servers, golden_query
from tests.server.db.tables import MOMENT, Author, Employee, Everything, Note, Pair

recent = cte("recent", Note.select(None, Note.id, Note.text).where(Note.id > 3))
counted = cte("counted", Note.select(None, Note.author, count().label("n")).where(Note.id > 3).group_by(Note.author))
inner = cte("inner_", Note.select(None, Note.id).where(Note.id > 3))
outer = cte("outer_", inner.select(None, inner.id).where(inner.id > 2))


def below(start: Any) -> CommonTable:
    """Everybody below the heads that a predicate finds."""
    top = cte("tree", Employee.select(None, Employee.id, Employee.name).where(start))
    return top.recursive(
        lambda tree: Employee.select(None, Employee.id, Employee.name).join(tree, Employee.boss == tree.id)
    )


tree = below(Employee.boss.is_null())


@pytest.mark.parametrize(
    ("query", "sqlite", "servers", "arguments"),
    [
        (
            recent.select(None).where(recent.id < 5),
            (
                "WITH recent AS (SELECT id, text FROM notes WHERE id > ?) "
                "SELECT recent.id, recent.text FROM recent WHERE recent.id < ?"
            ),
            None,
            [3, 5],
        ),
        (
            Note.select(None, Note.id, counted.n).join(counted, counted.author == Note.author).where(Note.id > 1),
            (
                "WITH counted AS (SELECT author, count(*) AS n FROM notes WHERE id > ? GROUP BY author) "
                "SELECT notes.id, counted.n FROM notes JOIN counted ON counted.author = notes.author WHERE notes.id > ?"
            ),
            None,
            [3, 1],
        ),
        (
            tree.select(None, tree.id),
            (
                "WITH RECURSIVE tree AS (SELECT id, name FROM employees WHERE boss IS NULL UNION ALL "
                "SELECT employees.id, employees.name FROM employees JOIN tree ON employees.boss = tree.id) "
                "SELECT tree.id FROM tree"
            ),
            None,
            [],
        ),
        (
            outer.select(None).where(outer.id > 1),
            (
                "WITH inner_ AS (SELECT id FROM notes WHERE id > ?), outer_ AS (SELECT inner_.id FROM inner_ "
                "WHERE inner_.id > ?) SELECT outer_.id FROM outer_ WHERE outer_.id > ?"
            ),
            None,
            [3, 2, 1],
        ),
        (
            Author.select(None, Author.id).where(Author.id.in_(counted.select(None, counted.author))),
            (
                "WITH counted AS (SELECT author, count(*) AS n FROM notes WHERE id > ? GROUP BY author) "
                "SELECT id FROM authors WHERE id IN (SELECT counted.author FROM counted)"
            ),
            None,
            [3],
        ),
    ],
)
def test_golden_sql(query: Query[Any], sqlite: str, servers: str | None, arguments: list[Any]) -> None:
    """Each stands once before the statement, behind those that it needs; the arguments are in that order."""
    assert golden_query(query, SQLITE) == (sqlite, arguments)
    for dialect in SERVERS:
        assert golden_query(query, dialect) == (for_servers(sqlite, servers), arguments)


@pytest.fixture
async def notes(db: Database) -> Database:
    """Ann with three notes, Ben with two."""
    for name, number in (("ann", 3), ("ben", 2)):
        author = await Author(name=name).insert(db)
        await Note.insert_many(db, [{Note.author: author, Note.number: n, Note.text: name} for n in range(number)])
    return db


async def test_a_query_is_a_table(notes: Database) -> None:
    """It is selected from, joined with, and looked through, also by its columns' names."""
    by_author = cte("by_author", Note.select(None, Note.author, count().label("n")).group_by(Note.author))
    assert await by_author.select(notes).order_by(by_author.author) == [(1, 3), (2, 2)]
    assert await by_author.select(notes, by_author.column("n")).where(by_author.n > 2).scalars() == [3]
    joined = Author.select(notes, Author.name, by_author.n).join(by_author, by_author.author == Author.id)
    assert await joined.order_by(Author.id) == [("ann", 3), ("ben", 2)]
    most = Author.select(notes, Author.name).where(
        Author.id.in_(by_author.select(None, by_author.author).where(by_author.n == 3))
    )
    assert await most.scalars() == ["ann"]
    assert await by_author.select(notes).count() == 2
    assert await by_author.select(notes).where(by_author.n > 3).exists() is False
    assert [row async for row in by_author.select(notes).order_by(by_author.n)] == [(2, 2), (1, 3)]


async def test_one_may_use_another(notes: Database) -> None:
    """Also twice in one statement."""
    some = cte("some", Note.select(None, Note.id, Note.number).where(Note.author == 1))
    large = cte("large", some.select(None, some.id).where(some.number > 0))
    query = some.select(notes, some.id).join(large, large.id == some.id).where(some.id.in_(large.select(None)))
    assert await query.order_by(some.id).scalars() == [2, 3]


@pytest.fixture
async def firm(db: Database) -> Database:
    """Two trees."""
    for name, boss in (("a", None), ("b", 1), ("c", 2), ("d", 1), ("e", None), ("f", 5)):
        await Employee(name=name, boss=boss).insert(db)
    return db


async def test_recursion(firm: Database) -> None:
    """All that follows from a row, however deep."""
    of_a = below(Employee.name == "a")
    assert await of_a.select(firm, of_a.name).order_by(of_a.name).scalars() == ["a", "b", "c", "d"]
    assert await tree.select(firm, tree.id).count() == 6
    bosses = Employee.select(firm, Employee.name).where(Employee.id.in_(of_a.select(None, of_a.id)))
    assert await bosses.order_by(Employee.name.desc()).scalars() == ["d", "c", "b", "a"]


async def test_values_keep_their_types(db: Database) -> None:
    """A moment is a moment behind a name too, in rows and in predicates."""
    await Everything(moment=MOMENT, truth=True).insert(db)
    moments = cte("moments", Everything.select(None, Everything.moment, Everything.truth))
    assert await moments.select(db).where(moments.moment == MOMENT) == [(MOMENT, True)]


async def test_a_union_under_a_name_is_ordered_freely(notes: Database) -> None:
    """What a union itself cannot be ordered by."""
    query = Note.select(None, Note.id, Note.comment)
    both = cte("both_", union_all(query.where(Note.id == 1), query.where(Note.id == 2)))
    assert await both.select(notes, both.id).order_by(both.comment.asc(nulls="last"), both.id.desc()).scalars() == [
        2,
        1,
    ]


async def test_writes_by_a_query_under_a_name(firm: Database) -> None:
    """A write finds its rows through one where the database has that; elsewhere it is refused, and writes nothing."""
    of_a = below(Employee.name == "a")
    update = Pair.update(firm).set(Pair.value, 1).where(Pair.left.in_(of_a.select(None, of_a.id)))
    await Pair.insert_many(firm, [{Pair.left: n, Pair.order: "x"} for n in range(8)])
    try:
        assert await update == 4
    except QueryError:
        assert firm.dialect.name == "mariadb"  # which has WITH in a SELECT only
        assert await Pair.select(firm).where(Pair.value == 1).count() == 0


def test_columns_are_known() -> None:
    """A mistyped column is an error that names those that there are; columns need names."""
    with pytest.raises(QueryError, match="recent has no column txt; it has id, text"):
        _ = recent.txt
    with pytest.raises(QueryError, match="label"):
        cte("x", Note.select(None, Note.number + 1))
    with pytest.raises(QueryError, match="label"):
        cte("x", Note.select(None, Note.id, Author.id).join(Author, Author.id == Note.author))


async def test_writes_look_into_common_tables(db: Database) -> None:
    """A common table expression can say which rows a write is for, on every database."""
    await Pair.insert_many(db, [{Pair.left: n, Pair.order: "a", Pair.value: n} for n in range(6)])
    large = cte("large", Pair.select(None, Pair.left).where(Pair.value > 3))
    assert await Pair.update(db).set(Pair.value, 0).where(Pair.left.in_(large.select(None, large.left))) == 2
    small = cte("small", Pair.select(None, Pair.left).where(Pair.value < 1))
    assert await Pair.delete_from(db).where(Pair.left.in_(small.select(None, small.left))) == 3
    assert await Pair.select(db, Pair.left).order_by(Pair.left).scalars() == [1, 2, 3]

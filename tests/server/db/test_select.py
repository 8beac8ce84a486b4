"""SELECT: what it says, and what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from server.db import (
    Database,
    DbObject,
    Expression,
    Integer,
    NoResult,
    QueryError,
    SeveralResults,
    Text,
    count,
    length,
    max_,
    sum_,
)  # fmt: skip
from server.db.queries import Query
from server.db.selection import Counted, Probe
from server.db.sqlite.dialect import SQLITE
from tests.server.db.conftest import on_servers
from tests.server.db.golden import SERVERS, for_servers, golden_query
from tests.server.db.tables import Author, Department, Employee, Label, Note, Pair

m, u = Note.prefix("m"), Author.prefix("u")


@pytest.mark.parametrize(
    ("query", "sqlite", "servers", "arguments"),
    [
        (
            Author.select(None),
            "SELECT id, name, born FROM authors",
            None,
            [],
        ),
        (
            Author.select(None, Author.name).offset(2),
            "SELECT name FROM authors LIMIT -1 OFFSET ?",
            "SELECT name FROM authors LIMIT 18446744073709551615 OFFSET %s",
            [2],
        ),
        (
            Author.select(None, Author.name).distinct().order_by(Author.name.desc()).limit(3).offset(1),
            "SELECT DISTINCT name FROM authors ORDER BY name DESC LIMIT ? OFFSET ?",
            None,
            [3, 1],
        ),
        (
            m.select(None, m.id, u.name)
            .join(u, m.author == u.id)
            .where((m.number == 3) & ((m.score > 1.0) | m.comment.is_null()) & ~u.name.in_(["a", "b"]))
            .order_by(m.number.desc())
            .limit(50),
            (
                "SELECT m.id, u.name FROM notes AS m JOIN authors AS u ON m.author = u.id WHERE (m.number = ? "
                "AND (m.score > ? OR m.comment IS NULL) AND NOT (u.name IN (?, ?))) ORDER BY m.number DESC "
                "LIMIT ?"
            ),
            None,
            [3, 1.0, "a", "b", 50],
        ),
        (
            m.select(None, m.id).left_join(u, m.author == u.id).where(u.id.is_null()),
            "SELECT m.id FROM notes AS m LEFT JOIN authors AS u ON m.author = u.id WHERE u.id IS NULL",
            None,
            [],
        ),
        (
            Note.select(None, Note.author, count().label("n"))
            .group_by(Note.author)
            .having(count() > 2)
            .order_by(count().desc()),
            ("SELECT author, count(*) AS n FROM notes GROUP BY author HAVING count(*) > ? ORDER BY count(*) DESC"),
            None,
            [2],
        ),
        (
            Note.select(None, Note.id).order_by(Note.comment.asc(nulls="last")),
            "SELECT id FROM notes ORDER BY comment NULLS LAST",
            "SELECT id FROM notes ORDER BY comment IS NULL, comment",
            [],
        ),
        (
            Note.select(None, Note.id).after(Note.id, 5).limit(2),
            "SELECT id FROM notes WHERE id > ? ORDER BY id LIMIT ?",
            None,
            [5, 2],
        ),
        (
            Note.select(None, Note.id).after(Note.number.desc(), 5, Note.id, 3),
            "SELECT id FROM notes WHERE (number < ? OR (number = ? AND id > ?)) ORDER BY number DESC, id",
            None,
            [5, 5, 3],
        ),
        (
            Note.select(None, Note.id).after(Note.id, None),
            "SELECT id FROM notes ORDER BY id",
            None,
            [],
        ),
        (
            Note.select(None, Note.id).for_update(),
            "SELECT id FROM notes",
            "SELECT id FROM notes FOR UPDATE",
            [],
        ),
        (
            Note.select(None, Note.id).for_update(skip_locked=True),
            "SELECT id FROM notes",
            "SELECT id FROM notes FOR UPDATE SKIP LOCKED",
            [],
        ),
        (
            Pair.select(None, Pair.order.label("select")).where(Pair.order == "x"),
            'SELECT "order" AS "select" FROM pairs WHERE "order" = ?',
            "SELECT `order` AS `select` FROM pairs WHERE `order` = %s",
            ["x"],
        ),
        (
            Counted(Note.select(None, Note.author).distinct()),
            "SELECT count(*) FROM (SELECT DISTINCT author FROM notes) AS counted",
            None,
            [],
        ),
        (
            Counted(Note.select(None)),
            (
                "SELECT count(*) FROM (SELECT id, author, number, text, comment, score, done, data, tags, "
                "made_at FROM notes) AS counted"
            ),
            None,
            [],
        ),
        (
            Probe(Note.select(None, Note.id).where(Note.id > 3)),
            "SELECT EXISTS (SELECT id FROM notes WHERE id > ?)",
            None,
            [3],
        ),
        (
            Counted(m.select(None, m.id, u.id).join(u, m.author == u.id)),
            (
                "SELECT count(*) FROM (SELECT m.id, u.id AS column_2 FROM notes AS m JOIN authors AS u ON "
                "m.author = u.id) AS counted"
            ),
            None,
            [],
        ),
        (
            Author.select(None, Author.id, Note.select(None, count()).where(Note.author == Author.id).label("notes")),
            "SELECT id, (SELECT count(*) FROM notes WHERE notes.author = authors.id) AS notes FROM authors",
            None,
            [],
        ),
    ],
)
def test_golden_sql(query: Query[Any], sqlite: str, servers: str | None, arguments: list[Any]) -> None:
    """A query reads as the SQL that one would write by hand; names stand alone and unquoted where they can."""
    assert golden_query(query, SQLITE) == (sqlite, arguments)
    for dialect in SERVERS:
        assert golden_query(query, dialect) == (for_servers(sqlite, servers), arguments)


def test_a_query_can_be_looked_at() -> None:
    """Its text and its arguments are there before it runs."""
    query = m.select(None, m.text).where(m.number == 3).limit(50)
    assert query.sql == "SELECT m.text FROM notes AS m WHERE m.number = ? LIMIT ?"
    assert query.arguments == (3, 50)
    assert str(query).endswith("LIMIT ? [3, 50]")


@pytest.mark.parametrize("name", ["a b", "x;y", 'x"y', "`", "1x", "x-y"])
def test_names_are_never_syntax(name: str) -> None:
    """FAULTS 30: what is no identifier is refused, whether it is a prefix, a label or a table."""

    class Strange(DbObject):
        dbo_tablename = name
        id = Integer()

    queries: list[Callable[[], str]] = [
        lambda: Note.select(None, Note.id.label(name)).sql,
        lambda: Note.prefix(name).select(None).sql,
        lambda: Strange.select(None).sql,
    ]
    for query in queries:
        with pytest.raises(QueryError, match="cannot be the name"):
            query()


@pytest.fixture
async def notes(db: Database) -> Database:
    """Two authors with three notes each."""
    for name in ("ann", "ben"):
        author = await Author(name=name).insert(db)
        for number in range(3):
            await Note(author=author, number=number, text=f"{name} {number}").insert(db)
    return db


async def test_objects_and_columns(notes: Database) -> None:
    """Rows come as objects, or some columns as tuples; a joined table is beside them or only narrows them."""
    found = await Note.select(notes).where(Note.number > 0).order_by(Note.id)
    assert [note.text for note in found] == ["ann 1", "ann 2", "ben 1", "ben 2"]
    assert all(type(note) is Note and note.dbo_stored for note in found)
    assert await Note.select(notes, Note.number, Note.text).where(Note.id == 1) == [(0, "ann 0")]
    joined = await m.select(notes, m.text, u.name).join(u, m.author == u.id).where(u.name == "ben").order_by(m.id)
    assert joined == [("ben 0", "ben"), ("ben 1", "ben"), ("ben 2", "ben")]
    whole = await m.select(notes).join(u, m.author == u.id).where(u.name == "ben").order_by(m.id.desc()).first()
    assert whole is not None
    assert type(whole) is Note
    assert whole.text == "ben 2"
    whole.text = "changed"
    await whole.save(notes)
    assert await Note.select(notes).where(Note.text == "changed").exists()


async def test_joins(notes: Database) -> None:
    """A table can be joined with itself; a left join keeps rows without a counterpart."""
    a, b = Note.prefix("a"), Note.prefix("b")
    pairs = await a.select(notes, a.text, b.text).join(b, (a.number == b.number) & (a.author < b.author)).order_by(a.id)
    assert pairs == [(f"ann {n}", f"ben {n}") for n in range(3)]
    await Author(name="silent").insert(notes)
    counted = await u.select(notes, u.name, m.text).left_join(m, (m.author == u.id) & (m.number == 0)).order_by(u.id)
    assert counted == [("ann", "ann 0"), ("ben", "ben 0"), ("silent", None)]
    alone = await u.select(notes).left_join(m, m.author == u.id).where(m.id.is_null())
    assert [author.name for author in alone] == ["silent"]
    three = (
        await Note.select(notes, Note.text, a.text, Author.name)
        .join(a, a.author == Note.author)
        .join(Author, Author.id == Note.author)
        .where(Note.number == 0, a.number == 1)
        .order_by(Note.id)
    )
    assert three == [("ann 0", "ann 1", "ann"), ("ben 0", "ben 1", "ben")]


async def test_groups(notes: Database) -> None:
    """Rows become groups, which have predicates and an order of their own."""
    query = Note.select(notes, Note.author, count(), sum_(Note.number)).group_by(Note.author).order_by(Note.author)
    assert await query == [(1, 3, 3), (2, 3, 3)]
    assert await query.where(Note.number > 0).having(sum_(Note.number) > 2, count() < 3) == [(1, 2, 3), (2, 2, 3)]
    assert await query.having(count() > 3) == []
    by_length = Note.select(notes, length(Note.text), count()).group_by(length(Note.text))
    assert await by_length == [(5, 6)]
    assert await query.count() == 2


async def test_distinct(notes: Database) -> None:
    """Each different row once."""
    assert await Note.select(notes, Note.number).distinct().order_by(Note.number).scalars() == [0, 1, 2]
    assert await Note.select(notes, Note.author, Note.number).distinct().count() == 6
    assert await Note.select(notes, Note.number).distinct().count() == 3


async def test_windows(notes: Database) -> None:
    """A limit and an offset, with and without each other."""
    query = Note.select(notes, Note.id).order_by(Note.id)
    assert await query.limit(2).offset(1).scalars() == [2, 3]
    assert await query.offset(4).scalars() == [5, 6]
    assert await query.limit(0) == []
    assert await query.limit(100).offset(100) == []
    for wrong in (-1, "1", 1.5, None, True):
        with pytest.raises(QueryError, match="whole number that is not negative"):
            query.limit(wrong)  # type: ignore[arg-type]  # what is tested
        with pytest.raises(QueryError, match="whole number that is not negative"):
            query.offset(wrong)  # type: ignore[arg-type]  # what is tested


async def test_counts(notes: Database) -> None:
    """Counting counts all rows, whatever the window; probing heeds it."""
    query = Note.select(notes).order_by(Note.id)
    assert await query.count() == 6
    assert await query.limit(2).offset(1).count() == 6
    assert await query.where(Note.number == 1).count() == 2
    assert await query.exists() is True
    assert await query.where(Note.number == 9).exists() is False
    assert await query.limit(0).exists() is False
    assert await m.select(notes, m.id, u.id).join(u, m.author == u.id).count() == 6
    assert await Note.select(notes, count(), max_(Note.number)) == [(6, 2)]


async def test_first_and_one(notes: Database) -> None:
    """One row is asked for as what it is: perhaps there, or exactly one."""
    assert await Note.select(notes).where(Note.number == 9).first() is None
    assert (await Note.select(notes).where(Note.text == "ann 1").one()).number == 1
    with pytest.raises(NoResult, match="notes"):
        await Note.select(notes).where(Note.number == 9).one()
    with pytest.raises(SeveralResults, match="notes"):
        await Note.select(notes).where(Note.number == 1).one()


async def test_scalars(notes: Database) -> None:
    """A query of one column gives values."""
    assert await Note.select(notes, max_(Note.id)).scalar() == 6
    assert await Note.select(notes, Note.text).where(Note.id == 9).scalar() is None
    assert await Note.select(notes, Note.number).where(Note.author == 1).order_by(Note.id).scalars() == [0, 1, 2]
    with pytest.raises(QueryError, match="one column"):
        await Note.select(notes, Note.id, Note.text).scalar()
    with pytest.raises(QueryError, match="one column"):
        await Note.select(notes).scalars()


class Line(msgspec.Struct):
    """Some columns of a note."""

    text: str
    author: int
    extra: int = 7


async def test_structs(notes: Database) -> None:
    """Rows become msgspec Structs by the names of their columns; a name too many or too few is an error."""
    query = Note.select(notes, Note.text, Note.author).where(Note.id == 1)
    assert await query.into(Line) == [Line("ann 0", 1)]
    assert await query.into(Line).first() == Line("ann 0", 1)
    assert await query.into(Line).one() == Line("ann 0", 1)
    assert [line async for line in query.into(Line)] == [Line("ann 0", 1)]
    labelled = Note.select(notes, Note.text, Note.author, (Note.number + 1).label("extra")).where(Note.id == 1)
    assert await labelled.into(Line) == [Line("ann 0", 1, 1)]
    with pytest.raises(QueryError, match="Line has no field for number"):
        Note.select(notes, Note.text, Note.author, Note.number).into(Line)
    with pytest.raises(QueryError, match="no column for author"):
        Note.select(notes, Note.text).into(Line)
    with pytest.raises(QueryError, match="label"):
        Note.select(notes, Note.text, Note.author, Note.number + 1).into(Line)


async def test_queries_are_values(notes: Database) -> None:
    """Narrowing a query leaves the one it came from as it was."""
    everything = Note.select(notes)
    some = everything.where(Note.number == 0).limit(1).order_by(Note.id)
    assert len(await everything) == 6
    assert len(await some) == 1
    assert len(await everything) == 6


async def test_nulls_are_where_one_wants_them(db: Database) -> None:
    """Rows without a value are the smallest by default on every database, and first or last where one says so."""
    await Pair.insert_many(
        db, [{Pair.left: n, Pair.order: "x", Pair.value: value} for n, value in enumerate([2, None, 1])]
    )

    async def ordered(*order: Any) -> list[int]:
        return await Pair.select(db, Pair.left).order_by(*order).scalars()

    assert await ordered(Pair.value) == await ordered(Pair.value.asc(nulls="first")) == [1, 2, 0]
    assert await ordered(Pair.value.desc()) == await ordered(Pair.value.desc(nulls="last")) == [0, 2, 1]
    assert await ordered(Pair.value.asc(nulls="last")) == [2, 0, 1]
    assert await ordered(Pair.value.desc(nulls="first")) == [1, 0, 2]
    assert await ordered(Pair.order, Pair.left.desc()) == [2, 1, 0]


async def test_keyset_paging(notes: Database) -> None:
    """The page behind a row, by one column or by several, in both directions."""
    query = Note.select(notes, Note.id).limit(4)
    assert await query.after(Note.id, None).scalars() == [1, 2, 3, 4]
    assert await query.after(Note.id, 4).scalars() == [5, 6]
    assert await query.after(Note.id.desc(), 4).scalars() == [3, 2, 1]
    assert await query.after(Note.number.desc(), 1, Note.id, 2).scalars() == [5, 1, 4]
    assert await query.after(Note.number, None, Note.id, None).scalars() == [1, 4, 2, 5]
    with pytest.raises(QueryError, match="in turn"):
        query.after(Note.id, 1, Note.number)
    with pytest.raises(QueryError, match="values in every row"):
        query.after(Note.number, 1, Note.id, None)


async def test_a_page_behind_a_row_that_is_gone(notes: Database) -> None:
    """The row itself need not be there any more."""
    await Note.delete_from(notes).where(Note.id == 3)
    assert await Note.select(notes, Note.id).after(Note.id, 3).limit(1).scalars() == [4]


async def test_what_needs_a_database_says_so() -> None:
    """A query without a database cannot run; a predicate that is none is refused."""
    with pytest.raises(QueryError, match="has no database"):
        await Note.select(None)
    with pytest.raises(QueryError, match="where takes predicates"):
        Note.select(None).where(True)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(QueryError, match="having takes predicates"):
        Note.select(None).having(Note.id)  # type: ignore[arg-type]  # what is tested


async def test_objects_from_a_prefix_and_a_join_have_their_own_columns(notes: Database) -> None:
    """Columns of the same name in two tables are not mixed up."""
    employee = await Employee(name="e").insert(notes)
    rows = (
        await Employee.select(notes, Employee.id, Note.id, Author.id, Employee.name, Author.name)
        .join(Note, Note.id == 5)
        .join(Author, Author.id == Note.author)
    )
    assert rows == [(employee.id, 5, 2, "e", "ben")]


async def test_wrong_sql_is_a_programming_error(db: Database) -> None:
    """A query over a table or a column that is not there says so, and hurts nothing."""

    class Missing(DbObject):
        dbo_tablename = "missing"
        id = Integer(primary_key=True)
        name = Text()

    with pytest.raises(QueryError, match="missing"):
        await Missing.select(db)
    with pytest.raises(QueryError, match="missing"):
        await Missing.update(db).set(Missing.name, "x").all_rows()
    with pytest.raises(QueryError, match="missing"):
        await Author.select(db).join(Missing, Missing.id == Author.id)
    with pytest.raises(QueryError, match="comment"):
        await Author.select(db).where(Note.comment == "x")
    await Author(name="fine").insert(db)


async def test_for_update_outside_a_transaction(db: Database) -> None:
    """A lock that would be gone at once is refused, also where there are no locks of rows."""
    for query in (Author.select(db).for_update(), Author.select(db).for_update(skip_locked=True)):
        with pytest.raises(QueryError, match="for_update needs a transaction"):
            await query


async def test_for_update_keeps_others_out(db: Database) -> None:
    """Two that read, think and write one after the other lose nothing."""
    await Pair(left=1, order="x", value=0).insert(db)

    async def raise_() -> None:
        async with db.transaction() as tx:
            pair = await Pair.select(tx).where(Pair.left == 1).for_update().one()
            assert pair.value is not None
            pair.value += 1
            await pair.save(tx)

    await asyncio.gather(*(raise_() for _ in range(10)))
    assert await Pair.select(db, Pair.value).scalar() == 10


@on_servers
async def test_skip_locked(db: Database) -> None:
    """Rows that others work on are left out, so that several workers share a queue."""
    await Pair.insert_many(db, [{Pair.left: n, Pair.order: "x"} for n in range(4)])

    def query(tx: Any) -> Any:
        return Pair.select(tx, Pair.left).order_by(Pair.left).limit(2).for_update(skip_locked=True)

    async with db.transaction() as one:
        assert await query(one).scalars() == [0, 1]
        async with db.transaction() as two:
            assert await query(two).scalars() == [2, 3]
            async with db.transaction() as three:
                assert await query(three).scalars() == []
    async with db.transaction() as again:
        assert await query(again).scalars() == [0, 1]


async def test_keys_of_all_kinds_join(db: Database) -> None:
    """A key that is text or a UUID is joined and grouped by like a number."""
    department = await Department(name="d").insert(db)
    await Employee(name="e", department=department).insert(db)
    await Employee(name="f").insert(db)
    query = (
        Department.select(db, Department.id, count())
        .join(Employee, Employee.department == Department.id)
        .group_by(Department.id)
    )
    assert await query == [(department.id, 1)]
    await Label(name="a").insert(db)
    assert await Label.select(db, Label.name).order_by(Label.name).scalars() == ["a"]


def test_expressions_are_readable() -> None:
    """A column in a traceback says which it is."""
    assert repr(Note.number) == "<Note.number>"
    assert isinstance(Note.number, Expression)


def test_columns_of_other_tables_are_refused() -> None:
    """A column of a table that the query does not have is an error, also where its own has one of that name."""
    for query in (
        Note.select(None, Note.text).where(Author.id == 3),
        Note.select(None, Author.id),
        Note.update().set(Note.number, Author.id).where(Note.id == 1),
        Note.delete_from().where(Author.id == 3),
    ):
        with pytest.raises(QueryError, match="Author"):
            query.statement(SQLITE)

"""INSERT, UPDATE and DELETE: what they say, what they do, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from server.db import (
    Database,
    DbObject,
    ForeignKeyViolation,
    Integer,
    QueryError,
    Text,
    UniqueViolation,
    ValidationError,
    count,
    current_timestamp,
    excluded,
    exists,
    max_,
    min_,
    now,
)  # fmt: skip
from server.db.mysql.dialect import MARIADB, MYSQL
from server.db.queries import Query
from server.db.sqlite.dialect import SQLITE
from server.db.writes import MOST_ROWS, Assigned
from tests.server.db.conftest import faulty_on
from tests.server.db.golden import SERVERS, for_servers, golden_query
from tests.server.db.tables import MOMENT, Author, Color, Label, Made, Note, Pair, create_all


@pytest.mark.parametrize(
    ("query", "sqlite", "mysql", "mariadb"),
    [
        (
            Author.update().set(Author.name, "x").where(Author.id == 1),
            "UPDATE authors SET name = ? WHERE id = ?",
            None,
            None,
        ),
        (
            Author.delete_from().where(Author.id == 1),
            "DELETE FROM authors WHERE id = ?",
            None,
            None,
        ),
        (
            Author.delete_from().all_rows(),
            "DELETE FROM authors",
            None,
            None,
        ),
        (
            Author.insert_many(None, [{Author.name: "a"}]),
            "INSERT INTO authors (name, born) VALUES (?, ?)",
            None,
            None,
        ),
        (
            Author.insert_many(None, [{Author.name: "a"}, {Author.name: "b", Author.born: MOMENT}]),
            "INSERT INTO authors (name, born) VALUES (?, ?), (?, ?)",
            None,
            None,
        ),
        (
            Author.insert_many(None, [{Author.name: "a"}]).on_conflict_ignore(),
            "INSERT INTO authors (name, born) VALUES (?, ?) ON CONFLICT DO NOTHING",
            "INSERT INTO authors (name, born) VALUES (%s, %s) ON DUPLICATE KEY UPDATE id = id",
            None,
        ),
        (
            Author.insert_many(None, [{Author.name: "a"}]).on_conflict_ignore(Author.name),
            "INSERT INTO authors (name, born) VALUES (?, ?) ON CONFLICT (name) DO NOTHING",
            "INSERT INTO authors (name, born) VALUES (%s, %s) ON DUPLICATE KEY UPDATE name = name",
            None,
        ),
        (
            Author.insert_many(None, [{Author.name: "a"}]).on_conflict(Author.name, update=[Author.born]),
            ("INSERT INTO authors (name, born) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET born = excluded.born"),
            "INSERT INTO authors (name, born) VALUES (%s, %s) ON DUPLICATE KEY UPDATE born = VALUES(born)",
            None,
        ),
        (
            Pair.insert_many(None, [{Pair.left: 1, Pair.order: "a", Pair.value: 2}]).on_conflict(
                Pair.left, Pair.order, set_={Pair.value: Pair.value + excluded(Pair.value)}
            ),
            (
                'INSERT INTO pairs ("left", "order", value) VALUES (?, ?, ?) ON CONFLICT ("left", "order") DO '
                "UPDATE SET value = (value + excluded.value)"
            ),
            (
                "INSERT INTO pairs (`left`, `order`, value) VALUES (%s, %s, %s) ON DUPLICATE KEY UPDATE value "
                "= (value + VALUES(value))"
            ),
            None,
        ),
        (
            Note.update().set(Note.number, Note.select(None, max_(Note.number))).where(Note.id == 1),
            "UPDATE notes SET number = (SELECT max(notes.number) FROM notes) WHERE id = ?",
            (
                "UPDATE notes SET number = (SELECT * FROM (SELECT max(notes.number) AS column_1 FROM notes) "
                "AS derived) WHERE id = %s"
            ),
            "UPDATE notes SET number = (SELECT max(notes.number) FROM notes) WHERE id = %s",
        ),
        (
            Note.delete_from().where(Note.id.in_(Note.select(None, min_(Note.id)).group_by(Note.author))),
            "DELETE FROM notes WHERE id IN (SELECT min(notes.id) FROM notes GROUP BY notes.author)",
            (
                "DELETE FROM notes WHERE id IN (SELECT * FROM (SELECT min(notes.id) AS column_1 FROM notes "
                "GROUP BY notes.author) AS derived)"
            ),
            "DELETE FROM notes WHERE id IN (SELECT min(notes.id) FROM notes GROUP BY notes.author)",
        ),
        (
            Note.update().set(Note.text, Note.comment).set(Note.comment, "x").all_rows(),
            "UPDATE notes SET text = comment, comment = ?",
            None,
            None,
        ),
        (
            Note.update().set(Note.comment, "x").set(Note.text, Note.comment).all_rows(),
            "UPDATE notes SET comment = ?, text = comment",
            "UPDATE notes SET text = comment, comment = %s",
            None,
        ),
        (
            Author.insert_many(None, [Author(name="a")]),
            "INSERT INTO authors (name, born) VALUES (?, ?)",
            None,
            None,
        ),
        (
            Note.update().set(Note.number, 1).where(Note.author.in_(Author.select(None, Author.id).limit(1))),
            "UPDATE notes SET number = ? WHERE author IN (SELECT authors.id FROM authors LIMIT ?)",
            (
                "UPDATE notes SET number = %s WHERE author IN (SELECT * FROM (SELECT authors.id FROM authors "
                "LIMIT %s) AS limited)"
            ),
            None,
        ),
        (
            Made.insert_many(None, [{}]),
            "INSERT INTO made (number) VALUES (?)",
            None,
            None,
        ),
    ],
)
def test_golden_sql(query: Query[Any], sqlite: str, mysql: str | None, mariadb: str | None) -> None:
    """Statements qualify and quote only where they have to; a write that reads its own table does so in a derived one.

    None stands for the text before it, but for the placeholders.
    """
    assert golden_query(query, SQLITE)[0] == sqlite
    assert golden_query(query, MYSQL)[0] == for_servers(sqlite, mysql)
    assert golden_query(query, MARIADB)[0] == (for_servers(sqlite, mysql) if mariadb is None else mariadb)


@pytest.fixture
async def notes(db: Database) -> Database:
    """Two authors with three notes each."""
    for name in ("ann", "ben"):
        author = await Author(name=name).insert(db)
        for number in range(3):
            await Note(author=author, number=number, text=f"{name} {number}").insert(db)
    return db


async def test_writes_by_predicate(notes: Database) -> None:
    """Updates and deletes give the number of rows."""
    assert await Note.update(notes).set(Note.number, Note.number + 10).where(Note.number > 1) == 2
    assert await Note.select(notes, Note.number).where(Note.author == 1).order_by(Note.id).scalars() == [0, 1, 12]
    assert await Note.update(notes).set(Note.number, 1).where(Note.number == 77) == 0
    assert await Note.delete_from(notes).where(Note.number == 12) == 2
    assert await Note.delete_from(notes).where(Note.number == 12) == 0
    assert await Note.update(notes).set(Note.text, "all").all_rows() == 4
    assert await Note.delete_from(notes).all_rows() == 4


async def test_rows_that_stay_as_they_are_count(notes: Database) -> None:
    """The number is that of the rows that matched, on every database."""
    assert await Note.update(notes).set(Note.number, Note.number).where(Note.author == 1) == 3
    assert await Note.update(notes).set(Note.text, "same").where(Note.id == 1) == 1
    assert await Note.update(notes).set(Note.text, "same").where(Note.id == 1) == 1


async def test_a_predicate_is_mandatory(notes: Database) -> None:
    """Forgetting `where` changes nothing at all."""
    for query in (Note.update(notes).set(Note.text, "x"), Note.delete_from(notes)):
        with pytest.raises(QueryError, match="all_rows"):
            await query
    with pytest.raises(QueryError, match="all_rows"):
        await Note.delete_from(notes).returning(Note.id)
    with pytest.raises(QueryError, match="all_rows"):
        await Note.update(notes).set(Note.text, "x").returning(Note.id)
    with pytest.raises(QueryError, match="changes nothing"):
        await Note.update(notes).all_rows()
    with pytest.raises(QueryError, match="takes predicates"):
        Note.update(notes).where(True)  # type: ignore[arg-type]  # what is tested
    assert await Note.select(notes).where(Note.text == "x").count() == 0
    assert await Note.select(notes).count() == 6


async def test_assignments_are_checked(db: Database) -> None:
    """What is immutable, or does not fit, is refused where it is said."""
    with pytest.raises(ValidationError, match=r"notes\.made_at: is immutable"):
        Note.update(db).set(Note.made_at, now())
    with pytest.raises(ValidationError, match=r"notes\.id: is immutable"):
        Note.update(db).set(Note.id, 3)
    with pytest.raises(ValidationError, match=r"notes\.text: has at most 100"):
        Note.update(db).set(Note.text, "x" * 101)
    with pytest.raises(ValidationError, match=r"notes\.number: needs a value"):
        Note.update(db).set(Note.number, None)
    with pytest.raises(ValidationError, match=r"pairs\.left: is immutable"):
        Pair.insert_many(db, [{Pair.left: 1, Pair.order: "a"}]).on_conflict(Pair.order, set_={Pair.left: 2})


async def test_assignments_see_the_old_values(db: Database) -> None:
    """All of them, in whatever order they are written and the database makes them."""
    await Author(name="a").insert(db)
    await Note(author=1, number=1, text="text", comment="comment").insert(db)
    update = Note.update(db).set(Note.comment, "new").set(Note.text, Note.comment).set(Note.number, Note.number + 1)
    await update.all_rows()
    assert await Note.select(db, Note.comment, Note.text, Note.number).one() == ("new", "comment", 2)
    exchange = Note.update(db).set(Note.text, Note.comment).set(Note.comment, Note.text).all_rows()
    if db.dialect.assigns_in_order:
        with pytest.raises(QueryError, match="cannot exchange"):
            await exchange
    else:
        await exchange
        assert await Note.select(db, Note.comment, Note.text).one() == ("comment", "new")


def test_an_exchange_is_refused_where_it_would_go_wrong() -> None:
    """MySQL assigns one after the other: what cannot be put into an order is an error, not a wrong value."""
    exchange = Note.update().set(Note.text, Note.comment).set(Note.comment, Note.text).all_rows()
    for dialect in SERVERS:
        with pytest.raises(QueryError, match="cannot exchange"):
            exchange.statement(dialect)


async def test_writes_that_read_their_own_table(notes: Database) -> None:
    """A write finds its rows and its values by a query over the same table."""
    largest = Note.select(None, max_(Note.number))
    assert await Note.update(notes).set(Note.number, largest + 5).where(Note.id == 1) == 1
    assert await Note.select(notes, Note.number).where(Note.id == 1).scalar() == 7
    firsts = Note.select(None, min_(Note.id)).group_by(Note.author)
    assert await Note.delete_from(notes).where(Note.id.in_(firsts)) == 2
    assert await Note.select(notes, Note.id).order_by(Note.id).scalars() == [2, 3, 5, 6]
    limited = Note.select(None, Note.id).order_by(Note.id.desc()).limit(1)
    assert await Note.delete_from(notes).where(Note.id.in_(limited)) == 1
    empty = Author.select(None, Author.id).where(Author.name == "ben")
    assert await Note.update(notes).set(Note.text, "ben's").where(Note.author.in_(empty)) == 1


async def test_insert_many(db: Database) -> None:
    """Rows without objects: checked, with defaults, all or none, of any number."""
    rows = [{Author.name: f"a{n}"} for n in range(2 * MOST_ROWS + 1)]
    assert await Author.insert_many(db, rows) == len(rows)
    assert await Author.select(db).count() == len(rows)
    made = await Author.insert_many(db, [{Author.name: "x"}, {Author.name: "y"}]).returning(Author.name)
    assert made == [("x",), ("y",)]
    with pytest.raises(ValidationError, match=r"authors\.name"):
        Author.insert_many(db, [{Author.name: "x" * 21}])
    with pytest.raises(ValidationError, match=r"authors\.name: needs a value"):
        Author.insert_many(db, [{}])
    with pytest.raises(UniqueViolation):
        await Author.insert_many(db, [{Author.name: "z"}, {Author.name: "a1"}])
    with pytest.raises(UniqueViolation):
        await Author.insert_many(db, [*({Author.name: f"b{n}"} for n in range(MOST_ROWS)), {Author.name: "a1"}])
    assert not await Author.select(db).where(Author.name.in_(["z", "b0"])).exists()
    with pytest.raises(QueryError, match="needs a row"):
        Author.insert_many(db, [])


async def test_rows_may_be_objects_and_have_expressions(db: Database) -> None:
    """Objects, mappings and values that the database makes stand beside each other."""
    assert await Author.insert_many(db, [Author(name="a", born=MOMENT), {Author.name: "b"}]) == 2
    await Author.insert_many(db, [{Author.name: "c", Author.born: current_timestamp()}, {Author.name: "d"}])
    rows = await Author.select(db, Author.name, Author.born).order_by(Author.id)
    assert rows[0] == ("a", MOMENT)
    assert rows[1] == ("b", None)
    assert rows[2][1] is not None
    number = Author.select(None, count())
    assert await Pair.insert_many(db, [{Pair.left: number, Pair.order: "x"}]) == 1
    assert await Pair.select(db, Pair.left).scalar() == 4
    with pytest.raises(QueryError, match="is no row of authors"):
        Author.insert_many(db, [Note()])  # type: ignore[list-item]  # what is tested


async def test_defaults(db: Database) -> None:
    """What a row leaves out is what an object would have, or what the database makes."""
    await Made.insert_many(db, [{}, {Made.at: MOMENT, Made.number: 3}, {Made.id: 70}])
    rows = await Made.select(db, Made.id, Made.number).order_by(Made.id)
    assert rows[:2] == [(1, 0), (2, 3)]
    assert rows[2] == (70, 0)
    moments = await Made.select(db, Made.at).order_by(Made.id).scalars()
    assert moments[1] == MOMENT
    assert abs((moments[0] - now()).total_seconds()) < 60


async def test_conflicts_can_be_left_out(db: Database) -> None:
    """What is there already stays as it is and does not count; other violations are errors all the same."""
    await Author.insert_many(db, [{Author.name: "a", Author.born: MOMENT}])
    assert await Author.insert_many(db, [{Author.name: "a"}, {Author.name: "b"}]).on_conflict_ignore() == 1
    assert await Author.insert_many(db, [{Author.name: "a"}]).on_conflict_ignore(Author.name) == 0
    assert await Author.select(db, Author.name, Author.born).order_by(Author.id) == [("a", MOMENT), ("b", None)]
    await Pair(left=1, order="x", value=1).insert(db)
    again = Pair.insert_many(db, [{Pair.left: 1, Pair.order: "x"}, {Pair.left: 1, Pair.order: "y"}])
    assert await again.on_conflict_ignore(Pair.left, Pair.order) == 1
    with pytest.raises(ForeignKeyViolation):
        await Note.insert_many(db, [{Note.author: 99}]).on_conflict_ignore()
    with pytest.raises(QueryError, match="which rows were left out"):
        await Author.insert_many(db, [{Author.name: "a"}]).on_conflict_ignore().returning(Author.id)


async def test_upsert(db: Database) -> None:
    """A row that meets another one changes it: to the new values, or to what is made of both."""

    def add(*rows: tuple[str, int]) -> Any:
        values: list[Assigned] = [{Pair.left: 1, Pair.order: name, Pair.value: value} for name, value in rows]
        return Pair.insert_many(db, values).on_conflict(
            Pair.left, Pair.order, set_={Pair.value: Pair.value + excluded(Pair.value)}
        )

    assert await add(("a", 1), ("b", 2)) == 2
    assert await add(("a", 10), ("c", 3)) == 2
    assert await add(("a", 0)) == 1
    assert await Pair.select(db, Pair.order, Pair.value).order_by(Pair.order) == [("a", 11), ("b", 2), ("c", 3)]
    replace = Author.insert_many(db, [{Author.name: "x", Author.born: MOMENT}])
    for _ in range(2):
        assert await replace.on_conflict(Author.name, update=[Author.born]) == 1
    label = Label.insert_many(db, [{Label.name: "l"}])
    await label.on_conflict(Label.name, set_={Label.color: Color.BLUE})
    await label.on_conflict(Label.name, set_={Label.color: Color.BLUE})
    assert await Label.select(db, Label.color).scalars() == [Color.BLUE]
    with pytest.raises(QueryError, match="takes the unique columns"):
        replace.on_conflict(update=[Author.born])
    with pytest.raises(QueryError, match="takes the unique columns"):
        replace.on_conflict(Author.name)


def test_an_ambiguous_upsert_is_refused() -> None:
    """Where the database takes any key for a conflict, a row with two of them is not changed by the wrong one."""
    upsert = Author.insert_many(None, [{Author.id: 1, Author.name: "a"}]).on_conflict(Author.name, update=[Author.born])
    assert "ON CONFLICT (name)" in golden_query(upsert, SQLITE)[0]
    for dialect in SERVERS:
        with pytest.raises(QueryError, match="cannot tell a conflict of name from one of id"):
            upsert.statement(dialect)


async def test_a_row_of_defaults(db: Database) -> None:
    """A table may have a row without any value of ours."""

    class Counter(DbObject):
        dbo_tablename = "counters"
        id = Integer(primary_key=True)

    assert Counter.insert_many(None, [{}]).sql == "INSERT INTO counters DEFAULT VALUES"
    assert [Counter.insert_many(None, [{}]).statement(d).sql for d in SERVERS] == [
        "INSERT INTO counters () VALUES ()"
    ] * 2


async def test_a_table_without_a_key(db: Database) -> None:
    """Rows can be written and found without one; what needs one says so."""

    class Event(DbObject):
        dbo_tablename = "events"
        name = Text(max_length=10)

    await create_all(db, [Event])
    await Event.insert_many(db, [{Event.name: "a"}, {Event.name: "a"}])
    assert await Event.update(db).set(Event.name, "b").where(Event.name == "a") == 2
    assert await Event.select(db, Event.name).scalars() == ["b", "b"]
    event = await Event.select(db).first()
    assert event is not None
    event.name = "c"
    for wrong in (event.save(db), event.delete(db), Event.get(db, 1)):
        with pytest.raises(QueryError, match="has no primary key"):
            await wrong


@faulty_on("mysql", "a subquery over the written table is a derived one, and no longer sees the row around it")
async def test_writes_that_compare_rows_of_one_table(notes: Database) -> None:
    """A write looks, for each row, at other rows of the same table."""
    other = Note.prefix("other")
    later = other.select(None, other.id).where(other.author == Note.author, other.number > Note.number)
    assert await Note.update(notes).set(Note.text, "last").where(~exists(later)) == 2
    assert await Note.select(notes, Note.id).where(Note.text == "last").order_by(Note.id).scalars() == [3, 6]
    assert await Note.delete_from(notes).where(exists(later)) == 4


async def test_what_does_not_fit_is_not_stored(db: Database) -> None:
    """A number that a query computes and that is beyond 64 bits is an error, and the row stays as it was."""
    await Pair(left=1, order="x", value=2**63 - 1).insert(db)
    with pytest.raises(QueryError):
        await Pair.update(db).set(Pair.value, Pair.value + 1).all_rows()
    assert await Pair.select(db, Pair.value).scalar() == 2**63 - 1

"""RETURNING, also where a database does not have it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from server.db import Database, DbObject, Integer, QueryError, Text, excluded
from server.db.backends import Result, Statement
from server.db.dialects import Dialect
from server.db.mysql.dialect import MARIADB, MYSQL
from server.db.queries import Query
from server.db.sqlite.dialect import SQLITE
from server.db.writes import Assigned
from tests.server.db.tables import MOMENT, Author, Color, Everything, Label, Note, Pair

STEPS = "in several steps"


def texts(query: Query[Any], dialect: Dialect) -> str | tuple[str, ...]:
    batch = query.batch(dialect)
    if batch is None:
        return STEPS
    return batch[0].sql if len(batch) == 1 else tuple(statement.sql for statement in batch)


@pytest.mark.parametrize(
    ("query", "sqlite", "mysql", "mariadb"),
    [
        (
            Pair.insert_many(None, [{Pair.left: 1, Pair.order: "a", Pair.value: 2}])
            .on_conflict(Pair.left, Pair.order, update=[Pair.value])
            .returning(Pair.value),
            (
                'INSERT INTO pairs ("left", "order", value) VALUES (?, ?, ?) ON CONFLICT ("left", "order") DO '
                "UPDATE SET value = excluded.value RETURNING value"
            ),
            (
                (
                    "INSERT INTO pairs (`left`, `order`, value) VALUES (%s, %s, %s) ON DUPLICATE KEY UPDATE value "
                    "= VALUES(value)"
                ),
                "SELECT value FROM pairs WHERE (`left`, `order`) IN ((%s, %s))",
            ),
            (
                "INSERT INTO pairs (`left`, `order`, value) VALUES (%s, %s, %s) ON DUPLICATE KEY UPDATE value "
                "= VALUES(value) RETURNING value"
            ),
        ),
        (
            Author.insert_many(None, [{Author.name: "a"}, {Author.name: "b"}]).returning(Author.id),
            "INSERT INTO authors (name, born) VALUES (?, ?), (?, ?) RETURNING id",
            (
                "INSERT INTO authors (name, born) VALUES (%s, %s), (%s, %s)",
                (
                    "SELECT id FROM authors WHERE id BETWEEN last_insert_id() AND last_insert_id() + 1 * "
                    "@@auto_increment_increment ORDER BY id"
                ),
            ),
            "INSERT INTO authors (name, born) VALUES (%s, %s), (%s, %s) RETURNING id",
        ),
        (
            Label.insert_many(None, [{Label.name: "a"}]).returning(Label.color),
            "INSERT INTO labels (name, color) VALUES (?, ?) RETURNING color",
            (
                "INSERT INTO labels (name, color) VALUES (%s, %s)",
                "SELECT color FROM labels WHERE name IN (%s)",
            ),
            "INSERT INTO labels (name, color) VALUES (%s, %s) RETURNING color",
        ),
        (
            Pair.update().set(Pair.value, Pair.value + 1).where(Pair.order == "x").returning(Pair.value),
            'UPDATE pairs SET value = (value + ?) WHERE "order" = ? RETURNING value',
            STEPS,
            None,
        ),
        (
            Pair.update()
            .set(Pair.value, Pair.value + 1)
            .where((Pair.left == 1) & (Pair.order == "x"))
            .returning(Pair.value),
            'UPDATE pairs SET value = (value + ?) WHERE ("left" = ? AND "order" = ?) RETURNING value',
            (
                "UPDATE pairs SET value = (value + %s) WHERE (`left` = %s AND `order` = %s)",
                "SELECT value FROM pairs WHERE (`left` = %s AND `order` = %s)",
            ),
            None,
        ),
        (
            Pair.delete_from().where(Pair.order == "x").returning(Pair.value),
            'DELETE FROM pairs WHERE "order" = ? RETURNING value',
            STEPS,
            "DELETE FROM pairs WHERE `order` = %s RETURNING value",
        ),
    ],
)
def test_golden_sql(
    query: Query[Any], sqlite: str, mysql: str | tuple[str, ...], mariadb: str | tuple[str, ...] | None
) -> None:
    """One statement where the database can, one unit where that is enough, and else several steps under locks.

    None stands for the text before it.
    """
    assert texts(query, SQLITE) == sqlite
    assert texts(query, MYSQL) == mysql
    assert texts(query, MARIADB) == (mysql if mariadb is None else mariadb)


class Recorded:
    """What a query would send in steps, and what it would be answered."""

    def __init__(self, *answers: list[tuple[Any, ...]]) -> None:
        self._answers = list(answers)
        self.sent: list[str] = []

    def run(self, query: Query[Any], dialect: Dialect) -> Any:
        steps = query.steps(dialect)
        statements = next(steps)
        while True:
            self.sent += [f"{s.sql} {list(s.arguments)}" for s in statements]
            answers: list[Result] = [Result(self._answers.pop(0)) for _ in statements]
            try:
                statements = steps.send(answers)
            except StopIteration as end:
                return end.value


def test_an_update_in_steps() -> None:
    """The rows are locked, just these are changed, and then looked at."""
    update = Pair.update().set(Pair.value, 7).where(Pair.value > 1).returning(Pair.left, Pair.value)
    recorded = Recorded([(1, "a"), (2, "b")], [], [(1, 7), (2, 7)])
    assert recorded.run(update, MYSQL) == [(1, 7), (2, 7)]
    assert recorded.sent == [
        "SELECT `left`, `order` FROM pairs WHERE value > %s FOR UPDATE [1]",
        "UPDATE pairs SET value = %s WHERE (`left`, `order`) IN ((%s, %s), (%s, %s)) [7, 1, 'a', 2, 'b']",
        "SELECT `left`, value FROM pairs WHERE (`left`, `order`) IN ((%s, %s), (%s, %s)) [1, 'a', 2, 'b']",
    ]
    nothing = Recorded([])
    assert nothing.run(update, MYSQL) == []
    assert len(nothing.sent) == 1


def test_a_delete_in_steps() -> None:
    """The rows are locked and looked at, and just these are deleted."""
    delete = Author.delete_from().where(Author.name == "a").returning(Author.name)
    recorded = Recorded([(3, "a"), (4, "a")], [])
    assert recorded.run(delete, MYSQL) == [("a",), ("a",)]
    assert recorded.sent == [
        "SELECT id, name FROM authors WHERE name = %s FOR UPDATE ['a']",
        "DELETE FROM authors WHERE id IN (%s, %s) [3, 4]",
    ]


async def test_inserts(db: Database) -> None:
    """New rows come back in their order, with what the database made, by every kind of key."""
    made = await Author.insert_many(db, [{Author.name: name} for name in "zya"]).returning(Author.id, Author.name)
    assert made == [(1, "z"), (2, "y"), (3, "a")]
    assert await Author.insert_many(db, [{Author.id: 9, Author.name: "n"}]).returning(Author.id) == [(9,)]
    labels = Label.insert_many(db, [{Label.name: "l", Label.color: Color.BLUE}, {Label.name: "k"}])
    assert await labels.returning(Label.color) == [(Color.BLUE,), (Color.RED,)]
    pairs = Pair.insert_many(db, [{Pair.left: 2, Pair.order: "b"}, {Pair.left: 1, Pair.order: "a"}])
    assert await pairs.returning(Pair.left, Pair.order) == [(2, "b"), (1, "a")]
    moment = Everything.insert_many(db, [{Everything.moment: MOMENT, Everything.truth: True}])
    assert await moment.returning(Everything.moment, Everything.truth, Everything.json) == [(MOMENT, True, None)]


async def test_upserts(db: Database) -> None:
    """What was inserted and what was changed both come back as they are now."""

    def upsert(*rows: tuple[int, int]) -> Any:
        values: list[Assigned] = [{Pair.left: left, Pair.order: "x", Pair.value: value} for left, value in rows]
        query = Pair.insert_many(db, values)
        return query.on_conflict(Pair.left, Pair.order, set_={Pair.value: Pair.value + excluded(Pair.value)}).returning(
            Pair.left, Pair.value
        )

    assert await upsert((1, 5), (2, 6)) == [(1, 5), (2, 6)]
    assert await upsert((2, 1), (3, 9)) == [(2, 7), (3, 9)]


async def test_updates(db: Database) -> None:
    """Changed rows come back as they are now, and no others, also where the predicate is no longer true of them."""
    await Pair.insert_many(db, [{Pair.left: n, Pair.order: "x", Pair.value: n} for n in range(5)])
    update = Pair.update(db).set(Pair.value, Pair.value - 100).where(Pair.value > 2)
    assert sorted(await update.returning(Pair.left, Pair.value)) == [(3, -97), (4, -96)]
    assert await update.returning(Pair.left) == []
    one = Pair.update(db).set(Pair.value, 50).where(Pair.left == 1, Pair.order == "x")
    assert await one.returning(Pair.value) == [(50,)]
    assert await one.returning(Pair.value) == [(50,)]
    assert await one.where(Pair.value == 3).returning(Pair.value) == []
    missing = Pair.update(db).set(Pair.value, 50).where(Pair.left == 1, Pair.order == "y")
    assert await missing.returning(Pair.value) == []
    assert len(await Pair.update(db).set(Pair.value, 0).all_rows().returning(Pair.left)) == 5
    assert await Pair.select(db, Pair.value).distinct().scalars() == [0]


async def test_deletes(db: Database) -> None:
    """Deleted rows come back as they were."""
    await Pair.insert_many(db, [{Pair.left: n, Pair.order: "x", Pair.value: n} for n in range(5)])
    assert sorted(await Pair.delete_from(db).where(Pair.left > 2).returning(Pair.left, Pair.value)) == [(3, 3), (4, 4)]
    assert await Pair.delete_from(db).where(Pair.left > 2).returning(Pair.left) == []
    assert len(await Pair.delete_from(db).all_rows().returning(Pair.left)) == 3
    assert await Pair.select(db).count() == 0


async def test_in_a_transaction_and_in_a_unit(db: Database) -> None:
    """It is the same inside a transaction, and inside a unit beside other writes."""
    async with db.transaction() as tx:
        assert await Author.insert_many(tx, [{Author.name: "a"}]).returning(Author.id) == [(1,)]
        changed = Author.update(tx).set(Author.name, "b").where(Author.name == "a")
        assert await changed.returning(Author.name) == [("b",)]
    results = await db.atomic(
        [
            Author.insert_many(None, [{Author.name: "c"}]).returning(Author.name),
            Author.update().set(Author.name, "d").where(Author.name == "b").returning(Author.id),
            Author.update().set(Author.born, MOMENT).where(Author.name == "c"),
            Author.delete_from().where(Author.name == "c").returning(Author.born),
            Author.select(None, Author.name),
        ]
    )
    assert results == [[("c",)], [(1,)], 1, [(MOMENT,)], [("d",)]]


async def test_many_at_once_give_each_row_once(db: Database) -> None:
    """Workers that take rows from a queue by an update with returning share them."""
    await Pair.insert_many(db, [{Pair.left: n, Pair.order: "x"} for n in range(20)])

    async def take() -> list[int]:
        async with db.transaction() as tx:
            free = Pair.select(tx, Pair.left).where(Pair.value.is_null()).order_by(Pair.left).limit(4)
            numbers = await free.for_update(skip_locked=True).scalars()
            update = Pair.update(tx).set(Pair.value, 1).where(Pair.left.in_(numbers))
            return [left for (left,) in await update.returning(Pair.left)]

    taken = [number for numbers in await asyncio.gather(*(take() for _ in range(5))) for number in numbers]
    assert sorted(taken) == list(range(20))


async def test_a_table_without_a_key() -> None:
    """Without a key there is nothing to find the rows by, where that is needed."""

    class Event(DbObject):
        dbo_tablename = "events"
        name = Text()
        number = Integer(nullable=True)

    update = Event.update().set(Event.number, 1).where(Event.name == "a").returning(Event.name)
    with pytest.raises(QueryError, match="no primary key"):
        Recorded([]).run(update, MYSQL)
    assert texts(update, SQLITE) == "UPDATE events SET number = ? WHERE name = ? RETURNING name"


def test_keys_that_the_database_computes_cannot_be_looked_for() -> None:
    """A row whose key is an expression cannot be found again."""
    insert = Pair.insert_many(None, [{Pair.left: Note.select(None, Note.id).limit(1), Pair.order: "x"}])
    with pytest.raises(QueryError, match="keys are values, or counted"):
        insert.returning(Pair.left).batch(MYSQL)
    assert isinstance(insert.statement(MYSQL), Statement)

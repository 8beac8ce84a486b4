"""Prepared queries: written once, they do what the same query does with its values in the place of parameters."""

from __future__ import annotations

import asyncio
import decimal
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.db import (
    Database,
    Expression,
    IntegrityError,
    Prepared,
    QueryError,
    UniqueViolation,
    count,
    cte,
    exists,
    max_,
    parameter,
    prepare,
    union_all,
)
from server.db.mysql.dialect import MARIADB, MYSQL
from server.db.queries import Query
from server.db.sqlite.dialect import SQLITE
from server.db.writes import MOST_ROWS
from tests.server.db.tables import MOMENT, Author, Everything, Note, Pair
from tests.server.db.test_column_types import rows

NAMED = prepare(Author.select(None, Author.id, Author.name).where(Author.name == parameter(Author.name, "name")))
DIALECTS = (SQLITE, MARIADB, MYSQL)

# Whole queries.


async def people(db: Database, *names: str) -> list[Author]:
    """Make authors, each with a note of the same text."""
    authors = [await Author(name=name).insert(db) for name in names]
    await Note.insert_many(db, [{Note.author: author.id, Note.text: author.name} for author in authors])
    return authors


async def test_select_columns(db: Database) -> None:
    """A prepared select gives the rows of its values, each time anew, whatever stands in them."""
    odd = "' OR 1=1; --"
    ann, _, other = await people(db, "ann", "ben", odd)
    assert await NAMED(db, name="ann") == [(ann.id, "ann")]
    assert await NAMED(db, name=odd) == [(other.id, odd)]
    assert await NAMED(db, name="nobody") == []
    await Author(name="nobody").insert(db)
    assert [name for _, name in await NAMED(db, name="nobody")] == ["nobody"]


async def test_select_objects(db: Database) -> None:
    """A prepared select of a table gives objects: they can be changed and saved."""
    await people(db, "ann", "ben")
    find = prepare(Note.select(None).where(Note.text == parameter(Note.text, "text")))
    (note,) = await find(db, text="ben")
    note.comment = "changed"
    await note.save(db)
    (again,) = await find(db, text="ben")
    assert (type(again), again.comment) == (Note, "changed")


async def test_insert_many(db: Database) -> None:
    """Rows of parameters, values and expressions are inserted; what is returned is what was done."""
    (ann,) = await people(db, "ann")
    highest = Note.select(None, max_(Note.number)).where(Note.author == parameter(Note.author, "author"))
    insert = prepare(
        Note.insert_many(
            None,
            [
                {Note.author: parameter(Note.author, "author"), Note.number: highest + number, Note.text: text}
                for number, text in ((1, parameter(Note.text, "first")), (2, "always"))
            ],
        )
    )
    assert await insert(db, author=ann.id, first="one") == 2
    assert await insert(db, author=ann.id, first="three") == 2
    written = await Note.select(db, Note.number, Note.text, Note.comment).order_by(Note.number)
    assert written == [(0, "ann", None), (1, "one", None), (2, "always", None), (3, "three", None), (4, "always", None)]


async def test_an_insert_of_more_rows_than_one_statement_has(db: Database) -> None:
    """What is several statements is one unit, with all its parameters."""
    size = MOST_ROWS + 3
    insert = prepare(
        Pair.insert_many(
            None,
            [{Pair.left: parameter(Pair.left, f"left{n}"), Pair.order: "x", Pair.value: n} for n in range(size)],
        )
    )
    values = {f"left{n}": n for n in range(size)}
    assert await insert(db, **values) == size
    assert len(insert(db, **values).batch(db.dialect) or ()) > 1
    with pytest.raises(UniqueViolation):
        await insert(db, **{**{f"left{n}": -n - 1 for n in range(size)}, f"left{size - 1}": 0})
    assert await Pair.select(db).count() == size


async def test_update_and_delete(db: Database) -> None:
    """Parameters stand in what is set, also in arithmetic, and in the predicate; the count is of this run."""
    await people(db, "ann", "ben", "eve")
    add = prepare(
        Note.update()
        .set(Note.number, Note.number + parameter(Note.number, "more"))
        .set(Note.comment, parameter(Note.comment, "comment"))
        .where(Note.text >= parameter(Note.text, "least"))
    )
    assert await add(db, more=5, comment="seen", least="b") == 2
    assert await add(db, more=2, comment=None, least="e") == 1
    assert await Note.select(db, Note.text, Note.number, Note.comment).order_by(Note.text) == [
        ("ann", 0, None),
        ("ben", 5, "seen"),
        ("eve", 7, None),
    ]
    drop = prepare(Note.delete_from(None).where(Note.number < parameter(Note.number, "below")))
    assert await drop(db, below=7) == 2
    assert await drop(db, below=7) == 0


async def test_returning(db: Database) -> None:
    """Columns come back from an update of a row by its key and, where the database has that, from other writes."""
    ann, ben = await people(db, "ann", "ben")
    rename = prepare(
        Author.update()
        .set(Author.name, parameter(Author.name, "name"))
        .where(Author.id == parameter(Author.id, "id"))
        .returning(Author.id, Author.name)
    )
    assert await rename(db, id=ben.id, name="bob") == [(ben.id, "bob")]
    assert await rename(db, id=ann.id, name="anna") == [(ann.id, "anna")]
    assert await rename(db, id=0, name="none") == []
    async with db.transaction() as tx:
        assert await rename(tx, id=ann.id, name="ann") == [(ann.id, "ann")]
    if "insert" in db.dialect.returning:
        insert = prepare(
            Author.insert_many(None, [{Author.name: parameter(Author.name, "name")}]).returning(
                Author.name, Author.born
            )
        )
        assert await insert(db, name="eve") == [("eve", None)]
    if "delete" in db.dialect.returning:
        drop = prepare(
            Note.delete_from(None).where(Note.text == parameter(Note.text, "text")).returning(Note.text, Note.number)
        )
        assert await drop(db, text="ann") == [("ann", 0)]


async def test_upsert(db: Database) -> None:
    """An upsert has parameters in its row and in what becomes of the row that is there."""
    raise_to = prepare(
        Pair.insert_many(None, [{Pair.left: parameter(Pair.left, "left"), Pair.order: "x", Pair.value: 1}]).on_conflict(
            Pair.left, Pair.order, set_={Pair.value: Pair.value + parameter(Pair.value, "more")}
        )
    )
    for more in (10, 20, 30):
        assert await raise_to(db, left=1, more=more) == 1
    assert await Pair.select(db, Pair.value) == [(51,)]


async def test_atomic(db: Database) -> None:
    """In a unit with ordinary queries each sees what those before it did, and all are undone together."""
    insert = prepare(Author.insert_many(None, [{Author.name: parameter(Author.name, "name")}]))
    unit: list[Query[Any]] = [
        insert(name="ann"),
        Author.select(None, count()),
        NAMED(name="ann"),
        insert(name="ben"),
        Author.update().set(Author.name, "bob").where(Author.name == "ben"),
        NAMED(name="bob"),
    ]
    one, (counted,), ((ann, _),), two, renamed, ((bob, _),) = await db.atomic(unit)
    assert (one, counted, two, renamed) == (1, (1,), 1, 1)
    assert await Author.select(db, Author.id, Author.name).order_by(Author.id) == [(ann, "ann"), (bob, "bob")]
    with pytest.raises(UniqueViolation):
        await db.atomic([insert(name="eve"), insert(name="ann")])
    assert await Author.select(db).count() == 2


async def test_a_transaction(db: Database) -> None:
    """Inside a transaction it sees what the transaction did, and is undone with it."""
    insert = prepare(Author.insert_many(None, [{Author.name: parameter(Author.name, "name")}]))
    with pytest.raises(LookupError):
        async with db.transaction() as tx:
            assert await insert(tx, name="ann") == 1
            assert len(await NAMED(tx, name="ann")) == 1
            raise LookupError
    assert await NAMED(db, name="ann") == []


async def test_where_parameters_may_stand(db: Database) -> None:
    """In a subquery, behind IN, in a join, a union, a common table expression, a group: where values may stand."""
    ann, ben = await people(db, "ann", "ben")
    name, text, least = parameter(Author.name, "name"), parameter(Note.text, "text"), parameter(Note.number, "least")
    by_name = Author.select(None, Author.id).where(Author.name == name)
    n, a = Note.prefix("n"), Author.prefix("a")
    named = cte("named", Note.select(None, Note.text).where(Note.text == text))
    queries: list[tuple[Query[Any], dict[str, Any], Any]] = [
        (Note.select(None, Note.text).where(Note.author.in_(by_name)), {"name": "ann"}, [("ann",)]),
        (Note.select(None, Note.text).where(Note.author == by_name), {"name": "ben"}, [("ben",)]),
        (
            Note.select(None, Note.text).where(Note.text.in_([text, parameter(Note.text, "other")])),
            {"text": "none", "other": "ben"},
            [("ben",)],
        ),
        (
            n.select(None, n.text, a.id).join(a, (n.author == a.id) & (a.name == name)).where(n.number >= least),
            {"name": "ben", "least": 0},
            [("ben", ben.id)],
        ),
        (
            Author.select(None, Author.id).where(
                exists(Note.select(None).where(Note.author == Author.id, Note.text == text)), Author.name != name
            ),
            {"text": "ann", "name": "ben"},
            [(ann.id,)],
        ),
        (named.select(None, named.text), {"text": "ann"}, [("ann",)]),
        (
            union_all(
                Note.select(None, Note.text).where(Note.text == text),
                Author.select(None, Author.name).where(by_name == 0),
            ),
            {"text": "ann", "name": "ben"},
            [("ann",)],
        ),
        (
            Note.select(None, Note.author, count()).group_by(Note.author).having(count() > least).limit(1),
            {"least": 1},
            [],
        ),
    ]
    for query, values, expected in queries:
        assert await prepare(query)(db, **values) == expected, values


# As the query with values.


EVERY = [column.name for column in Everything.dbo_columns[1:]]
INSERT = prepare(
    Everything.insert_many(None, [{getattr(Everything, n): parameter(getattr(Everything, n), n) for n in EVERY}])
)
FIND: dict[str, Prepared[list[Any]]] = {
    name: prepare(
        Everything.select(None, Everything.id).where(
            getattr(Everything, name) == parameter(getattr(Everything, name), "value")
        )
    )
    for name in EVERY
}
WRITE: dict[str, Prepared[int]] = {
    name: prepare(
        Everything.update()
        .set(getattr(Everything, name), parameter(getattr(Everything, name), "value"))
        .where(Everything.id == parameter(Everything.id, "id"))
    )
    for name in EVERY
}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=rows, others=rows)
async def test_it_is_the_query_with_its_values(db: Database, values: dict[str, Any], others: dict[str, Any]) -> None:
    """Whatever the values of whatever type, none included: both write the same, find the same, have the same text."""
    await Everything.delete_from(db).all_rows()
    assert await INSERT(db, **values) == 1
    await Everything.update(db).set(Everything.key, None).all_rows()  # it is unique
    plain = Everything.insert_many(None, [{getattr(Everything, name): value for name, value in values.items()}])
    assert await db.atomic([plain]) == [1]
    assert INSERT(**values).statement(db.dialect).sql == plain.statement(db.dialect).sql
    assert list(INSERT(**values).statement(db.dialect).arguments) == list(plain.statement(db.dialect).arguments)
    read = await Everything.select(db).order_by(Everything.id)
    assert read[0].dbo_values[1:-1] == read[1].dbo_values[1:-1]
    assert read[1].key == values["key"]
    for name in EVERY:
        expression: Expression[Any] = getattr(Everything, name)
        for value in (values[name], others[name]):
            if value is not None:
                expected = await Everything.select(db, Everything.id).where(expression == value)
                assert await FIND[name](db, value=value) == expected, name
    for name in EVERY:
        assert await WRITE[name](db, value=others[name], id=read[0].id) == 1
        await Everything.update(db).set(getattr(Everything, name), None).where(Everything.id == read[1].id)
        if name != "key":
            await Everything.update(db).set(getattr(Everything, name), others[name]).where(Everything.id == read[1].id)
    read = await Everything.select(db).order_by(Everything.id)
    assert read[0].dbo_values[1:-1] == read[1].dbo_values[1:-1]
    assert read[0].key == others["key"]


async def test_no_value_equals_nothing(db: Database) -> None:
    """None is SQL's NULL: it is written as that, and nothing is equal to it, rows without a value neither."""
    await people(db, "ann")
    find = prepare(Note.select(None, Note.id).where(Note.comment == parameter(Note.comment, "comment")))
    assert await find(db, comment=None) == []


# What is wrong.


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": 3}, "name"),
    ({"name": b"ann"}, "name"),
    ({"name": "\ud800"}, "name"),
    ({}, "name"),
    ({"nam": "ann"}, "name"),
    ({"name": "ann", "nmae": "x"}, "nmae"),
    ({"name": "ann", "other": None}, "other"),
]


@pytest.mark.parametrize(("values", "named"), WRONG, ids=str)
async def test_wrong_values_are_named(db: Database, values: dict[str, Any], named: str) -> None:
    """A value of another type, one that is missing, one too many: an error of the program that names the parameter,
    without the value, before anything runs."""
    await people(db, "ann")
    with pytest.raises(QueryError) as refused:
        await NAMED(db, **values)
    assert named in re.findall(r"\w+", str(refused.value))
    with pytest.raises(QueryError):
        await db.atomic([Author.update().set(Author.name, "changed").where(Author.name == "ann"), NAMED(**values)])
    assert len(await NAMED(db, name="ann")) == 1


async def test_the_wrong_one_of_many_is_named(db: Database) -> None:
    """Of several parameters of several rows, the one whose value is wrong is named, and no value."""
    insert = prepare(
        Pair.insert_many(
            None,
            [
                {Pair.left: parameter(Pair.left, f"left{n}"), Pair.order: parameter(Pair.order, f"order{n}")}
                for n in "ab"
            ],
        )
    )
    fine = {"lefta": 1, "ordera": "a", "leftb": 2, "orderb": "b"}
    for name, value in (("leftb", "secret"), ("ordera", 91234), ("lefta", 2**63), ("leftb", True), ("orderb", 2.5)):
        with pytest.raises(QueryError) as refused:
            await insert(db, **{**fine, name: value})
        assert name in str(refused.value)
        assert type(value) in (bool, float) or str(value) not in str(refused.value)
        assert not [other for other in fine if other != name and other in str(refused.value)]
    assert await insert(db, **fine) == 2


async def test_what_the_schema_refuses(db: Database) -> None:
    """A value that is missing where one is needed is refused, and nothing is written."""
    insert = prepare(Author.insert_many(None, [{Author.name: parameter(Author.name, "name")}]))
    with pytest.raises((IntegrityError, QueryError)):
        await insert(db, name=None)
    assert await Author.select(db).count() == 0


async def test_what_is_written_fits_its_column(db: Database) -> None:
    """A text that is too long for its column is refused, as it is without a parameter."""
    name = parameter(Author.name, "name")
    (ann,) = await people(db, "ann")
    insert = prepare(Author.insert_many(None, [{Author.name: name}]))
    change = prepare(Author.update().set(Author.name, name).where(Author.id == ann.id))
    for query in (insert, change):
        with pytest.raises(QueryError):
            await query(db, name="x" * 21)
    assert await Author.select(db, Author.name) == [("ann",)]


@pytest.mark.parametrize("query", [Author.select(None).for_update(), Author.select(None).with_(Author.notes)], ids=str)
async def test_several_round_trips_are_refused(db: Database, query: Query[Any]) -> None:
    """What locks rows, or loads related objects, cannot be prepared, and it is said so when it is called first."""
    with pytest.raises(QueryError, match="cannot be prepared"):
        await prepare(query)(db)
    with pytest.raises(QueryError, match="cannot be prepared"):
        async with db.transaction() as tx:
            await prepare(query)(tx)
    with pytest.raises(QueryError, match="cannot be prepared"):
        await db.atomic([prepare(query)()])


@pytest.mark.parametrize(
    "query",
    [
        Note.update().set(Note.number, 1).where(Note.text == parameter(Note.text, "text")).returning(Note.id),
        Note.delete_from(None).where(Note.text == parameter(Note.text, "text")).returning(Note.id),
    ],
    ids=["update", "delete"],
)
def test_emulated_returning_is_refused(query: Query[Any]) -> None:
    """Where a database has no RETURNING and rows have to be looked for first, it is an error; elsewhere it is not."""
    for dialect in DIALECTS:
        steps = query.batch(dialect) is None
        bound = prepare(query)(text="x")
        if steps:
            with pytest.raises(QueryError, match="cannot be prepared"):
                bound.batch(dialect)
        else:
            (statement,) = bound.batch(dialect) or ()
            assert "RETURNING" in statement.sql


async def test_it_needs_a_database(db: Database) -> None:
    """Without one it runs in `atomic` only; awaiting it is an error that says so."""
    with pytest.raises(QueryError, match="no database"):
        await NAMED(name="ann")
    assert await db.atomic([NAMED(name="ann")]) == [[]]


async def test_it_is_no_part_of_another(db: Database) -> None:
    """A prepared query is no subquery: what is written once has no place for another's prefix."""
    ids = prepare(Author.select(None, Author.id).where(Author.name == parameter(Author.name, "name")))
    with pytest.raises(QueryError, match="no part of another"):
        await Note.select(db).where(Note.author.in_(ids(name="ann")))
    with pytest.raises(QueryError):
        await Note.select(db).where(Note.author == ids(name="ann"))


async def test_a_parameter_needs_a_prepared_query(db: Database) -> None:
    """A query with a parameter that is run as it is, is an error, and not a query for something else."""
    await people(db, "ann")
    with pytest.raises(QueryError):
        await Author.select(db).where(Author.name == parameter(Author.name, "name"))
    with pytest.raises(QueryError):
        await Author.update(db).set(Author.name, parameter(Author.name, "name")).where(Author.name == "ann")
    with pytest.raises(QueryError):
        await Author.insert_many(db, [{Author.name: parameter(Author.name, "name")}])
    assert await Author.select(db, Author.name) == [("ann",)]


async def test_any_name_will_do(db: Database) -> None:
    """A parameter may be called what the arguments of the call are called, or like a placeholder."""
    (ann,) = await people(db, "ann")
    for name in ("db", "self", "values", "?", "%s", "a b"):
        find = prepare(Author.select(None, Author.id).where(Author.name == parameter(Author.name, name)))
        assert await find(db, **{name: "ann"}) == [(ann.id,)], name


# Written once.


def texts(prepared: Prepared[Any], **values: Any) -> list[str]:
    """Return the texts of what would run, for each dialect."""
    return [s.sql for dialect in DIALECTS for s in prepared(**values).batch(dialect) or ()]


def test_the_text_is_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """For each dialect the text is one object for all values, and nothing is compiled again."""
    query = Author.select(None, Author.id).where(Author.name == parameter(Author.name, "name"))
    prepared = prepare(query)
    first = texts(prepared, name="ann")

    def compile_again(*_: object) -> None:
        pytest.fail("it is written again")

    monkeypatch.setattr(type(query), "compile_statement", compile_again)
    for name in ("ben", "it's", "?", "%s"):
        assert all(a is b for a, b in zip(texts(prepared, name=name), first, strict=True))


def test_two_dialects_at_once() -> None:
    """Each dialect has its own text and its own form of the values, whichever was asked first."""
    insert = prepare(
        Everything.insert_many(
            None,
            [
                {
                    Everything.moment: parameter(Everything.moment, "at"),
                    Everything.price: parameter(Everything.price, "price"),
                }
            ],
        )
    )
    values: dict[str, Any] = {"at": MOMENT, "price": decimal.Decimal("1.5")}
    for dialect in (SQLITE, MARIADB, SQLITE, MYSQL, MARIADB, SQLITE):
        plain = Everything.insert_many(None, [{Everything.moment: MOMENT, Everything.price: decimal.Decimal("1.5")}])
        assert insert(**values).statement(dialect) == plain.statement(dialect)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=12))
def test_values_never_stand_in_the_text(value: str) -> None:
    """Whatever a value is, it is among the arguments, and the text is the same."""
    for dialect in DIALECTS:
        statement = NAMED(name=value).statement(dialect)
        assert value not in statement.sql
        assert list(statement.arguments) == [value]
        assert statement.sql == NAMED(name="").statement(dialect).sql


async def test_how_it_describes_itself(db: Database) -> None:
    """`sql`, `arguments` and `str` say what would run, as they do for any query, and a select writes nothing."""
    bound = NAMED(db, name="ann")
    plain = Author.select(db, Author.id, Author.name).where(Author.name == "ann")
    assert (bound.sql, bound.arguments, str(bound)) == (plain.sql, plain.arguments, str(plain))
    assert NAMED(name="ann").sql == str(plain.sql).replace("%s", "?")
    assert not bound.writes
    assert not bound.statement(db.dialect).writes
    drop = prepare(Author.delete_from(None).where(Author.name == parameter(Author.name, "name")))
    assert drop(name="ann").statement(db.dialect).writes


async def test_many_at_once(db: Database) -> None:
    """Calls that run at the same time have their own values, also when none ran before; one can be awaited again."""
    await people(db, *(f"author {number}" for number in range(20)))
    find = prepare(Author.select(None, Author.name).where(Author.name == parameter(Author.name, "name")))
    names = [f"author {number % 20}" for number in range(60)]
    found = await asyncio.gather(*(find.__call__(db, name=name)._run() for name in names))
    assert found == [[(name,)] for name in names]
    again = find(db, name="author 7")
    assert await again == await again == [("author 7",)]

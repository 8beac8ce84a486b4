"""Queries: what they say, and what comes back."""

from __future__ import annotations

import pytest

from server.db import Database, NoResult, QueryError, SeveralResults, UniqueViolation, ValidationError, count, maximum
from tests.server.db.tables import Author, Note, Pair

m, u = Note.prefix("m"), Author.prefix("u")


@pytest.fixture
async def notes(db: Database) -> Database:
    """Two authors with three notes each."""
    for name in ("ann", "ben"):
        author = await Author(name=name).insert(db)
        for number in range(3):
            await Note(author=author.id, number=number, text=f"{name} {number}").insert(db)
    return db


def test_golden_select() -> None:
    """A query reads as the SQL that one would write by hand."""
    query = (
        m.select(None)
        .join(u, m.author == u.id)
        .where((m.number == 3) & ((m.score > 1.0) | m.comment.is_null()) & ~u.name.in_(["a", "b"]))
        .order_by(m.number.desc())
        .limit(50)
    )
    assert query.sql == (
        "SELECT m.id, m.author, m.number, m.text, m.comment, m.score, m.done, m.data, m.tags, m.made_at "
        "FROM notes AS m JOIN authors AS u ON m.author = u.id "
        "WHERE (m.number = ? AND (m.score > ? OR m.comment IS NULL) AND NOT (u.name IN (?, ?))) "
        "ORDER BY m.number DESC LIMIT ?"
    )
    assert query.arguments == (3, 1.0, "a", "b", 50)
    assert str(query).endswith("LIMIT ? [3, 1.0, 'a', 'b', 50]")


@pytest.mark.parametrize(
    ("query", "sql"),
    [
        (Author.select(None), "SELECT id, name, born FROM authors"),
        (Author.select(None, Author.name).offset(2), "SELECT name FROM authors LIMIT ? OFFSET ?"),
        (Author.update().set(Author.name, "x").where(Author.id == 1), "UPDATE authors SET name = ? WHERE id = ?"),
        (Author.delete_from().where(Author.id == 1), "DELETE FROM authors WHERE id = ?"),
        (Author.delete_from().all_rows(), "DELETE FROM authors"),
        (Author.insert_many(None, [{Author.name: "a"}]), "INSERT INTO authors (name, born) VALUES (?, ?)"),
        (
            Author.insert_many(None, [{Author.name: "a"}]).on_conflict_ignore().returning(Author.id),
            "INSERT INTO authors (name, born) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING id",
        ),
        (
            Pair.update().set(Pair.value, Pair.value + 1).where(Pair.order == "x").returning(Pair.value),
            'UPDATE pairs SET value = (value + ?) WHERE "order" = ? RETURNING value',
        ),
    ],
)
def test_golden_statements(query: object, sql: str) -> None:
    """Statements qualify and quote only where they have to."""
    assert query.sql == sql  # type: ignore[attr-defined]  # every query has it


async def test_select_objects_and_columns(notes: Database) -> None:
    """Rows come as objects, or some columns as tuples."""
    found = await Note.select(notes).where(Note.number > 0).order_by(Note.id)
    assert [note.text for note in found] == ["ann 1", "ann 2", "ben 1", "ben 2"]
    assert await Note.select(notes, Note.number, Note.text).where(Note.id == 1) == [(0, "ann 0")]
    joined = await m.select(notes, m.text, u.name).join(u, m.author == u.id).where(u.name == "ben").order_by(m.id)
    assert joined == [("ben 0", "ben"), ("ben 1", "ben"), ("ben 2", "ben")]
    whole = await m.select(notes).join(u, m.author == u.id).where(u.name == "ben").order_by(m.id.desc()).first()
    assert whole is not None
    assert type(whole) is Note
    assert whole.text == "ben 2"


async def test_self_join_and_left_join(notes: Database) -> None:
    """A table can be joined with itself; a left join keeps rows without a counterpart."""
    a, b = Note.prefix("a"), Note.prefix("b")
    pairs = await a.select(notes, a.text, b.text).join(b, (a.number == b.number) & (a.author < b.author)).order_by(a.id)
    assert pairs == [(f"ann {n}", f"ben {n}") for n in range(3)]
    await Author(name="silent").insert(notes)
    counted = await u.select(notes, u.name, m.text).left_join(m, (m.author == u.id) & (m.number == 0)).order_by(u.id)
    assert counted == [("ann", "ann 0"), ("ben", "ben 0"), ("silent", None)]


async def test_limits_and_counts(notes: Database) -> None:
    """Windows, counting and probing."""
    query = Note.select(notes).order_by(Note.id)
    assert [note.id for note in await query.limit(2).offset(1)] == [2, 3]
    assert [note.id for note in await query.offset(4)] == [5, 6]
    assert await query.count() == 6
    assert await query.where(Note.number == 1).count() == 2
    assert await query.exists()
    assert not await query.where(Note.number == 9).exists()
    with pytest.raises(QueryError, match="leave out limit"):
        await query.limit(2).count()
    assert await Note.select(notes, count(), maximum(Note.number)) == [(6, 2)]


async def test_first_and_one(notes: Database) -> None:
    """One row is asked for as what it is: perhaps there, or exactly one."""
    assert await Note.select(notes).where(Note.number == 9).first() is None
    assert (await Note.select(notes).where(Note.text == "ann 1").one()).number == 1
    with pytest.raises(NoResult):
        await Note.select(notes).where(Note.number == 9).one()
    with pytest.raises(SeveralResults):
        await Note.select(notes).where(Note.number == 1).one()


async def test_queries_are_values(notes: Database) -> None:
    """Narrowing a query leaves the one it came from as it was."""
    everything = Note.select(notes)
    some = everything.where(Note.number == 0).limit(1).order_by(Note.id)
    assert len(await everything) == 6
    assert len(await some) == 1


async def test_subqueries(notes: Database) -> None:
    """A query of one column is a list to look through, and a value."""
    of_ben = Author.select(None, Author.id).where(Author.name == "ben")
    assert await Note.select(notes).where(Note.author.in_(of_ben)).count() == 3
    assert await Note.select(notes).where(Note.author == of_ben).count() == 3


async def test_writes_by_predicate(notes: Database) -> None:
    """Updates and deletes give the number of rows, or what they are now."""
    assert await Note.update(notes).set(Note.number, Note.number + 10).where(Note.number > 1) == 2
    returned = await Note.update(notes).set(Note.done, True).where(Note.number == 12).returning(Note.id, Note.done)
    assert sorted(returned) == [(3, True), (6, True)]
    assert await Note.delete_from(notes).where(Note.number == 12) == 2
    assert await Note.update(notes).set(Note.text, "all").all_rows() == 4


async def test_a_predicate_is_mandatory(notes: Database) -> None:
    """Forgetting `where` changes nothing at all."""
    for query in (Note.update(notes).set(Note.text, "x"), Note.delete_from(notes)):
        with pytest.raises(QueryError, match="all_rows"):
            await query
    with pytest.raises(QueryError, match="changes nothing"):
        await Note.update(notes).all_rows()
    with pytest.raises(QueryError, match="takes predicates"):
        Note.select(notes).where(True)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(QueryError, match="has no database"):
        await Note.select(None)


async def test_insert_many(db: Database) -> None:
    """Rows without objects: checked, with defaults, all or none."""
    rows = [{Author.name: f"a{n}"} for n in range(1000)]
    assert await Author.insert_many(db, rows) == 1000
    made = await Author.insert_many(db, [{Author.name: "x"}, {Author.name: "y"}]).returning(Author.id)
    assert made == [(1001,), (1002,)]
    with pytest.raises(ValidationError):
        Author.insert_many(db, [{Author.name: "x" * 21}])
    with pytest.raises(UniqueViolation):
        await Author.insert_many(db, [{Author.name: "z"}, {Author.name: "a1"}])
    assert not await Author.select(db).where(Author.name == "z").exists()
    assert await Author.insert_many(db, [{Author.name: "z"}, {Author.name: "a1"}]).on_conflict_ignore() == 1
    with pytest.raises(QueryError, match="needs a row"):
        Author.insert_many(db, [])

"""Expressions: the text they become, and that the database means by it what Python does."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.db import Database, Predicate, QueryError, coalesce, count, length, lower, maximum, minimum, total
from server.db.dialects import SQLITE
from server.db.expressions import Compilable, Compiler
from tests.server.db.conftest import create_all
from tests.server.db.tables import MOMENT, Author, Note, Pair


def golden(expression: Compilable) -> tuple[str, list[Any]]:
    out = Compiler(SQLITE)
    expression.compile(out)
    return out.sql, out.arguments


@pytest.mark.parametrize(
    ("expression", "sql", "arguments"),
    [
        (Note.number == 3, "number = ?", [3]),
        (Note.number != 3, "number <> ?", [3]),
        (Note.number < Note.id, "number < id", []),
        (
            (Note.number >= 1) & (Note.number <= 2) & (Note.id > 0),
            "(number >= ? AND number <= ? AND id > ?)",
            [1, 2, 0],
        ),
        ((Note.number == 1) | ~(Note.text == "a"), "(number = ? OR NOT (text = ?))", [1, "a"]),
        ((Note.id == 1) & ((Note.id == 2) | (Note.id == 3)), "(id = ? AND (id = ? OR id = ?))", [1, 2, 3]),
        (Note.number.between(1, 5), "(number >= ? AND number <= ?)", [1, 5]),
        (Note.comment.is_null(), "comment IS NULL", []),
        (Note.comment.is_not_null(), "comment IS NOT NULL", []),
        (Note.id.in_([1, 2]), "id IN (?, ?)", [1, 2]),
        (Note.id.in_([]), "1 = 0", []),
        (Note.text.startswith("50%_\\"), "text LIKE ? ESCAPE '\\'", ["50\\%\\_\\\\%"]),
        (Note.text.endswith("x"), "text LIKE ? ESCAPE '\\'", ["%x"]),
        (Note.text.contains("x"), "text LIKE ? ESCAPE '\\'", ["%x%"]),
        (Note.text.like("a_%"), "text LIKE ? ESCAPE '\\'", ["a_%"]),
        (Note.number + 1 - Note.id * 2, "((number + ?) - (id * ?))", [1, 2]),
        (10 - Note.number, "(? - number)", [10]),
        (Note.text.concat("!"), "(text || ?)", ["!"]),
        (Note.made_at > MOMENT, "made_at > ?", [1770091506789012]),
        (coalesce(Note.comment, "none"), "coalesce(comment, ?)", ["none"]),
        (count(), "count(*)", []),
        (count(Note.comment), "count(comment)", []),
        (maximum(Note.number), "max(number)", []),
        (minimum(Note.number), "min(number)", []),
        (total(Note.number), "sum(number)", []),
        (lower(Note.text), "lower(text)", []),
        (length(Note.text), "length(text)", []),
        (Note.id.desc(), "id DESC", []),
        (Note.id.asc(), "id", []),
        (Pair.order == "x", '"order" = ?', ["x"]),
        (Note.prefix("n").id == 1, "n.id = ?", [1]),
        (
            Note.author.in_(Author.select(None, Author.id).where(Author.name == "ann")),
            "author IN (SELECT authors.id FROM authors WHERE authors.name = ?)",
            ["ann"],
        ),
    ],
)
def test_golden_sql(expression: Compilable, sql: str, arguments: list[Any]) -> None:
    """Operators become readable text, and every value stands apart from it."""
    assert golden(expression) == (sql, arguments)


def test_truth_is_refused() -> None:
    """`and`, `or` and `not` would be wrong in silence; they are an error that says what to write."""
    with pytest.raises(QueryError, match=r"write & \| ~"):
        bool(Note.id == 1)
    with pytest.raises(QueryError, match="is_null"):
        _ = Note.comment == None  # noqa: E711 what is tested


@pytest.mark.parametrize("hostile", ["'; DROP TABLE notes; --", "%", "_", "\\", '"', "\0", "a\nb", "ünï😀", "?"])
async def test_values_are_literal(db: Database, hostile: str) -> None:
    """FAULTS 30: whatever stands in a value is itself, in comparisons and in patterns."""
    author = await Author(name="ann").insert(db)
    await Note(author=author.id, number=1, text=hostile).insert(db)
    await Note(author=author.id, number=2, text="other").insert(db)
    patterns = (Note.text.contains(hostile), Note.text.startswith(hostile))
    # SQLite's LIKE ends a pattern at NUL; comparing does not.
    for predicate in (Note.text == hostile, *(() if "\0" in hostile else patterns)):
        (found,) = await Note.select(db).where(predicate)
        assert found.text == hostile


Row = tuple[int, float, str, str | None, bool]
Check = Callable[[Row], bool | None]

numbers = st.integers(-3, 3)
texts = st.text(alphabet="abA%_\\é", max_size=3)
rows = st.lists(
    st.tuples(numbers, st.sampled_from([0.0, 0.5, -1.5]), texts, st.none() | texts, st.booleans()), max_size=6
)
OPERATORS = (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)


def known(value: Any) -> bool | None:
    return None if value is None else bool(value)


def both(left: bool | None, right: bool | None) -> bool | None:
    """AND of three-valued logic."""
    return False if left is False or right is False else None if left is None or right is None else True


def leaf() -> st.SearchStrategy[tuple[Predicate, Check]]:
    return st.one_of(
        st.builds(
            lambda op, n: (op(Note.number, n), lambda row: op(row[0], n)), st.sampled_from(OPERATORS), numbers
        ),
        st.builds(
            lambda op, n: (op(Note.number + n, Note.number * n), lambda row: op(row[0] + n, row[0] * n)),
            st.sampled_from(OPERATORS), numbers,
        ),
        st.builds(lambda op, t: (op(Note.text, t), lambda row: op(row[2].encode(), t.encode())),
                  st.sampled_from(OPERATORS), texts),
        st.builds(lambda ts: (Note.text.in_(ts), lambda row: row[2] in ts), st.lists(texts, max_size=3)),
        st.builds(
            lambda t: (Note.comment == t, lambda row: None if row[3] is None else row[3] == t), texts
        ),
        st.just((Note.comment.is_null(), lambda row: row[3] is None)),
        st.just((Note.done == True, lambda row: row[4])),  # noqa: E712 a comparison of the query
        st.builds(
            lambda t: (Note.comment.startswith(t), lambda row: _starts(row[3], t)), texts,
        ),
        st.builds(lambda f: (Note.score >= f, lambda row: row[1] >= f), st.sampled_from([0.0, 0.5])),
    )  # fmt: skip


def _starts(text: str | None, beginning: str) -> bool | None:
    return None if text is None else _ascii_lower(text).startswith(_ascii_lower(beginning))


def _ascii_lower(text: str) -> str:
    """Fold as SQLite's LIKE does: ASCII letters only."""
    return "".join(c.lower() if c.isascii() else c for c in text)


predicates = st.recursive(
    leaf(),
    lambda inner: st.one_of(
        st.builds(lambda a, b: (a[0] & b[0], lambda row: both(known(a[1](row)), known(b[1](row)))), inner, inner),
        st.builds(
            lambda a, b: (
                a[0] | b[0],
                lambda row: _not(both(_not(known(a[1](row))), _not(known(b[1](row))))),
            ),
            inner, inner,
        ),
        st.builds(lambda a: (~a[0], lambda row: _not(known(a[1](row)))), inner),
    ),
    max_leaves=6,
)  # fmt: skip


def _not(value: bool | None) -> bool | None:
    return None if value is None else not value


@settings(max_examples=60, deadline=None)
@given(rows, st.lists(predicates, min_size=1, max_size=8))
def test_the_database_means_what_python_means(values: list[Row], checks: list[tuple[Predicate, Check]]) -> None:
    """Random predicates over random rows select in the database exactly the rows that they select in Python."""

    async def run() -> None:
        async with await Database.open("sqlite://:memory:") as db:
            await create_all(db)
            for index in range(len(values)):
                await Author(id=index, name=str(index)).insert(db)
            if values:
                await Note.insert_many(
                    db,
                    [
                        {Note.id: index, Note.author: index, Note.number: n, Note.score: s, Note.text: t,
                         Note.comment: c, Note.done: d}
                        for index, (n, s, t, c, d) in enumerate(values)
                    ],
                )  # fmt: skip
            for predicate, check in checks:
                found = {note_id for (note_id,) in await Note.select(db, Note.id).where(predicate)}
                assert found == {i for i, row in enumerate(values) if check(row)}, golden(predicate)

    asyncio.run(run())

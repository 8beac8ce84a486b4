"""The database means by a predicate what Python means by it: random predicates over random rows select the same."""

from __future__ import annotations

import decimal
import operator
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.db import Database, case, coalesce, exists, length, lower
from tests.server.db.golden import golden
from tests.server.db.tables import Everything

Row = dict[str, Any]


class Both(NamedTuple):
    """An expression of the database, and the same in Python; None is NULL in both."""

    sql: Any
    of: Callable[[Row], Any]


def strict(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function have no value where one of its arguments has none."""
    return lambda *values: None if None in values else function(*values)


def applied(function: Callable[..., Any], *arguments: Both) -> Callable[[Row], Any]:
    return lambda row: function(*(argument.of(row) for argument in arguments))


def both(left: bool | None, right: bool | None) -> bool | None:
    """AND of three-valued logic."""
    return False if left is False or right is False else None if left is None or right is None else True


def either(left: bool | None, right: bool | None) -> bool | None:
    """OR of three-valued logic."""
    return opposite(both(opposite(left), opposite(right)))


def opposite(value: bool | None) -> bool | None:
    """NOT of three-valued logic."""
    return None if value is None else not value


def is_like(text: str, pattern: str) -> bool:
    """Compare a text with a pattern of LIKE."""
    expression, rest = "", iter(pattern)
    for character in rest:
        if character == "\\":
            expression += re.escape(next(rest, "\\"))
        else:
            expression += {"%": ".*", "_": "."}.get(character) or re.escape(character)
    return re.fullmatch(expression, text, re.DOTALL) is not None


def remainder(left: int, right: int) -> int | None:
    if right == 0:
        return None
    return abs(left) % abs(right) * (1 if left >= 0 else -1)


def column(name: str) -> Both:
    return Both(getattr(Everything, name), operator.itemgetter(name))


def constant(value: Any) -> Both:
    return Both(value, lambda _: value)


COMPARISONS = st.sampled_from([operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge])
LETTERS = "aAbÄß%_\\[]^-*?|'\"`{}$ \n😀"
numbers = st.integers(-4, 4)
reals = st.sampled_from([-1.5, 0.0, 0.25, 2.0])
plain = st.text(LETTERS, max_size=3)
texts = st.text(LETTERS + "\0", max_size=3)
fields: dict[str, st.SearchStrategy[Any]] = {
    "integer": numbers, "big": numbers, "real": reals, "truth": st.booleans(),
    "short": texts, "long": plain,
}  # fmt: skip
rows = st.lists(st.fixed_dictionaries({name: st.none() | values for name, values in fields.items()}), max_size=10)


def chosen(kind: st.SearchStrategy[Both], other: st.SearchStrategy[Both], depth: int) -> st.SearchStrategy[Both]:
    """Expressions of any kind: the first that has a value, and what a predicate decides."""
    return st.one_of(
        st.builds(lambda a, b: Both(coalesce(a.sql, b.sql), applied(lambda x, y: y if x is None else x, a, b)),
                  kind, other),
        st.builds(lambda p, a, b: Both(case((p.sql, a.sql), else_=b.sql),
                                       applied(lambda q, x, y: x if q is True else y, p, a, b)),
                  predicates(depth), kind, kind),
    )  # fmt: skip


def computed(kind: st.SearchStrategy[Both], values: st.SearchStrategy[Any]) -> st.SearchStrategy[Both]:
    """Arithmetic of numbers of one kind; at least one column is in each."""
    operators = st.sampled_from([operator.add, operator.sub, operator.mul])
    return st.one_of(
        st.builds(lambda f, a, b: Both(f(a.sql, b.sql), applied(strict(f), a, b)),
                  operators, kind, kind | values.map(constant)),
        st.builds(lambda n, a: Both(n - a.sql, applied(strict(lambda x: n - x), a)), values, kind),
        kind.map(lambda a: Both(-a.sql, applied(strict(operator.neg), a))),
    )  # fmt: skip


def whole(depth: int) -> st.SearchStrategy[Both]:
    """Expressions of whole numbers."""
    leaves = st.sampled_from(["integer", "big"]).map(column)
    if depth == 0:
        return leaves
    inner = whole(depth - 1)
    return st.one_of(
        leaves,
        computed(inner, numbers),
        chosen(inner, inner | numbers.map(constant), depth - 1),
        st.builds(lambda a, n: Both(a.sql % n, applied(strict(lambda x: remainder(x, n)), a)), inner, numbers),
        plain_texts(depth - 1).map(lambda a: Both(length(a.sql), applied(strict(len), a))),
    )  # fmt: skip


def real(depth: int) -> st.SearchStrategy[Both]:
    """Expressions of floating-point numbers."""
    leaves = st.just(column("real"))
    if depth == 0:
        return leaves
    inner, quotients = real(depth - 1), whole(depth - 1) | real(depth - 1)
    return st.one_of(
        leaves,
        computed(inner, reals),
        chosen(inner, inner | reals.map(constant), depth - 1),
        st.builds(lambda a, b: Both(a.sql / b.sql, applied(strict(lambda x, y: None if y == 0 else x / y), a, b)),
                  quotients, quotients | numbers.map(constant)),
    )  # fmt: skip


def plain_texts(depth: int) -> st.SearchStrategy[Both]:
    """Expressions of texts without a zero byte, at which some functions of SQLite take a text to end."""
    return textual(depth, st.just(column("long")), plain)


def any_texts(depth: int) -> st.SearchStrategy[Both]:
    """Expressions of any texts."""
    return textual(depth, st.sampled_from(["short", "long"]).map(column), texts)


def textual(depth: int, leaves: st.SearchStrategy[Both], values: st.SearchStrategy[str]) -> st.SearchStrategy[Both]:
    if depth == 0:
        return leaves
    inner = textual(depth - 1, leaves, values)
    right = inner | values.map(constant)
    return st.one_of(
        leaves,
        st.builds(lambda a, b: Both(a.sql.concat(b.sql), applied(strict(operator.add), a, b)), inner, right),
        inner.map(lambda a: Both(lower(a.sql), applied(strict(str.lower), a))),
        chosen(inner, right, depth - 1),
    )


def compared(left: st.SearchStrategy[Both], values: st.SearchStrategy[Any]) -> st.SearchStrategy[Both]:
    """Predicates over one kind of expression."""
    right = left | values.map(constant)
    return st.one_of(
        st.builds(lambda f, a, b: Both(f(a.sql, b.sql), applied(strict(f), a, b)), COMPARISONS, left, right),
        st.builds(
            lambda a, b, c: Both(a.sql.between(b.sql, c.sql),
                                 applied(lambda x, y, z: both(strict(operator.ge)(x, y), strict(operator.le)(x, z)),
                                         a, b, c)),
            left, right, right,
        ),
        st.builds(
            lambda a, found: Both(a.sql.in_(found),
                                  applied(lambda x: x in found if found and x is not None else None if found else False,
                                          a)),
            left, st.lists(values, max_size=3),
        ),
        left.map(lambda a: Both(a.sql.is_null(), applied(lambda x: x is None, a))),
        left.map(lambda a: Both(a.sql.is_not_null(), applied(lambda x: x is not None, a))),
    )  # fmt: skip


def predicates(depth: int) -> st.SearchStrategy[Both]:
    """All there are."""
    leaves = st.one_of(
        compared(whole(min(depth, 1)), numbers),
        compared(real(min(depth, 1)), reals),
        compared(any_texts(min(depth, 1)), texts),
        compared(st.just(column("truth")), st.booleans()),
        st.builds(lambda a, t: Both(a.sql.startswith(t), applied(strict(lambda x: x.startswith(t)), a)),
                  any_texts(min(depth, 1)), texts),
        st.builds(lambda a, t: Both(a.sql.contains(t), applied(strict(lambda x: t in x), a)),
                  any_texts(min(depth, 1)), texts),
        st.builds(lambda a, t: Both(a.sql.endswith(t), applied(strict(lambda x: x.endswith(t)), a)),
                  plain_texts(min(depth, 1)), plain),
        st.builds(lambda a, t: Both(a.sql.like(t), applied(strict(lambda x: is_like(x, t)), a)),
                  plain_texts(min(depth, 1)), plain),
    )  # fmt: skip
    if depth == 0:
        return leaves
    inner = predicates(depth - 1)
    return st.one_of(
        leaves,
        st.builds(lambda a, b: Both(a.sql & b.sql, applied(both, a, b)), inner, inner),
        st.builds(lambda a, b: Both(a.sql | b.sql, applied(either, a, b)), inner, inner),
        inner.map(lambda a: Both(~a.sql, applied(opposite, a))),
        st.builds(lambda f, a, b: Both(f(a.sql, b.sql), applied(strict(f), a, b)),
                  st.sampled_from([operator.eq, operator.ne]), inner, inner),
        inner.map(lambda a: Both(a.sql.is_null(), applied(lambda x: x is None, a))),
    )  # fmt: skip


async def fill(db: Database, values: list[Row]) -> None:
    await Everything.delete_from(db).all_rows()
    if values:
        await Everything.insert_many(
            db,
            [
                {Everything.id: number, **{getattr(Everything, name): value for name, value in row.items()}}
                for number, row in enumerate(values, start=1)
            ],
        )


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(values=rows, checks=st.lists(predicates(2), min_size=1, max_size=5))
async def test_predicates_mean_what_python_means(db: Database, values: list[Row], checks: list[Both]) -> None:
    """Random predicates over random rows select in the database exactly the rows that they select in Python."""
    await fill(db, values)
    for check in checks:
        found = await Everything.select(db, Everything.id).where(check.sql).order_by(Everything.id).scalars()
        assert found == [n for n, row in enumerate(values, start=1) if check.of(row) is True], golden(check.sql)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(values=rows, numbers=st.lists(whole(2) | real(2), max_size=3), texts=st.lists(any_texts(2), max_size=3))
async def test_expressions_have_the_values_that_python_has(
    db: Database, values: list[Row], numbers: list[Both], texts: list[Both]
) -> None:
    """Random expressions over random rows have in the database the values that they have in Python."""
    await fill(db, values)
    for expression in (*numbers, *texts):
        found = await Everything.select(db, expression.sql).order_by(Everything.id).scalars()
        assert found == [expression.of(row) for row in values], golden(expression.sql)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(values=rows, check=predicates(1))
async def test_subqueries_mean_what_python_means(db: Database, values: list[Row], check: Both) -> None:
    """A random predicate selects the same in a subquery, in a probe, in a count, in an update and in a delete."""
    await fill(db, values)
    wanted = [n for n, row in enumerate(values, start=1) if check.of(row) is True]
    some = Everything.select(None, Everything.id).where(check.sql)
    query = Everything.select(db, Everything.id).order_by(Everything.id)
    assert await query.where(Everything.id.in_(some)).scalars() == wanted
    assert await query.where(exists(some)).scalars() == (list(range(1, len(values) + 1)) if wanted else [])
    assert await Everything.select(db).where(check.sql).count() == len(wanted)
    assert await Everything.update(db).set(Everything.price, 1).where(check.sql) == len(wanted)
    assert await query.where(Everything.price == decimal.Decimal(1)).scalars() == wanted
    assert await Everything.delete_from(db).where(check.sql) == len(wanted)
    assert await query.scalars() == [n for n in range(1, len(values) + 1) if n not in wanted]

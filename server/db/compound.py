"""Unions: several queries as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from server.db.backends import Row
from server.db.compiler import Compiler
from server.db.dialects import Dialect
from server.db.errors import QueryError
from server.db.expressions import Expression, Ordering
from server.db.queries import Executor
from server.db.selection import Selection, output_name

R = TypeVar("R")


class Compound(Selection[R]):
    """Rows of several queries. It is ordered by columns of the first of them.

    Args:
        db: what it runs on.
        operator: UNION or UNION ALL.
        members: the queries; all have as many columns as the first.
    """

    def __init__(self, db: Executor | None, operator: str, members: Sequence[Selection[Any]]) -> None:
        first = members[0]
        super().__init__(db, first.owner, first.output)
        self._operator = operator
        self._members = tuple(members)
        if any(len(member.output) != len(first.output) for member in members):
            raise QueryError("the queries of a union have the same number of columns")

    def loader(self, dialect: Dialect) -> Callable[[list[Row]], list[Any]]:
        if self._struct is not None:
            return super().loader(dialect)
        return self._members[0].loader(dialect)

    def compile_body(self, out: Compiler, *, named: bool) -> None:
        for index, member in enumerate(self._members):
            if index:
                out.text(f" {self._operator} ")
            if isinstance(member, Compound) or member.windowed:
                # An order or a window of its own ends where the member does only if it is a table by itself.
                out.text("SELECT * FROM (")
                member.compile_named(out, named=True)
                out.text(f") AS member_{index + 1}")
            else:
                member.compile_named(out, named=named and index == 0)

    def compile_order(self, out: Compiler) -> None:
        for index, order in enumerate(self._order):
            ordering = order if isinstance(order, Ordering) else order.asc()
            out.text(", " if index else " ORDER BY ")
            Ordering(Position(self._position(ordering.expression)), descending=ordering.descending, nulls=None).compile(
                out
            )
            if ordering.nulls is not None:
                raise QueryError("a union is ordered without a word on nulls: make it a cte, and order that")

    def _position(self, expression: Expression[Any]) -> int:
        """Return the place of a column, from 1: the only name that every database knows a union's column by."""
        for index, output in enumerate(self.output, start=1):
            name = output_name(output)
            if output is expression or (name is not None and name == output_name(expression)):
                return index
        raise QueryError("a union is ordered by columns of its first query")


class Position(Expression[Any]):
    """The place of a column among a query's."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def compile(self, out: Compiler) -> None:
        out.text(str(self.number))


def union(first: Selection[R], *others: Selection[Any]) -> Compound[R]:
    """Rows of several queries, each different row once."""
    return Compound(first.db, "UNION", (first, *others))


def union_all(first: Selection[R], *others: Selection[Any]) -> Compound[R]:
    """Rows of several queries, all of them."""
    return Compound(first.db, "UNION ALL", (first, *others))

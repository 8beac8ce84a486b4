"""Common table expressions: a query under a name, which other queries use as a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from server.db.compiler import Compiler
from server.db.compound import union_all
from server.db.errors import QueryError
from server.db.expressions import Expression
from server.db.queries import Executor
from server.db.select import Select
from server.db.selection import Selection
from server.db.value_types import ValueType


class CommonTable:
    """A query under a name. Its columns are attributes: `recent.number`, or `recent.column("number")`.

    Args:
        name: the name.
        query: the query; each of its columns has a name of its own.
    """

    def __init__(self, name: str, query: Selection[Any]) -> None:
        self._name = name
        self._query = query
        self._columns = {
            column: CommonColumn(name, column, expression.value_type)
            for column, expression in zip(query.names(), query.output, strict=True)
        }

    def column(self, name: str) -> Expression[Any]:
        """Return a column.

        Raises:
            QueryError: there is none of this name.
        """
        try:
            return self._columns[name]
        except KeyError:
            raise QueryError(f"{self._name} has no column {name}; it has {', '.join(self._columns)}") from None

    def __getattr__(self, name: str) -> Expression[Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        return self.column(name)

    def recursive(self, grow: Callable[[CommonTable], Selection[Any]]) -> CommonTable:
        """Return the same with all the rows that follow from its rows, and from those, and so on.

        Args:
            grow: is given the table, and returns the query for the rows that follow from its rows.
        """
        return CommonTable(self._name, union_all(self._query, grow(self)))

    def select(self, db: Executor | None = None, *columns: Expression[Any]) -> Select[tuple[Any, ...]]:
        """Query its rows: some columns, or all of them."""
        return Select(db, self, columns or tuple(self._columns.values()))

    def compile_source(self, out: Compiler) -> None:
        """Write its name, and see to it that the query stands before the statement."""
        if self._name not in out.tables:
            out.tables[self._name] = None
            inner = Compiler(out.dialect, out)
            self._query.compile_named(inner, named=False)
            # Behind the tables that it needs itself, which were written meanwhile.
            del out.tables[self._name]
            out.tables[self._name] = inner.body, inner.arguments
            out.recursive = out.recursive or inner.recursive
        elif out.tables[self._name] is None:
            out.recursive = True
        out.name(self._name)


def cte(name: str, query: Selection[Any]) -> CommonTable:
    """Give a query a name, under which other queries use it as a table."""
    return CommonTable(name, query)


class CommonColumn(Expression[Any]):
    """A column of a common table expression."""

    __slots__ = ("name", "table", "value_type")

    def __init__(self, table: str, name: str, value_type: ValueType | None) -> None:
        self.table = table
        self.name = name
        self.value_type = value_type

    @property
    def column(self) -> CommonColumn:
        """Itself: what has the name, as the column of a table does."""
        return self

    def compile(self, out: Compiler) -> None:
        out.name(self.table)
        out.text(".")
        out.name(self.name)

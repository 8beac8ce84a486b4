"""What every query for rows has: an order, a window, and ways to get at the rows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any, Self, TypeVar

import msgspec

from server.db.backends import Result, Row
from server.db.columns import Table
from server.db.compiler import Compiler
from server.db.decoding import rows_decoder
from server.db.dialects import Dialect
from server.db.errors import NoResult, QueryError, SeveralResults
from server.db.expressions import Expression, Labelled, Ordering
from server.db.queries import Executor, Query, Source
from server.db.value_types import INTEGER, ValueType

R = TypeVar("R")
S = TypeVar("S", bound=msgspec.Struct)
PAGE_ROWS = 500
"""Rows that a stream holds in memory."""


class Selection(Query[list[R]], Expression[Any]):
    """Rows. Awaiting it gives a list; `async for` goes through them in bounded memory.

    With one column it is an expression too: a scalar subquery, or what `in_` looks through. Each method returns a
    new query and leaves this one as it is.
    """

    writes = False
    value_type: ValueType | None = None
    _order: tuple[Ordering | Expression[Any], ...] = ()
    _limit: int | None = None
    _offset: int | None = None
    _struct: type[Any] | None = None

    def __init__(self, db: Executor | None, owner: type[Table] | Source, columns: Sequence[Expression[Any]]) -> None:
        super().__init__(db, owner)
        self._columns = tuple(columns)
        self.value_type = self._columns[0].value_type if len(self._columns) == 1 else None

    @property
    def output(self) -> tuple[Expression[Any], ...]:
        """What each row consists of."""
        return self._columns

    @property
    def windowed(self) -> bool:
        """Whether it has an order or a window of its own."""
        return bool(self._order) or self._limit is not None or self._offset is not None

    # Order and window.

    def order_by(self, *order: Ordering | Expression[Any]) -> Self:
        """Sort by these, the first first."""
        query: Self = self._with(_order=(*self._order, *order))
        return query

    def limit(self, limit: int) -> Self:
        """Take at most so many rows."""
        query: Self = self._with(_limit=_counted(limit, "limit"))
        return query

    def offset(self, offset: int) -> Self:
        """Skip so many rows. To page through many, `after` does not read what it skips."""
        query: Self = self._with(_offset=_counted(offset, "offset"))
        return query

    def into(self, struct: type[S]) -> Selection[S]:
        """Give rows as msgspec Structs, whose fields have the names of the columns.

        Raises:
            QueryError: a field has no column, or a column has no field.
        """
        names = self.names()
        fields = msgspec.structs.fields(struct)
        unknown = set(names) - {field.name for field in fields}
        missing = {field.name for field in fields if field.required} - set(names)
        if unknown or missing:
            wrong = ", ".join(sorted(unknown or missing))
            raise QueryError(f"{struct.__name__} has no field for {wrong}" if unknown else f"no column for {wrong}")
        query: Selection[S] = self._with(_struct=struct)
        return query

    def names(self) -> list[str]:
        """Return the names of the columns.

        Raises:
            QueryError: one has none, or two have the same.
        """
        names = [output_name(expression) for expression in self.output]
        if None in names or len(set(names)) < len(names):
            raise QueryError("each column needs a name of its own: expression.label('name')")
        return [name for name in names if name is not None]

    # Rows.

    async def first(self) -> R | None:
        """Run it for the first row; None when there is none."""
        rows = await self.limit(1)
        return rows[0] if rows else None

    async def one(self) -> R:
        """Run it for the only row.

        Raises:
            NoResult: there is none.
            SeveralResults: there are more.
        """
        rows = await self.limit(2)
        if not rows:
            raise NoResult(f"no row of {self._about()} is like this")
        if len(rows) > 1:
            raise SeveralResults(f"several rows of {self._about()} are like this")
        return rows[0]

    async def scalar(self) -> Any:
        """Run it for the value of the first row's only column, such as an aggregate; None when there is no row."""
        rows: list[Any] = await self._single().limit(1)
        return rows[0][0] if rows else None

    async def scalars(self) -> list[Any]:
        """Run it for the values of its only column."""
        rows: list[Any] = await self._single()
        return [row[0] for row in rows]

    async def count(self) -> int:
        """Run it for the number of its rows, whatever the limit."""
        counted: int = await Counted(self._with(_order=(), _limit=None, _offset=None, _struct=None, _lock=None))
        return counted

    async def exists(self) -> bool:
        """Run it to know whether there is any row."""
        return bool(await Probe(self._with(_order=(), _struct=None, _lock=None)))

    def __aiter__(self) -> AsyncIterator[R]:
        return self.stream()

    async def stream(self, page_rows: int = PAGE_ROWS) -> AsyncGenerator[R]:
        """Yield the rows one by one, from a cursor of the database.

        Args:
            page_rows: how many are in memory at once.
        """
        db = self._executor()
        load = self.loader(db.dialect)
        async with aclosing(db.stream(self.statement(db.dialect), page_rows)) as pages:
            async for page in pages:
                rows = load(page)
                for row in await self.complete(rows, db) if self.completes else rows:
                    yield row

    def loader(self, dialect: Dialect) -> Callable[[list[Row]], list[Any]]:
        """Return what makes the caller's rows of the database's."""
        decode, struct = rows_decoder(self.output, dialect), self._struct
        if struct is None:
            return decode
        names = self.names()
        return lambda rows: [struct(**dict(zip(names, row, strict=True))) for row in decode(rows)]

    def finish(self, results: Sequence[Result], dialect: Dialect) -> list[R]:
        return self.loader(dialect)(results[0].rows)

    # Text.

    @abstractmethod
    def compile_body(self, out: Compiler, *, named: bool) -> None:
        """Write it without order and window.

        Args:
            out: where to.
            named: whether every column is given a name of its own, because it becomes a table.
        """

    def compile_statement(self, out: Compiler) -> None:
        self.compile_named(out, named=False)

    def compile_named(self, out: Compiler, *, named: bool) -> None:
        """Write it with order and window; `named` as in `compile_body`."""
        self.compile_body(out, named=named)
        self.compile_order(out)
        if self._limit is not None or self._offset is not None:
            out.text(" LIMIT ")
            if self._limit is None:
                out.text(out.dialect.no_limit)
            else:
                out.value(self._limit, None)
        if self._offset is not None:
            out.text(" OFFSET ")
            out.value(self._offset, None)

    def compile_order(self, out: Compiler) -> None:
        """Write ORDER BY."""
        if self._order:
            out.text(" ORDER BY ")
            out.separated(self._order)

    def compile_inside(self, out: Compiler, *, named: bool = False) -> None:
        if out.writing is None:
            self.compile_named(out, named=named)
            return
        # Not every database takes common table expressions before a statement that writes.
        inner = Compiler(out.dialect)
        inner.qualified, inner.writing = True, out.writing
        self.compile_named(inner, named=named)
        sql, arguments = inner.finish()
        out.text(sql)
        out.arguments.extend(arguments)

    def compile_list(self, out: Compiler) -> None:
        if self._limit is not None and out.dialect.derives_limited:
            with out.qualifying(True):
                out.text("(SELECT * FROM (")
                self.compile_inside(out, named=True)
                out.text(") AS limited)")
        else:
            self.compile(out)

    def _single(self) -> Selection[Any]:
        if len(self.output) != 1:
            raise QueryError("a scalar needs a query of one column")
        query: Selection[Any] = self._with(_struct=None)
        return query

    def _about(self) -> str:
        return getattr(self.owner, "dbo_tablename", "") or "the query"


class Counted(Query[int]):
    """How many rows a query has."""

    writes = False

    def __init__(self, selection: Selection[Any]) -> None:
        super().__init__(selection.db, selection.owner)
        self._selection = selection

    def compile_statement(self, out: Compiler) -> None:
        out.text("SELECT count(*) FROM (")
        self._selection.compile_named(out, named=True)
        out.text(") AS counted")

    def finish(self, results: Sequence[Result], dialect: Dialect) -> int:
        decode = dialect.decoder(INTEGER, computed=True)
        number = results[0].rows[0][0]
        return int(decode(number) if decode else number)


class Probe(Query[int]):
    """Whether a query has any row."""

    writes = False

    def __init__(self, selection: Selection[Any]) -> None:
        super().__init__(selection.db, selection.owner)
        self._selection = selection

    def compile_statement(self, out: Compiler) -> None:
        out.text("SELECT EXISTS (")
        self._selection.compile_named(out, named=False)
        out.text(")")

    def finish(self, results: Sequence[Result], dialect: Dialect) -> int:  # noqa: ARG002 every query's signature
        return int(results[0].rows[0][0])


def output_name(expression: Expression[Any]) -> str | None:
    """Return the name that a column of a query has; None for what is computed and has no label."""
    if isinstance(expression, Labelled):
        return expression.name
    column = getattr(expression, "column", None)
    return getattr(column, "name", None)


def compile_output(out: Compiler, columns: Sequence[Expression[Any]], *, named: bool) -> None:
    """Write what a query selects.

    Args:
        out: where to.
        columns: the expressions.
        named: whether each is given a name of its own, because the query becomes a table.
    """
    taken: set[str] = set()
    for index, expression in enumerate(columns):
        if index:
            out.text(", ")
        expression.compile(out)
        name = output_name(expression)
        labelled = isinstance(expression, Labelled)
        if named and (name is None or name in taken):
            name, labelled = f"column_{index + 1}", True
        if labelled and name is not None:
            out.text(" AS ")
            out.name(name)
        taken.add(name or "")


def _counted(number: int, what: str) -> int:
    if type(number) is not int or number < 0:
        raise QueryError(f"{what} takes a whole number that is not negative")
    return number

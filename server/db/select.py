"""SELECT: rows as objects, or some columns of them as tuples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar

from server.db.columns import Table
from server.db.dialects import Dialect, Kind
from server.db.errors import NoResult, QueryError, SeveralResults
from server.db.expressions import Compiler, Expression, Function, Ordering, Predicate
from server.db.queries import Executor, Filtered, Result, Row, row_decoder

R = TypeVar("R")


class Select(Filtered[list[R]], Expression[Any]):
    """Rows of a table. Awaiting it gives a list.

    With one column it is an expression too: a scalar subquery, or what `in_` looks through. Each method returns a
    new query and leaves this one as it is.
    """

    writes = False

    def __init__(self, db: Executor | None, owner: type[Table], columns: Sequence[Expression[Any]] = ()) -> None:
        super().__init__(db, owner)
        self._columns = tuple(columns)
        self._joins: tuple[tuple[str, type[Table], Predicate], ...] = ()
        self._order: tuple[Ordering | Expression[Any], ...] = ()
        self._limit: int | None = None
        self._offset: int | None = None
        self.kind: Kind | None = self._columns[0].kind if len(self._columns) == 1 else None

    def join(self, other: type[Table], on: Predicate) -> Self:
        """Combine with the rows of another table, or prefix, for which `on` is true."""
        return self._joined("JOIN", other, on)

    def left_join(self, other: type[Table], on: Predicate) -> Self:
        """The same, and keep the rows without a counterpart."""
        return self._joined("LEFT JOIN", other, on)

    def order_by(self, *order: Ordering | Expression[Any]) -> Self:
        """Sort by these, the first first."""
        query: Self = self._with(_order=(*self._order, *order))
        return query

    def limit(self, limit: int) -> Self:
        """Take at most so many rows."""
        query: Self = self._with(_limit=limit)
        return query

    def offset(self, offset: int) -> Self:
        """Skip so many rows."""
        query: Self = self._with(_offset=offset)
        return query

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
            raise NoResult(f"no row of {self._owner.dbo_tablename} is like this")
        if len(rows) > 1:
            raise SeveralResults(f"several rows of {self._owner.dbo_tablename} are like this")
        return rows[0]

    async def count(self) -> int:
        """Run it for the number of its rows."""
        if self._limit is not None or self._offset is not None:
            raise QueryError("count counts all rows; leave out limit and offset")
        rows: list[Any] = await self._with(_columns=(Function("count", (), Kind.INTEGER),), _order=())
        number: int = rows[0][0]
        return number

    async def exists(self) -> bool:
        """Run it to know whether there is any row."""
        rows: list[Any] = await self._with(_columns=(One(),), _order=(), _limit=1)
        return bool(rows)

    def _joined(self, kind: str, other: type[Table], on: Predicate) -> Self:
        query: Self = self._with(_joins=(*self._joins, (kind, other, on)))
        return query

    def compile_statement(self, out: Compiler) -> None:
        out.qualified = out.qualified or bool(self._joins)
        out.text("SELECT ")
        out.separated(self._columns or self._owner.dbo_expressions)
        out.text(" FROM ")
        self._compile_table(out, self._owner)
        for kind, other, on in self._joins:
            out.text(f" {kind} ")
            self._compile_table(out, other)
            out.text(" ON ")
            on.compile(out)
        self._compile_where(out)
        if self._order:
            out.text(" ORDER BY ")
            out.separated(self._order)
        self._compile_window(out)

    def _compile_window(self, out: Compiler) -> None:
        if self._limit is not None or self._offset is not None:
            out.text(" LIMIT ")
            out.value(-1 if self._limit is None else self._limit, None)
        if self._offset is not None:
            out.text(" OFFSET ")
            out.value(self._offset, None)

    def result(self, result: Result, dialect: Dialect) -> list[R]:
        load: Callable[[Row], Any] = (
            row_decoder(self._columns, dialect) if self._columns else loader(self._owner, dialect)
        )
        return [load(row) for row in result.rows]


class One(Expression[int]):
    """The number 1: what a query selects that asks only whether there is a row."""

    __slots__ = ()

    def compile(self, out: Compiler) -> None:
        out.text("1")


def loader(owner: type[Table], dialect: Dialect) -> Callable[[Row], Any]:
    """Return what makes an object of a row; of a prefix's rows objects of the class itself."""
    decode = row_decoder(owner.dbo_expressions, dialect)
    home: Any = owner if owner.dbo_prefix is None else owner.__mro__[1]

    def load(row: Row) -> Any:
        instance = home.__new__(home)
        instance.dbo_values = list(decode(row))
        instance.dbo_changed = set()
        instance.dbo_stored = True
        return instance

    return load

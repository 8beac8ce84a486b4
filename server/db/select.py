"""SELECT: rows as objects, or some columns of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar

from server.db.backends import Result, Row, Statement
from server.db.columns import Table
from server.db.compiler import Compiler
from server.db.decoding import object_loader
from server.db.dialects import Dialect
from server.db.errors import QueryError
from server.db.expressions import Expression, Ordering, Predicate, Truth
from server.db.foreign_keys import Relation, load_related
from server.db.queries import Executor, Filtered, Source, compile_table, joined
from server.db.selection import Selection, compile_output

R = TypeVar("R")


class Select(Selection[R], Filtered[list[R]]):
    """Rows of a table, joined with others if need be."""

    _joins: tuple[tuple[str, type[Table] | Source, Truth], ...] = ()
    _distinct = False
    _groups: tuple[Expression[Any], ...] = ()
    _having: Truth | None = None
    _lock: str | None = None
    _related: tuple[Relation, ...] = ()

    def __init__(
        self, db: Executor | None, owner: type[Table] | Source, columns: Sequence[Expression[Any]] = ()
    ) -> None:
        super().__init__(db, owner, columns)

    @property
    def output(self) -> tuple[Expression[Any], ...]:
        """What each row consists of: the columns that were asked for, or the whole object's."""
        if self._columns or not isinstance(self.owner, type):
            return self._columns
        return self.owner.dbo_expressions

    # What it selects from.

    def join(self, other: type[Table] | Source, on: Truth) -> Self:
        """Combine with the rows of another table, or prefix, for which `on` is true."""
        query: Self = self._with(_joins=(*self._joins, (" JOIN ", other, on)))
        return query

    def left_join(self, other: type[Table] | Source, on: Truth) -> Self:
        """The same, and keep the rows without a counterpart."""
        query: Self = self._with(_joins=(*self._joins, (" LEFT JOIN ", other, on)))
        return query

    def distinct(self) -> Self:
        """Give each different row once."""
        query: Self = self._with(_distinct=True)
        return query

    def group_by(self, *expressions: Expression[Any]) -> Self:
        """Make one row of all that have the same values here."""
        query: Self = self._with(_groups=(*self._groups, *expressions))
        return query

    def having(self, *predicates: Truth) -> Self:
        """Take the groups for which all predicates are true."""
        query: Self = self._with(_having=joined(self._having, predicates, "having"))
        return query

    def after(self, column: Expression[Any] | Ordering, value: Any, *more: Any) -> Self:
        """Take the page behind a row, in the order of one or several columns, without reading what is before it.

        Args:
            column: what the rows are ordered by; `column.desc()` for the largest first.
            value: the last row's value; None takes the first page.
            more: further columns and values, where the first is not unique.
        """
        given = (column, value, *more)
        if len(given) % 2:
            raise QueryError("after takes columns and values in turn")
        orders = [o if isinstance(o, Ordering) else o.asc() for o in given[::2]]
        query = self.order_by(*orders)
        values = given[1::2]
        if all(v is None for v in values):
            return query
        if None in values:
            raise QueryError("the columns of after have values in every row")
        return query.where(_behind(list(zip(orders, values, strict=True))))

    def for_update(self, *, skip_locked: bool = False) -> Self:
        """Keep others from changing the rows until the transaction ends.

        Where a database has no locks of rows, the transaction has all of it to itself anyway.

        Args:
            skip_locked: leave out the rows that others have locked, instead of waiting for them.
        """
        query: Self = self._with(_lock=" FOR UPDATE SKIP LOCKED" if skip_locked else " FOR UPDATE")
        return query

    def with_(self, *relations: Relation) -> Self:
        """Load related objects too, with one more query for each relation, however many rows there are.

        Args:
            relations: such as `Message.author` or `Room.members`; one may start at what another one loads.
        """
        query: Self = self._with(_related=(*self._related, *relations))
        return query

    # Running it.

    @property
    def completes(self) -> bool:  # type: ignore[override]  # a constant elsewhere
        """Whether related objects are loaded too."""
        return bool(self._related)

    async def complete(self, result: list[R], db: Executor) -> list[R]:
        await load_related(db, result, self._related)
        return result

    def batch(self, dialect: Dialect) -> Sequence[Statement] | None:
        if self._lock is not None:
            return None  # outside a transaction the lock would be gone before anybody knows of it
        return super().batch(dialect)

    def steps(self, dialect: Dialect) -> Any:
        return self.finish((yield [self.statement(dialect)]), dialect)

    def loader(self, dialect: Dialect) -> Callable[[list[Row]], list[Any]]:
        if self._columns or self._struct is not None or not isinstance(self.owner, type):
            return super().loader(dialect)
        return object_loader(self.owner.dbo_home, dialect)

    def finish(self, results: Sequence[Result], dialect: Dialect) -> list[R]:
        return self.loader(dialect)(results[0].rows)

    # Text.

    def compile_body(self, out: Compiler, *, named: bool) -> None:
        out.text("SELECT DISTINCT " if self._distinct else "SELECT ")
        if isinstance(self.owner, type) and not self._columns and not named:
            out.text(column_list(self.owner, out.dialect, qualified=out.qualified))
        else:
            compile_output(out, self.output, named=named)
        out.text(" FROM ")
        compile_table(out, self.owner)
        for kind, other, on in self._joins:
            out.text(kind)
            compile_table(out, other)
            out.text(" ON ")
            on.compile(out)
        self._compile_where(out)
        if self._groups:
            out.text(" GROUP BY ")
            out.separated(self._groups)
        if self._having is not None:
            out.text(" HAVING ")
            self._having.compile(out)

    def compile_named(self, out: Compiler, *, named: bool) -> None:
        qualified, home = out.qualified, out.home
        out.qualified = qualified or bool(self._joins)
        out.home = self.owner.dbo_home if isinstance(self.owner, type) else None
        super().compile_named(out, named=named)
        out.qualified, out.home = qualified, home
        if self._lock is not None and out.dialect.locks_rows:
            out.text(self._lock)

    def compile(self, out: Compiler) -> None:
        sources = (self.owner, *(other for _, other, _ in self._joins))
        reads_written = any(isinstance(s, type) and s.dbo_tablename == out.writing for s in sources)
        if reads_written and out.dialect.derives_own:
            with out.qualifying(True):
                out.text("(SELECT * FROM (")
                self.compile_inside(out, named=True)
                out.text(") AS derived)")
        else:
            super().compile(out)


def column_list(owner: type[Table], dialect: Dialect, *, qualified: bool) -> str:
    """Return all columns of a table as SQL; written once."""
    key = (dialect, "columns", qualified)
    text: str | None = owner.dbo_cache.get(key)
    if text is None:
        out = Compiler(dialect)
        with out.qualifying(qualified):
            out.separated(owner.dbo_expressions)
        text = owner.dbo_cache[key] = out.body
    return text


def _behind(given: list[tuple[Ordering, Any]]) -> Predicate:
    """Return the predicate for the rows behind one: the first column is further, or the same and the rest is."""
    (order, value), *rest = given
    further: Predicate = order.expression < value if order.descending else order.expression > value
    return further | ((order.expression == value) & _behind(rest)) if rest else further

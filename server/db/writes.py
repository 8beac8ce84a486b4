"""INSERT, UPDATE and DELETE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeVar

from server.db.columns import Column, ColumnExpression, Table
from server.db.dialects import Dialect
from server.db.errors import QueryError
from server.db.expressions import Compiler, Expression, Value
from server.db.queries import Executor, Filtered, Query, Result, Row, row_decoder

R = TypeVar("R")
Assigned = Mapping[ColumnExpression[Any], Any]


class Insert(Query[R]):
    """New rows. Awaiting it gives the number of rows, or the returned columns of each.

    Args:
        db: what it runs on.
        owner: the table's class.
        columns: what is written, in order.
        rows: for each row a value or an expression for each column.
    """

    def __init__(
        self,
        db: Executor | None,
        owner: type[Table],
        columns: Sequence[Column[Any]],
        rows: Sequence[Sequence[Expression[Any]]],
    ) -> None:
        super().__init__(db, owner)
        self._columns = tuple(columns)
        self._rows = rows
        self._returning: tuple[Expression[Any], ...] = ()
        self._ignore_conflicts = False

    def returning(self, *columns: Expression[Any]) -> Insert[list[Row]]:
        """Give back columns of the new rows, as the database made them."""
        query: Insert[list[Row]] = self._with(_returning=columns)
        return query

    def on_conflict_ignore(self) -> Self:
        """Leave out rows whose key or unique columns are taken."""
        query: Self = self._with(_ignore_conflicts=True)
        return query

    def compile_statement(self, out: Compiler) -> None:
        out.text("INSERT INTO ")
        out.name(self._owner.dbo_tablename)
        if not self._columns:
            out.text(" DEFAULT VALUES")
        else:
            out.text(" (")
            out.text(", ".join(out.dialect.quote(column.name) for column in self._columns))
            out.text(") VALUES ")
            for index, row in enumerate(self._rows):
                out.text(", (" if index else "(")
                out.separated(row)
                out.text(")")
        if self._ignore_conflicts:
            out.text(" ON CONFLICT DO NOTHING")
        _compile_returning(out, self._returning)

    def result(self, result: Result, dialect: Dialect) -> R:
        return _outcome(result, self._returning, dialect)  # type: ignore[no-any-return]  # R is said by the methods


class Update(Filtered[R]):
    """Changed rows. Awaiting it gives their number, or the returned columns of each.

    A predicate is mandatory unless `all_rows` says otherwise.
    """

    def __init__(self, db: Executor | None, owner: type[Table]) -> None:
        super().__init__(db, owner)
        self._assignments: tuple[tuple[Column[Any], Expression[Any]], ...] = ()
        self._returning: tuple[Expression[Any], ...] = ()
        self._everything = False

    def set(self, column: ColumnExpression[Any], value: Any) -> Self:
        """Give a column a value, or an expression's value.

        Raises:
            ValidationError: the value does not fit, or the column is immutable.
        """
        if column.column.immutable:
            raise column.column.invalid("is immutable")
        query: Self = self._with(_assignments=(*self._assignments, (column.column, _assigned(column.column, value))))
        return query

    def all_rows(self) -> Self:
        """Change every row of the table, on purpose."""
        query: Self = self._with(_everything=True)
        return query

    def returning(self, *columns: Expression[Any]) -> Update[list[Row]]:
        """Give back columns of the changed rows, as they are now."""
        query: Update[list[Row]] = self._with(_returning=columns)
        return query

    def compile_statement(self, out: Compiler) -> None:
        if not self._assignments:
            raise QueryError("an update without set() changes nothing")
        if self._predicate is None and not self._everything:
            raise QueryError("an update needs where(), or all_rows() if every row is meant")
        out.text("UPDATE ")
        out.name(self._owner.dbo_tablename)
        out.text(" SET ")
        for index, (column, value) in enumerate(self._assignments):
            if index:
                out.text(", ")
            out.name(column.name)
            out.text(" = ")
            value.compile(out)
        self._compile_where(out)
        _compile_returning(out, self._returning)

    def result(self, result: Result, dialect: Dialect) -> R:
        return _outcome(result, self._returning, dialect)  # type: ignore[no-any-return]  # R is said by the methods


class Delete(Filtered[int]):
    """Deleted rows. Awaiting it gives their number.

    A predicate is mandatory unless `all_rows` says otherwise.
    """

    def __init__(self, db: Executor | None, owner: type[Table]) -> None:
        super().__init__(db, owner)
        self._everything = False

    def all_rows(self) -> Self:
        """Delete every row of the table, on purpose."""
        query: Self = self._with(_everything=True)
        return query

    def compile_statement(self, out: Compiler) -> None:
        if self._predicate is None and not self._everything:
            raise QueryError("a delete needs where(), or all_rows() if every row is meant")
        out.text("DELETE FROM ")
        out.name(self._owner.dbo_tablename)
        self._compile_where(out)

    def result(self, result: Result, dialect: Dialect) -> int:  # noqa: ARG002 the signature is every query's
        return result.changed


def insert_rows(db: Executor | None, owner: type[Table], rows: Sequence[Assigned]) -> Insert[int]:
    """Build an insert of several rows; what a row leaves out gets the column's default.

    Raises:
        QueryError: there is no row.
        ValidationError: a value does not fit.
    """
    if not rows:
        raise QueryError("an insert needs a row")
    given = {expression.column for row in rows for expression in row}
    columns = [column for column in owner.dbo_columns if column in given or not column.generated]
    return Insert(db, owner, columns, [_row(row, columns) for row in rows])


def _row(assigned: Assigned, columns: Sequence[Column[Any]]) -> list[Expression[Any]]:
    values = {expression.column: value for expression, value in assigned.items()}
    return [_assigned(c, values[c] if c in values else c.initial()) for c in columns]


def _assigned(column: Column[Any], value: Any) -> Expression[Any]:
    """Return what is written into a column: an expression as it is, a value checked."""
    if isinstance(value, Expression):
        return value
    return Value(column.validated(value), column.kind)


def _compile_returning(out: Compiler, columns: Sequence[Expression[Any]]) -> None:
    if columns:
        out.text(" RETURNING ")
        out.separated(columns)


def _outcome(result: Result, returning: Sequence[Expression[Any]], dialect: Dialect) -> Any:
    if not returning:
        return result.changed
    decode = row_decoder(returning, dialect)
    return [decode(row) for row in result.rows]

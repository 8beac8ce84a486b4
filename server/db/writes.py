"""INSERT, UPDATE and DELETE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Self, TypeVar

from server.db.backends import Result, Row, Statement
from server.db.column_types import Version
from server.db.columns import Column, ColumnExpression, Table
from server.db.compiler import Compiler
from server.db.decoding import rows_decoder
from server.db.dialects import Dialect
from server.db.emulation import (
    delete_returning,
    insert_returning,
    pinned,
    select_pinned,
    update_returning,
)
from server.db.errors import QueryError
from server.db.expressions import Expression, Truth, Value
from server.db.prepared import Parameter
from server.db.queries import Executor, Filtered, Query, Steps

R = TypeVar("R")
Assigned = Mapping[ColumnExpression[Any], Any]
MOST_ROWS = 1000
"""Rows in one INSERT; more are several, in one unit."""


class Returning(Query[R]):
    """A write that can give rows back: their number, or columns of them."""

    _returning: tuple[Expression[Any], ...] = ()

    def finish(self, results: Sequence[Result], dialect: Dialect) -> R:
        outcome: Any
        if self._returning:
            outcome = rows_decoder(self._returning, dialect)([row for result in results for row in result.rows])
        else:
            outcome = sum(result.changed for result in results)
        return outcome  # type: ignore[no-any-return]  # R is said by the methods

    def _compile_returning(self, out: Compiler) -> None:
        if self._returning:
            out.text(" RETURNING ")
            out.separated(self._returning)


class Insert(Returning[R]):
    """New rows. Awaiting it gives the number of rows, or the returned columns of each.

    Args:
        db: what it runs on.
        owner: the table's class.
        columns: what is written, in order.
        rows: for each row a checked value or an expression for each column.
    """

    _on_conflict = False
    _keys: tuple[Column[Any], ...] = ()
    _assignments: tuple[tuple[Column[Any], Expression[Any]], ...] = ()

    def __init__(
        self, db: Executor | None, owner: type[Table], columns: Sequence[Column[Any]], rows: Sequence[Sequence[Any]]
    ) -> None:
        super().__init__(db, owner)
        self.table = owner
        self.columns = tuple(columns)
        self.rows = rows
        self._computed = any(isinstance(value, Expression) for row in rows for value in row)

    def returning(self, *columns: Expression[Any]) -> Insert[list[Row]]:
        """Give back columns of the new rows, as the database made them, in the order of the rows."""
        query: Insert[list[Row]] = self._with(_returning=columns)
        return query

    def on_conflict_ignore(self, *keys: ColumnExpression[Any]) -> Self:
        """Leave out rows whose key or unique columns are taken.

        Args:
            keys: the unique columns that may be taken; none stands for any.
        """
        query: Self = self._with(_on_conflict=True, _keys=tuple(key.column for key in keys), _assignments=())
        return query

    def on_conflict(
        self,
        *keys: ColumnExpression[Any],
        update: Sequence[ColumnExpression[Any]] = (),
        set_: Assigned | None = None,
    ) -> Self:
        """Change the row that is there already, instead of inserting another with the same key (an "upsert").

        Args:
            keys: the unique columns that may be taken.
            update: columns that take their new values.
            set_: columns and what they become; `excluded(column)` is the new value, the column itself the old one.
        """
        given: dict[ColumnExpression[Any], Any] = {column: Excluded(column) for column in update} | dict(set_ or {})
        if not keys or not given:
            raise QueryError("on_conflict takes the unique columns, and update= or set_= says what becomes of the row")
        assignments = tuple(_assignment(column, value) for column, value in given.items())
        query: Self = self._with(_on_conflict=True, _keys=tuple(k.column for k in keys), _assignments=assignments)
        return query

    def batch(self, dialect: Dialect) -> Sequence[Statement] | None:
        if self._returning and self._on_conflict and not self._assignments:
            raise QueryError("returning cannot tell which rows were left out; select them")
        size = max(1, min(MOST_ROWS, dialect.most_arguments // max(1, len(self.columns))))
        statements: list[Statement] = []
        for start in range(0, len(self.rows), size):
            part: Insert[Any] = self._with(rows=self.rows[start : start + size])
            if self._returning and "insert" not in dialect.returning:
                statements += insert_returning(part, dialect, self._returning, self._keys if self._on_conflict else ())
            else:
                statements.append(part.statement(dialect))
        return statements

    def finish(self, results: Sequence[Result], dialect: Dialect) -> R:
        if self._assignments and not self._returning:
            return len(self.rows)  # type: ignore[return-value]  # each was inserted or updated; databases count otherwise
        return super().finish(results, dialect)

    def compile_statement(self, out: Compiler) -> None:
        out.writing, out.home = self.table.dbo_tablename, self.table.dbo_home
        out.text("INSERT INTO ")
        out.name(self.table.dbo_tablename)
        if not self.columns:
            out.text(out.dialect.default_row)
        else:
            out.text(f" ({', '.join(out.dialect.quote(column.name) for column in self.columns)}) VALUES ")
            self._compile_rows(out)
        if self._on_conflict:
            self._compile_conflict(out)
        if "insert" in out.dialect.returning:
            self._compile_returning(out)

    def _compile_rows(self, out: Compiler) -> None:
        placeholder = out.dialect.placeholder
        marks = f"({', '.join([placeholder] * len(self.columns))})"
        if self._computed:
            for index, row in enumerate(self.rows):
                out.text(", (" if index else "(")
                out.separated(_expression(c, v) for c, v in zip(self.columns, row, strict=True))
                out.text(")")
            return
        out.text(", ".join([marks] * len(self.rows)))
        kept = [
            values if keep is None else [None if value is None else keep(value) for value in values]
            for values, keep in zip(
                zip(*self.rows, strict=True), [out.dialect.keeper(c.value_type) for c in self.columns], strict=True
            )
        ]
        out.arguments.extend(chain.from_iterable(zip(*kept, strict=True)))

    def _compile_conflict(self, out: Compiler) -> None:
        if self._keys and not out.dialect.names_conflicts:
            self._check_only_key()
        own = (self._keys or self.table.dbo_keys or self.columns)[0].name
        change, leave = out.dialect.on_conflict([key.name for key in self._keys], own)
        if self._assignments:
            out.text(change)
            _compile_assignments(out, _versioned(self.table, self._assignments))
        else:
            out.text(leave)

    def _check_only_key(self) -> None:
        """Refuse what the database would do to rows with other keys in common."""
        meant = {key.name for key in self._keys}
        written = {column.name for column in self.columns}
        for names in unique_keys(self.table):
            if names != meant and names <= written:
                raise QueryError(
                    f"this database cannot tell a conflict of {', '.join(sorted(meant))} from one of "
                    f"{', '.join(sorted(names))}: insert into {self.table.dbo_tablename}, and update on UniqueViolation"
                )


class Update(Returning[R], Filtered[R]):
    """Changed rows. Awaiting it gives their number, or the returned columns of each.

    A predicate is mandatory unless `all_rows` says otherwise.
    """

    _assignments: tuple[tuple[Column[Any], Expression[Any]], ...] = ()
    _everything = False

    def __init__(self, db: Executor | None, owner: type[Table]) -> None:
        super().__init__(db, owner)
        self.table = owner

    def set(self, column: ColumnExpression[Any], value: Any) -> Self:
        """Give a column a value, or an expression's value, in which columns have their old values.

        Raises:
            ValidationError: the value does not fit, or the column is immutable.
        """
        query: Self = self._with(_assignments=(*self._assignments, _assignment(column, value)))
        return query

    def all_rows(self) -> Self:
        """Change every row of the table, on purpose."""
        query: Self = self._with(_everything=True)
        return query

    def returning(self, *columns: Expression[Any]) -> Update[list[Row]]:
        """Give back columns of the changed rows, as they are now."""
        query: Update[list[Row]] = self._with(_returning=columns)
        return query

    def only(self, predicate: Truth) -> Self:
        """Return the same for the rows of another predicate."""
        query: Self = self._with(_predicate=predicate, _everything=False)
        return query

    def batch(self, dialect: Dialect) -> Sequence[Statement] | None:
        if not self._returning or "update" in dialect.returning:
            return (self.statement(dialect),)
        if pinned(self._predicate, self.table):
            return (self.statement(dialect), select_pinned(self.table, self._predicate, self._returning, dialect))
        return None

    def finish(self, results: Sequence[Result], dialect: Dialect) -> R:
        if len(results) == 2:  # an update of one row and a look at it: a row that came in between was not updated
            results = results[1:] if results[0].changed else [Result([])]
        return super().finish(results, dialect)

    def steps(self, dialect: Dialect) -> Steps[R]:
        if self.batch(dialect) is not None:
            return (yield from super().steps(dialect))
        rows = yield from update_returning(self, self.table, self._predicate, self._returning, dialect)
        return self.finish([Result(rows)], dialect)

    def compile_statement(self, out: Compiler) -> None:
        if not self._assignments:
            raise QueryError("an update without set() changes nothing")
        if self._predicate is None and not self._everything:
            raise QueryError("an update needs where(), or all_rows() if every row is meant")
        out.writing, out.home = self.table.dbo_tablename, self.table.dbo_home
        out.text("UPDATE ")
        out.name(self.table.dbo_tablename)
        out.text(" SET ")
        _compile_assignments(out, _versioned(self.table, self._assignments))
        self._compile_where(out)
        if "update" in out.dialect.returning:
            self._compile_returning(out)


class Delete(Returning[R], Filtered[R]):
    """Deleted rows. Awaiting it gives their number, or the returned columns of each.

    A predicate is mandatory unless `all_rows` says otherwise.
    """

    _everything = False

    def __init__(self, db: Executor | None, owner: type[Table]) -> None:
        super().__init__(db, owner)
        self.table = owner

    def all_rows(self) -> Self:
        """Delete every row of the table, on purpose."""
        query: Self = self._with(_everything=True)
        return query

    def returning(self, *columns: Expression[Any]) -> Delete[list[Row]]:
        """Give back columns of the deleted rows, as they were."""
        query: Delete[list[Row]] = self._with(_returning=columns)
        return query

    def only(self, predicate: Truth) -> Self:
        """Return the same for the rows of another predicate."""
        query: Self = self._with(_predicate=predicate, _everything=False)
        return query

    def batch(self, dialect: Dialect) -> Sequence[Statement] | None:
        if self._returning and "delete" not in dialect.returning:
            return None
        return (self.statement(dialect),)

    def steps(self, dialect: Dialect) -> Steps[R]:
        if self.batch(dialect) is not None:
            return (yield from super().steps(dialect))
        rows = yield from delete_returning(self, self.table, self._predicate, self._returning, dialect)
        return self.finish([Result(rows)], dialect)

    def compile_statement(self, out: Compiler) -> None:
        if self._predicate is None and not self._everything:
            raise QueryError("a delete needs where(), or all_rows() if every row is meant")
        out.writing, out.home = self.table.dbo_tablename, self.table.dbo_home
        out.text("DELETE FROM ")
        out.name(self.table.dbo_tablename)
        self._compile_where(out)
        if "delete" in out.dialect.returning:
            self._compile_returning(out)


class Excluded(Expression[Any]):
    """The value that a row has which met another one with the same key."""

    __slots__ = ("column",)

    def __init__(self, column: ColumnExpression[Any]) -> None:
        self.column = column.column

    def compile(self, out: Compiler) -> None:
        out.text(out.dialect.excluded(self.column.name))


def excluded(column: ColumnExpression[Any]) -> Any:
    """Return the value that `on_conflict` did not insert, as an expression beside the old one."""
    return Excluded(column)


def insert_rows(db: Executor | None, owner: type[Table], rows: Sequence[Assigned | Table]) -> Insert[int]:
    """Build an insert of several rows; what a row leaves out gets the column's default.

    Raises:
        QueryError: there is no row.
        ValidationError: a value does not fit.
    """
    if not rows:
        raise QueryError("an insert needs a row")
    given = [_given(row, owner) for row in rows]
    named = {column for row in given for column in row}
    columns = [column for column in owner.dbo_columns if column in named or not column.generated]
    values = [
        column.validated_many([row[column] if column in row else column.unsaid() for row in given])
        for column in columns
    ]
    return Insert(db, owner, columns, list(zip(*values, strict=True)) if columns else [()] * len(rows))


def unique_keys(owner: type[Table]) -> list[set[str]]:
    """Return the sets of columns that no two rows have in common."""
    keys = [{column.name} for column in owner.dbo_columns if column.unique]
    keys += [set(declared.columns) for declared in getattr(owner, "dbo_indexes", ()) if declared.unique]
    return [*keys, {key.name for key in owner.dbo_keys}]


def _given(row: Assigned | Table, owner: type[Table]) -> dict[Column[Any], Any]:
    """Return a row's columns and values."""
    if not isinstance(row, Table):
        return {expression.column: value for expression, value in row.items()}
    if not isinstance(row, owner.dbo_home):
        raise QueryError(f"a {type(row).__name__} is no row of {owner.dbo_tablename}")
    values = [(column, column.of(row)) for column in row.dbo_columns]
    return {column: value for column, value in values if value is not None or not column.generated}


def _expression(column: Column[Any], value: Any) -> Expression[Any]:
    return _written(column, value) if isinstance(value, Expression) else Value(value, column.value_type)


def _assignment(column: ColumnExpression[Any], value: Any) -> tuple[Column[Any], Expression[Any]]:
    if column.column.immutable:
        raise column.column.invalid("is immutable")
    if isinstance(value, Expression):
        return column.column, _written(column.column, value)
    return column.column, Value(column.column.validated(value), column.column.value_type)


def _written(column: Column[Any], value: Expression[Any]) -> Expression[Any]:
    """Let a parameter know what its value has to fit."""
    return value.written_to(column) if isinstance(value, Parameter) else value


def _versioned(
    table: type[Table], assignments: Sequence[tuple[Column[Any], Expression[Any]]]
) -> Sequence[tuple[Column[Any], Expression[Any]]]:
    """Raise the version too, so that a save of an object that was read before is stale."""
    raised = [(e.column, e + Value(1, e.value_type)) for e in table.dbo_expressions if isinstance(e.column, Version)]
    return [*assignments, *raised]


def _compile_assignments(out: Compiler, assignments: Sequence[tuple[Column[Any], Expression[Any]]]) -> None:
    for index, (column, value) in enumerate(_in_order(assignments, out.dialect)):
        if index:
            out.text(", ")
        out.name(column.name)
        out.text(" = ")
        value.compile(out)


def _in_order(
    assignments: Sequence[tuple[Column[Any], Expression[Any]]], dialect: Dialect
) -> Sequence[tuple[Column[Any], Expression[Any]]]:
    """Put assignments into an order in which each sees the old values, where the database heeds the order."""
    if not dialect.assigns_in_order or len(assignments) < 2:
        return assignments
    rest = [(column, value, _mentioned(value, dialect)) for column, value in assignments]
    ordered: list[tuple[Column[Any], Expression[Any]]] = []
    while rest:
        free = next((r for r in rest if not any(r[0] in o[2] for o in rest if o is not r)), None)
        if free is None:
            raise QueryError("this database cannot exchange the values of columns in one update")
        rest.remove(free)
        ordered.append((free[0], free[1]))
    return ordered


def _mentioned(value: Expression[Any], dialect: Dialect) -> set[Any]:
    if isinstance(value, Value):
        return set()
    scratch = Compiler(dialect)
    scratch.mentioned = set()
    value.compile(scratch)
    return scratch.mentioned

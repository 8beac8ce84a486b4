"""RETURNING, where a database does not have it: the rows are looked at in the same transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from server.db.backends import Row, Statement
from server.db.columns import Column, ColumnExpression, Table
from server.db.compiler import Compiler
from server.db.dialects import Dialect
from server.db.errors import QueryError
from server.db.expressions import Comparison, Expression, Logical, Predicate, Truth, Value
from server.db.queries import Steps


class Writing(Protocol):
    """An UPDATE or DELETE."""

    def only(self, predicate: Truth) -> Writing:
        """Return the same for the rows of another predicate."""

    def statement(self, dialect: Dialect) -> Statement:
        """Compile for a database."""


class Inserting(Protocol):
    """An INSERT."""

    table: type[Table]
    columns: tuple[Column[Any], ...]
    rows: Sequence[Sequence[Any]]

    def statement(self, dialect: Dialect) -> Statement:
        """Compile for a database."""


def pinned(predicate: Truth | None, table: type[Table]) -> bool:
    """Tell whether a predicate asks for one row by its whole key, so that no other row can come to be meant."""
    parts = predicate.predicates if isinstance(predicate, Logical) and predicate.operator == "AND" else (predicate,)
    keys = {
        part.left.column
        for part in parts
        if isinstance(part, Comparison)
        and part.operator == "="
        and isinstance(part.left, ColumnExpression)
        and isinstance(part.right, Value)
    }
    return bool(table.dbo_keys) and keys == set(table.dbo_keys) and len(parts) == len(keys)


def select_pinned(
    table: type[Table], predicate: Truth | None, columns: Sequence[Expression[Any]], dialect: Dialect
) -> Statement:
    """Return the look at the row of a pinned predicate."""
    assert predicate is not None
    return _select(table, columns, predicate, dialect)


def update_returning(
    update: Writing,
    table: type[Table],
    predicate: Truth | None,
    columns: Sequence[Expression[Any]],
    dialect: Dialect,
) -> Steps[list[Row]]:
    """Lock the rows, change just these, and look at them."""
    update.statement(dialect)  # what is wrong with it is an error although there may be no row
    (locked,) = yield [_select(table, _keys(table), predicate, dialect, " FOR UPDATE")]
    if not locked.rows:
        return []
    these = _these(table, locked.rows, dialect)
    _, found = yield [update.only(these).statement(dialect), _select(table, columns, these, dialect)]
    return found.rows


def delete_returning(
    delete: Writing,
    table: type[Table],
    predicate: Truth | None,
    columns: Sequence[Expression[Any]],
    dialect: Dialect,
) -> Steps[list[Row]]:
    """Lock the rows and look at them, and delete just these."""
    delete.statement(dialect)  # what is wrong with it is an error although there may be no row
    keys = _keys(table)
    (locked,) = yield [_select(table, [*keys, *columns], predicate, dialect, " FOR UPDATE")]
    if locked.rows:
        these = _these(table, [row[: len(keys)] for row in locked.rows], dialect)
        yield [delete.only(these).statement(dialect)]
    return [row[len(keys) :] for row in locked.rows]


def insert_returning(
    insert: Inserting, dialect: Dialect, columns: Sequence[Expression[Any]], conflict: Sequence[Column[Any]]
) -> list[Statement]:
    """Return an INSERT, and the looks at its rows in their order.

    Args:
        insert: the insert.
        dialect: the database.
        columns: what is looked at.
        conflict: the unique columns, where it may have changed rows instead.
    """
    table = insert.table
    keys = tuple(conflict) or table.dbo_keys
    statements = [insert.statement(dialect)]
    if not conflict and len(keys) == 1 and keys[0] not in insert.columns:
        # The keys of one INSERT follow each other.
        step = f"last_insert_id() + {len(insert.rows) - 1} * @@auto_increment_increment"
        out = _selecting(table, columns, dialect)
        key = dialect.quote(keys[0].name)
        out.text(f" WHERE {key} BETWEEN last_insert_id() AND {step} ORDER BY {key}")
        statements.append(Statement(*out.finish(), writes=False))
        return statements
    for row in insert.rows:
        values = dict(zip(insert.columns, row, strict=True))
        if any(isinstance(values.get(key), Expression) or values.get(key) is None for key in keys):
            raise QueryError("on this database an insert returns rows whose keys are values, or counted")
        raw = [tuple(_kept(key, values[key], dialect) for key in keys)]
        statements.append(_select(table, columns, _these(table, raw, dialect, keys), dialect))
    return statements


def _these(
    table: type[Table], rows: Sequence[Row], dialect: Dialect, keys: Sequence[Column[Any]] | None = None
) -> Predicate:
    """Return the predicate for rows by their keys, which are as the database gave them."""
    del dialect
    return Keyed([table.dbo_expressions[key.position] for key in (keys or table.dbo_keys)], rows)


class Keyed(Predicate):
    """Rows by their keys, in the form that the database keeps."""

    __slots__ = ("keys", "rows")

    def __init__(self, keys: Sequence[Expression[Any]], rows: Sequence[Row]) -> None:
        self.keys = keys
        self.rows = rows

    def compile(self, out: Compiler) -> None:
        single = len(self.keys) == 1
        out.text("" if single else "(")
        out.separated(self.keys)
        out.text(" IN (" if single else ") IN (")
        for index, row in enumerate(self.rows):
            out.text(", " if index else "")
            out.text("" if single else "(")
            for place, value in enumerate(row):
                out.text(", " if place else "")
                out.value(value, None)
            out.text("" if single else ")")
        out.text(")")


def _keys(table: type[Table]) -> list[Expression[Any]]:
    if not table.dbo_keys:
        raise QueryError(f"{table.dbo_tablename} has no primary key to return rows by")
    return [table.dbo_expressions[key.position] for key in table.dbo_keys]


def _kept(column: Column[Any], value: Any, dialect: Dialect) -> Any:
    keep = dialect.keeper(column.value_type)
    return value if keep is None or value is None else keep(value)


def _selecting(table: type[Table], columns: Sequence[Expression[Any]], dialect: Dialect) -> Compiler:
    out = Compiler(dialect)
    out.text("SELECT ")
    out.separated(columns)
    out.text(" FROM ")
    out.name(table.dbo_tablename)
    return out


def _select(
    table: type[Table],
    columns: Sequence[Expression[Any]],
    predicate: Truth | None,
    dialect: Dialect,
    ending: str = "",
) -> Statement:
    out = _selecting(table, columns, dialect)
    if predicate is not None:
        out.text(" WHERE ")
        predicate.compile(out)
    out.text(ending)
    return Statement(*out.finish(), writes=False)

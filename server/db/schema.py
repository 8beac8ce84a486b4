"""Tables and indexes as SQL (DDL)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from server.db.columns import Column, ForeignKey
from server.db.dialects import Dialect


class Index(msgspec.Struct, frozen=True):
    """An index over several columns.

    Args:
        columns: their names, in order.
        unique: no two rows have the same values in all of them.
    """

    columns: tuple[str, ...]
    unique: bool = False


def index(*columns: str) -> Index:
    """Declare an index over these columns."""
    return Index(columns)


def unique(*columns: str) -> Index:
    """Declare that no two rows have the same values in all these columns."""
    return Index(columns, unique=True)


def create_table(dialect: Dialect, table: str, columns: Mapping[str, Column[Any]]) -> Iterator[str]:
    """Yield the statements that make a table and the indexes of its single columns."""
    keys = [name for name, column in columns.items() if column.primary_key]
    lines = [column_definition(dialect, name, column, alone=len(keys) == 1) for name, column in columns.items()]
    if len(keys) > 1:
        lines.append(f"PRIMARY KEY ({', '.join(map(dialect.quote, keys))})")
    body = ",\n    ".join(lines)
    yield f"CREATE TABLE {dialect.quote(table)} (\n    {body}\n)"
    for name, column in columns.items():
        if column.index:
            yield create_index(dialect, table, Index((name,)))


def create_index(dialect: Dialect, table: str, declared: Index) -> str:
    """Return the statement that makes an index."""
    name = dialect.quote("_".join((table, *declared.columns)))
    columns = ", ".join(map(dialect.quote, declared.columns))
    return f"CREATE {'UNIQUE ' if declared.unique else ''}INDEX {name} ON {dialect.quote(table)} ({columns})"


def column_definition(dialect: Dialect, name: str, column: Column[Any], *, alone: bool) -> str:
    """Return a column's line in CREATE TABLE.

    Args:
        dialect: the database that it is for.
        name: the column's name.
        column: what it is.
        alone: whether a primary key consists of this column alone.
    """
    parts = [dialect.quote(name), dialect.types[column.kind]]
    if column.primary_key and alone:
        parts.append("PRIMARY KEY")
    if not column.nullable and not column.generated:
        parts.append("NOT NULL")
    if column.unique:
        parts.append("UNIQUE")
    if isinstance(column, ForeignKey):
        target = column.target
        key = dialect.quote(target.dbo_keys[0].name)
        parts.append(f"REFERENCES {dialect.quote(target.dbo_tablename)} ({key}) ON DELETE {column.on_delete.upper()}")
    return " ".join(parts)

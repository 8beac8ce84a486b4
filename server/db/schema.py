"""Tables and indexes as SQL (DDL)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from server.db.columns import Column, Table
from server.db.compiler import Compiler
from server.db.dialects import Dialect
from server.db.errors import QueryError
from server.db.expressions import Expression
from server.db.foreign_keys import ForeignKey
from server.db.fulltext import FullText, full_text_name
from server.db.value_types import Kind


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


class TableDefinition(msgspec.Struct):
    """A table as migrations have made it, or as a class declares it.

    Args:
        name: the table's name.
        columns: its columns by name, in order.
        indexes: its indexes over several columns.
        full_texts: its full-text indexes, by the name of the attribute.
    """

    name: str
    columns: dict[str, Column[Any]]
    indexes: list[Index] = []
    full_texts: dict[str, FullText] = {}

    @classmethod
    def of(cls, table: type[Table]) -> TableDefinition:
        """Return the definition that a class declares."""
        full_texts = {declared.name: declared for declared in getattr(table, "dbo_fulltexts", ())}
        return cls(table.dbo_tablename, dict(table.dbo_by_name), list(getattr(table, "dbo_indexes", ())), full_texts)

    @property
    def keys(self) -> list[str]:
        """The names of the primary key's columns."""
        return [name for name, column in self.columns.items() if column.primary_key]

    def create(self, dialect: Dialect) -> Iterator[str]:
        """Yield the statements that make the table with all its indexes."""
        yield from create_table(dialect, self.name, self.columns)
        for declared in self.indexes:
            yield create_index(dialect, self.name, declared)
        for name, full_text in self.full_texts.items():
            yield from create_full_text(dialect, self, name, full_text)


def create_table(dialect: Dialect, table: str, columns: Mapping[str, Column[Any]]) -> Iterator[str]:
    """Yield the statements that make a table and the indexes of its single columns."""
    keys = [column for column in columns.values() if column.primary_key]
    lines = [column_definition(dialect, name, column, keys) for name, column in columns.items()]
    if len(keys) > 1:
        names = [name for name, column in columns.items() if column.primary_key]
        lines.append(f"PRIMARY KEY ({', '.join(map(dialect.quote, names))})")
    lines += [
        foreign_key(dialect, table, name, column) for name, column in columns.items() if isinstance(column, ForeignKey)
    ]
    yield dialect.create_table(table, lines)
    for name, column in columns.items():
        yield from column_indexes(dialect, table, name, column)


def column_indexes(dialect: Dialect, table: str, name: str, column: Column[Any]) -> Iterator[str]:
    """Yield the statements that make the indexes of a single column."""
    if column.unique or column.index:
        yield create_index(dialect, table, Index((name,), unique=column.unique))


def create_index(dialect: Dialect, table: str, declared: Index) -> str:
    """Return the statement that makes an index."""
    name = dialect.quote(index_name(table, declared.columns))
    columns = ", ".join(map(dialect.quote, declared.columns))
    return f"CREATE {'UNIQUE ' if declared.unique else ''}INDEX {name} ON {dialect.quote(table)} ({columns})"


def drop_index(dialect: Dialect, table: str, declared: Index) -> str:
    """Return the statement that removes an index."""
    return dialect.drop_index(table, index_name(table, declared.columns))


def index_name(table: str, columns: Iterable[str]) -> str:
    """Return the name that an index has in the database."""
    return "_".join((table, *columns))


def create_full_text(dialect: Dialect, table: TableDefinition, name: str, declared: FullText) -> list[str]:
    """Return the statements that make a full-text index.

    Raises:
        QueryError: the table has no key that is one whole number.
    """
    keys = table.keys
    if len(keys) != 1 or table.columns[keys[0]].value_type.kind is not Kind.INTEGER:
        raise QueryError(f"{table.name}.{name}: a full-text index needs a primary key of one whole number")
    return dialect.create_full_text(table.name, full_text_name(table.name, name), declared.columns, keys[0])


def column_definition(dialect: Dialect, name: str, column: Column[Any], keys: Sequence[Column[Any]]) -> str:
    """Return a column's line in CREATE TABLE.

    Args:
        dialect: the database that it is for.
        name: the column's name.
        column: what it is.
        keys: the columns of the table's primary key.
    """
    parts = [dialect.quote(name), dialect.column_type(column.value_type)]
    if not column.nullable:
        parts.append("NOT NULL")
    if column.primary_key and len(keys) == 1:
        parts.append("PRIMARY KEY" + (dialect.auto_key if column.counts(keys) else ""))
    if isinstance(column.default, Expression):
        parts.append(f"DEFAULT ({default_text(dialect, column.default)})")
    return " ".join(parts)


def foreign_key(dialect: Dialect, table: str, name: str, column: ForeignKey[Any, Any]) -> str:
    """Return a foreign key's line in CREATE TABLE."""
    return (
        f"CONSTRAINT {dialect.quote(f'fk_{table}_{name}')} FOREIGN KEY ({dialect.quote(name)}) "
        f"{references(dialect, column)}"
    )


def references(dialect: Dialect, column: ForeignKey[Any, Any]) -> str:
    """Return what a foreign key refers to, as SQL."""
    target = dialect.quote(column.target.dbo_tablename)
    return f"REFERENCES {target} ({dialect.quote(column.key_column().name)}) ON DELETE {column.on_delete.upper()}"


def default_text(dialect: Dialect, default: Expression[Any]) -> str:
    """Return an expression that the database evaluates as a default.

    Raises:
        QueryError: it has arguments from Python that cannot stand there.
    """
    out = Compiler(dialect)
    default.compile(out)
    if not out.arguments:
        return out.body
    parts = out.body.split(dialect.placeholder)
    if len(parts) != len(out.arguments) + 1:
        raise QueryError(f"{out.body} cannot be the default of a column")
    literals = [dialect.literal(argument) for argument in out.arguments]
    return "".join(part + literal for part, literal in zip(parts, [*literals, ""], strict=True))

"""One object's own row: statements that are written once for a class, a dialect and the columns that take part."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from server.db.backends import Statement
from server.db.column_types import Version
from server.db.columns import Column, Table
from server.db.dialects import Dialect
from server.db.errors import QueryError
from server.db.value_types import Codec

Place = tuple[int, Codec | None]
"""Where among an object's values an argument is, and what turns it into what the driver takes."""


class RowStatement(ABC):
    """A statement over one row, without its arguments.

    Args:
        owner: the table's class.
        dialect: the database.
        columns: the columns that take part.
    """

    writes = True

    def __init__(self, owner: type[Table], dialect: Dialect, columns: Sequence[Column[Any]]) -> None:
        self.owner = owner
        self.dialect = dialect
        self.columns = columns
        self.version = next((c for c in owner.dbo_columns if isinstance(c, Version)), None)
        self.sql = self.text()

    @abstractmethod
    def text(self) -> str:
        """Return the statement's text."""

    def places(self, columns: Sequence[Column[Any]]) -> list[Place]:
        """Return where the values of columns are."""
        return [(column.position, self.dialect.keeper(column.value_type)) for column in columns]

    def where(self, *, versioned: bool) -> str:
        """Return the predicate for the row's key, and its version."""
        keys = [*self.key_columns(), *([self.version] if versioned and self.version else [])]
        return " WHERE " + " AND ".join(f"{self.name(key)} = {self.dialect.placeholder}" for key in keys)

    def key_columns(self) -> Sequence[Column[Any]]:
        """Return the columns of the key.

        Raises:
            QueryError: the table has none.
        """
        if not self.owner.dbo_keys:
            raise QueryError(f"{self.owner.__name__} has no primary key")
        return self.owner.dbo_keys

    def name(self, column: Column[Any]) -> str:
        """Return a column's name as SQL."""
        return self.dialect.quote(column.name)

    @property
    def table(self) -> str:
        """The table's name as SQL."""
        return self.dialect.quote(self.owner.dbo_tablename)


class GetRow(RowStatement):
    """SELECT by key."""

    writes = False

    def text(self) -> str:
        self._encoders = [(column, self._encoder(column)) for column in self.key_columns()]
        columns = ", ".join(map(self.name, self.owner.dbo_columns))
        return f"SELECT {columns} FROM {self.table}{self.where(versioned=False)}"

    def statement(self, key: Sequence[Any]) -> Statement:
        """Return the statement for a key.

        Raises:
            QueryError: the key has another number of values, or one of another type.
        """
        encoders = self._encoders
        if len(key) != len(encoders):
            raise QueryError(f"the primary key of {self.owner.__name__} has {len(encoders)} columns")
        try:
            arguments = [encode(value) for value, (_, encode) in zip(key, encoders, strict=True)]
        except (TypeError, ValueError, msgspec.MsgspecError) as error:
            raise QueryError(f"the key of {self.owner.__name__} {error}") from None
        return Statement(self.sql, arguments, writes=False)

    def _encoder(self, column: Column[Any]) -> Codec:
        encode = self.dialect.encoder(column.value_type)
        if not hasattr(column, "target"):
            return encode

        def encode_reference(value: Any) -> Any:
            # An object, or a reference to one, stands for its key.
            return encode(column.validated(value) if value is not None and type(value) is not int else value)

        return encode_reference


class InsertRow(RowStatement):
    """INSERT, but for the columns that the database makes."""

    def text(self) -> str:
        self.written = [column for column in self.owner.dbo_columns if column not in self.columns]
        self._places = self.places(self.written)
        self._needed = [column for column in self.written if not column.nullable or column.mutable]
        start = f"INSERT INTO {self.table}"
        if not self.written:
            return start + self.dialect.default_row
        marks = ", ".join([self.dialect.placeholder] * len(self.written))
        return f"{start} ({', '.join(map(self.name, self.written))}) VALUES ({marks})"

    def statement(self, values: Sequence[Any]) -> Statement:
        """Return the statement for an object's values.

        Raises:
            ValidationError: a value is missing, or changed in place into one that does not fit.
        """
        for column in self._needed:
            if values[column.position] is None or column.mutable:
                column.validated(values[column.position])
        return Statement(self.sql, arguments(values, self._places))


class UpdateRow(RowStatement):
    """UPDATE of some columns; a version is raised, and has to be what the object knows."""

    def text(self) -> str:
        mark = self.dialect.placeholder
        settings = [f"{self.name(column)} = {mark}" for column in self.columns]
        if self.version is not None:
            settings.append(f"{self.name(self.version)} = {self.name(self.version)} + 1")
        keys = [*self.key_columns(), *([self.version] if self.version else [])]
        self._places = self.places([*self.columns, *keys])
        self._mutable = [column for column in self.columns if column.mutable]
        return f"UPDATE {self.table} SET {', '.join(settings)}{self.where(versioned=True)}"

    def statement(self, values: Sequence[Any]) -> Statement:
        """Return the statement for an object's values.

        Raises:
            ValidationError: a value changed in place into one that does not fit.
        """
        for column in self._mutable:
            column.validated(values[column.position])
        return Statement(self.sql, arguments(values, self._places))


class DeleteRow(RowStatement):
    """DELETE by key; a version has to be what the object knows."""

    def text(self) -> str:
        self._places = self.places([*self.key_columns(), *([self.version] if self.version else [])])
        return f"DELETE FROM {self.table}{self.where(versioned=True)}"

    def statement(self, values: Sequence[Any]) -> Statement:
        """Return the statement for an object's values."""
        return Statement(self.sql, arguments(values, self._places))


S = TypeVar("S", bound=RowStatement)


def statement_for(
    kind: Callable[[type[Table], Dialect, Sequence[Column[Any]]], S],
    owner: type[Table],
    dialect: Dialect,
    columns: Sequence[Column[Any]] = (),
) -> S:
    """Return a statement over one row, written if it was not yet.

    Args:
        kind: its class.
        owner: the table's class.
        dialect: the database.
        columns: the columns that take part.
    """
    key = (kind, dialect, *[column.position for column in columns])
    statement: S | None = owner.dbo_cache.get(key)
    if statement is None:
        statement = owner.dbo_cache[key] = kind(owner, dialect, tuple(columns))
    return statement


def arguments(values: Sequence[Any], places: Sequence[Place]) -> list[Any]:
    """Return the values at some places, in the form that the driver takes."""
    found = []
    for position, keep in places:
        value = values[position]
        found.append(value if keep is None or value is None else keep(value))
    return found

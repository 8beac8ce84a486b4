"""Queries that are written once and run often: only what their parameters stand for differs.

sent = prepare(Message.select(None).where(Message.user == parameter(Message.user, "user")).limit(50))
messages = await sent(db, user=7)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from server.db.backends import Result, Statement
from server.db.columns import ColumnExpression
from server.db.compiler import Compiler
from server.db.dialects import Dialect
from server.db.errors import QueryError
from server.db.expressions import Value
from server.db.queries import Executor, Query
from server.db.value_types import Codec, ValueType

R = TypeVar("R")
T = TypeVar("T")


class Parameter(Value[Any]):
    """Stands for a value that a prepared query is given when it runs."""

    __slots__ = ("name",)

    def __init__(self, name: str, value_type: ValueType | None) -> None:
        super().__init__(self, value_type)
        self.name = name

    def compile(self, out: Compiler) -> None:
        out.text(out.dialect.placeholder)
        out.arguments.append(_Place(self.name, out.dialect.encoder(self.value_type) if self.value_type else None))


def parameter(column: ColumnExpression[T], name: str) -> Any:
    """Return what stands for a value of a column in a query that is prepared.

    Args:
        column: what the value is compared with or written to; it has to be of that type.
        name: under which the value is given.
    """
    return Parameter(name, column.value_type)


def prepare(query: Query[R]) -> Prepared[R]:
    """Write a query once. Calling what is returned makes a query that only has to be given its values.

    Raises:
        QueryError: when it is called first: the query needs several round trips, or loads related objects.
    """
    return Prepared(query)


class Prepared(Generic[R]):
    """A query that was written; see `prepare`."""

    def __init__(self, query: Query[R]) -> None:
        self.query = query
        self._written: dict[Dialect, Sequence[Statement]] = {}

    def __call__(self, db: Executor | None = None, **values: Any) -> Query[R]:
        """Return the query with the values of its parameters: to be awaited, or given to `atomic`.

        Args:
            db: what it runs on; None for one that `atomic` runs.
            values: one for each parameter.
        """
        return _Bound(db, self, values)

    def statements(self, dialect: Dialect, values: Mapping[str, Any]) -> Sequence[Statement]:
        """Return what runs.

        Raises:
            QueryError: a value is missing, or of another type.
        """
        written = self._written.get(dialect)
        if written is None:
            written = self._written[dialect] = self._write(dialect)
        try:
            return [_filled(statement, values) for statement in written]
        except KeyError as error:
            raise QueryError(f"the prepared query has no value for {error.args[0]}") from None
        except (TypeError, ValueError, msgspec.MsgspecError) as error:
            raise QueryError(f"an argument of the prepared query {error}") from None

    def _write(self, dialect: Dialect) -> Sequence[Statement]:
        batch = self.query.batch(dialect)
        if batch is None or self.query.completes:
            raise QueryError("a query that needs several round trips cannot be prepared")
        return batch


class _Bound(Query[R]):
    """A prepared query with its values."""

    def __init__(self, db: Executor | None, prepared: Prepared[R], values: Mapping[str, Any]) -> None:
        super().__init__(db, prepared.query.owner)
        self.writes = prepared.query.writes
        self._prepared = prepared
        self._values = values

    def statement(self, dialect: Dialect) -> Statement:
        return self.batch(dialect)[0]

    def batch(self, dialect: Dialect) -> Sequence[Statement]:
        return self._prepared.statements(dialect, self._values)

    def finish(self, results: Sequence[Result], dialect: Dialect) -> R:
        return self._prepared.query.finish(results, dialect)

    def compile_statement(self, out: Compiler) -> None:
        del out
        raise QueryError("a prepared query is no part of another")


class _Place:
    """Where a value goes, and what turns it into what the driver takes."""

    __slots__ = ("encode", "name")

    def __init__(self, name: str, encode: Codec | None) -> None:
        self.name = name
        self.encode = encode

    def fill(self, values: Mapping[str, Any]) -> Any:
        value = values[self.name]
        return value if value is None or self.encode is None else self.encode(value)


def _filled(statement: Statement, values: Mapping[str, Any]) -> Statement:
    arguments = [a.fill(values) if type(a) is _Place else a for a in statement.arguments]
    return Statement(statement.sql, arguments, statement.writes)

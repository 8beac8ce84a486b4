"""Queries that are written once and run often: only what their parameters stand for differs.

sent = prepare(Message.select(None).where(Message.user == parameter(Message.user, "user")).limit(50))
messages = await sent(db, user=7)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from server.db.backends import Result, Statement
from server.db.columns import Column, ColumnExpression
from server.db.compiler import Compiler
from server.db.dialects import Dialect
from server.db.errors import QueryError, ValidationError
from server.db.expressions import Value
from server.db.queries import Executor, Query
from server.db.value_types import Codec, ValueType

R = TypeVar("R")
T = TypeVar("T")


class Parameter(Value[Any]):
    """Stands for a value that a prepared query is given when it runs.

    Args:
        name: the value's name.
        value_type: the value's type.
        column: what it is written to, and so has to fit; None where it is compared.
    """

    __slots__ = ("column", "name")

    def __init__(self, name: str, value_type: ValueType, column: Column[Any] | None = None) -> None:
        super().__init__(self, value_type)
        self.name = name
        self.column = column

    def written_to(self, column: Column[Any]) -> Parameter:
        """Return the same for what is written to a column."""
        return Parameter(self.name, column.value_type, column)

    def compile(self, out: Compiler) -> None:
        assert self.value_type is not None
        out.text(out.dialect.placeholder)
        if self.column is None:
            out.arguments.append(_Place(self.name, None, out.dialect.encoder(self.value_type)))
        else:
            out.arguments.append(_Place(self.name, self.column.validated, out.dialect.keeper(self.value_type)))


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
        self._written: dict[Dialect, tuple[Sequence[Statement], frozenset[str]]] = {}

    def __call__(self, db: Executor | None = None, /, **values: Any) -> Query[R]:
        """Return the query with the values of its parameters: to be awaited, or given to `atomic`.

        Args:
            db: what it runs on; None for one that `atomic` runs.
            values: one for each parameter.
        """
        return _Bound(db, self, values)

    def statements(self, dialect: Dialect, values: Mapping[str, Any]) -> Sequence[Statement]:
        """Return what runs.

        Raises:
            QueryError: a value is missing, one too many, of another type, or does not fit the column it is written to.
        """
        written = self._written.get(dialect)
        if written is None:
            written = self._written[dialect] = self._write(dialect)
        statements, names = written
        filled = [_filled(statement, values) for statement in statements]
        if len(values) > len(names):
            raise QueryError(f"the prepared query has no parameter {', '.join(sorted(values.keys() - names))}")
        return filled

    def _write(self, dialect: Dialect) -> tuple[Sequence[Statement], frozenset[str]]:
        batch = self.query.batch(dialect)
        if batch is None or self.query.completes:
            raise QueryError("what locks rows, loads related ones or needs several round trips cannot be prepared")
        return batch, frozenset(a.name for statement in batch for a in statement.arguments if type(a) is _Place)


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
    """Where a value goes, what checks that it fits its column, and what turns it into what the driver takes."""

    __slots__ = ("check", "encode", "name")

    def __init__(self, name: str, check: Codec | None, encode: Codec | None) -> None:
        self.name = name
        self.check = check
        self.encode = encode

    def fill(self, values: Mapping[str, Any]) -> Any:
        try:
            value = values[self.name]
        except KeyError:
            raise QueryError(f"the prepared query has no value for {self.name}") from None
        try:
            if self.check is not None:
                value = self.check(value)
            return value if value is None or self.encode is None else self.encode(value)
        except ValidationError as error:
            raise QueryError(f"{self.name} of the prepared query {error.reason}") from None
        except (TypeError, ValueError, msgspec.MsgspecError) as error:
            raise QueryError(f"{self.name} of the prepared query {error}") from None


def _filled(statement: Statement, values: Mapping[str, Any]) -> Statement:
    arguments = [a.fill(values) if type(a) is _Place else a for a in statement.arguments]
    return Statement(statement.sql, arguments, statement.writes)

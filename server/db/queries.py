"""What every query has: a database to run on, text, arguments, and a result."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, Protocol, Self, TypeVar

import msgspec

from server.db.columns import Column, ColumnExpression, Table
from server.db.dialects import SQLITE, Codec, Dialect
from server.db.errors import QueryError
from server.db.expressions import Compilable, Compiler, Expression, Predicate

R = TypeVar("R")
Row = tuple[Any, ...]


class Statement(msgspec.Struct, frozen=True, gc=False):
    """One statement, ready for a driver.

    Args:
        sql: its text, with placeholders.
        arguments: the values, in order.
        writes: whether it changes anything.
    """

    sql: str
    arguments: tuple[Any, ...] = ()
    writes: bool = True


class Result(msgspec.Struct, frozen=True, gc=False):
    """What a statement gave.

    Args:
        rows: what it selected or returned.
        changed: how many rows it inserted, updated or deleted.
    """

    rows: list[Row]
    changed: int = 0


class Executor(Protocol):
    """What queries run on: a `Database` or a `Transaction`."""

    dialect: Dialect

    async def execute(self, statement: Statement) -> Result:
        """Run one statement.

        Raises:
            Unavailable: the database cannot do it now.
            IntegrityError: a constraint was violated.
            QueryError: the statement is wrong.
        """


class Transactional(Executor, Protocol):
    """An executor that can begin a transaction: a `Database`."""

    def transaction(self, seconds: float) -> AbstractAsyncContextManager[Executor]:
        """Run what is inside as one transaction of at most so many seconds."""


class Query(Compilable, Generic[R]):
    """A query; awaiting it runs it.

    Args:
        db: what it runs on; None for a subquery, or for one that `atomic` runs.
        owner: the table's class, or a prefix of it.
    """

    writes = True

    def __init__(self, db: Executor | None, owner: type[Table]) -> None:
        self._db = db
        self._owner = owner

    def __await__(self) -> Generator[Any, None, R]:
        return self._run().__await__()

    async def _run(self) -> R:
        db = self._executor()
        return self.result(await db.execute(self.statement(db.dialect)), db.dialect)

    @property
    def sql(self) -> str:
        """The text that would run."""
        return self.statement(self._dialect).sql

    @property
    def arguments(self) -> tuple[Any, ...]:
        """The values that would run with it."""
        return self.statement(self._dialect).arguments

    def __str__(self) -> str:
        statement = self.statement(self._dialect)
        return f"{statement.sql} {list(statement.arguments)}"

    def statement(self, dialect: Dialect) -> Statement:
        """Compile for a database."""
        out = Compiler(dialect)
        self.compile_statement(out)
        return Statement(out.sql, tuple(out.arguments), self.writes)

    def compile(self, out: Compiler) -> None:
        """Write it as a subquery."""
        qualified, out.qualified = out.qualified, True
        out.text("(")
        self.compile_statement(out)
        out.text(")")
        out.qualified = qualified

    @abstractmethod
    def compile_statement(self, out: Compiler) -> None:
        """Write it as a statement."""

    @abstractmethod
    def result(self, result: Result, dialect: Dialect) -> R:
        """Make what the caller gets of what the driver gave."""

    def _with(self, **changes: Any) -> Any:
        """Return a copy with some attributes changed; queries that were given away stay as they are."""
        query = copy.copy(self)
        for name, value in changes.items():
            setattr(query, name, value)
        return query

    @property
    def _dialect(self) -> Dialect:
        return SQLITE if self._db is None else self._db.dialect

    def _executor(self) -> Executor:
        if self._db is None:
            raise QueryError("this query has no database: pass one where it is made, or give it to db.atomic")
        return self._db

    def _compile_table(self, out: Compiler, owner: type[Table]) -> None:
        out.name(owner.dbo_tablename)
        if owner.dbo_prefix is not None:
            out.text(" AS ")
            out.name(owner.dbo_prefix)


class Filtered(Query[R]):
    """A query with a predicate."""

    def __init__(self, db: Executor | None, owner: type[Table]) -> None:
        super().__init__(db, owner)
        self._predicate: Predicate | None = None

    def where(self, *predicates: Predicate) -> Self:
        """Take the rows for which all predicates are true."""
        narrowed = self._predicate
        for predicate in predicates:
            if not isinstance(predicate, Predicate):
                raise QueryError(f"where takes predicates such as Table.column == value, not {predicate!r}")
            narrowed = predicate if narrowed is None else narrowed & predicate
        query: Self = self._with(_predicate=narrowed)
        return query

    def _compile_where(self, out: Compiler) -> None:
        if self._predicate is not None:
            out.text(" WHERE ")
            self._predicate.compile(out)


def row_decoder(expressions: Sequence[Expression[Any]], dialect: Dialect) -> Callable[[Row], Row]:
    """Return what turns the database's rows of these expressions into Python's; as little work as possible."""
    decoders = [(i, d) for i, e in enumerate(expressions) if (d := _decoder(e, dialect)) is not None]
    if not decoders:
        return lambda row: row

    def decode(row: Row) -> Row:
        values = list(row)
        for index, decoder in decoders:
            if values[index] is not None:
                values[index] = decoder(values[index])
        return tuple(values)

    return decode


def _decoder(expression: Expression[Any], dialect: Dialect) -> Codec | None:
    if isinstance(expression, ColumnExpression):
        column: Column[Any] = expression.column
        return column.decoder(dialect)
    return None if expression.kind is None else dialect.decoders.get(expression.kind)

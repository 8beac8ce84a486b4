"""What every query has: a database to run on, text, arguments, and a result."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Generator, Sequence
from typing import Any, Generic, Protocol, Self, TypeVar

from server.db.backends import Result, Row, Statement
from server.db.columns import Table
from server.db.compiler import Compilable, Compiler
from server.db.dialects import Dialect
from server.db.errors import QueryError
from server.db.expressions import Truth, checked_truth
from server.db.sqlite.dialect import SQLITE

R = TypeVar("R")
Steps = Generator[Sequence[Statement], Sequence[Result], R]
"""A query that needs several round trips: it yields statements, and is sent what each of them gave."""


class Executor(Protocol):
    """What queries run on: a `Database` or a `Transaction`."""

    dialect: Dialect

    async def run(self, query: Query[R]) -> R:
        """Run a query.

        Raises:
            Unavailable: the database cannot do it now.
            IntegrityError: a constraint was violated.
            QueryError: the query is wrong.
        """

    async def execute(self, statement: Statement) -> Result:
        """Run one statement as it is."""

    def stream(self, statement: Statement, page_rows: int) -> AsyncGenerator[list[Row]]:
        """Yield the rows of a SELECT in pages, from a cursor of the database."""


class Source(Protocol):
    """What stands behind FROM or JOIN and is no table: a query under a name."""

    def compile_source(self, out: Compiler) -> None:
        """Write it as a table."""


class Query(Compilable, Generic[R]):
    """A query; awaiting it runs it.

    Args:
        db: what it runs on; None for a subquery, or for one that `atomic` runs.
        owner: the table's class, or a prefix of it, or a query under a name.
    """

    writes = True
    completes = False
    """Whether there is anything to `complete`."""

    def __init__(self, db: Executor | None, owner: type[Table] | Source) -> None:
        self.db = db
        self.owner = owner

    def __await__(self) -> Generator[Any, None, R]:
        return self._run().__await__()

    async def _run(self) -> R:
        return await self._executor().run(self)

    @property
    def sql(self) -> str:
        """The text that would run."""
        return self.statement(self._dialect).sql

    @property
    def arguments(self) -> tuple[Any, ...]:
        """The values that would run with it."""
        return tuple(self.statement(self._dialect).arguments)

    def __str__(self) -> str:
        statement = self.statement(self._dialect)
        return f"{statement.sql} {list(statement.arguments)}"

    def statement(self, dialect: Dialect) -> Statement:
        """Compile for a database."""
        out = Compiler(dialect)
        self.compile_statement(out)
        return Statement(*out.finish(), self.writes)

    def batch(self, dialect: Dialect) -> Sequence[Statement] | None:
        """Return the statements that it consists of, run in order as one unit; None when it needs `steps`."""
        return (self.statement(dialect),)

    @abstractmethod
    def finish(self, results: Sequence[Result], dialect: Dialect) -> R:
        """Make what the caller gets of what each statement of the batch gave."""

    def steps(self, dialect: Dialect) -> Steps[R]:
        """Run in several round trips inside a transaction, where the database has no statement for it."""
        batch = self.batch(dialect)
        assert batch is not None
        return self.finish((yield batch), dialect)

    async def complete(self, result: R, db: Executor) -> R:
        """Load what belongs to the result, by queries of its own."""
        del db
        return result

    def compile(self, out: Compiler) -> None:
        """Write it as a subquery."""
        with out.qualifying(True):
            out.text("(")
            self.compile_inside(out)
            out.text(")")

    def compile_inside(self, out: Compiler) -> None:
        """Write it inside the parentheses of a subquery."""
        self.compile_statement(out)

    @abstractmethod
    def compile_statement(self, out: Compiler) -> None:
        """Write it as a statement."""

    def _with(self, **changes: Any) -> Any:
        """Return a copy with some attributes changed; queries that were given away stay as they are."""
        query = object.__new__(type(self))
        query.__dict__.update(self.__dict__)
        query.__dict__.update(changes)
        return query

    @property
    def _dialect(self) -> Dialect:
        return SQLITE if self.db is None else self.db.dialect

    def _executor(self) -> Executor:
        if self.db is None:
            raise QueryError("this query has no database: pass one where it is made, or give it to db.atomic")
        return self.db


class Filtered(Query[R]):
    """A query with a predicate."""

    _predicate: Truth | None = None

    def where(self, *predicates: Truth) -> Self:
        """Take the rows for which all predicates are true."""
        query: Self = self._with(_predicate=joined(self._predicate, predicates, "where"))
        return query

    def _compile_where(self, out: Compiler) -> None:
        if self._predicate is not None:
            out.text(" WHERE ")
            self._predicate.compile(out)


def joined(predicate: Truth | None, others: Sequence[Truth], method: str) -> Truth | None:
    """Join predicates by AND.

    Raises:
        QueryError: one is no predicate.
    """
    for other in others:
        checked_truth(other, f"{method} takes")
        predicate = other if predicate is None else predicate & other
    return predicate


def compile_table(out: Compiler, owner: type[Table] | Source) -> None:
    """Write a table, under its prefix if it has one."""
    if not isinstance(owner, type):
        owner.compile_source(out)
        return
    out.name(owner.dbo_tablename)
    if owner.dbo_prefix is not None:
        out.text(" AS ")
        out.name(owner.dbo_prefix)

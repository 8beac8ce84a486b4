"""What a kind of database has to give: the small protocol between DbObject and a driver."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import msgspec

from server.db.counting import Commits, PoolUse
from server.db.dialects import Dialect

Row = tuple[Any, ...]
Load = Callable[[list[Row]], list[Any]]
"""Makes what the caller gets of the driver's rows."""


class Statement(msgspec.Struct, frozen=True, gc=False):
    """One statement, ready for a driver.

    Args:
        sql: its text, with placeholders.
        arguments: the values, in order, in the form that the dialect's encoders give.
        writes: whether it changes anything.
    """

    sql: str
    arguments: Sequence[Any] = ()
    writes: bool = True


class Result(msgspec.Struct, frozen=True, gc=False):
    """What a statement gave.

    Args:
        rows: what it selected or returned.
        changed: how many rows it inserted, updated (those that matched, whether or not they are different now) or
            deleted.
        last_key: the key that the database made for the first row of an insert; 0 when it made none.
    """

    rows: list[Row]
    changed: int = 0
    last_key: int = 0


def written(results: Iterable[Result]) -> int:
    """Return how many rows statements wrote."""
    return sum([result.changed for result in results])


class BackendSession(Protocol):
    """An open transaction of a backend. Statements come one after the other, never two at once."""

    async def execute(self, statements: Sequence[Statement]) -> list[Result]:
        """Run statements in order, in one round trip where the driver can.

        Raises:
            QueryError: the transaction is over, or a statement is wrong; the transaction stays usable.
            IntegrityError: a constraint was violated; the transaction stays usable.
            TransactionConflict: a deadlock, or a lock that was not free in time; the transaction is over.
            Unavailable: the database is away; the transaction is over.
        """

    def stream(self, statement: Statement, page_rows: int) -> AsyncGenerator[list[Row]]:
        """Yield the rows of a SELECT in pages, from a cursor on the server; nothing else runs meanwhile."""

    async def commit(self) -> None:
        """Make it durable. Cancelling it leaves it whole or absent.

        Raises:
            OutcomeUnknown: the connection was lost on the way: it may or may not have happened.
        """

    async def roll_back(self) -> None:
        """Undo it; nothing happens when it is over."""

    def abandon(self) -> None:
        """Undo it without waiting: whoever wanted it is gone."""


class Backend(Protocol):
    """An open database of one kind.

    Attributes:
        dialect: how it wants things written.
        commits: what it has committed.
    """

    dialect: Dialect
    commits: Commits

    def use(self) -> PoolUse:
        """Return how busy its connections are."""

    async def read(self, statement: Statement, load: Load | None = None) -> Result:
        """Run a statement that changes nothing.

        Args:
            statement: the statement.
            load: makes the caller's rows of the driver's, wherever that is best done; it has no side effects.
        """

    async def write(self, statements: Sequence[Statement]) -> list[Result]:
        """Run statements as one unit: all or nothing, in one round trip where the driver can.

        Cancelling it leaves the unit whole or absent.

        Raises:
            OutcomeUnknown: the connection was lost on the way: the unit is whole or absent.
        """

    async def begin(self, seconds: float, *, schema: bool = False) -> BackendSession:
        """Begin a transaction whose statements come one by one.

        Args:
            seconds: how long it may take; afterwards it is rolled back.
            schema: whether it rebuilds tables, so that foreign keys are not enforced meanwhile.
        """

    def stream(self, statement: Statement, page_rows: int) -> AsyncGenerator[list[Row]]:
        """Yield the rows of a SELECT in pages, as of one moment, in bounded memory."""

    def lock(self, name: str, seconds: float) -> AbstractAsyncContextManager[None]:
        """Keep other processes out that take a lock of the same name; for migrations.

        Raises:
            Unavailable: it was not free in time.
        """

    async def close(self) -> None:
        """Finish what was begun, and close."""

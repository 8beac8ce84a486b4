"""A transaction whose statements come one by one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Sequence

import msgspec

from server.db.backends import Result, Row, Statement, written
from server.db.counting import Commits
from server.db.errors import DatabaseError, QueryError, TransactionConflict, Unavailable
from server.db.mysql.answers import ServerError
from server.db.mysql.connection import Connection, Cursor
from server.db.mysql.errors import ConnectionLost, lost, translated
from server.db.mysql.literals import rendered
from server.db.mysql.pool import Pool

ROLLBACK_SECONDS = 10.0
BEGIN, COMMIT, ROLLBACK = b"BEGIN", b"COMMIT", b"ROLLBACK"

log = logging.getLogger("db")


class Limits(msgspec.Struct, frozen=True):
    """How long things may take.

    Args:
        seconds: for a statement, as we wait for it.
        lift: a statement after which a stream takes as long as it takes.
        restore: a statement that undoes this.
    """

    seconds: float
    lift: bytes
    restore: bytes


class MySQLSession:
    """An open transaction on a connection of the pool.

    It begins on the server with its first statement, in the same round trip. After a statement that commits by
    itself, as those do that change the schema, it begins anew.

    Args:
        pool: what the connection is given back to.
        connection: for this alone.
        limits: how long its statements may take.
        seconds: how long all of it may take.
        commits: counts it, once it is committed.
        reusable: whether the connection can be used for something else afterwards.
    """

    def __init__(
        self, pool: Pool, connection: Connection, limits: Limits, seconds: float, commits: Commits, *, reusable: bool
    ) -> None:
        self._pool = pool
        self._connection = connection
        self._limits = limits
        self._seconds = seconds
        self._commits = commits
        self._began = time.perf_counter()
        self._rows = 0
        self._reusable = reusable
        self._over = False
        self._cursor: Cursor | None = None
        self._deadline = asyncio.get_running_loop().call_later(seconds, self._expire)

    async def execute(self, statements: Sequence[Statement]) -> list[Result]:
        """Run statements in order, in one round trip.

        Raises:
            QueryError: the transaction is over, a stream is open, or a statement is wrong.
            IntegrityError: a constraint was violated; the transaction stays usable.
            TransactionConflict: a deadlock, or a lock that was not free in time; the transaction is over.
            Unavailable: the database is away; the transaction is over.
        """
        self._check()
        texts = [*self._beginning(), *map(rendered, statements)]
        try:
            results = await self._connection.run(texts, self._limits.seconds)
        except ServerError as error:
            raise await self._failure(error) from None
        except ConnectionLost as error:
            raise self._failure_of_connection(error) from None
        finally:
            self._abandon_dead()
        results = counted(statements, results[len(results) - len(statements) :])
        self._rows += written(results)
        return results

    async def stream(self, statement: Statement, page_rows: int) -> AsyncGenerator[list[Row]]:
        """Yield the rows of a SELECT in pages; nothing else can run meanwhile.

        When it is closed early, the rest is read and dropped; where that takes too long, the transaction is over. It
        is over as well when the statement fails.

        Raises:
            QueryError: the transaction is over, another stream is open, or the statement is wrong.
            Unavailable: the database is away.
        """
        self._check()
        texts = [self._limits.lift, *self._beginning(), rendered(statement), self._limits.restore]
        try:
            self._cursor = cursor = self._connection.open_cursor(texts)
            while page := await cursor.page(page_rows, self._limits.seconds):
                yield page
                self._check_not_over()
        except ServerError as error:
            self.abandon()
            raise translated(error) from None
        except ConnectionLost as error:
            raise self._failure_of_connection(error) from None
        except GeneratorExit:
            with contextlib.suppress(ConnectionLost):
                await cursor.drain()
            raise
        finally:
            self._cursor = None
            self._abandon_dead()

    async def commit(self) -> None:
        """Make it durable. Cancelling it leaves it whole or absent.

        Raises:
            QueryError: the transaction is over already, or a stream is open.
            TransactionConflict: a conflict that shows only now; it was rolled back.
            OutcomeUnknown: the connection was lost on the way.
        """
        self._check()
        self._deadline.cancel()  # a commit that has begun is not stopped
        try:
            if self._connection.in_transaction:
                await self._connection.run([COMMIT], self._limits.seconds)
        except ServerError as error:
            await roll_back(self._connection)
            raise translated(error) from None
        except ConnectionLost as error:
            raise lost(error, committing=error.sent > 0) from None
        finally:
            self._give_back()
        if self._rows:
            self._commits.add(time.perf_counter() - self._began, self._rows)

    async def roll_back(self) -> None:
        """Undo it; nothing happens when it is over."""
        if self._over:
            return
        self._deadline.cancel()
        try:
            if self._cursor is None:
                await roll_back(self._connection)
        finally:
            self._give_back()

    def abandon(self) -> None:
        """Undo it without waiting: the server does, as the connection is closed."""
        if not self._over:
            self._connection.abort("the transaction was abandoned")
            self._give_back()

    def _check_not_over(self) -> None:
        if self._over:
            raise QueryError("the transaction is over")

    def _check(self) -> None:
        self._check_not_over()
        if self._cursor is not None:
            raise QueryError("a stream is open in this transaction; read it to its end, or close it")

    def _beginning(self) -> list[bytes]:
        return [] if self._connection.in_transaction else [BEGIN]

    async def _failure(self, error: ServerError) -> DatabaseError:
        """Return our error for a failed statement; end the transaction where it cannot go on."""
        failure = translated(error)
        if isinstance(failure, TransactionConflict):
            await self.roll_back()
        elif isinstance(failure, Unavailable):
            self.abandon()
        return failure

    def _failure_of_connection(self, error: ConnectionLost) -> DatabaseError:
        # It is over already when its deadline has passed, or somebody has abandoned it meanwhile.
        return QueryError("the transaction is over") if self._over else lost(error)

    def _abandon_dead(self) -> None:
        if not self._connection.alive:
            self.abandon()

    def _expire(self) -> None:
        log.error("transaction too slow, rolled back", extra={"fields": {"seconds": self._seconds}})
        self.abandon()

    def _give_back(self) -> None:
        if not self._over:
            self._over = True
            self._deadline.cancel()
            if not self._reusable or self._cursor is not None:
                self._connection.abort("the session was changed")
            self._pool.release(self._connection)


async def roll_back(connection: Connection) -> None:
    """Undo the transaction of a connection, if one is open; where that fails the connection is closed."""
    if connection.in_transaction and connection.alive:
        try:
            await connection.run([ROLLBACK], ROLLBACK_SECONDS)
        except (ServerError, ConnectionLost) as error:
            connection.abort(str(error))  # then the server does it


def counted(statements: Sequence[Statement], results: list[Result]) -> list[Result]:
    """Complete the results of writes that return rows: the server doesn't tell how many it changed."""
    return [
        Result(result.rows, len(result.rows)) if result.rows and statement.writes else result
        for statement, result in zip(statements, results, strict=True)
    ]

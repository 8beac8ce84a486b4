"""MySQL and MariaDB: a pool of connections, one round trip for each unit of work where the server takes it."""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Self

from server.db.backends import Load, Result, Row, Statement, written
from server.db.counting import Commits, PoolUse
from server.db.dialects import Dialect
from server.db.errors import DatabaseError, TransactionConflict, Unavailable
from server.db.mysql.answers import ServerError
from server.db.mysql.connecting import Connector, Server
from server.db.mysql.connection import Connection
from server.db.mysql.errors import ConnectionLost, lost, translated
from server.db.mysql.literals import rendered
from server.db.mysql.pool import Pool
from server.db.mysql.session import BEGIN, COMMIT, Limits, MySQLSession, counted, roll_back
from server.db.mysql.url import parse_url

STREAM_PAUSE_SECONDS = 600
"""How long whoever reads a stream may think about a page, before the server gives up on it."""
LONGEST_LOCK_NAME = 64
"""Characters that the server takes."""


class MySQLBackend:
    """A database of a MySQL or MariaDB server, opened by `open`.

    Attributes:
        dialect: that of the server.
        pool: its connections.
        commits: what was committed.
    """

    def __init__(self, connector: Connector, server: Server) -> None:
        options = connector.options
        self.dialect: Dialect = server.dialect
        self.pool = Pool(connector)
        self.commits = Commits()
        self._connector = connector
        self._server = server
        self._limits = Limits(
            connector.statement_seconds,
            f"SET SESSION {server.statement_limit(0)}, net_write_timeout = {STREAM_PAUSE_SECONDS}".encode(),
            f"SET SESSION {server.statement_limit(options.query_seconds)}, net_write_timeout = DEFAULT".encode(),
        )

    @classmethod
    async def open(cls, url: str) -> Self:
        """Open a database; one connection is made at once.

        Args:
            url: `mysql://user:password@host:port/database?option=value`; `MySQLOptions` has the options.

        Raises:
            QueryError: the URL is wrong.
            UnusableDatabase: the server is too old, or does not know the user or the database.
            Unavailable: the server cannot be reached.
        """
        connector = await Connector.of(parse_url(url))
        connection, server = await connector.connect()
        backend = cls(connector, server)
        backend.pool.add(connection)
        return backend

    async def read(self, statement: Statement, load: Load | None = None) -> Result:
        """Run a statement that changes nothing, in one round trip.

        Raises:
            QueryError: the statement is wrong.
            Unavailable: the database cannot do it now.
        """
        result = await self._read_again(statement)
        return result if load is None else Result(load(result.rows))

    async def _read_again(self, statement: Statement) -> Result:
        """Run a statement; once more where the connection had been dead before."""
        text = rendered(statement)
        try:
            return await self._read(text)
        except ConnectionLost as error:
            if statement.writes or error.answered or error.expired:
                raise lost(error) from None
        # The server was restarted, say, while the connection was idle.
        self.pool.drop_idle()
        try:
            return await self._read(text)
        except ConnectionLost as error:
            raise lost(error) from None

    async def write(self, statements: Sequence[Statement]) -> list[Result]:
        """Run statements as one unit: all or nothing, in one round trip unless it is larger than the server takes.

        Cancelling it leaves the unit whole or absent.

        Raises:
            QueryError: a statement is wrong.
            IntegrityError: a constraint was violated.
            TransactionConflict: a deadlock, or a lock that was not free in time.
            Unavailable: the database cannot do it now.
            OutcomeUnknown: the connection was lost on the way.
        """
        texts = [rendered(statement) for statement in statements]
        if not texts:
            return []
        alone = len(texts) == 1
        if not alone:
            texts = [BEGIN, *texts, COMMIT]
        connection = await self.pool.acquire()
        began = time.perf_counter()
        try:
            results = await connection.run(texts, self._limits.seconds)
        except ServerError as error:
            await roll_back(connection)
            raise _failure(connection, error) from None
        except ConnectionLost as error:
            raise lost(error, committing=error.sent == len(texts)) from None
        finally:
            self.pool.release(connection)
        results = counted(statements, results if alone else results[1:-1])
        self.commits.add(time.perf_counter() - began, written(results))
        return results

    async def begin(self, seconds: float, *, schema: bool = False) -> MySQLSession:
        """Begin a transaction whose statements come one by one.

        Args:
            seconds: how long it may take; afterwards it is rolled back.
            schema: whether it rebuilds tables: foreign keys are not enforced, and a statement may take as long.

        Raises:
            Unavailable: the database cannot do it now.
        """
        limits = self._limits
        connection = await self.pool.acquire()
        try:
            if schema:
                limits = Limits(seconds, limits.lift, f"SET SESSION {self._server.statement_limit(seconds)}".encode())
                await connection.run([b"SET SESSION foreign_key_checks = 0", limits.restore], self._limits.seconds)
            return MySQLSession(self.pool, connection, limits, seconds, self.commits, reusable=not schema)
        except BaseException as error:
            connection.abort("a transaction did not begin")
            self.pool.release(connection)
            if isinstance(error, ServerError):
                raise translated(error) from None
            if isinstance(error, ConnectionLost):
                raise lost(error) from None
            raise

    async def stream(self, statement: Statement, page_rows: int) -> AsyncGenerator[list[Row]]:
        """Yield the rows of a SELECT in pages, as of one moment.

        They are read from the server as they are asked for. Closing it early closes the connection.

        Raises:
            QueryError: the statement is wrong.
            Unavailable: the database cannot do it now, or has given up waiting for us.
        """
        texts = [self._limits.lift, rendered(statement), self._limits.restore]
        connection = await self.pool.acquire()
        finished = False
        try:
            cursor = connection.open_cursor(texts)
            while page := await cursor.page(page_rows, self._limits.seconds):
                yield page
            finished = True
        except ServerError as error:
            raise translated(error) from None
        except ConnectionLost as error:
            raise lost(error) from None
        finally:
            if not finished:
                connection.abort("a stream was given up")
            self.pool.release(connection)

    @contextlib.asynccontextmanager
    async def lock(self, name: str, seconds: float) -> AsyncIterator[None]:
        """Keep other processes out that take a lock of the same name; for migrations.

        It has a connection of its own, besides the pool's, and is free when that is lost.

        Raises:
            Unavailable: it was not free in time, or the database cannot do it now.
        """
        name = _lock_name(self._connector.options.database, name)
        connection, _ = await self._connector.connect()
        try:
            wait = math.ceil(seconds)
            take = rendered(Statement("SELECT GET_LOCK(%s, %s)", (name, wait)))
            try:
                results = await connection.run([self._limits.lift, take], wait + self._limits.seconds)
            except ServerError as error:
                raise translated(error) from None
            except ConnectionLost as error:
                raise lost(error) from None
            if results[1].rows != [(1,)]:
                raise Unavailable("somebody else has the lock; try again")
            yield
            with contextlib.suppress(ServerError, ConnectionLost):
                await connection.run([rendered(Statement("DO RELEASE_LOCK(%s)", (name,)))], self._limits.seconds)
        finally:
            connection.quit()  # which releases it, too

    def use(self) -> PoolUse:
        """Return how busy the pool is."""
        return PoolUse(self.pool.size, self.pool.in_use, self.pool.waiting)

    async def close(self) -> None:
        """Finish what was begun, and close."""
        await self.pool.close()

    async def _read(self, text: bytes) -> Result:
        connection = await self.pool.acquire()
        try:
            [result] = await connection.run([text], self._limits.seconds)
        except ServerError as error:
            raise _failure(connection, error) from None
        finally:
            self.pool.release(connection)
        return result


def _failure(connection: Connection, error: ServerError) -> DatabaseError:
    """Return our error for a failed statement; a server that cannot do it now is not asked on this connection again."""
    failure = translated(error)
    if isinstance(failure, Unavailable) and not isinstance(failure, TransactionConflict):
        connection.abort(str(failure))
    return failure


def _lock_name(database: str, name: str) -> str:
    """Return a name for the server, which has one space of names for all its databases."""
    full = f"{database}.{name}"
    if len(full) > LONGEST_LOCK_NAME:
        return hashlib.sha256(full.encode()).hexdigest()
    return full

"""A database, and transactions on it: what queries run on."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self, TypeVar, cast

from server.db.backends import Backend, BackendSession, Load, Result, Row, Statement
from server.db.counting import Commits, PoolUse
from server.db.dialects import Dialect
from server.db.errors import DatabaseError, QueryError, TransactionConflict
from server.db.migrations import migrate
from server.db.queries import Query
from server.db.selection import Selection
from server.db.sqlite.backend import SQLiteBackend

R = TypeVar("R")
TRANSACTION_SECONDS = 10.0
"""How long a transaction may hold the database before it is rolled back."""
SLOW_SECONDS = 1.0
"""What takes longer is logged, with its SQL and without its arguments."""
RETRY_SECONDS = 0.02
"""The wait before a transaction is repeated; twice as long each time, and random up to that."""
LOGGED_CHARACTERS = 2000

log = logging.getLogger("db")


class Database:
    """An open database, made by `open`. Queries run on it, each by itself.

    Args:
        backend: how it is reached.
        slow_seconds: what takes longer is logged; 0 logs nothing.
    """

    def __init__(self, backend: Backend, slow_seconds: float = SLOW_SECONDS) -> None:
        self._backend = backend
        self._slow_seconds = slow_seconds or float("inf")
        self.dialect: Dialect = backend.dialect

    @property
    def commits(self) -> Commits:
        """What was committed through this object."""
        return self._backend.commits

    @property
    def pool(self) -> PoolUse:
        """How busy the connections are."""
        return self._backend.use()

    @classmethod
    async def open(cls, url: str, *, slow_seconds: float = SLOW_SECONDS) -> Self:
        """Open a database.

        Args:
            url: `sqlite:///relative.db`, `sqlite:////absolute.db`, `sqlite://:memory:` for a temporary one, or
                `mysql://user:password@host:port/database` for MySQL and MariaDB.
            slow_seconds: queries that take longer are logged; 0 logs nothing.

        Raises:
            QueryError: the URL is of no known form.
            UnusableDatabase: it is no database, it is damaged, or it is too new.
            Unavailable: it cannot be opened now.
        """
        scheme, separator, _ = url.partition("://")
        if not separator or scheme not in ("sqlite", "mysql", "mariadb"):
            raise QueryError(
                f"{scheme[:20]}: is no kind of database that is known; sqlite:///FILE and mysql://USER@HOST/NAME are"
            )
        if scheme == "sqlite":
            return cls(await SQLiteBackend.open(url), slow_seconds)
        return cls(await _open_mysql(url), slow_seconds)

    async def close(self) -> None:
        """Finish what was begun, and close."""
        await self._backend.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def run(self, query: Query[R]) -> R:
        """Run a query by itself; the same as awaiting it."""
        batch = query.batch(self.dialect)
        if batch is None:
            if isinstance(query, Selection):
                raise QueryError("for_update needs a transaction: outside of one the lock would be gone at once")
            async with self.transaction() as tx:
                return await tx.run(query)
        if isinstance(query, Selection):
            loaded: Any = (await self._read(batch[0], query.loader(self.dialect))).rows
            return cast("R", await query.complete(loaded, self) if query.completes else loaded)
        if len(batch) == 1:
            return query.finish([await self.execute(batch[0])], self.dialect)
        return query.finish(await self._write(batch), self.dialect)

    async def execute(self, statement: Statement) -> Result:
        """Run one statement by itself."""
        if not statement.writes:
            return await self._read(statement)
        (result,) = await self._write((statement,))
        return result

    async def atomic(self, queries: Sequence[Query[Any]]) -> list[Any]:
        """Run several queries as one unit, without a round trip between them: all of them, or none.

        Units that arrive together share one commit. Cancelling it leaves the unit whole or absent.

        Returns:
            The result of each query.

        Raises:
            IntegrityError: a constraint was violated; nothing of the unit was written.
            Unavailable: the database cannot do it now.
        """
        batches = [query.batch(self.dialect) for query in queries]
        statements = [statement for batch in batches if batch is not None for statement in batch]
        if None in batches:
            async with self.transaction() as tx:
                return [await tx.run(query) for query in queries]
        given = iter(await self._write(statements))
        results = [
            query.finish([next(given) for _ in batch], self.dialect)
            for query, batch in zip(queries, batches, strict=True)
            if batch is not None
        ]
        for query, result in zip(queries, results, strict=True):
            if query.completes:
                await query.complete(result, self)
        return results

    async def _read(self, statement: Statement, load: Load | None = None) -> Result:
        began = time.monotonic()
        result = await self._backend.read(statement, load)
        if time.monotonic() - began > self._slow_seconds:
            _log_slow(statement.sql, time.monotonic() - began)
        return result

    async def _write(self, statements: Sequence[Statement]) -> list[Result]:
        began = time.monotonic()
        results = await self._backend.write(statements)
        if time.monotonic() - began > self._slow_seconds:
            _log_slow("; ".join(statement.sql for statement in statements), time.monotonic() - began)
        return results

    async def stream(self, statement: Statement, page_rows: int) -> AsyncGenerator[list[Row]]:
        """Yield the rows of a SELECT in pages, as of one moment; `async for` over a query does this."""
        async with aclosing(self._backend.stream(statement, page_rows)) as pages:
            async for page in pages:
                yield page

    def transaction(
        self, seconds: float = TRANSACTION_SECONDS, *, retries: int = 0, schema: bool = False
    ) -> TransactionScope:
        """Run something as one transaction: committed at the end, rolled back when anything is raised.

            async with db.transaction() as tx:
                ...
            await db.transaction(retries=3).run(move)  # async def move(tx): ...

        Prefer `atomic` where no result decides what comes next: a transaction keeps other writers out while it
        is open.

        Args:
            seconds: how long it may take; afterwards it is rolled back.
            retries: how often `run` repeats it after a deadlock, or a lock that was not free in time.
            schema: whether it makes tables anew, so that foreign keys are not enforced meanwhile.
        """
        return TransactionScope(self._backend, self._slow_seconds, seconds, retries, schema=schema)

    def lock(self, name: str, seconds: float) -> AbstractAsyncContextManager[None]:
        """Keep other processes out that take a lock of the same name.

        Args:
            name: the lock's name, within the database.
            seconds: how long to wait for it.

        Raises:
            Unavailable: it was not free in time.
        """
        return self._backend.lock(name, seconds)

    async def migrate(self, service: str, folder: Path) -> list[str]:
        """Apply the migrations of a folder that were not applied yet, in order; returns their names.

        Raises:
            NewerSchema: the database was migrated by a newer version.
            MigrationFailed: one did not go through; what was done before it stays.
        """
        return await migrate(self, service, folder)

    async def ping(self) -> None:
        """Find out whether the database answers.

        Raises:
            Unavailable: it does not.
        """
        await self._backend.read(Statement("SELECT 1", (), writes=False))


class TransactionScope:
    """A transaction that is about to begin; see `Database.transaction`."""

    def __init__(
        self, backend: Backend, slow_seconds: float, seconds: float, retries: int, *, schema: bool = False
    ) -> None:
        self._backend = backend
        self._slow_seconds = slow_seconds
        self._seconds = seconds
        self._retries = retries
        self._schema = schema

    async def __aenter__(self) -> Transaction:
        if self._retries:
            raise QueryError("what is inside `async with` cannot be repeated: await db.transaction(retries=N).run(...)")
        self._session = await self._backend.begin(self._seconds, schema=self._schema)
        self._transaction = Transaction(self._session, self._backend.dialect, self._slow_seconds)
        return self._transaction

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._transaction.over = True
        if error is None:
            await self._session.commit()
        elif isinstance(error, Exception):
            with suppress(DatabaseError):  # it is over already
                await self._session.roll_back()
        else:
            self._session.abandon()  # cancelled: nobody waits any more

    async def run(self, work: Callable[[Transaction], Awaitable[R]]) -> R:
        """Run a function inside the transaction, and repeat it where that helps.

        Args:
            work: is given the transaction; it may be called several times.

        Returns:
            What the function returned.

        Raises:
            TransactionConflict: also the last repetition met a deadlock, or a lock that was not free in time.
        """
        for attempt in range(self._retries + 1):
            try:
                async with TransactionScope(
                    self._backend, self._slow_seconds, self._seconds, 0, schema=self._schema
                ) as transaction:
                    return await work(transaction)
            except TransactionConflict:
                if attempt == self._retries:
                    raise
            await asyncio.sleep(random.uniform(0, RETRY_SECONDS * 2**attempt))  # noqa: S311 no secret
        raise AssertionError


class Transaction:
    """What queries inside `async with db.transaction()` run on."""

    def __init__(self, session: BackendSession, dialect: Dialect, slow_seconds: float) -> None:
        self._session = session
        self._slow_seconds = slow_seconds
        self._depth = 0
        self._turn = asyncio.Lock()
        self.dialect = dialect
        self.over = False

    async def run(self, query: Query[R]) -> R:
        """Run a query inside the transaction; the same as awaiting it."""
        steps = query.steps(self.dialect)
        statements = next(steps)
        while True:
            results = await self._execute(statements)
            try:
                statements = steps.send(results)
            except StopIteration as end:
                result: R = end.value
                return await query.complete(result, self) if query.completes else result

    async def execute(self, statement: Statement) -> Result:
        """Run one statement inside the transaction."""
        (result,) = await self._execute((statement,))
        return result

    async def stream(self, statement: Statement, page_rows: int) -> AsyncGenerator[list[Row]]:
        """Yield the rows of a SELECT in pages; nothing else runs in the transaction meanwhile."""
        self._check()
        async with aclosing(self._session.stream(statement, page_rows)) as pages:
            async for page in pages:
                yield page

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Self]:
        """Run what is inside as a savepoint: undone by itself when anything is raised inside."""
        self._depth += 1
        name = f"nested_{self._depth}"
        await self.execute(Statement(f"SAVEPOINT {name}"))
        try:
            yield self
        except BaseException:
            undo = (Statement(f"ROLLBACK TO SAVEPOINT {name}"), Statement(f"RELEASE SAVEPOINT {name}"))
            with suppress(DatabaseError):  # a transaction that is over has nothing to undo
                await asyncio.shield(self._execute(undo))
            raise
        else:
            await self.execute(Statement(f"RELEASE SAVEPOINT {name}"))
        finally:
            self._depth -= 1

    async def _execute(self, statements: Sequence[Statement]) -> list[Result]:
        async with self._turn:  # a session runs one thing at a time, also for those who gather
            self._check()
            began = time.monotonic()
            results = await self._session.execute(statements)
        if time.monotonic() - began > self._slow_seconds:
            _log_slow("; ".join(statement.sql for statement in statements), time.monotonic() - began)
        return results

    def _check(self) -> None:
        if self.over:
            raise QueryError("the transaction is over")


async def _open_mysql(url: str) -> Backend:
    """Open a MySQL or MariaDB; its driver is loaded only where somebody uses it."""
    try:
        from server.db.mysql.backend import MySQLBackend
    except ModuleNotFoundError as error:
        raise QueryError(f"{error.name} is not installed: pip install 'switchboard-server[mysql]'") from None
    return await MySQLBackend.open(url)


def _log_slow(sql: str, seconds: float) -> None:
    text = sql if len(sql) <= LOGGED_CHARACTERS else f"{sql[:LOGGED_CHARACTERS]}..."
    log.warning("slow query", extra={"fields": {"seconds": round(seconds, 3), "sql": text}})

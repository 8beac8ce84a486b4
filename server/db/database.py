"""A database, and transactions on it: what queries run on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol, Self

from server.db.dialects import Dialect
from server.db.errors import QueryError
from server.db.migrations import migrate
from server.db.queries import Query, Result, Statement
from server.db.sqlite import SQLiteBackend

TRANSACTION_SECONDS = 10.0
"""How long a transaction may hold the database before it is rolled back."""


class BackendSession(Protocol):
    """An open transaction of a backend."""

    async def execute(self, statement: Statement) -> Result: ...
    async def commit(self) -> None: ...
    async def roll_back(self) -> None: ...
    def abandon(self) -> None: ...


class Backend(Protocol):
    """What a kind of database has to give."""

    dialect: Dialect

    async def read(self, statement: Statement) -> Result: ...
    async def write(self, statements: Sequence[Statement]) -> list[Result]: ...
    async def begin(self, seconds: float) -> BackendSession: ...
    async def close(self) -> None: ...


class Database:
    """An open database, made by `open`. Queries run on it, each by itself."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.dialect = backend.dialect

    @classmethod
    async def open(cls, url: str) -> Self:
        """Open a database.

        Args:
            url: `sqlite:///relative.db`, `sqlite:////absolute.db`, or `sqlite://:memory:` for a temporary one.

        Raises:
            QueryError: the URL is of no known form.
            UnusableDatabase: it is no database, it is damaged, or it is too new.
            Unavailable: it cannot be opened now.
        """
        scheme, separator, rest = url.partition("://")
        if scheme != "sqlite" or not separator:
            raise QueryError(f"{scheme}: is no kind of database that is known; sqlite:///FILE is")
        if rest in ("", ":memory:"):
            return cls(await SQLiteBackend.open(None))
        path = Path(rest.removeprefix("/"))
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        return cls(await SQLiteBackend.open(path))

    async def close(self) -> None:
        """Finish what was begun, and close."""
        await self._backend.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def execute(self, statement: Statement) -> Result:
        """Run one statement by itself."""
        if not statement.writes:
            return await self._backend.read(statement)
        (result,) = await self._backend.write([statement])
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
        results = await self._backend.write([query.statement(self.dialect) for query in queries])
        return [query.result(result, self.dialect) for query, result in zip(queries, results, strict=True)]

    @asynccontextmanager
    async def transaction(self, seconds: float = TRANSACTION_SECONDS) -> AsyncIterator[Transaction]:
        """Run what is inside as one transaction: committed at the end, rolled back when anything is raised.

        Prefer `atomic` where no result decides what comes next: a transaction keeps other writers out while it
        is open.

        Args:
            seconds: how long it may take; afterwards it is rolled back.
        """
        session = await self._backend.begin(seconds)
        transaction = Transaction(session, self.dialect)
        try:
            yield transaction
        except BaseException:
            session.abandon()
            raise
        finally:
            transaction.over = True
        await session.commit()

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


class Transaction:
    """What queries inside `async with db.transaction()` run on."""

    def __init__(self, session: BackendSession, dialect: Dialect) -> None:
        self._session = session
        self._depth = 0
        self.dialect = dialect
        self.over = False

    async def execute(self, statement: Statement) -> Result:
        """Run one statement inside the transaction."""
        if self.over:
            raise QueryError("the transaction is over")
        return await self._session.execute(statement)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Self]:
        """Run what is inside as a savepoint: undone by itself when anything is raised inside."""
        self._depth += 1
        name = f"nested_{self._depth}"
        await self.execute(Statement(f"SAVEPOINT {name}"))
        try:
            yield self
        except BaseException:
            await asyncio.shield(self.execute(Statement(f"ROLLBACK TO {name}")))
            await asyncio.shield(self.execute(Statement(f"RELEASE {name}")))
            raise
        else:
            await self.execute(Statement(f"RELEASE {name}"))
        finally:
            self._depth -= 1

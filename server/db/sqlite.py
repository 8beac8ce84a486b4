"""SQLite: one writer thread with group commit, a few reader threads, and an event loop that waits for no disk.

Every unit of work that arrives while a commit runs goes into the next one: one fsync for all of them. Each unit is
all or nothing by itself. Nothing is acknowledged before it is on the disk (WAL, synchronous=FULL).
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import apsw

from server.db.dialects import SQLITE, Dialect
from server.db.errors import QueryError, Unavailable
from server.db.queries import Result, Statement
from server.db.sqlite_threads import COMMIT, ROLLBACK, Future, Reader, Reply, Session, Unit, Writer, connect

MAX_WAITING = 16384
"""Statements and units that wait; beyond it the database is busy, and says so."""
READERS = 2


class SQLiteBackend:
    """A SQLite file, opened by `open`."""

    dialect: Dialect = SQLITE

    def __init__(self, path: Path, folder: tempfile.TemporaryDirectory[str] | None) -> None:
        self.path = path
        self._folder = folder
        self._loop = asyncio.get_running_loop()
        self._waiting = 0
        self._closed = False
        self._reads: queue.SimpleQueue[tuple[Statement, Future] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    @classmethod
    async def open(cls, path: Path | None) -> Self:
        """Open a file; it is made when there is none.

        Args:
            path: the file; None makes a temporary one that goes with the backend.

        Raises:
            UnusableDatabase: it is no database, or it is damaged.
            Unavailable: it cannot be opened.
        """
        folder = tempfile.TemporaryDirectory(prefix="dbobject-") if path is None else None
        backend = cls(Path(folder.name) / "temporary.db" if folder else path or Path(), folder)
        writing = await asyncio.to_thread(connect, backend.path)
        reading = [await asyncio.to_thread(connect, backend.path, readonly=True) for _ in range(READERS)]
        backend.start(writing, reading)
        return backend

    def start(self, writing: apsw.Connection, reading: list[apsw.Connection]) -> None:
        """Start the threads over connections that are open."""
        self._writer = Writer(writing, self._deliver)
        runs = [self._writer.run, *(Reader(connection, self._reads, self._deliver).run for connection in reading)]
        for number, run in enumerate(runs):
            thread = threading.Thread(target=run, name=f"sqlite-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    async def read(self, statement: Statement) -> Result:
        """Run a statement that changes nothing."""
        future = self._accept()
        self._reads.put((statement, future))
        result: Result = await future
        return result

    async def write(self, statements: Sequence[Statement]) -> list[Result]:
        """Run statements as one unit, in the next commit.

        Cancelling it does not stop the unit: it is whole or absent.
        """
        future = self._accept()
        self._writer.inbox.put(Unit(statements, future))
        results: list[Result] = await future
        return results

    async def begin(self, seconds: float) -> SQLiteSession:
        """Begin a transaction whose statements come one by one.

        Args:
            seconds: how long it may take; afterwards it is rolled back.
        """
        session = Session(self._accept(), seconds)
        self._writer.inbox.put(session)
        opened = SQLiteSession(self, session)
        try:
            await session.opened
        except asyncio.CancelledError:
            opened.abandon()
            raise
        return opened

    def call(self, session: Session, statement: Statement) -> Future:
        """Hand a transaction's statement to the writer."""
        future = self._accept()
        if not session.call(statement, future):
            self._settle([(future, None, QueryError("the transaction is over"))])
        return future

    async def close(self) -> None:
        """Finish what was begun, and close the file."""
        if not self._closed:
            self._closed = True
            self._writer.inbox.put(None)
            for _ in range(READERS):
                self._reads.put(None)
            for thread in self._threads:
                await asyncio.to_thread(thread.join)
            if self._folder is not None:
                await asyncio.to_thread(self._folder.cleanup)

    def _accept(self) -> Future:
        if self._closed:
            raise Unavailable("the database is closed")
        if self._waiting >= MAX_WAITING:
            raise Unavailable("the database is busy; try again")
        self._waiting += 1
        return self._loop.create_future()

    def _deliver(self, replies: list[Reply]) -> None:
        """Called by the threads: bring replies to the event loop, all in one wake-up."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._settle, replies)

    def _settle(self, replies: list[Reply]) -> None:
        self._waiting -= len(replies)
        for future, result, error in replies:
            if future.cancelled():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)


class SQLiteSession:
    """An interactive transaction on the writer."""

    def __init__(self, backend: SQLiteBackend, session: Session) -> None:
        self._backend = backend
        self._session = session

    async def execute(self, statement: Statement) -> Result:
        """Run a statement inside the transaction."""
        result: Result = await self._backend.call(self._session, statement)
        return result

    async def commit(self) -> None:
        """Make it durable. Cancelling it leaves it whole or absent."""
        await self.execute(COMMIT)

    async def roll_back(self) -> None:
        """Undo it."""
        if not self._session.over:
            await self.execute(ROLLBACK)

    def abandon(self) -> None:
        """Undo it without waiting: whoever wanted it is gone."""
        if not self._session.over:
            self._backend.call(self._session, ROLLBACK).cancel()

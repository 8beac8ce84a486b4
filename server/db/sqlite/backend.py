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
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import parse_qs

import apsw

from server.db.backends import Load, Result, Row, Statement
from server.db.counting import Commits, PoolUse
from server.db.dialects import Dialect
from server.db.errors import QueryError, Unavailable
from server.db.sqlite.connecting import connect
from server.db.sqlite.dialect import SQLITE
from server.db.sqlite.threads import (
    Call,
    Future,
    Pages,
    Read,
    Reader,
    Reply,
    Session,
    Streamer,
    Unit,
    Writer,
    commit,
    roll_back,
    run_all,
)

R = TypeVar("R")
MAX_WAITING = 16384
"""Statements and units that wait; beyond it the database is busy, and says so."""
READERS = 2
STREAMS = 4
"""Streams at once; more wait."""
SYNCHRONOUS = ("FULL", "NORMAL")


class SQLiteBackend:
    """A SQLite file, opened by `open`."""

    def __init__(self, path: Path, folder: tempfile.TemporaryDirectory[str] | None) -> None:
        self.dialect: Dialect = SQLITE
        self.commits = Commits()
        self.path = path
        self._folder = folder
        self._loop = asyncio.get_running_loop()
        self._waiting = 0
        self._closed = False
        self._reads: queue.SimpleQueue[Read | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._streams = ThreadPoolExecutor(STREAMS, "sqlite-stream")

    @classmethod
    async def open(cls, url: str) -> Self:
        """Open a file; it is made when there is none.

        Args:
            url: `sqlite:///relative.db` or `sqlite:////absolute.db`; `sqlite://:memory:` makes a temporary file that
                goes with the backend. `?synchronous=normal` waits for the disk only now and then: after a power
                failure the last commits may be missing.

        Raises:
            QueryError: the URL has an option that is not known.
            UnusableDatabase: it is no database, or it is damaged.
            Unavailable: it cannot be opened.
        """
        name, synchronous = parse_url(url)
        folder = tempfile.TemporaryDirectory(prefix="dbobject-") if name is None else None
        backend = cls(Path(folder.name) / "temporary.db" if folder else Path(name or ""), folder)
        await asyncio.to_thread(backend.path.parent.mkdir, parents=True, exist_ok=True)
        writing = await asyncio.to_thread(connect, backend.path, synchronous)
        reading = [await asyncio.to_thread(connect, backend.path, readonly=True) for _ in range(READERS)]
        backend.start(writing, reading)
        return backend

    def start(self, writing: apsw.Connection, reading: list[apsw.Connection]) -> None:
        """Start the threads over connections that are open."""
        self._writer = Writer(writing, self._deliver, self.commits)
        runs = [self._writer.run, *(Reader(connection, self._reads, self._deliver).run for connection in reading)]
        for number, run in enumerate(runs):
            thread = threading.Thread(target=run, name=f"sqlite-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    async def read(self, statement: Statement, load: Load | None = None) -> Result:
        """Run a statement that changes nothing; rows are loaded by the thread that has them at hand."""
        future = self._accept()
        self._reads.put((statement, load, future))
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

    async def begin(self, seconds: float, *, schema: bool = False) -> SQLiteSession:
        """Begin a transaction whose statements come one by one.

        Args:
            seconds: how long it may take; afterwards it is rolled back.
            schema: whether it makes tables anew, so that foreign keys are not enforced before its end.
        """
        session = Session(self._accept(), seconds, schema=schema)
        self._writer.inbox.put(session)
        opened = SQLiteSession(self, session)
        try:
            await session.opened
        except asyncio.CancelledError:
            opened.abandon()
            raise
        return opened

    async def stream(self, statement: Statement, page_rows: int) -> AsyncGenerator[list[Row]]:
        """Yield the rows of a SELECT in pages, as of one moment."""
        streamer = Streamer(self.path, statement, page_rows)
        try:
            while True:
                page = await self._stream_call(streamer.read)
                if page:
                    yield page
                if len(page) < page_rows:
                    return
        finally:
            if self._closed:
                streamer.close()
            else:
                await asyncio.shield(self._stream_call(streamer.close))

    async def _stream_call(self, call: Callable[[], R]) -> R:
        if self._closed:
            raise Unavailable("the database is closed")
        return await self._loop.run_in_executor(self._streams, call)

    @contextlib.asynccontextmanager
    async def lock(self, name: str, seconds: float) -> AsyncIterator[None]:
        """A transaction keeps other processes out already: nothing more is needed."""
        del name, seconds
        yield

    def call(self, session: Session, work: Callable[[apsw.Connection], Any], *, ends: bool = False) -> Future:
        """Hand something that a transaction does to the writer."""
        call = Call(work, self._accept(), ends=ends)
        if not session.call(call):
            self._settle([(call.future, None, QueryError("the transaction is over"))])
        return call.future

    def use(self) -> PoolUse:
        """Return how busy the threads are, each of which has a connection. Units that share a commit count as one."""
        waiting = self._reads.qsize() + self._writer.inbox.qsize()
        return PoolUse(len(self._threads), min(len(self._threads), max(0, self._waiting - waiting)), waiting)

    async def close(self) -> None:
        """Finish what was begun, and close the file."""
        if not self._closed:
            self._closed = True
            self._writer.inbox.put(None)
            for _ in range(READERS):
                self._reads.put(None)
            for thread in self._threads:
                await asyncio.to_thread(thread.join)
            await asyncio.to_thread(self._streams.shutdown)
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

    async def execute(self, statements: Sequence[Statement]) -> list[Result]:
        """Run statements inside the transaction."""
        results: list[Result] = await self._backend.call(
            self._session, lambda connection: self._session.ran(run_all(connection, statements))
        )
        return results

    async def stream(self, statement: Statement, page_rows: int) -> AsyncGenerator[list[Row]]:
        """Yield the rows of a SELECT in pages."""
        pages = Pages(statement, page_rows)
        try:
            while True:
                page: list[Row] = await self._backend.call(self._session, pages.read)
                if page:
                    yield page
                if len(page) < page_rows:
                    return
        finally:
            if not self._session.over:
                self._backend.call(self._session, pages.close).cancel()

    async def commit(self) -> None:
        """Make it durable. Cancelling it leaves it whole or absent."""
        await self._backend.call(self._session, commit, ends=True)

    async def roll_back(self) -> None:
        """Undo it."""
        if not self._session.over:
            await self._backend.call(self._session, roll_back, ends=True)

    def abandon(self) -> None:
        """Undo it without waiting: whoever wanted it is gone."""
        if not self._session.over:
            self._backend.call(self._session, roll_back, ends=True).cancel()


def parse_url(url: str) -> tuple[str | None, str]:
    """Return the file that a URL names, None for a temporary one, and how commits wait for the disk.

    Raises:
        QueryError: it has an option that is not known.
    """
    rest, _, query = url.partition("://")[2].partition("?")
    options = parse_qs(query, keep_blank_values=True)
    (synchronous,) = options.pop("synchronous", ["FULL"])[-1:]
    if options or synchronous.upper() not in SYNCHRONOUS:
        raise QueryError("the URL of a SQLite database has no options but ?synchronous=full or normal")
    return (None if rest in ("", ":memory:") else rest.removeprefix("/")), synchronous.upper()

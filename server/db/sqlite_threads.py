"""The threads behind the SQLite backend: they own the connections, and nothing here touches the event loop."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apsw

from server.db.errors import (
    DatabaseError,
    ForeignKeyViolation,
    IntegrityError,
    QueryError,
    Unavailable,
    UniqueViolation,
    UnusableDatabase,
)
from server.db.queries import Result, Statement

MAX_BATCH = 512
"""Units in one commit, so that the first does not wait for ever for the last."""
BUSY_SECONDS = 5.0
"""How long another process, such as a backup, may hold the file before a write is refused."""
CACHE_KIB = 4096
"""Page cache of each connection; the system's cache holds the rest."""

log = logging.getLogger("db")

Future = asyncio.Future[Any]
Reply = tuple[Future, Any, DatabaseError | None]
Deliver = Callable[[list[Reply]], None]
"""Brings replies to the event loop: all of one commit at once."""

_VIOLATIONS: dict[int, tuple[type[IntegrityError], str]] = {
    apsw.SQLITE_CONSTRAINT_UNIQUE: (UniqueViolation, "is taken"),
    apsw.SQLITE_CONSTRAINT_PRIMARYKEY: (UniqueViolation, "is taken"),
    apsw.SQLITE_CONSTRAINT_FOREIGNKEY: (ForeignKeyViolation, "refers to a row that does not exist, or is referred to"),
}
_PASSING = (apsw.BusyError, apsw.LockedError, apsw.FullError, apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError,
            apsw.NoMemError, apsw.InterruptError, apsw.ProtocolError)  # fmt: skip


class Unit:
    """Statements that are written together or not at all.

    Args:
        statements: in order.
        future: is given the list of results.
    """

    __slots__ = ("error", "future", "results", "statements")

    def __init__(self, statements: Sequence[Statement], future: Future) -> None:
        self.statements = statements
        self.future = future
        self.results: list[Result] = []
        self.error: DatabaseError | None = None


class Session:
    """A transaction whose statements come one by one; the writer serves nobody else meanwhile.

    Args:
        opened: is given None once the transaction has begun.
        seconds: how long it may take; afterwards it is rolled back.
    """

    __slots__ = ("_calls", "_lock", "opened", "over", "seconds")

    def __init__(self, opened: Future, seconds: float) -> None:
        self.opened = opened
        self.seconds = seconds
        self.over = False
        self._calls: queue.SimpleQueue[tuple[Statement, Future]] = queue.SimpleQueue()
        self._lock = threading.Lock()

    def call(self, statement: Statement, future: Future) -> bool:
        """Hand a statement to the writer; False when the transaction is over and nobody will run it."""
        with self._lock:
            if not self.over:
                self._calls.put((statement, future))
            return not self.over

    def next_call(self, seconds: float) -> tuple[Statement, Future]:
        """Wait for the next statement.

        Raises:
            queue.Empty: none came in time.
        """
        return self._calls.get(timeout=max(0.0, seconds))

    def end(self) -> list[Future]:
        """Take no more statements, and return who waits for the ones that will not run."""
        with self._lock:
            self.over = True
            left = []
            while not self._calls.empty():
                left.append(self._calls.get_nowait()[1])
            return left


BEGIN = Statement("BEGIN IMMEDIATE")
COMMIT = Statement("COMMIT")
ROLLBACK = Statement("ROLLBACK")


def connect(path: Path, *, readonly: bool = False) -> apsw.Connection:
    """Open the file the way that all our connections have it.

    Raises:
        UnusableDatabase: it is no database, or it is damaged.
        Unavailable: it cannot be opened.
    """
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_NOMUTEX
    try:
        connection = apsw.Connection(str(path), flags=flags, statementcachesize=200)
        connection.set_busy_timeout(int(BUSY_SECONDS * 1000))
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        if readonly:
            connection.execute("PRAGMA query_only = ON")
    except apsw.Error as error:
        raise translated(error, path) from error
    return connection


def run(connection: apsw.Connection, statement: Statement) -> Result:
    """Run one statement to its end."""
    rows = connection.execute(statement.sql, statement.arguments).fetchall()
    return Result(rows, connection.changes() if statement.writes else 0)


def translated(error: Exception, path: Path | None = None) -> DatabaseError:
    """Return our error for a driver's; values never stand in it."""
    where = f"{path}: " if path else ""
    if isinstance(error, apsw.ConstraintError):
        kind, text = _VIOLATIONS.get(getattr(error, "extendedresult", 0), (IntegrityError, "violates the schema"))
        # SQLite names table and columns behind the colon.
        return kind(f"{str(error).rpartition(': ')[2]} {text}")
    if isinstance(error, apsw.NotADBError | apsw.CorruptError):
        return UnusableDatabase(f"{where}this is no database, or it is damaged: {error}")
    if isinstance(error, _PASSING):
        return Unavailable(f"{where}the database is not available: {error}")
    return QueryError(f"{where}{error}")


class Writer:
    """Runs units in shared commits, in the order in which they came.

    Args:
        connection: its own.
        deliver: brings replies to the event loop.
    """

    def __init__(self, connection: apsw.Connection, deliver: Deliver) -> None:
        self._connection = connection
        self._deliver = deliver
        self.inbox: queue.SimpleQueue[Unit | Session | None] = queue.SimpleQueue()

    def run(self) -> None:
        """Serve until None comes."""
        job: Any
        while (job := self.inbox.get()) is not None:
            batch: list[Unit] = []
            while isinstance(job, Unit):
                batch.append(job)
                if len(batch) == MAX_BATCH or (job := self._next()) is _NOTHING:
                    break
            if batch:
                self._commit_batch(batch)
            if isinstance(job, Session):
                self._serve(job)
            elif job is None:
                break
        self._connection.close()

    def _next(self) -> Any:
        try:
            return self.inbox.get_nowait()
        except queue.Empty:
            return _NOTHING

    # Group commit.

    def _commit_batch(self, batch: list[Unit]) -> None:
        try:
            if not self._commit(batch, isolated=False):
                # A unit failed, which is rare: once more, with a savepoint for each, so that only it fails.
                self._commit(batch, isolated=True)
        except apsw.Error as error:
            self._roll_back()
            failure = translated(error)
            for unit in batch:
                unit.error = unit.error or failure
        self._deliver([(unit.future, unit.results, unit.error) for unit in batch])

    def _commit(self, batch: list[Unit], *, isolated: bool) -> bool:
        """Run all units in one transaction; False when one failed and nothing was committed."""
        self._connection.execute("BEGIN IMMEDIATE")
        for unit in batch:
            try:
                if isolated:
                    with self._connection:  # a savepoint
                        unit.results = [run(self._connection, statement) for statement in unit.statements]
                else:
                    unit.results = [run(self._connection, statement) for statement in unit.statements]
            except _PASSING:
                raise  # not this unit's fault, and SQLite may have ended the whole transaction
            except Exception as error:
                if not isolated:
                    self._roll_back()
                    return False
                unit.error = translated(error)
        self._connection.execute("COMMIT")
        return True

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    # Interactive transactions.

    def _serve(self, session: Session) -> None:
        deadline = time.monotonic() + session.seconds
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except apsw.Error as error:
            session.end()
            self._deliver([(session.opened, None, translated(error))])
            return
        self._deliver([(session.opened, None, None)])
        while not session.over:
            try:
                statement, future = session.next_call(deadline - time.monotonic())
            except queue.Empty:
                log.error("transaction too slow, rolled back", extra={"fields": {"seconds": session.seconds}})
                break
            self._answer(session, statement, future)
        over = QueryError("the transaction is over")
        self._deliver([(future, None, over) for future in session.end()])
        self._roll_back()

    def _answer(self, session: Session, statement: Statement, future: Future) -> None:
        try:
            result = run(self._connection, statement)
        except Exception as error:
            # After some errors SQLite has rolled everything back by itself.
            session.over = not self._connection.in_transaction or statement is COMMIT
            self._deliver([(future, None, translated(error))])
        else:
            session.over = statement is COMMIT or statement is ROLLBACK
            self._deliver([(future, result, None)])


class Reader:
    """Runs reads; each sees everything that was committed before it began."""

    def __init__(
        self,
        connection: apsw.Connection,
        inbox: queue.SimpleQueue[tuple[Statement, Future] | None],
        deliver: Deliver,
    ) -> None:
        self._connection = connection
        self._inbox = inbox
        self._deliver = deliver

    def run(self) -> None:
        """Serve until None comes."""
        while (job := self._inbox.get()) is not None:
            statement, future = job
            try:
                result = run(self._connection, statement)
            except Exception as error:
                self._deliver([(future, None, translated(error))])
            else:
                self._deliver([(future, result, None)])
        self._connection.close()


_NOTHING = object()

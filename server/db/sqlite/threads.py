"""The threads behind the SQLite backend: they own the connections, and nothing here touches the event loop."""

from __future__ import annotations

import asyncio
import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apsw

from server.db.backends import Load, Result, Row, Statement, written
from server.db.counting import Commits
from server.db.errors import DatabaseError, ForeignKeyViolation, QueryError
from server.db.sqlite.connecting import PASSING, connect, translated

MAX_BATCH = 512
"""Units in one commit, so that the first does not wait for ever for the last."""
log = logging.getLogger("db")

Future = asyncio.Future[Any]
Read = tuple[Statement, Load | None, Future]
Reply = tuple[Future, Any, DatabaseError | None]
Deliver = Callable[[list[Reply]], None]
"""Brings replies to the event loop: all of one commit at once."""


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


class Call:
    """Something to be done inside a transaction.

    Args:
        work: is given the connection.
        future: is given what it returns.
        ends: whether the transaction is over when it went well.
    """

    __slots__ = ("ends", "future", "work")

    def __init__(self, work: Callable[[apsw.Connection], Any], future: Future, *, ends: bool = False) -> None:
        self.work = work
        self.future = future
        self.ends = ends


class Session:
    """A transaction whose statements come one by one; the writer serves nobody else meanwhile.

    Args:
        opened: is given None once the transaction has begun.
        seconds: how long it may take; afterwards it is rolled back.
        schema: whether foreign keys are not enforced meanwhile, because tables are made anew.

    Attributes:
        over: whether the transaction is over.
        began: when the writer came to it.
        rows: how many it has written.
    """

    __slots__ = ("_calls", "_lock", "began", "opened", "over", "rows", "schema", "seconds")

    def __init__(self, opened: Future, seconds: float, *, schema: bool) -> None:
        self.opened = opened
        self.seconds = seconds
        self.schema = schema
        self.over = False
        self.began = 0.0
        self.rows = 0
        self._calls: queue.SimpleQueue[Call] = queue.SimpleQueue()
        self._lock = threading.Lock()

    def call(self, call: Call) -> bool:
        """Hand something to the writer; False when the transaction is over and nobody will do it."""
        with self._lock:
            if not self.over:
                self._calls.put(call)
            return not self.over

    def ran(self, results: list[Result]) -> list[Result]:
        """Note what the writer has run for it; returns the same."""
        self.rows += written(results)
        return results

    def next_call(self, seconds: float) -> Call:
        """Wait for the next call.

        Raises:
            queue.Empty: none came in time.
        """
        return self._calls.get(timeout=max(0.0, seconds))

    def end(self) -> list[Future]:
        """Take no more calls, and return who waits for the ones that will not be done."""
        with self._lock:
            self.over = True
            left = []
            while not self._calls.empty():
                left.append(self._calls.get_nowait().future)
            return left


def run(connection: apsw.Connection, statement: Statement) -> Result:
    """Run one statement to its end."""
    rows = connection.execute(statement.sql, statement.arguments).fetchall()
    if not statement.writes:
        return Result(rows)
    return Result(rows, connection.changes(), connection.last_insert_rowid())


def run_all(connection: apsw.Connection, statements: Sequence[Statement]) -> list[Result]:
    """Run statements in order."""
    return [run(connection, statement) for statement in statements]


def commit(connection: apsw.Connection) -> None:
    """End a transaction for good.

    Raises:
        ForeignKeyViolation: a table that was made anew refers to rows that are not there.
    """
    if not connection.pragma("foreign_keys"):
        broken = connection.execute("PRAGMA foreign_key_check").fetchall()
        if broken:
            raise ForeignKeyViolation(f"{broken[0][0]} refers to a row of {broken[0][2]} that does not exist")
    connection.execute("COMMIT")


def roll_back(connection: apsw.Connection) -> None:
    """Undo a transaction."""
    connection.execute("ROLLBACK")


class Pages:
    """The rows of a SELECT, read page by page, by whichever thread asks for the next one.

    Args:
        statement: the SELECT.
        page_rows: rows of a page.
    """

    def __init__(self, statement: Statement, page_rows: int) -> None:
        self._statement = statement
        self._page_rows = page_rows
        self._cursor: apsw.Cursor | None = None

    def read(self, connection: apsw.Connection) -> list[Row]:
        """Return the next page; one with fewer rows is the last."""
        if self._cursor is None:
            self._cursor = connection.cursor()
            self._cursor.execute(self._statement.sql, self._statement.arguments)
        return list(itertools.islice(self._cursor, self._page_rows))

    def close(self, _connection: apsw.Connection) -> None:
        """Read no more."""
        if self._cursor is not None:
            self._cursor.close(True)


class Streamer:
    """A connection of its own for a stream, so that its long look at one moment is in nobody's way.

    Args:
        path: the file.
        statement: the SELECT.
        page_rows: rows of a page.
    """

    def __init__(self, path: Path, statement: Statement, page_rows: int) -> None:
        self._path = path
        self._pages = Pages(statement, page_rows)
        self._lock = threading.Lock()
        self._connection: apsw.Connection | None = None

    def read(self) -> list[Row]:
        """Return the next page."""
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = connect(self._path, readonly=True)
                return self._pages.read(self._connection)
            except apsw.Error as error:
                raise translated(error) from error

    def close(self) -> None:
        """Let go of the file, when a page that is being read was read."""
        with self._lock:
            if self._connection is not None:
                self._connection.close(True)


class Writer:
    """Runs units in shared commits, in the order in which they came.

    Args:
        connection: its own.
        deliver: brings replies to the event loop.
        commits: counts what is committed.
    """

    def __init__(self, connection: apsw.Connection, deliver: Deliver, commits: Commits) -> None:
        self._connection = connection
        self._deliver = deliver
        self._commits = commits
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
        began = time.perf_counter()
        try:
            if not self._commit(batch, isolated=False):
                # A unit failed, which is rare: once more, with a savepoint for each, so that only it fails.
                self._commit(batch, isolated=True)
        except apsw.Error as error:
            self._roll_back()
            failure = translated(error)
            for unit in batch:
                unit.error = unit.error or failure
        committed = [unit for unit in batch if unit.error is None]
        if committed:
            self._commits.add(time.perf_counter() - began, sum([written(unit.results) for unit in committed]))
        self._deliver([(unit.future, unit.results, unit.error) for unit in batch])

    def _commit(self, batch: list[Unit], *, isolated: bool) -> bool:
        """Run all units in one transaction; False when one failed and nothing was committed."""
        if len(batch) == 1 and len(batch[0].statements) == 1 and not isolated:
            self._commit_single(batch[0])
            return True
        self._connection.execute("BEGIN IMMEDIATE")
        for unit in batch:
            try:
                if isolated:
                    with self._connection:  # a savepoint
                        unit.results = run_all(self._connection, unit.statements)
                else:
                    unit.results = run_all(self._connection, unit.statements)
            except PASSING:
                raise  # not this unit's fault, and SQLite may have ended the whole transaction
            except Exception as error:
                if not isolated:
                    self._roll_back()
                    return False
                unit.error = translated(error)
        self._connection.execute("COMMIT")
        return True

    def _commit_single(self, unit: Unit) -> None:
        """Run a single statement: it is a transaction by itself."""
        try:
            unit.results = run_all(self._connection, unit.statements)
        except PASSING:
            raise
        except Exception as error:
            unit.error = translated(error)

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    # Interactive transactions.

    def _serve(self, session: Session) -> None:
        session.began = time.perf_counter()
        deadline = time.monotonic() + session.seconds
        try:
            if session.schema:
                self._connection.execute("PRAGMA foreign_keys = OFF")
            self._connection.execute("BEGIN IMMEDIATE")
        except apsw.Error as error:
            session.end()
            self._deliver([(session.opened, None, translated(error))])
            return
        self._deliver([(session.opened, None, None)])
        while not session.over:
            try:
                call = session.next_call(deadline - time.monotonic())
            except queue.Empty:
                log.error("transaction too slow, rolled back", extra={"fields": {"seconds": session.seconds}})
                break
            self._answer(session, call)
        over = QueryError("the transaction is over")
        self._deliver([(future, None, over) for future in session.end()])
        self._roll_back()
        if session.schema:
            self._connection.execute("PRAGMA foreign_keys = ON")

    def _answer(self, session: Session, call: Call) -> None:
        try:
            result = call.work(self._connection)
        except Exception as error:
            # After some errors SQLite has rolled everything back by itself.
            session.over = not self._connection.in_transaction or call.ends
            self._deliver([(call.future, None, translated(error))])
        else:
            session.over = call.ends
            if call.work is commit and session.rows:
                self._commits.add(time.perf_counter() - session.began, session.rows)
            self._deliver([(call.future, result, None)])


class Reader:
    """Runs reads; each sees everything that was committed before it began."""

    def __init__(
        self,
        connection: apsw.Connection,
        inbox: queue.SimpleQueue[Read | None],
        deliver: Deliver,
    ) -> None:
        self._connection = connection
        self._inbox = inbox
        self._deliver = deliver

    def run(self) -> None:
        """Serve until None comes."""
        while (job := self._inbox.get()) is not None:
            statement, load, future = job
            try:
                result = run(self._connection, statement)
                if load is not None:
                    result = Result(load(result.rows))
            except Exception as error:
                self._deliver([(future, None, translated(error))])
            else:
                self._deliver([(future, result, None)])
        self._connection.close()


_NOTHING = object()

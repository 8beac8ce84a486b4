"""How every connection to a SQLite file is made, how it waits for other processes, and what its errors mean."""

from __future__ import annotations

import time
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

BUSY_SECONDS = 5.0
"""How long another process, such as a backup, may hold the file before a write is refused."""
BUSY_PAUSE_SECONDS = 0.001
"""The wait between two looks at whether the file is free. SQLite's own grows to 0.1 s, in which a busy neighbour takes
it again thirty times: a login beside a chat that is written to at full speed took 0.85 s, and takes 0.04 s (p99)."""
CHECKPOINT_PAGES = 1000
"""The log is written back into the file when it has grown to so many pages, 4 MB; SQLite's own default."""
RESTART_PAGES = 4000
"""A log of so many pages starts anew, for which other processes wait a moment: with two that write all the time it
would grow without end (291 MB after 20 seconds)."""
RESTART_SECONDS = 0.05
"""How long a new start of the log waits for those who still read the old one; later, it is tried again."""
CACHE_KIB = 4096
"""Page cache of each connection; the system's cache holds the rest."""

_VIOLATIONS: dict[int, tuple[type[IntegrityError], str]] = {
    apsw.SQLITE_CONSTRAINT_UNIQUE: (UniqueViolation, "is taken"),
    apsw.SQLITE_CONSTRAINT_PRIMARYKEY: (UniqueViolation, "is taken"),
    apsw.SQLITE_CONSTRAINT_FOREIGNKEY: (ForeignKeyViolation, "refers to a row that does not exist, or is referred to"),
    # What ON DELETE RESTRICT raises.
    apsw.SQLITE_CONSTRAINT_TRIGGER: (ForeignKeyViolation, "refers to a row that does not exist, or is referred to"),
}
PASSING = (apsw.BusyError, apsw.LockedError, apsw.FullError, apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError,
            apsw.NoMemError, apsw.InterruptError, apsw.ProtocolError)  # fmt: skip
"""What passes, or what an operator can mend: the same may go through later."""


class _Patience:
    """How a connection waits while another process holds the file."""

    def __init__(self) -> None:
        self._seconds = BUSY_SECONDS
        self._restart_pages = RESTART_PAGES

    def wait(self, looks: int) -> bool:
        """Wait a little; False gives up. SQLite calls it, with how often it has called it for the same wait."""
        time.sleep(BUSY_PAUSE_SECONDS)
        return looks * BUSY_PAUSE_SECONDS < self._seconds

    def check_point(self, connection: apsw.Connection, name: str, pages: int) -> int:
        """Write the log back into the file. SQLite calls it after each commit, in place of what it does itself."""
        if pages < CHECKPOINT_PAGES:
            return apsw.SQLITE_OK
        restarts = pages >= self._restart_pages
        self._seconds = RESTART_SECONDS
        try:
            connection.wal_checkpoint(
                name, apsw.SQLITE_CHECKPOINT_RESTART if restarts else apsw.SQLITE_CHECKPOINT_PASSIVE
            )
        except apsw.Error:
            # A long read, or a full disk. What is committed is in the log; it may grow by as much again until then.
            self._restart_pages = pages + RESTART_PAGES
        else:
            if restarts:
                self._restart_pages = RESTART_PAGES
        finally:
            self._seconds = BUSY_SECONDS
        return apsw.SQLITE_OK


def connect(path: Path, synchronous: str = "FULL", *, readonly: bool = False) -> apsw.Connection:
    """Open the file the way that all our connections have it.

    Args:
        path: the file.
        synchronous: FULL, so that what is acknowledged is on the disk; NORMAL survives a crash of the program only.
        readonly: whether it is for reading.

    Raises:
        UnusableDatabase: it is no database, or it is damaged.
        Unavailable: it cannot be opened.
    """
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_NOMUTEX
    try:
        connection = apsw.Connection(str(path), flags=flags, statementcachesize=200)
        patience = _Patience()
        connection.set_busy_handler(patience.wait)
        if not readonly:
            connection.set_wal_hook(patience.check_point)
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        # SQLite's own knows ASCII only.
        connection.create_scalar_function("lower", _lower, 1, deterministic=True)
        if readonly:
            connection.execute("PRAGMA query_only = ON")
    except apsw.Error as error:
        raise translated(error, path) from error
    return connection


def translated(error: Exception, path: Path | None = None) -> DatabaseError:
    """Return our error for a driver's; values never stand in it."""
    if isinstance(error, DatabaseError):
        return error
    where = f"{path}: " if path else ""
    extended = getattr(error, "extendedresult", 0)
    if isinstance(error, apsw.ConstraintError) and extended != apsw.SQLITE_CONSTRAINT_DATATYPE:
        kind, text = _VIOLATIONS.get(extended, (IntegrityError, "violates the schema"))
        # SQLite names table and columns behind the colon.
        return kind(f"{str(error).rpartition(': ')[2]} {text}")
    if isinstance(error, apsw.NotADBError | apsw.CorruptError):
        return UnusableDatabase(f"{where}this is no database, or it is damaged: {error}")
    if isinstance(error, PASSING):
        return Unavailable(f"{where}the database is not available: {error}")
    return QueryError(f"{where}{error}")


def _lower(*values: Any) -> str | None:
    (value,) = values
    return None if value is None else str(value).lower()

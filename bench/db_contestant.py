"""What takes part in `bench.db`: the interface that every contestant has, and the list of them."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec

Kind = Literal["orm", "driver"]
DatabaseName = Literal["sqlite", "mariadb"]

YARDSTICK = "dbobject"
"""The module of the contestant that all ratios refer to."""
FLOORS: dict[DatabaseName, str] = {"sqlite": "apsw_thread", "mariadb": "aiomysql_bare"}
"""The modules of the bare drivers that the goal for 100 rows refers to: the ones DbObject is built on."""

SYNCHRONOUS = os.environ.get("BENCH_SYNCHRONOUS", "NORMAL")
"""What all set on SQLite, in their worker processes."""


class Entry(msgspec.Struct, frozen=True):
    """A contestant, as the report names it.

    Args:
        module: in `bench.orms`.
        title: for the report.
        kind: an ORM gives objects; a driver is the floor, and gives tuples.
        databases: where it can take part.
        packages: installed distributions whose versions belong into the report.
        reason: why it takes part on one database only.
    """

    module: str
    title: str
    kind: Kind
    databases: tuple[DatabaseName, ...]
    packages: tuple[str, ...] = ()
    reason: str = ""


_BOTH: tuple[DatabaseName, ...] = ("sqlite", "mariadb")
ENTRIES = (
    Entry("dbobject", "DbObject", "orm", _BOTH, ("switchboard-server", "apsw", "aiomysql")),
    Entry("sqlalchemy_async", "SQLAlchemy async", "orm", _BOTH, ("sqlalchemy", "aiosqlite", "aiomysql")),
    Entry("tortoise_orm", "Tortoise", "orm", _BOTH, ("tortoise-orm", "aiosqlite", "asyncmy")),
    Entry("piccolo_orm", "Piccolo", "orm", ("sqlite",), ("piccolo", "aiosqlite"), "it has no MySQL"),
    Entry("peewee_async", "Peewee async", "orm", _BOTH, ("peewee", "aiosqlite", "aiomysql")),
    Entry("apsw_same_thread", "apsw, blocking the loop", "driver", ("sqlite",), ("apsw",)),
    Entry("apsw_thread", "apsw, one hop", "driver", ("sqlite",), ("apsw",)),
    Entry("apsw_async", "apsw, its asyncio mode", "driver", ("sqlite",), ("apsw",)),
    Entry("aiosqlite_bare", "aiosqlite", "driver", ("sqlite",), ("aiosqlite",)),
    Entry("aiomysql_bare", "aiomysql", "driver", ("mariadb",), ("aiomysql",)),
    Entry("asyncmy_bare", "asyncmy", "driver", ("mariadb",), ("asyncmy",)),
)


class Row(NamedTuple):
    """What is inserted; the key is the database's."""

    room: int
    author: int
    seq: int
    text: str
    sent_at: Any


class Contestant(ABC):
    """A way to a database. All of them have the same table: a key, an index on `room`, a text, a time in UTC."""

    @staticmethod
    def moment(at: datetime) -> Any:
        """Return a time in the form that its users would have; made before anything is measured."""
        return at

    @abstractmethod
    async def open(self, url: str) -> None:
        """Connect to `sqlite:////absolute.db` or `mysql://user:password@host:port/name`, both empty."""

    @abstractmethod
    async def create(self) -> None:
        """Create the table and its index."""

    @abstractmethod
    async def insert(self, row: Row) -> int:
        """Insert a row, by way of an object where there are any, in a transaction; returns its key."""

    @abstractmethod
    async def bulk(self, rows: Sequence[Row]) -> None:
        """Insert many rows in a transaction, the fastest way there is."""

    @abstractmethod
    async def by_key(self, key: int) -> Any:
        """Return the row with a key."""

    @abstractmethod
    async def hundred(self, room: int) -> Sequence[Any]:
        """Return the first hundred rows of a room, in the order of their keys."""

    @abstractmethod
    async def change(self, key: int, text: str) -> None:
        """Load a row, change its text, write the text back."""

    @abstractmethod
    async def close(self) -> None:
        """Disconnect."""

    def read(self, rows: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Look at every value of rows, as a program does that uses them: what was put off until now shows."""
        return [(row.id, row.room, row.author, row.seq, row.text, row.sent_at) for row in rows]


def naive(at: datetime) -> datetime:
    """Return a time as the peers have it by default: UTC, not saying so. It is less work for them."""
    return at.replace(tzinfo=None)


def sqlite_path(url: str) -> str:
    """Return the file of a URL such as `sqlite:////absolute.db`."""
    return url.removeprefix("sqlite:///")


def is_sqlite(url: str) -> bool:
    """Return whether a URL is that of a file."""
    return url.startswith("sqlite:")


def mysql_arguments(url: str, database: str = "db") -> dict[str, Any]:
    """Return a URL's parts as the drivers' `connect` takes them.

    Args:
        url: as in `mysql://user:password@host:port/name`.
        database: what that argument is called.
    """
    parts = urlsplit(url)
    return {
        "host": parts.hostname,
        "port": parts.port,
        "user": parts.username,
        "password": parts.password,
        database: parts.path.removeprefix("/"),
    }

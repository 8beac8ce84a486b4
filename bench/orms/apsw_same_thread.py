"""apsw on the event loop's own thread: nothing is faster, and every wait for the disk stops the loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import apsw

from bench.db_contestant import Contestant, Row, sqlite_path
from bench.orms import _sql

R = TypeVar("R")


class Apsw(Contestant):
    """One connection. How its calls are run is what the contestants with apsw differ in."""

    moment = staticmethod(_sql.microseconds)

    async def open(self, url: str) -> None:
        self._connection = apsw.Connection(sqlite_path(url))

    async def run(self, call: Callable[[], R]) -> R:
        """Run a function that uses the connection."""
        return call()

    async def create(self) -> None:
        for statement in _sql.SQLITE_SCHEMA:
            self._connection.execute(statement).fetchall()

    async def insert(self, row: Row) -> int:
        def call() -> int:
            self._connection.execute(_sql.INSERT, row)
            return self._connection.last_insert_rowid()

        return await self.run(call)

    async def bulk(self, rows: Sequence[Row]) -> None:
        def call() -> None:
            with self._connection:
                self._connection.executemany(_sql.INSERT, rows)

        await self.run(call)

    async def by_key(self, key: int) -> Any:
        return await self.run(lambda: self._connection.execute(_sql.BY_KEY, (key,)).fetchone())

    async def hundred(self, room: int) -> Sequence[Any]:
        return await self.run(lambda: self._connection.execute(_sql.HUNDRED, (room,)).fetchall())

    async def change(self, key: int, text: str) -> None:
        # Two calls, as between the two the program looks at what it loaded.
        await self.by_key(key)
        await self.run(lambda: self._connection.execute(_sql.CHANGE, (text, key)))

    async def close(self) -> None:
        self._connection.close()

    def read(self, rows: Sequence[Any]) -> list[tuple[Any, ...]]:
        return list(rows)


CONTESTANT = Apsw

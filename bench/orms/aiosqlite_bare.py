"""aiosqlite, which the other ORMs are built on: one connection, each statement its own transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import aiosqlite

from bench.db_contestant import Contestant, Row, sqlite_path
from bench.orms import _sql


class Aiosqlite(Contestant):
    """One connection."""

    moment = staticmethod(_sql.microseconds)

    async def open(self, url: str) -> None:
        self._connection = await aiosqlite.connect(sqlite_path(url), isolation_level=None)

    async def create(self) -> None:
        for statement in _sql.SQLITE_SCHEMA:
            await self._connection.execute_fetchall(statement)

    async def insert(self, row: Row) -> int:
        (key,) = await self._connection.execute_insert(_sql.INSERT, row)
        return int(key)

    async def bulk(self, rows: Sequence[Row]) -> None:
        await self._connection.execute("BEGIN")
        await self._connection.executemany(_sql.INSERT, rows)
        await self._connection.commit()

    async def by_key(self, key: int) -> Any:
        (row,) = await self._connection.execute_fetchall(_sql.BY_KEY, (key,))
        return row

    async def hundred(self, room: int) -> Sequence[Any]:
        rows: Sequence[Any] = await self._connection.execute_fetchall(_sql.HUNDRED, (room,))
        return rows

    async def change(self, key: int, text: str) -> None:
        await self.by_key(key)
        await self._connection.execute(_sql.CHANGE, (text, key))

    async def close(self) -> None:
        await self._connection.close()

    def read(self, rows: Sequence[Any]) -> list[tuple[Any, ...]]:
        return list(rows)


CONTESTANT = Aiosqlite

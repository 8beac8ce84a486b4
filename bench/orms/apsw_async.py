"""apsw's own asyncio mode, as its documentation uses it: every call is a hop to the connection's thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from bench.db_contestant import Contestant, Row, sqlite_path
from bench.orms import _sql


class ApswAsync(Contestant):
    """One connection in async mode."""

    moment = staticmethod(_sql.microseconds)

    async def open(self, url: str) -> None:
        self._connection = await apsw.Connection.as_async(sqlite_path(url))

    async def create(self) -> None:
        for statement in _sql.SQLITE_SCHEMA:
            await (await self._connection.execute(statement)).fetchall()

    async def insert(self, row: Row) -> int:
        await self._connection.execute(_sql.INSERT, row)
        key: int = await self._connection.last_insert_rowid()
        return key

    async def bulk(self, rows: Sequence[Row]) -> None:
        async with self._connection:
            await self._connection.executemany(_sql.INSERT, rows)

    async def by_key(self, key: int) -> Any:
        return await (await self._connection.execute(_sql.BY_KEY, (key,))).fetchone()

    async def hundred(self, room: int) -> Sequence[Any]:
        rows: Sequence[Any] = await (await self._connection.execute(_sql.HUNDRED, (room,))).fetchall()
        return rows

    async def change(self, key: int, text: str) -> None:
        await self.by_key(key)
        await self._connection.execute(_sql.CHANGE, (text, key))

    async def close(self) -> None:
        await self._connection.aclose()

    def read(self, rows: Sequence[Any]) -> list[tuple[Any, ...]]:
        return list(rows)


CONTESTANT = ApswAsync

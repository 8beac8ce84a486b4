"""aiomysql: one cursor on one connection, each statement its own transaction."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, ClassVar

import aiomysql

from bench.db_contestant import Contestant, Row, mysql_arguments, naive
from bench.orms import _sql

INSERT, BY_KEY, HUNDRED, CHANGE = (
    statement.replace("?", "%s") for statement in (_sql.INSERT, _sql.BY_KEY, _sql.HUNDRED, _sql.CHANGE)
)


class Aiomysql(Contestant):
    """One connection. asyncmy has the same interface."""

    moment = staticmethod(naive)
    driver: ClassVar[ModuleType] = aiomysql

    async def open(self, url: str) -> None:
        self._connection = await self.driver.connect(**mysql_arguments(url), autocommit=True, charset="utf8mb4")
        self._cursor = await self._new_cursor()

    async def _new_cursor(self) -> Any:
        return await self._connection.cursor()

    async def create(self) -> None:
        for statement in _sql.MYSQL_SCHEMA:
            await self._cursor.execute(statement)

    async def insert(self, row: Row) -> int:
        await self._cursor.execute(INSERT, row)
        return int(self._cursor.lastrowid)

    async def bulk(self, rows: Sequence[Row]) -> None:
        # One statement of many rows, as the text says `VALUES (` the way the driver looks for it.
        await self._cursor.executemany(INSERT, rows)

    async def by_key(self, key: int) -> Any:
        await self._cursor.execute(BY_KEY, (key,))
        return await self._cursor.fetchone()

    async def hundred(self, room: int) -> Sequence[Any]:
        await self._cursor.execute(HUNDRED, (room,))
        rows: Sequence[Any] = await self._cursor.fetchall()
        return rows

    async def change(self, key: int, text: str) -> None:
        await self.by_key(key)
        await self._cursor.execute(CHANGE, (text, key))

    async def close(self) -> None:
        await self._cursor.close()
        await self._connection.ensure_closed()

    def read(self, rows: Sequence[Any]) -> list[tuple[Any, ...]]:
        return list(rows)


CONTESTANT = Aiomysql

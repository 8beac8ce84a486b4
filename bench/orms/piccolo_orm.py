"""Piccolo on SQLite, where its engine opens a connection for every query: it has no pool there."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from piccolo.columns import Integer, Timestamp, Varchar
from piccolo.engine.sqlite import SQLiteEngine
from piccolo.table import create_table_class

from bench.db_contestant import SYNCHRONOUS, Contestant, Row, naive, sqlite_path


class PeerConnection(sqlite3.Connection):
    """A connection like the other peers'; the engine has no setting for what each new one begins with."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.execute(f"PRAGMA synchronous = {SYNCHRONOUS}")


class Piccolo(Contestant):
    """The engine is the class's, so the class is made with it."""

    moment = staticmethod(naive)

    async def open(self, url: str) -> None:
        connection = sqlite3.connect(sqlite_path(url))
        connection.execute("PRAGMA journal_mode = WAL")  # stays with the file
        connection.close()
        columns = {
            "room": Integer(index=True),
            "author": Integer(),
            "seq": Integer(),
            "text": Varchar(150),
            "sent_at": Timestamp(),
        }
        engine = SQLiteEngine(path=sqlite_path(url), factory=PeerConnection)
        self._messages = create_table_class("Message", class_kwargs={"db": engine}, class_members=columns)

    async def create(self) -> None:
        await self._messages.create_table()  # with its index

    async def insert(self, row: Row) -> int:
        message = self._message(row)
        await message.save()
        key: int = message.id
        return key

    async def bulk(self, rows: Sequence[Row]) -> None:
        await self._messages.insert(*[self._message(row) for row in rows])

    async def by_key(self, key: int) -> Any:
        return await self._messages.objects().get(self._messages.id == key)

    async def hundred(self, room: int) -> Sequence[Any]:
        table = self._messages
        rows: Sequence[Any] = await table.objects().where(table.room == room).order_by(table.id).limit(100)
        return rows

    async def change(self, key: int, text: str) -> None:
        message = await self._messages.objects().get(self._messages.id == key)
        message.text = text
        await message.save(columns=[self._messages.text])

    async def close(self) -> None:
        """There is nothing open between queries."""

    def _message(self, row: Row) -> Any:
        return self._messages(room=row.room, author=row.author, seq=row.seq, text=row.text, sent_at=row.sent_at)


CONTESTANT = Piccolo

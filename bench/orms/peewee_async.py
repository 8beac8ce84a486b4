"""Peewee's own asyncio support (since 4.0): its pool, with a connection that stays with the task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from peewee import CharField, DatabaseProxy, DateTimeField, IntegerField
from playhouse.pwasyncio import AsyncModel, AsyncMySQLDatabase, AsyncSqliteDatabase

from bench.db_contestant import SYNCHRONOUS, Contestant, Row, is_sqlite, mysql_arguments, naive, sqlite_path

database = DatabaseProxy()


class Moment(DateTimeField):
    """A time with microseconds; MySQL's DATETIME has none unless asked."""

    field_type = "DATETIME(6)"


class Message(AsyncModel):
    """The table that is measured."""

    room = IntegerField(index=True)
    author = IntegerField()
    seq = IntegerField()
    text = CharField(max_length=150)
    sent_at = Moment()

    class Meta:
        """Where Peewee looks for the database."""

        database = database


class Peewee(Contestant):
    """A database with its pool."""

    moment = staticmethod(naive)

    async def open(self, url: str) -> None:
        if is_sqlite(url):
            pragmas = {"journal_mode": "wal", "synchronous": SYNCHRONOUS}
            self._db = AsyncSqliteDatabase(sqlite_path(url), pragmas=pragmas)
        else:
            arguments = mysql_arguments(url, "database")
            self._db = AsyncMySQLDatabase(arguments.pop("database"), **arguments)
        database.initialize(self._db)
        await self._db.aconnect()

    async def create(self) -> None:
        await self._db.acreate_tables([Message])

    async def insert(self, row: Row) -> int:
        message = await Message.acreate(
            room=row.room, author=row.author, seq=row.seq, text=row.text, sent_at=row.sent_at
        )
        key: int = message.id
        return key

    async def bulk(self, rows: Sequence[Row]) -> None:
        columns = [Message.room, Message.author, Message.seq, Message.text, Message.sent_at]
        await self._db.aexecute(Message.insert_many(rows, fields=columns))

    async def by_key(self, key: int) -> Any:
        return await Message.aget_by_id(key)

    async def hundred(self, room: int) -> Sequence[Any]:
        query = Message.select().where(Message.room == room).order_by(Message.id).limit(100)
        rows: Sequence[Any] = await self._db.list(query)
        return rows

    async def change(self, key: int, text: str) -> None:
        message = await Message.aget_by_id(key)
        message.text = text
        await message.asave(only=[Message.text])

    async def close(self) -> None:
        await self._db.aclose()
        await self._db.close_pool()


CONTESTANT = Peewee

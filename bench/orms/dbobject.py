"""DbObject, as docs/dbobject.md uses it. On SQLite it commits as the peers do; by itself it would wait for the disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.db_contestant import SYNCHRONOUS, Contestant, Row, is_sqlite
from server.db import Database, DbObject, Integer, Text, Timestamp


class Message(DbObject):
    """The table that is measured."""

    dbo_tablename = "bench_messages"
    id = Integer(primary_key=True)
    room = Integer(index=True)
    author = Integer()
    seq = Integer()
    text = Text(max_length=150)
    sent_at = Timestamp()


class DbObjectContestant(Contestant):
    """One `Database`, each call by itself."""

    async def open(self, url: str) -> None:
        self._db = await Database.open(f"{url}?synchronous={SYNCHRONOUS}" if is_sqlite(url) else url)

    async def create(self) -> None:
        await self._db.migrate("bench", Path(__file__).with_name("dbobject_migrations"))

    async def insert(self, row: Row) -> int:
        message = Message(room=row.room, author=row.author, seq=row.seq, text=row.text, sent_at=row.sent_at)
        return (await message.insert(self._db)).id

    async def bulk(self, rows: Sequence[Row]) -> None:
        room, author, seq, text, sent_at = Message.room, Message.author, Message.seq, Message.text, Message.sent_at
        await Message.insert_many(
            self._db,
            [{room: row.room, author: row.author, seq: row.seq, text: row.text, sent_at: row.sent_at} for row in rows],
        )

    async def by_key(self, key: int) -> Message | None:
        return await Message.get(self._db, key)

    async def hundred(self, room: int) -> Sequence[Message]:
        return await Message.select(self._db).where(Message.room == room).order_by(Message.id).limit(100)

    async def change(self, key: int, text: str) -> None:
        message = await Message.get(self._db, key)
        assert message is not None
        message.text = text
        await message.save(self._db)

    async def close(self) -> None:
        await self._db.close()


CONTESTANT = DbObjectContestant

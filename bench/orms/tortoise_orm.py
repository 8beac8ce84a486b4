"""Tortoise ORM: on MySQL its pool of asyncmy, on SQLite its one connection of aiosqlite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tortoise import Tortoise, fields
from tortoise.models import Model

from bench.db_contestant import SYNCHRONOUS, Contestant, Row, is_sqlite, mysql_arguments, naive, sqlite_path


class Message(Model):
    """The table that is measured."""

    id = fields.IntField(primary_key=True)
    room = fields.IntField(db_index=True)
    author = fields.IntField()
    seq = fields.IntField()
    text = fields.CharField(max_length=150)
    sent_at = fields.DatetimeField()


class TortoiseOrm(Contestant):
    """Tortoise keeps its connections globally."""

    moment = staticmethod(naive)

    async def open(self, url: str) -> None:
        if is_sqlite(url):
            engine = "tortoise.backends.sqlite"
            credentials = {"file_path": sqlite_path(url), "journal_mode": "WAL", "synchronous": SYNCHRONOUS}
            # SQLite's default, which all others have. Tortoise's own limit of 16 KiB lets the log shrink and grow
            # again, which more than doubles the cost of a synchronous commit.
            credentials["journal_size_limit"] = "-1"
        else:
            engine, credentials = "tortoise.backends.mysql", mysql_arguments(url, "database")
        config = {
            "connections": {"default": {"engine": engine, "credentials": credentials}},
            "apps": {"bench": {"models": [__name__], "default_connection": "default"}},
        }
        await Tortoise.init(config=config, use_tz=False)

    async def create(self) -> None:
        await Tortoise.generate_schemas()

    async def insert(self, row: Row) -> int:
        message = await Message.create(
            room=row.room, author=row.author, seq=row.seq, text=row.text, sent_at=row.sent_at
        )
        key: int = message.id
        return key

    async def bulk(self, rows: Sequence[Row]) -> None:
        await Message.bulk_create(
            [Message(room=row.room, author=row.author, seq=row.seq, text=row.text, sent_at=row.sent_at) for row in rows]
        )

    async def by_key(self, key: int) -> Any:
        return await Message.get(id=key)

    async def hundred(self, room: int) -> Sequence[Any]:
        rows: Sequence[Any] = await Message.filter(room=room).order_by("id").limit(100)
        return rows

    async def change(self, key: int, text: str) -> None:
        message = await Message.get(id=key)
        message.text = text
        await message.save(update_fields=["text"])

    async def close(self) -> None:
        await Tortoise.close_connections()


CONTESTANT = TortoiseOrm

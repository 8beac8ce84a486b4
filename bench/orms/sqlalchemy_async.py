"""SQLAlchemy's async ORM: a pooled engine, a session per unit of work, nothing expired at its commit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, String, event, insert, select
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from bench.db_contestant import SYNCHRONOUS, Contestant, Row, is_sqlite, naive


class Base(DeclarativeBase):
    """What SQLAlchemy wants tables to derive from."""


class Message(Base):
    """The table that is measured."""

    __tablename__ = "messages"
    id: Mapped[int] = mapped_column(primary_key=True)
    room: Mapped[int] = mapped_column(index=True)
    author: Mapped[int]
    seq: Mapped[int]
    text: Mapped[str] = mapped_column(String(150))
    sent_at: Mapped[datetime] = mapped_column(DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql"))


class SqlAlchemy(Contestant):
    """An engine and its sessions."""

    moment = staticmethod(naive)

    async def open(self, url: str) -> None:
        driver = "sqlite+aiosqlite:" if is_sqlite(url) else "mysql+aiomysql:"
        self._engine = create_async_engine(url.replace(f"{url.partition(':')[0]}:", driver, 1))
        if is_sqlite(url):
            event.listen(self._engine.sync_engine, "connect", _tune)
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)

    async def create(self) -> None:
        async with self._engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)

    async def insert(self, row: Row) -> int:
        message = Message(room=row.room, author=row.author, seq=row.seq, text=row.text, sent_at=row.sent_at)
        async with self._sessions.begin() as session:
            session.add(message)
        key: int = message.id
        return key

    async def bulk(self, rows: Sequence[Row]) -> None:
        values = [
            {"room": row.room, "author": row.author, "seq": row.seq, "text": row.text, "sent_at": row.sent_at}
            for row in rows
        ]
        async with self._sessions.begin() as session:
            await session.execute(insert(Message), values)

    async def by_key(self, key: int) -> Any:
        async with self._sessions() as session:
            return await session.get(Message, key)

    async def hundred(self, room: int) -> Sequence[Any]:
        query = select(Message).where(Message.room == room).order_by(Message.id).limit(100)
        async with self._sessions() as session:
            rows: Sequence[Any] = (await session.scalars(query)).all()
            return rows

    async def change(self, key: int, text: str) -> None:
        async with self._sessions.begin() as session:
            message = await session.get(Message, key)
            message.text = text

    async def close(self) -> None:
        await self._engine.dispose()


def _tune(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS}")


CONTESTANT = SqlAlchemy

"""The chat's queries use their indexes: their cost does not grow with the room."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.auth.accounts import MIGRATIONS
from server.db import Database, Query, Statement
from services.chat import store as store_module
from services.chat.models import Message
from services.chat.store import m, u

WHOSE = m.select(None, m.seq, u.name).join(u, m.user == u.id)


async def plan(db: Database, query: Query[object]) -> list[str]:
    statement = query.statement(db.dialect)
    result = await db.execute(Statement(f"EXPLAIN QUERY PLAN {statement.sql}", statement.arguments, writes=False))
    return [row[-1] for row in result.rows]


@pytest.mark.parametrize(
    "query",
    [
        WHOSE.where(m.room == 1, m.seq < 100).order_by(m.seq.desc()).limit(50),
        WHOSE.where(m.room == 1, m.rev > 9, m.rev <= 99).order_by(m.rev).limit(50),
        Message.select(None, Message.seq).where(Message.user.in_([1, 2]), Message.nonce.in_(["a", "b"])),
    ],
    ids=["page", "changed", "sent"],
)  # fmt: skip
async def test_indexes_are_used(query: Query[object]) -> None:
    """A page, a catch-up and a look-up by nonce search an index, and sort nothing."""
    async with await Database.open("sqlite://:memory:") as db:
        await db.migrate("auth", MIGRATIONS)
        await db.migrate("chat", Path(store_module.__file__).parent / "migrations")
        steps = await plan(db, query)
    assert not [step for step in steps if step.startswith("SCAN") or "TEMP B-TREE" in step], steps
    assert any("chat_messages" in step or step.startswith("SEARCH m") for step in steps)

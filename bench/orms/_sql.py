"""The statements that the bare drivers run, and times as they store them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from bench.db_contestant import SYNCHRONOUS

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

SQLITE_SCHEMA = (
    "PRAGMA journal_mode = WAL",
    f"PRAGMA synchronous = {SYNCHRONOUS}",
    (
        "CREATE TABLE messages (id INTEGER PRIMARY KEY, room INTEGER NOT NULL, author INTEGER NOT NULL, "
        "seq INTEGER NOT NULL, text TEXT NOT NULL, sent_at INTEGER NOT NULL)"
    ),
    "CREATE INDEX messages_room ON messages (room)",
)
MYSQL_SCHEMA = (
    (
        "CREATE TABLE messages (id INTEGER PRIMARY KEY AUTO_INCREMENT, room INTEGER NOT NULL, author INTEGER NOT NULL, "
        "seq INTEGER NOT NULL, text VARCHAR(150) NOT NULL, sent_at DATETIME(6) NOT NULL, INDEX (room))"
    ),
)

INSERT = "INSERT INTO messages (room, author, seq, text, sent_at) VALUES (?, ?, ?, ?, ?)"
BY_KEY = "SELECT id, room, author, seq, text, sent_at FROM messages WHERE id = ?"
HUNDRED = "SELECT id, room, author, seq, text, sent_at FROM messages WHERE room = ? ORDER BY id LIMIT 100"
CHANGE = "UPDATE messages SET text = ? WHERE id = ?"


def microseconds(at: datetime) -> int:
    """Return a time as SQLite, which has none, is best given one: a number."""
    return (at - EPOCH) // timedelta(microseconds=1)

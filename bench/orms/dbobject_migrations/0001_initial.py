"""The table that `bench.db` measures."""

from __future__ import annotations

from server.db import CreateIndex, CreateTable, Integer, Text, Timestamp, index

steps = [
    CreateTable(
        "bench_messages",
        {
            "id": Integer(primary_key=True),
            "room": Integer(),
            "author": Integer(),
            "seq": Integer(),
            "text": Text(max_length=150),
            "sent_at": Timestamp(),
        },
    ),
    CreateIndex("bench_messages", index("room")),
]

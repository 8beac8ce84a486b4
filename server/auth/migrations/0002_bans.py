"""Users who may not come in."""

from server.db import AddColumn, Timestamp

steps = [
    AddColumn("users", "banned_at", Timestamp(nullable=True)),
]

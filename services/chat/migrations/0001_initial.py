"""Rooms, members and messages."""

from server import User
from server.db import CreateIndex, CreateTable, DbObject, ForeignKey, Integer, Text, Timestamp, unique


class Room(DbObject):
    """What members and messages refer to."""

    dbo_tablename = "chat_rooms"
    id = Integer(primary_key=True)


steps = [
    CreateTable(
        "chat_rooms",
        {
            "id": Integer(primary_key=True),
            "name": Text(max_length=40, unique=True),
            "title": Text(max_length=80),
            "topic": Text(max_length=250),
            "visibility": Text(max_length=10),
            "last_rev": Integer(),
            "created_at": Timestamp(),
        },
    ),
    CreateTable(
        "chat_members",
        {
            "room": ForeignKey(Room, on_delete="cascade", primary_key=True),
            "user": ForeignKey(User, on_delete="cascade", primary_key=True, index=True),
            "role": Text(max_length=10),
            "read_seq": Integer(),
            "joined_at": Timestamp(),
        },
    ),
    CreateTable(
        "chat_messages",
        {
            "id": Integer(primary_key=True),
            "room": ForeignKey(Room, on_delete="cascade"),
            "seq": Integer(),
            "rev": Integer(),
            "user": ForeignKey(User),
            "nonce": Text(max_length=64),
            "text": Text(nullable=True),
            "sent_at": Timestamp(),
            "edited_at": Timestamp(nullable=True),
            "reply_to": Integer(nullable=True),
        },
    ),
    # The order of the room, the order of its changes, and the promise that a retry is no second message.
    CreateIndex("chat_messages", unique("room", "seq")),
    CreateIndex("chat_messages", unique("room", "rev")),
    CreateIndex("chat_messages", unique("user", "nonce")),
]

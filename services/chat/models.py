"""What the chat keeps in the database."""

from __future__ import annotations

from server import User
from server.db import DbObject, ForeignKey, Integer, Text, Timestamp, now, unique


class Room(DbObject):
    """A room.

    Attributes:
        name: its immutable short name.
        last_rev: the number of its last event; raised in the transaction that writes the events.
    """

    dbo_tablename = "chat_rooms"
    id = Integer(primary_key=True)
    name = Text(max_length=40, unique=True, immutable=True)
    title = Text(max_length=80, default="")
    topic = Text(max_length=250, default="")
    visibility = Text(max_length=10, default="public")
    last_rev = Integer(default=0)
    created_at = Timestamp(default=now, immutable=True)


class Member(DbObject):
    """Somebody's membership of a room.

    Attributes:
        role: `owner` or `member`.
        read_seq: the last message they have read.
    """

    dbo_tablename = "chat_members"
    room = ForeignKey(Room, on_delete="cascade", primary_key=True)
    user = ForeignKey(User, on_delete="cascade", primary_key=True, index=True)
    role = Text(max_length=10, default="member")
    read_seq = Integer(default=0)
    joined_at = Timestamp(default=now, immutable=True)


class Message(DbObject):
    """A message.

    Attributes:
        seq: its place in the room: the number of the event that created it.
        rev: the number of the last event that changed it.
        nonce: chosen by the author's client, unique for the author for ever.
        text: None once it is deleted.
    """

    dbo_tablename = "chat_messages"
    dbo_indexes = (unique("room", "seq"), unique("room", "rev"), unique("user", "nonce"))
    id = Integer(primary_key=True)
    room = ForeignKey(Room, on_delete="cascade", immutable=True)
    seq = Integer(immutable=True)
    rev = Integer()
    user = ForeignKey(User, immutable=True)
    nonce = Text(max_length=64, immutable=True)
    text = Text(nullable=True)
    sent_at = Timestamp(default=now, immutable=True)
    edited_at = Timestamp(nullable=True)
    reply_to = Integer(nullable=True, immutable=True)

"""What the chat's processes tell each other, as msgpack.

Events of a room travel on a channel of the room, to the processes in which it is live. Everything else is news, on one
channel of the chat. All of it may be lost, repeated or late: the database is the truth, and this is only faster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from services.chat import wire

PART_BYTES = 256 * 1024
"""Events of one message: brokers bound what they carry (NATS at 1 MiB)."""
PART_NEWS = 200
"""News of one message, for the same reason: none of them is longer than 2 KB."""


class Look(msgspec.Struct, frozen=True, array_like=True, tag="look"):
    """What somebody is in a room has changed: look into the database."""

    room: str
    user: int


class Device(msgspec.Struct, frozen=True, array_like=True, tag="device"):
    """What a room is to somebody now: their devices want to know."""

    user: int
    room: wire.Room


class Read(msgspec.Struct, frozen=True, array_like=True, tag="read"):
    """Somebody has read a room up to a message."""

    user: int
    room: str
    seq: int


class Created(msgspec.Struct, frozen=True, array_like=True, tag="created"):
    """There is a new public room."""

    room: wire.Room


class Active(msgspec.Struct, frozen=True, array_like=True, tag="active"):
    """A room is more or less lively than it was.

    Args:
        room: how it is.
        here: whether some of its people are connected to the process that tells.
    """

    room: wire.RoomActivity
    here: bool


class Ask(msgspec.Struct, frozen=True, array_like=True, tag="ask"):
    """Tell me, as `Active`, of the rooms whose people are connected to you."""


News = Look | Device | Read | Created | Active | Ask

_encode = msgspec.msgpack.Encoder().encode
_news: msgspec.msgpack.Decoder[list[News]] = msgspec.msgpack.Decoder(list[News])
_entries: msgspec.msgpack.Decoder[list[wire.Entry]] = msgspec.msgpack.Decoder(list[wire.Entry])


def pack(news: Sequence[News]) -> Iterator[bytes]:
    """Encode news, in as many messages as it takes."""
    for begin in range(0, len(news), PART_NEWS):
        yield _encode(news[begin : begin + PART_NEWS])


def unpack(message: bytes) -> list[News]:
    """Decode news.

    Raises:
        msgspec.MsgspecError: another version of the program sent it.
    """
    return _news.decode(message)


def pack_entries(entries: Sequence[wire.Entry]) -> Iterator[bytes]:
    """Encode events of a room, in as many messages as it takes."""
    begin, size = 0, 0
    for position, entry in enumerate(entries):
        size += len(entry.message)
        if size > PART_BYTES and position > begin:
            yield _encode(entries[begin:position])
            begin, size = position, len(entry.message)
    yield _encode(entries[begin:])


def unpack_entries(message: bytes) -> list[wire.Entry]:
    """Decode events of a room.

    Raises:
        msgspec.MsgspecError: another version of the program sent it.
    """
    return _entries.decode(message)

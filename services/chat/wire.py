"""What goes over the wire: params, results and events of the chat (PROTOCOL.md, "chat")."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Annotated, Literal, cast

import msgspec
from msgspec import Meta, Raw

EVERYTHING = 2**62
"""Greater than any number of an event."""

# Python's `$` would let a line break follow; the look-ahead does not, and means nothing to other dialects.
RoomName = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,39}(?!\\n)$")]
Title = Annotated[str, Meta(max_length=80)]
TopicText = Annotated[str, Meta(max_length=250)]
Visibility = Literal["public", "private"]
Nonce = Annotated[str, Meta(min_length=1, max_length=64)]
Sequence = Annotated[int, Meta(ge=0, le=2**62)]
Limit = Annotated[int, Meta(ge=0)]


class User(msgspec.Struct, frozen=True, gc=False):
    """Somebody."""

    id: int
    name: str


class Room(msgspec.Struct, frozen=True):
    """A room, as one user sees it.

    Args:
        room: its immutable short name.
        present: how many people are in it now.
        last_rev: the number of its last event.
        read_seq: the last message that the user has read.
        role: what the user is there; None when they are no member.
    """

    room: str
    title: str
    topic: str
    visibility: str
    present: int
    last_rev: int
    read_seq: int = 0
    role: str | None = None


class RoomActivity(msgspec.Struct, frozen=True):
    """A room that changed, as everybody sees it: what differs by person is left out, and stays as it was."""

    room: str
    title: str
    topic: str
    visibility: str
    present: int
    last_rev: int


class Message(msgspec.Struct, frozen=True):
    """A message; its text is None once it is deleted."""

    room: str
    seq: int
    rev: int
    user: User
    text: str | None
    sent_at: dt.datetime
    edited_at: dt.datetime | None = None
    deleted: bool = False
    reply_to: int | None = None
    reactions: dict[str, list[int]] = {}


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A message as everybody gets it, encoded once; also what travels between processes.

    Args:
        seq: its place in the room.
        rev: the number of the event that last changed it.
        message: the `Message`, as JSON.
    """

    seq: int
    rev: int
    message: bytes


class Rooms(msgspec.Struct, frozen=True):
    """The result of `rooms.list`."""

    rooms: list[Room]


class Joined(msgspec.Struct, frozen=True):
    """The result of `rooms.join`: the next event of the room has the number `last_rev` + 1."""

    room: Room
    present: list[User]
    messages: list[Message]
    last_rev: int
    complete: bool


class Sent(msgspec.Struct, frozen=True, gc=False):
    """The result of `messages.send`; the same nonce gives the same again."""

    seq: int
    rev: int
    sent_at: dt.datetime


class History(msgspec.Struct, frozen=True):
    """The result of `messages.history`, oldest first."""

    messages: list[Message]
    more: bool


class Empty(msgspec.Struct, frozen=True):
    """A result that says only that it is done."""


class MessageEvent(msgspec.Struct, frozen=True):
    """A message is new (its `seq` is `rev`), or changed."""

    room: str
    rev: int
    message: Message


class PresenceEvent(msgspec.Struct, frozen=True):
    """People came or left."""

    room: str
    joined: list[User]
    left: list[User]
    present: int


class TypingEvent(msgspec.Struct, frozen=True):
    """Somebody is writing."""

    room: str
    user: User


class ReadEvent(msgspec.Struct, frozen=True):
    """This account has read, on another device."""

    room: str
    seq: int


_encode = msgspec.json.Encoder().encode


def entry(message: Message) -> Entry:
    """Encode a message."""
    return Entry(message.seq, message.rev, _encode(message))


def array(entries: Iterable[Entry]) -> Raw:
    """Return the JSON array of messages."""
    return Raw(b"[" + b",".join([entry.message for entry in entries]) + b"]")


# msgspec writes what is encoded as it is, wherever it stands; the types go on saying what it is.


def message_event(room: str, entry: Entry) -> MessageEvent:
    """Return the event that tells of a message."""
    return MessageEvent(room, entry.rev, cast("Message", Raw(entry.message)))


def joined(room: Room, present: list[User], messages: Raw, last_rev: int, *, complete: bool) -> Joined:
    """Return the result of `rooms.join`, with the array of its messages."""
    return Joined(room, present, cast("list[Message]", messages), last_rev, complete)


def history(messages: Raw, *, more: bool) -> History:
    """Return the result of `messages.history`, with the array of its messages."""
    return History(cast("list[Message]", messages), more)

"""The chat's queries, and nothing else: each is one round trip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, reduce
from operator import or_
from sys import intern
from typing import Any

import msgspec

from server import User
from server.db import Database, Expression, Predicate, Prepared, Query, UniqueViolation, parameter, prepare
from services.chat import wire
from services.chat.models import Member, Message, Room

m, u = Message.prefix("m"), User.prefix("u")
_COLUMNS: tuple[Expression[Any], ...] = (
    m.seq, m.rev, m.user, u.name, m.text, m.sent_at, m.edited_at, m.reply_to,
)  # fmt: skip


class Draft:
    """A message that is not numbered yet."""

    __slots__ = ("nonce", "reply_to", "sent_at", "text", "user")

    def __init__(self, user: wire.User, nonce: str, text: str, sent_at: Any, reply_to: int | None) -> None:
        self.user = user
        self.nonce = nonce
        self.text = text
        self.sent_at = sent_at
        self.reply_to = reply_to


_DRAFTED = (Message.user, Message.nonce, Message.text, Message.sent_at, Message.reply_to)

Pair = tuple[int, int]
"""A room and a user."""
_STANDING = (Member.room, Member.user, Member.role, Member.read_seq)


class Standing(msgspec.Struct, gc=False):
    """What somebody is in a room.

    Args:
        role: `owner` or `member`.
        read_seq: the last message they have read.
    """

    role: str
    read_seq: int


class Store:
    """The chat's part of the database.

    Args:
        db: the database.
    """

    def __init__(self, db: Database) -> None:
        self._db = db

    # Rooms and members.

    async def room(self, name: str) -> Room | None:
        """Return a room by its name."""
        return await Room.select(self._db).where(Room.name == name).first()

    async def heads(self, rooms: Sequence[int]) -> dict[int, int]:
        """Return the numbers of some rooms' last events."""
        return dict(await Room.select(self._db, Room.id, Room.last_rev).where(Room.id.in_(rooms)))

    async def rooms_of(self, user: int) -> list[tuple[Room, str | None, int]]:
        """Return the public rooms and the user's own, each with the user's role and last read message."""
        rooms = await Room.select(self._db).where(Room.visibility == "public").order_by(Room.name)
        mine = await Member.select(self._db).where(Member.user == user)
        members = {member.room.key: member for member in mine}
        known = {room.id for room in rooms}
        others = [room for room in members if room not in known]
        if others:
            rooms += await Room.select(self._db).where(Room.id.in_(others)).order_by(Room.name)
        return [(r, members[r.id].role, members[r.id].read_seq) if r.id in members else (r, None, 0) for r in rooms]

    async def create_room(self, room: Room, owner: int | None) -> Room | None:
        """Write a new room and its owner; None when the name is taken."""
        queries: list[Any] = [
            Room.insert_many(
                None,
                [{Room.name: room.name, Room.title: room.title, Room.topic: room.topic,
                  Room.visibility: room.visibility}],
            )
        ]  # fmt: skip
        if owner is not None:
            of_room = Room.select(None, Room.id).where(Room.name == room.name)
            queries.append(Member.insert_many(None, [{Member.room: of_room, Member.user: owner, Member.role: "owner"}]))
        try:
            await self._db.atomic(queries)
        except UniqueViolation:
            return None
        return await self.room(room.name)

    async def members(self, pairs: Sequence[Pair]) -> dict[Pair, Standing]:
        """Return which of some users are members of which of some rooms, and as what."""
        return _standings(await Member.select(self._db, *_STANDING).where(_any_of(pairs)))

    async def add_members(self, pairs: Sequence[Pair]) -> dict[Pair, Standing]:
        """Make users members of rooms, or find that they are; returns as what."""
        rows: list[dict[Any, Any]] = [{Member.room: room, Member.user: user} for room, user in pairs]
        # One unit: a leave on another device comes before it or after it, not between.
        _, standings = await self._db.atomic(
            [
                Member.insert_many(None, rows).on_conflict_ignore(),
                Member.select(None, *_STANDING).where(_any_of(pairs)),
            ]
        )
        return _standings(standings)

    async def remove_members(self, pairs: Sequence[Pair]) -> None:
        """End memberships."""
        await Member.delete_from(self._db).where(_any_of(pairs))

    async def count_rooms_owned(self, user: int) -> int:
        """Return how many rooms somebody owns."""
        return await Member.select(self._db).where(Member.user == user, Member.role == "owner").count()

    async def mark_read(self, marks: Sequence[tuple[int, int, int]]) -> None:
        """Write read marks: room, user and seq of each. None goes backwards."""
        await self._db.atomic(
            [
                Member.update()
                .set(Member.read_seq, seq)
                .where(Member.room == room, Member.user == user, Member.read_seq < seq)
                for room, user, seq in marks
            ]
        )

    # Messages.

    async def append(self, room: int, drafts: Sequence[Draft]) -> int:
        """Number and write messages, all or none; returns the number of the last one.

        Raises:
            UniqueViolation: one of the nonces was used before.
        """
        results = await self._db.atomic([_raise(room=room, count=len(drafts)), *_additions(room, drafts)])
        last: int = results[0][0][0]
        return last

    async def sent(self, drafts: Sequence[Draft]) -> dict[tuple[int, str], wire.Sent]:
        """Return what was sent before under the same nonces, by author and nonce."""
        found: dict[tuple[int, str], wire.Sent] = {}
        nonces = sorted({draft.nonce for draft in drafts})
        users = sorted({draft.user.id for draft in drafts})
        rows = await Message.select(self._db, Message.user, Message.nonce, Message.seq, Message.sent_at).where(
            Message.user.in_(users), Message.nonce.in_(nonces)
        )
        for user, nonce, seq, sent_at in rows:
            found[user, nonce] = wire.Sent(seq, seq, sent_at)
        return found

    async def changed(self, room: Room, after: int, upto: int, limit: int) -> list[wire.Entry]:
        """Return the messages that changed after one event and up to another, in the order of the events."""
        changed = (m.room == room.id) & (m.rev > after) & (m.rev <= upto)
        return await self._messages(room.name, changed, m.rev.asc(), limit)

    async def page(self, room: Room, before: int, limit: int) -> list[wire.Entry]:
        """Return the newest messages before one, oldest first."""
        messages = await self._messages(room.name, (m.room == room.id) & (m.seq < before), m.seq.desc(), limit)
        messages.reverse()
        return messages

    async def _messages(self, room: str, which: Predicate, order: Any, limit: int) -> list[wire.Entry]:
        query = m.select(self._db, *_COLUMNS).join(u, m.user == u.id).where(which).order_by(order).limit(limit)
        return [
            wire.entry(
                wire.Message(room, seq, rev, wire.User(user, name), text, sent_at, edited_at, text is None, reply_to)
            )
            for seq, rev, user, name, text, sent_at, edited_at, reply_to in await query
        ]


_raise = prepare(
    Room.update()
    .set(Room.last_rev, Room.last_rev + parameter(Room.last_rev, "count"))
    .where(Room.id == parameter(Room.id, "room"))
    .returning(Room.last_rev)
)
"""Raises a room's counter, and returns it."""


@cache
def _addition(size: int) -> Prepared[int]:
    """Return the insert of so many messages; `back` says how far a message's number is behind the room's counter."""
    room = parameter(Message.room, "room")
    last_rev = Room.select(None, Room.last_rev).where(Room.id == room)
    rows: list[dict[Any, Any]] = []
    for index in range(size):
        number = last_rev - parameter(Message.seq, f"back{index}")
        row: dict[Any, Any] = {Message.room: room, Message.seq: number, Message.rev: number}
        row |= {column: parameter(column, f"{column.column.name}{index}") for column in _DRAFTED}
        rows.append(row)
    return prepare(Message.insert_many(None, rows))


def _additions(room: int, drafts: Sequence[Draft]) -> Iterator[Query[int]]:
    """Write drafts in as few statements as there are ones in their number: each size is prepared once."""
    begin, left = 0, len(drafts)
    while left:
        size = 1 << (left.bit_length() - 1)
        values: dict[str, Any] = {"room": room}
        for index, draft in enumerate(drafts[begin : begin + size]):
            values[f"back{index}"] = len(drafts) - 1 - begin - index
            values[f"user{index}"] = draft.user.id
            values[f"nonce{index}"] = draft.nonce
            values[f"text{index}"] = draft.text
            values[f"sent_at{index}"] = draft.sent_at
            values[f"reply_to{index}"] = draft.reply_to
        yield _addition(size)(**values)
        begin += size
        left -= size


def _any_of(pairs: Sequence[Pair]) -> Predicate:
    """Return what is true of these memberships: one look into the index for each."""
    by_room: dict[int, list[int]] = {}
    for room, user in pairs:
        by_room.setdefault(room, []).append(user)
    choices = [(Member.room == room) & Member.user.in_(users) for room, users in by_room.items()]
    return reduce(or_, choices)


def _standings(rows: Sequence[tuple[int, int, str, int]]) -> dict[Pair, Standing]:
    return {(room, user): Standing(intern(role), read_seq) for room, user, role, read_seq in rows}

"""The chat's queries, and nothing else: each is one round trip."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_
from sys import intern
from typing import Any

import msgspec

from server import User
from server.db import Database, Expression, Predicate, UniqueViolation
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
        count = len(drafts)
        last_rev = Room.select(None, Room.last_rev).where(Room.id == room)
        rows: list[dict[Any, Any]] = []
        for index, draft in enumerate(drafts):
            number = last_rev - (count - 1 - index)
            rows.append(
                {
                    Message.room: room, Message.seq: number, Message.rev: number, Message.user: draft.user.id,
                    Message.nonce: draft.nonce, Message.text: draft.text, Message.sent_at: draft.sent_at,
                    Message.reply_to: draft.reply_to,
                }
            )  # fmt: skip
        raise_counter = Room.update().set(Room.last_rev, Room.last_rev + count).where(Room.id == room)
        results = await self._db.atomic([raise_counter.returning(Room.last_rev), Message.insert_many(None, rows)])
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


def _any_of(pairs: Sequence[Pair]) -> Predicate:
    """Return what is true of these memberships: one look into the index for each."""
    by_room: dict[int, list[int]] = {}
    for room, user in pairs:
        by_room.setdefault(room, []).append(user)
    choices = [(Member.room == room) & Member.user.in_(users) for room, users in by_room.items()]
    return reduce(or_, choices)


def _standings(rows: Sequence[tuple[int, int, str, int]]) -> dict[Pair, Standing]:
    return {(room, user): Standing(intern(role), read_seq) for room, user, role, read_seq in rows}

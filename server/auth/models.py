"""Users and their sessions, as the database keeps them."""

from __future__ import annotations

import datetime as dt

from server.db import Bytes, DbObject, ForeignKey, Integer, Text, Timestamp, now

USED_STEP = dt.timedelta(hours=12)
"""A session's last use is written at most this often."""


class User(DbObject):
    """Somebody: a guest, or a member with a password.

    Attributes:
        name: what others see.
        member_key: the name as names are compared, for members; unique. None for guests, who may share a name.
        role: `guest`, `member` or `admin`.
        password_hash: argon2id, with its parameters; None for guests.
        banned_at: since when they may not come in; None for everybody who may.
    """

    dbo_tablename = "users"
    id = Integer(primary_key=True)
    name = Text(max_length=32)
    member_key = Text(max_length=128, nullable=True, unique=True)
    role = Text(max_length=10, default="guest")
    password_hash = Text(max_length=200, nullable=True)
    created_at = Timestamp(default=now, immutable=True)
    banned_at = Timestamp(nullable=True)


class Session(DbObject):
    """A login: whoever has the token is the user. The token itself is nowhere, only its hash.

    Attributes:
        token_hash: SHA-256 of the token.
        used_at: when it was last used, to the day; it ends some time after that.
    """

    dbo_tablename = "sessions"
    id = Integer(primary_key=True)
    user = ForeignKey(User, on_delete="cascade", index=True, immutable=True)
    token_hash = Bytes(max_length=32, unique=True, immutable=True)
    created_at = Timestamp(default=now, immutable=True)
    used_at = Timestamp(default=now, index=True)

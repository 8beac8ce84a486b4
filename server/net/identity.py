"""Who is at the other end."""

from __future__ import annotations

from typing import Literal

import msgspec

Role = Literal["guest", "member", "admin"]


class Identity(msgspec.Struct, frozen=True):
    """A user, as a connection knows them.

    Args:
        id: the user's id.
        name: the name that others see.
        role: what they are on this server.
        session: the session that brought them; the connection ends when the session does.
    """

    id: int
    name: str
    role: Role
    session: int | None = None

"""The connections of this process, and in which rooms they are."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from typing import Any

from server import Caller, Frame, Subscription
from services.chat import wire
from services.chat.liveroom import LiveRoom


class Here:
    """A connection's part in a room: it receives, and its user is present."""

    __slots__ = ("entry", "room", "subscription", "typed_at")

    def __init__(self, room: LiveRoom, subscription: Subscription, entry: Any) -> None:
        self.room = room
        self.subscription = subscription
        self.entry = entry
        self.typed_at = 0.0

    def leave(self) -> None:
        """Receive nothing more, and be gone."""
        self.subscription.close()
        self.entry.leave()


class Client:
    """What the chat keeps for a connection.

    Attributes:
        rooms: the rooms that it joined, by name.
        order: held while a message is on its way into a room's queue, so that messages queue in the order sent.
    """

    __slots__ = ("order", "rooms", "user")

    def __init__(self, user: wire.User) -> None:
        self.user = user
        self.rooms: dict[str, Here] = {}
        self.order = asyncio.Lock()


class Clients:
    """The connections of this process, by user."""

    def __init__(self) -> None:
        self._of: dict[int, set[Caller]] = {}

    def __contains__(self, user: object) -> bool:
        """Tell whether somebody is connected here."""
        return user in self._of

    def enter(self, caller: Caller) -> None:
        """Take a connection."""
        user = caller.user
        caller.state = Client(wire.User(user.id, user.name))
        self._of.setdefault(user.id, set()).add(caller)

    def leave(self, caller: Caller) -> None:
        """Forget a connection."""
        callers = self._of[caller.user.id]
        callers.discard(caller)
        if not callers:
            del self._of[caller.user.id]

    def of(self, user: int) -> Collection[Caller]:
        """Return somebody's connections."""
        return self._of.get(user, ())

    def tell(self, user: int, event: Frame, but: Caller | None = None) -> None:
        """Tell somebody's devices, all but one."""
        for caller in self.of(user):
            if caller is not but:
                caller.connection.write(event)

    def take_out(self, user: int, room: str) -> bool:
        """Let somebody's devices be in a room no longer; tells whether any was."""
        out = [here for caller in self.of(user) if (here := caller.state.rooms.pop(room, None)) is not None]
        for here in out:
            here.leave()
        return bool(out)

    def places(self) -> Iterator[tuple[LiveRoom, int]]:
        """Yield who is in which room."""
        for user, callers in self._of.items():
            for caller in callers:
                for here in caller.state.rooms.values():
                    yield here.room, user

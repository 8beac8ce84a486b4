"""The rooms that are live in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from services.chat.liveroom import LiveRoom
from services.chat.models import Room
from services.chat.store import Store


class Rooms:
    """The rooms that are live in this process, by name.

    Args:
        store: the chat's queries.
        make: makes a live room of the database's.
    """

    MAX_IDLE = 1024
    IDLE_SECONDS = 60.0

    def __init__(self, store: Store, make: Callable[[Room], LiveRoom]) -> None:
        self._store = store
        self._make = make
        self._rooms: dict[str, LiveRoom] = {}

    def __iter__(self) -> Iterator[LiveRoom]:
        return iter(self._rooms.values())

    def get(self, name: str) -> LiveRoom | None:
        """Return a room that is live already."""
        return self._rooms.get(name)

    async def open(self, name: str) -> LiveRoom | None:
        """Return a room, made live if it was not; None when there is none."""
        room = self._rooms.get(name)
        if room is None:
            row = await self._store.room(name)
            if row is None:
                return None
            room = self._rooms.get(name)  # somebody else may have opened it meanwhile
            if room is None:
                room = self._rooms[name] = self._make(row)
        room.used_at = time.monotonic()
        return room

    def tidy(self) -> None:
        """Forget rooms that were idle for a while, when there are many; and get on with work that was left."""
        quiet = time.monotonic() - self.IDLE_SECONDS
        for room in list(self._rooms.values()):
            room.work()
            if len(self._rooms) > self.MAX_IDLE and room.idle and room.used_at < quiet:
                room.close()
                del self._rooms[room.name]

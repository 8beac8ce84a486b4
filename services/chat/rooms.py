"""The rooms that are live in this process."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

from server import Channel
from services.chat.liveroom import LiveRoom
from services.chat.models import Room
from services.chat.shared import Shared
from services.chat.store import Store

MOST_EARLY = 100
"""Messages of other processes that are kept while a room is opened; if more come, it has a gap, and reads on."""


class Rooms:
    """The rooms that are live in this process, by name.

    Args:
        store: the chat's queries.
        channel: returns the channel of a room, by the room's name.
        settled: waits until what was listened to is heard.
        make: makes a live room of the database's and its channel.
    """

    MAX_IDLE = 1024
    IDLE_SECONDS = 60.0

    def __init__(
        self,
        store: Store,
        channel: Callable[[str], Channel],
        settled: Callable[[], Awaitable[None]],
        make: Callable[[Room, Channel], LiveRoom],
    ) -> None:
        self._store = store
        self._channel = channel
        self._settled = settled
        self._make = make
        self._rooms: dict[str, LiveRoom] = {}
        self._opening: Shared[str, LiveRoom | None] = Shared()

    def __iter__(self) -> Iterator[LiveRoom]:
        return iter(self._rooms.values())

    def get(self, name: str) -> LiveRoom | None:
        """Return a room that is live already."""
        return self._rooms.get(name)

    async def open(self, name: str) -> LiveRoom | None:
        """Return a room, made live if it was not; None when there is none."""
        room = self._rooms.get(name)
        if room is None:
            room = await self._opening.get(name, partial(self._open, name))
            if room is None:
                return None
        room.used_at = time.monotonic()
        return room

    async def _open(self, name: str) -> LiveRoom | None:
        """Listen first and read then: what is committed between the two is heard."""
        channel = self._channel(name)
        early: deque[tuple[str, bytes]] = deque(maxlen=MOST_EARLY)
        stop_listening = channel.listen(lambda process, message: early.append((process, message)))
        try:
            await self._settled()
            row = await self._store.room(name)
            if row is None:
                return None
            room = self._rooms[name] = self._make(row, channel)
            for process, message in early:
                room.hear(process, message)
            return room
        finally:
            stop_listening()

    def tidy(self) -> None:
        """Forget rooms that were idle for a while, when there are many; and get on with work that was left."""
        quiet = time.monotonic() - self.IDLE_SECONDS
        for room in list(self._rooms.values()):
            room.work()
            if len(self._rooms) > self.MAX_IDLE and room.idle and room.used_at < quiet:
                room.close()
                del self._rooms[room.name]

    def close(self) -> None:
        """Hear nothing more of other processes. What is under way goes on."""
        for room in self._rooms.values():
            room.close()

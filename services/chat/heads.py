"""Compares the rooms that are live here with the database, so that a lost last event is found too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from server.db import DatabaseError
from services.chat.liveroom import LiveRoom
from services.chat.rooms import Rooms
from services.chat.store import Store

MOST_HEADS = 500
"""Rooms of one query."""
MOST_READ = 20
"""Rooms whose missing events are read at once: after a fault all rooms may be behind."""
QUERY_SECONDS = 10.0
"""A query that takes longer is given up on; the next comparison is not far."""


class Heads:
    """Compares the numbers of rooms' last events.

    Args:
        store: the chat's queries.
        rooms: the rooms that are live here.
        spawn: runs the comparison.
        limit: gives up, with TimeoutError, on what takes longer than so many seconds.
    """

    def __init__(
        self,
        store: Store,
        rooms: Rooms,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        limit: Callable[[float], AbstractContextManager[None]],
    ) -> None:
        self._store = store
        self._rooms = rooms
        self._spawn = spawn
        self._limit = limit
        self._wanted = False
        self._comparing: asyncio.Task[None] | None = None

    def compare(self) -> asyncio.Task[None]:
        """Compare all rooms with the database; once more where that is under way already.

        Returns:
            What is done when every room has what the database had at this moment, or when the database is away.
        """
        self._wanted = True
        if self._comparing is None or self._comparing.done():
            self._comparing = self._spawn(self._compare())
        return self._comparing

    async def _compare(self) -> None:
        while self._wanted:
            self._wanted = False
            for rooms in _parts(list(self._rooms), MOST_HEADS):
                try:
                    with self._limit(QUERY_SECONDS):
                        heads = await self._store.heads([live.row.id for live in rooms])
                except (DatabaseError, TimeoutError):
                    return  # who needs the database finds out, and says so
                behind = [live for live in rooms if heads.get(live.row.id, 0) > live.published_rev]
                for few in _parts([live for live in behind if not live.committing], MOST_READ):
                    await asyncio.gather(*(live.catch_up() for live in few))


def _parts(rooms: Sequence[LiveRoom], size: int) -> Iterator[Sequence[LiveRoom]]:
    for begin in range(0, len(rooms), size):
        yield rooms[begin : begin + size]

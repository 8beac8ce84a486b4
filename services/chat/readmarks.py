"""Read marks that are not written yet: they are many, and nobody waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from server.db import DatabaseError
from services.chat.store import Pair, Store


class ReadMarks:
    """Collects read marks and writes them together.

    Args:
        store: the chat's queries.
        warn: logs what an operator should know.
    """

    def __init__(self, store: Store, warn: Callable[..., None]) -> None:
        self._store = store
        self._warn = warn
        self._marks: dict[Pair, int] = {}
        self._writing = asyncio.Lock()

    def note(self, room: int, user: int, seq: int) -> None:
        """Take a mark."""
        self._marks[room, user] = seq

    def drop(self, room: int, user: int) -> None:
        """Forget a mark: the membership has ended."""
        self._marks.pop((room, user), None)

    async def write(self) -> None:
        """Write what was collected; what could not be written is kept for the next time."""
        async with self._writing:  # the end waits for a write that the tick began, and does again what failed
            marks, self._marks = self._marks, {}
            if not marks:
                return
            try:
                await self._store.mark_read([(room, user, seq) for (room, user), seq in marks.items()])
            except DatabaseError as error:
                self._warn("read marks not written yet", problem=str(error))
                self._marks = {**marks, **self._marks}

"""Pages of a room's history: from memory where it reaches so far back, else from the database, once for all who ask."""

from __future__ import annotations

from functools import partial

from server import Conflict
from services.chat import wire
from services.chat.liveroom import LiveRoom
from services.chat.recent import Answer
from services.chat.shared import Shared
from services.chat.store import Store

SNAPSHOT_TRIES = 20
"""A try is in vain when more happens during a read than memory holds: half of them, where it holds next to nothing."""


class Pages:
    """Reads the history.

    Args:
        store: the chat's queries.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._snapshots: Shared[tuple[int, int | None, int, int], tuple[list[wire.Entry], bool]] = Shared()
        self._pages: Shared[tuple[int, int, int, int], Answer] = Shared()

    async def snapshot(self, live: LiveRoom, after: int | None, limit: int) -> Answer:
        """Return the messages for a join, as of `published_rev` at the moment of the return, and whether all.

        Raises:
            Conflict: events come faster than the database can be read.
        """
        snapshot = live.recent.snapshot(after, limit)
        if snapshot is None:
            await live.remember()
            snapshot = live.recent.snapshot(after, limit)
        for _ in range(SNAPSHOT_TRIES):
            if snapshot is not None:
                return snapshot
            upto = live.published_rev
            entries, whole = await self._snapshots.get(
                (live.row.id, after, upto, limit), partial(self.read_snapshot, live, after, upto, limit)
            )
            missed = live.recent.since(upto)
            if missed is not None:
                return Answer(wire.array(_merged(entries, missed, by_rev=after is not None and whole)), whole)
            snapshot = live.recent.snapshot(after, limit)
        raise Conflict("This room is too busy to join. Try again.")

    async def page(self, live: LiveRoom, before: int, limit: int) -> Answer:
        """Return the newest messages before one, and whether there are none older."""
        if live.unsure:  # what was acknowledged may be in the database only
            return await self.read_page(live, before, limit)
        known = live.recent.page(before, limit)
        if known is not None:
            return known
        question = (live.row.id, before, limit, live.published_rev)
        return await self._pages.get(question, partial(self.read_page, live, before, limit))

    async def read_snapshot(
        self, live: LiveRoom, after: int | None, upto: int, limit: int
    ) -> tuple[list[wire.Entry], bool]:
        """Read the messages for a join as of an event."""
        if after is not None and after <= upto:
            changed = await self._store.changed(live.row, after, upto, limit + 1)
            if len(changed) <= limit:
                return changed, True
        page = await self._store.page(live.row, upto + 1, limit + 1)
        more = len(page) > limit
        return (page[1:] if more else page), after is None and not more

    async def read_page(self, live: LiveRoom, before: int, limit: int) -> Answer:
        """Read the newest messages before one."""
        page = await self._store.page(live.row, before, limit + 1)
        more = len(page) > limit
        return Answer(wire.array(page[1:] if more else page), not more)


def _merged(entries: list[wire.Entry], missed: list[wire.Entry], *, by_rev: bool) -> list[wire.Entry]:
    """Lay newer states of messages over older ones; in the order of changes, or of the room."""
    if not missed:
        return entries
    merged = {entry.seq: entry for entry in (*entries, *missed)}
    return sorted(merged.values(), key=(lambda entry: entry.rev) if by_rev else (lambda entry: entry.seq))

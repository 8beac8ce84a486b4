"""Who is a member of a room, as this process knows it.

What is asked while the database works is asked together: a thousand who come at the same moment cost a few queries.
What is known changes in the order in which the database did: looks, joins and leaves stand in one queue. Otherwise an
answer that is late would bring back what a leave has ended.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any

from server import Unavailable
from server.db import DatabaseError
from services.chat.store import Standing, Store

MOST_TOGETHER = 500
"""Users of one query."""
QUERY_SECONDS = 10.0
"""What takes longer is given up on; clients are told to try again."""


class _Wish(Enum):
    LOOK = 1
    JOIN = 2
    LEAVE = 3


class _Asked:
    """What somebody waits for."""

    __slots__ = ("done", "user", "wish")

    def __init__(self, wish: _Wish, user: int) -> None:
        self.wish = wish
        self.user = user
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()


class Membership:
    """The members of one room.

    Args:
        room: the room's id.
        store: the chat's queries.
        spawn: runs the coroutine that asks the database.
    """

    __slots__ = ("_known", "_leaving", "_queue", "_room", "_spawn", "_store", "_working")

    def __init__(self, room: int, store: Store, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        self._room = room
        self._store = store
        self._spawn = spawn
        self._known: dict[int, Standing] = {}
        self._leaving: Counter[int] = Counter()  # users, and how many of their leaves are not done
        self._queue: deque[_Asked] = deque()
        self._working = False

    def known(self, user: int) -> Standing | None:
        """Return what somebody is, as far as that is known without asking."""
        return self._known.get(user)

    async def look(self, user: int) -> Standing | None:
        """Return what somebody is; None when they are no member."""
        if user not in self._known or user in self._leaving:
            await self._ask(_Wish.LOOK, user)
        return self._known.get(user)

    async def join(self, user: int) -> bool:
        """Make somebody a member; tells whether they were none before."""
        if user in self._known and user not in self._leaving:
            return False
        return await self._ask(_Wish.JOIN, user)

    async def leave(self, user: int) -> None:
        """End somebody's membership."""
        self._leaving[user] += 1
        await self._ask(_Wish.LEAVE, user)

    def _ask(self, wish: _Wish, user: int) -> asyncio.Future[bool]:
        asked = _Asked(wish, user)
        self._queue.append(asked)
        if not self._working:
            self._working = True
            self._spawn(self._work())
        return asked.done

    async def _work(self) -> None:
        together: list[_Asked] = []
        try:
            while self._queue:
                together = self._take()
                try:
                    async with asyncio.timeout(QUERY_SECONDS):
                        await self._settle(together)
                except DatabaseError as error:
                    _fail(together, error)
                except TimeoutError:
                    _fail(together, Unavailable())
                self._left(together)
                together = []
        finally:
            self._working = False
            together += self._queue
            self._queue.clear()
            self._left(together)
            _fail(together, Unavailable())  # nobody may wait for ever, whatever it was

    def _take(self) -> list[_Asked]:
        """Take what can be asked together: leaves, or anything but leaves."""
        together = [self._queue.popleft()]
        leaving = together[0].wish is _Wish.LEAVE
        while self._queue and len(together) < MOST_TOGETHER and (self._queue[0].wish is _Wish.LEAVE) is leaving:
            together.append(self._queue.popleft())
        return together

    def _left(self, together: list[_Asked]) -> None:
        """Note that leaves are over, whatever came of them."""
        for asked in together:
            if asked.wish is _Wish.LEAVE:
                self._leaving[asked.user] -= 1
                if not self._leaving[asked.user]:
                    del self._leaving[asked.user]

    async def _settle(self, together: list[_Asked]) -> None:
        users = sorted({asked.user for asked in together})
        if together[0].wish is _Wish.LEAVE:
            await self._store.remove_members(self._room, users)
            for user in users:
                self._known.pop(user, None)
            _answer(together, set())
            return
        self._known.update(await self._store.members(self._room, users))
        joining = sorted({asked.user for asked in together if asked.wish is _Wish.JOIN} - self._known.keys())
        if joining:
            self._known.update(await self._store.add_members(self._room, joining))
        _answer(together, set(joining))


def _answer(together: list[_Asked], joined: set[int]) -> None:
    """Tell everybody that it is done; of those who joined twice, one is told that it was new."""
    for asked in together:
        new = asked.wish is _Wish.JOIN and asked.user in joined
        if new:
            joined.remove(asked.user)
        if not asked.done.done():
            asked.done.set_result(new)


def _fail(together: list[_Asked], error: Exception) -> None:
    for asked in together:
        if not asked.done.done():
            asked.done.set_exception(error)

"""Who is a member of which room, as this process knows it.

What is asked while the database works is asked together: a thousand who come at the same moment cost a few queries.
What is known changes in the order in which the database did: looks, joins and leaves stand in one queue. Otherwise an
answer that is late would bring back what a leave has ended. What other processes do is not in that queue: they tell of
it, and then it is looked at again.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Collection, Container, Coroutine, Sequence
from enum import Enum
from typing import Any

from server import Unavailable
from server.db import DatabaseError
from services.chat.store import Pair, Standing, Store

MOST_TOGETHER = 200
"""Memberships of one query."""
QUERY_SECONDS = 10.0
"""What takes longer is given up on; clients are told to try again."""


class _Wish(Enum):
    LOOK = 1
    JOIN = 2
    LEAVE = 3


class _Asked:
    """What somebody waits for."""

    __slots__ = ("done", "members", "user", "wish")

    def __init__(self, wish: _Wish, members: Members, user: int) -> None:
        self.wish = wish
        self.members = members
        self.user = user
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    @property
    def pair(self) -> Pair:
        return self.members.room, self.user


class Members:
    """The members of one room. Made by `Memberships.of`.

    Attributes:
        room: the room's id.
    """

    __slots__ = ("_all", "_known", "_leaving", "room")

    def __init__(self, room: int, memberships: Memberships) -> None:
        self.room = room
        self._all = memberships
        self._known: dict[int, Standing] = {}
        self._leaving: Counter[int] | None = None  # users, and how many of their leaves are not done

    def known(self, user: int) -> Standing | None:
        """Return what somebody is, as far as that is known without asking."""
        return self._known.get(user)

    async def look(self, user: int) -> Standing | None:
        """Return what somebody is; None when they are no member."""
        if not self._settled(user):
            await self._all.ask(_Asked(_Wish.LOOK, self, user))
        return self._known.get(user)

    async def join(self, user: int, *, anew: bool = False) -> bool:
        """Make somebody a member; tells whether they were none before.

        Args:
            user: who.
            anew: ask the database, whatever is known: they may have left in another process a moment ago.
        """
        return (anew or not self._settled(user)) and await self._all.ask(_Asked(_Wish.JOIN, self, user))

    async def look_again(self, user: int) -> Standing | None:
        """Ask the database what somebody is, whatever is known: another process may have changed it."""
        await self._all.ask(_Asked(_Wish.LOOK, self, user))
        return self._known.get(user)

    async def leave(self, user: int) -> None:
        """End somebody's membership."""
        if self._leaving is None:
            self._leaving = Counter()
        self._leaving[user] += 1
        await self._all.ask(_Asked(_Wish.LEAVE, self, user))

    def _settled(self, user: int) -> bool:
        """Tell whether somebody is a member, and nothing is under way that ends it."""
        return user in self._known and (self._leaving is None or user not in self._leaving)

    def doubt(self, connected: Container[int]) -> Collection[int]:
        """Forget those who are not connected here; returns the others, of whom it is to be looked again.

        What a request of theirs has found a moment ago is not taken from under it.
        """
        self._known = {user: standing for user, standing in self._known.items() if user in connected}
        return self._known.keys()

    # What the queue knows.

    def learn(self, user: int, standing: Standing) -> None:
        """Remember what somebody is."""
        known = self._known.get(user)
        if known is not None:  # its read mark may be ahead of the database's
            standing.read_seq = max(standing.read_seq, known.read_seq)
        self._known[user] = standing

    def forget(self, user: int) -> None:
        """Remember that somebody is nothing here."""
        self._known.pop(user, None)

    def left(self, user: int) -> None:
        """Note that a leave is over, whatever came of it."""
        if self._leaving is not None:
            self._leaving[user] -= 1
            if not self._leaving[user]:
                del self._leaving[user]
            if not self._leaving:
                self._leaving = None


class Memberships:
    """The queue of everybody's looks, joins and leaves.

    Args:
        store: the chat's queries.
        spawn: runs the coroutine that asks the database.
    """

    def __init__(self, store: Store, spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]) -> None:
        self._store = store
        self._spawn = spawn
        self._queue: deque[_Asked] = deque()
        self._worker: asyncio.Task[None] | None = None

    def of(self, room: int) -> Members:
        """Return the members of a room, of which nothing is known yet."""
        return Members(room, self)

    def ask(self, asked: _Asked) -> asyncio.Future[bool]:
        """Stand in the queue; this is `Members`'s to call."""
        self._queue.append(asked)
        if self._worker is None or self._worker.done():
            self._worker = self._spawn(self._work())
            self._worker.add_done_callback(self._worked)
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
                    _end_leaves(together)
                    _fail(together, error)
                except TimeoutError:
                    _end_leaves(together)
                    _fail(together, Unavailable())
                together = []
        finally:
            _end_leaves(together)
            _fail(together, Unavailable())  # nobody may wait for ever, whatever it was

    def _worked(self, worker: asyncio.Task[None]) -> None:
        """Tell those who still stand in the queue: the work has failed, or was cancelled before it began."""
        if worker is self._worker:
            rest = list(self._queue)
            self._queue.clear()
            _end_leaves(rest)
            _fail(rest, Unavailable())

    def _take(self) -> list[_Asked]:
        """Take what can be asked together: leaves, or anything but leaves."""
        together = [self._queue.popleft()]
        leaving = together[0].wish is _Wish.LEAVE
        while self._queue and len(together) < MOST_TOGETHER and (self._queue[0].wish is _Wish.LEAVE) is leaving:
            together.append(self._queue.popleft())
        return together

    async def _settle(self, together: Sequence[_Asked]) -> None:
        pairs = list(dict.fromkeys(asked.pair for asked in together))
        if together[0].wish is _Wish.LEAVE:
            await self._store.remove_members(pairs)
            _end_leaves(together)
            _answer(together, set())
            return
        standings = await self._store.members(pairs)
        joining = {asked.pair for asked in together if asked.wish is _Wish.JOIN} - standings.keys()
        if joining:
            standings |= await self._store.add_members(sorted(joining))
        for asked in together:
            if asked.pair in standings:
                asked.members.learn(asked.user, standings[asked.pair])
            else:
                asked.members.forget(asked.user)  # it was ended in another process
        _answer(together, joining)


def _answer(together: Sequence[_Asked], joined: set[Pair]) -> None:
    """Tell everybody that it is done; of those who joined twice and still wait, one is told that it was new."""
    for asked in together:
        if asked.done.done():
            continue  # cancelled
        new = asked.wish is _Wish.JOIN and asked.pair in joined
        if new:
            joined.remove(asked.pair)
        asked.done.set_result(new)


def _end_leaves(together: Sequence[_Asked]) -> None:
    """Forget who left; where that failed the database may have done it all the same, and who asks next finds out."""
    for asked in together:
        if asked.wish is _Wish.LEAVE:
            asked.members.forget(asked.user)
            asked.members.left(asked.user)


def _fail(together: Sequence[_Asked], error: Exception) -> None:
    for asked in together:
        if not asked.done.done():
            asked.done.set_exception(error)

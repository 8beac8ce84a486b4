"""Takes people out of rooms whose membership has ended in another process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from server import Unavailable, notification
from server.db import DatabaseError
from services.chat.clients import Clients
from services.chat.liveroom import LiveRoom

MOST_TOGETHER = 200
"""Memberships that are looked at together: one query."""

Place = tuple[LiveRoom, int]
"""A room and a user."""


class Checks:
    """Looks, in the database, whether people are members still.

    Args:
        clients: who is connected here.
        spawn: runs the look.
    """

    def __init__(self, clients: Clients, spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]) -> None:
        self._clients = clients
        self._spawn = spawn
        self._suspects: dict[Place, None] = {}
        self._checking: asyncio.Task[None] | None = None

    def suspect(self, places: Iterable[Place]) -> None:
        """Look whether these are members."""
        self._suspects.update(dict.fromkeys(places))
        self.work()

    def work(self) -> None:
        """Look at those who were not looked at yet, unless that is under way."""
        if self._suspects and (self._checking is None or self._checking.done()):
            self._checking = self._spawn(self._check())

    async def _check(self) -> None:
        while self._suspects:
            together = list(self._suspects)[:MOST_TOGETHER]
            for place in together:
                del self._suspects[place]
            looks = (live.members.look_again(user) for live, user in together)
            found = await asyncio.gather(*looks, return_exceptions=True)
            failed = {place: None for place, standing in zip(together, found, strict=True) if _is_later(standing)}
            for (live, user), standing in zip(together, found, strict=True):
                joined_since = live.members.known(user) is not None
                if standing is None and not joined_since and self._clients.take_out(user, live.name):
                    self._clients.tell(user, notification("room", live.seen_by(user)))
            if failed:
                self._suspects = {**failed, **self._suspects}  # `work`, which runs now and then, tries again
                return


def _is_later(standing: object) -> bool:
    """Tell whether somebody has to be looked at later.

    Raises:
        BaseException: a look failed as it should not.
    """
    if isinstance(standing, BaseException) and not isinstance(standing, DatabaseError | Unavailable):
        raise standing
    return isinstance(standing, BaseException)

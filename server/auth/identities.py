"""Identities that are remembered, so that a thousand sockets that come back at once cost no query each."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from server.net.identity import Identity

MAX_CACHED = 16384
"""Sessions whose identity is remembered."""
CACHE_SECONDS = 60.0
MAX_FORGOTTEN = 1024
"""Users of whom is known when they were forgotten: more than can be while one query runs."""


class Identities:
    """Whom a token's hash tells, for a short while.

    What the database says takes a moment to arrive, and may be over by then. So whoever asks it takes a `mark` before,
    and what was forgotten since is not remembered.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[bytes, tuple[float, Identity]] = OrderedDict()
        self._forgotten: OrderedDict[int, int] = OrderedDict()
        self._all_forgotten = 0
        self.mark = 0

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._known)

    def get(self, token_hash: bytes) -> Identity | None:
        """Return who has a token, where that is remembered."""
        known = self._known.get(token_hash)
        return known[1] if known is not None and known[0] > self._clock() else None

    def remember(self, token_hash: bytes, identity: Identity, mark: int) -> bool:
        """Remember who has a token.

        Args:
            token_hash: the token's hash.
            identity: who it is.
            mark: what `mark` was before the database was asked.

        Returns:
            False when the user was forgotten since: ask again.
        """
        if max(self._all_forgotten, self._forgotten.get(identity.id, 0)) > mark:
            return False
        self._known[token_hash] = (self._clock() + CACHE_SECONDS, identity)
        self._known.move_to_end(token_hash)
        if len(self._known) > MAX_CACHED:
            self._known.popitem(last=False)
        return True

    def drop(self, token_hash: bytes) -> None:
        """Remember a token no more."""
        self._known.pop(token_hash, None)

    def forget(self, user: int) -> None:
        """Forget a user: something about their sessions changed."""
        self.mark += 1
        self._forgotten[user] = self.mark
        self._forgotten.move_to_end(user)
        if len(self._forgotten) > MAX_FORGOTTEN:
            self._forgotten.popitem(last=False)
        for token_hash in [h for h, (_, identity) in self._known.items() if identity.id == user]:
            del self._known[token_hash]

    def forget_all(self) -> None:
        """Forget everybody: what changed is not known."""
        self.mark += 1
        self._all_forgotten = self.mark
        self._known.clear()
        self._forgotten.clear()

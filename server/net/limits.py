"""Limits by key: how often, and how many at once."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

MAX_KEYS = 65536
"""How many keys a limiter remembers, so that a flood of addresses cannot fill the memory."""

_ROUNDING_SECONDS = 1e-9


class RateLimiter:
    """A token bucket for each key: so many a minute, in bursts of at most so many.

    Args:
        per_minute: how often on the average; 0 switches the limit off.
        burst: how often at once after a pause; by default a quarter of `per_minute`, at least 5.
        clock: monotonic seconds.

    Attributes:
        on_take: is called with the key of every token that was taken, but not of what was charged.
    """

    __slots__ = ("_burst", "_clock", "_empty_at", "_seconds", "on_take")

    def __init__(self, per_minute: int, burst: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = 60 / per_minute if per_minute else 0.0
        self._burst = max(1, max(5, per_minute // 4) if burst is None else burst)
        self._clock = clock
        # A bucket is one number: the moment at which everything taken so far has been earned (the GCRA form).
        self._empty_at: OrderedDict[object, float] = OrderedDict()
        self.on_take: Callable[[object], None] | None = None

    def take(self, key: object) -> float:
        """Take one token.

        Returns:
            0.0 when it was there, else the seconds until the next one is; then nothing is taken.
        """
        wait = self.peek(key)
        if self._seconds and not wait:
            self.charge(key)
            if self.on_take is not None:
                self.on_take(key)
        return wait

    def charge(self, key: object, count: int = 1) -> None:
        """Take tokens, whether they are there or not: they were used already, elsewhere."""
        if not self._seconds:
            return
        now = self._clock()
        self._empty_at[key] = max(self._empty_at.get(key, now), now) + count * self._seconds
        self._empty_at.move_to_end(key)
        if len(self._empty_at) > MAX_KEYS:
            self._forget(now)

    def peek(self, key: object) -> float:
        """Return what `take` would, and take nothing."""
        if not self._seconds:
            return 0.0
        now = self._clock()
        wait = self._empty_at.get(key, now) - now - (self._burst - 1) * self._seconds
        return wait if wait > _ROUNDING_SECONDS else 0.0

    def _forget(self, now: float) -> None:
        """Drop the full buckets, or the oldest where none is full."""
        for key in [key for key, moment in self._empty_at.items() if moment <= now]:
            del self._empty_at[key]
        while len(self._empty_at) > MAX_KEYS:
            self._empty_at.popitem(last=False)


class Occupancy:
    """Counts what is held at once under each key.

    Args:
        limit: how many at the most; 0 switches the limit off.
    """

    __slots__ = ("_counts", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._counts: dict[str, int] = {}

    def enter(self, key: str) -> bool:
        """Take a place; False when all are taken."""
        count = self._counts.get(key, 0)
        if self._limit and count >= self._limit:
            return False
        self._counts[key] = count + 1
        return True

    def leave(self, key: str) -> None:
        """Give a place back."""
        count = self._counts[key] - 1
        if count:
            self._counts[key] = count
        else:
            del self._counts[key]

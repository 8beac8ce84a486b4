"""Keep-alive for all connections by one timer.

A client that is silent for a period is pinged; one that stays silent for another period is gone: half-open TCP is
found, and an idle connection has no timer of its own.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

SLICES = 20
"""Parts of a period: the connections are looked at in turn, so that ten thousand pings never leave in one tick."""


class Pulse(Protocol):
    """What the heartbeat asks of a connection."""

    def beat(self) -> None:
        """One period is over: ping it when it was silent, drop it when it did not answer."""


class Heartbeat:
    """Beats every connection once a period.

    Args:
        period_seconds: 0 switches the heartbeat off.
    """

    def __init__(self, period_seconds: float) -> None:
        self._period = period_seconds
        self._slices: list[set[Pulse]] = [set() for _ in range(SLICES)]
        self._turn = 0
        self._joining = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, member: Pulse) -> int:
        """Take a connection in; returns the slice to name when it leaves."""
        self._joining = (self._joining + 1) % SLICES
        self._slices[self._joining].add(member)
        return self._joining

    def remove(self, member: Pulse, slice_: int) -> None:
        """Let a connection go."""
        self._slices[slice_].discard(member)

    def start(self) -> None:
        """Begin to beat."""
        if self._period:
            self._timer = asyncio.get_running_loop().call_later(self._period / SLICES, self._tick)

    def stop(self) -> None:
        """Beat no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self.beat()
        self.start()

    def beat(self) -> None:
        """Beat the connections of the next slice."""
        self._turn = (self._turn + 1) % SLICES
        for member in tuple(self._slices[self._turn]):
            member.beat()

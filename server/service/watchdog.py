"""Finds the service that blocks the event loop.

A blocked loop cannot look for the reason itself, so a thread does: it notices that the loop is late, reads the
loop's stack, and finds the service by the file that is running.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType

import msgspec

from server.log import Log

LATE_SECONDS = 0.5
"""A loop that is later than this is blocked."""

HANGING_SECONDS = 5.0
"""A loop that is later than this is named while it lasts, for it may never end."""

BEAT_SECONDS = 0.1
"""How exactly a stall is measured; a beat costs some microseconds."""

log = Log("watchdog")


class Stall(msgspec.Struct, frozen=True):
    """The event loop was blocked.

    Args:
        service: whose code ran; None when it was no service's.
        seconds: for how long.
        place: file and line that ran when it was noticed.
    """

    service: str | None
    seconds: float
    place: str


class _Sight(msgspec.Struct, frozen=True):
    """What the thread saw while the loop was blocked."""

    service: str | None
    place: str


class Watchdog:
    """Watches the running event loop.

    Args:
        homes: for each service, what the paths of its files begin with.
        report: called on the loop with each stall once it is over.
    """

    def __init__(self, homes: Mapping[str, str], report: Callable[[Stall], None]) -> None:
        self._homes = homes
        self._report = report
        self._beat_at = time.monotonic()
        self._sight: _Sight | None = None
        self._stopped = threading.Event()
        self._watched = 0
        self._timer: asyncio.TimerHandle | None = None
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch the loop of the calling thread."""
        self._watched = threading.get_ident()
        self._beat_at = time.monotonic()
        self._beat()
        self._thread.start()

    async def stop(self) -> None:
        """Watch no more."""
        self._stopped.set()
        await asyncio.to_thread(self._thread.join)
        if self._timer is not None:
            self._timer.cancel()

    def _beat(self) -> None:
        """Runs on the loop; when it is late, the thread has seen why."""
        now = time.monotonic()
        seconds, self._beat_at = now - self._beat_at, now
        sight, self._sight = self._sight, None
        if sight is not None and seconds > LATE_SECONDS:
            self._report(Stall(sight.service, round(seconds, 3), sight.place))
        self._timer = asyncio.get_running_loop().call_later(BEAT_SECONDS, self._beat)

    def _watch(self) -> None:
        """Runs in the thread."""
        named_at = 0.0
        while not self._stopped.wait(BEAT_SECONDS):
            beat_at = self._beat_at
            late = time.monotonic() - beat_at
            if late > LATE_SECONDS and (self._sight is None or self._sight.service is None):
                seen = self._look()
                if self._sight is None or seen.service is not None:  # a later look may be when it is over
                    self._sight = seen
            sight = self._sight
            if late > HANGING_SECONDS and sight is not None and named_at != beat_at:
                named_at = beat_at
                log.error("the event loop hangs", service=sight.service, place=sight.place, seconds=round(late, 1))

    def _look(self) -> _Sight:
        """Return the service whose code runs, and the place in it; else the innermost place."""
        frame = sys._current_frames().get(self._watched)  # noqa: SLF001 documented, for exactly this
        innermost = _place(frame)
        while frame is not None:
            for service, home in self._homes.items():
                file = frame.f_code.co_filename
                if file == home or (home.endswith(os.sep) and file.startswith(home)):
                    return _Sight(service, _place(frame))
            frame = frame.f_back
        return _Sight(None, innermost)


def _place(frame: FrameType | None) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else "unknown"

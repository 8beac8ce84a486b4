"""Finds the service that blocks the event loop.

A blocked loop cannot look for the reason itself, so a thread does: it notices that the loop is late, reads the main
thread's stack, and finds the service by the file that is running.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType

LATE_SECONDS = 0.5
"""A loop that is later than this is blocked."""
BEAT_SECONDS = 0.1

Report = Callable[[str | None, float, str], None]
"""Called on the loop with the service, or None where it is none's file; the stall in seconds; and the place."""


class Watchdog:
    """Watches the running event loop.

    Args:
        folders: for each service its file or folder.
        report: told of each stall once it is over.
    """

    def __init__(self, folders: Iterable[tuple[str, Path]], report: Report) -> None:
        self._folders = [(name, str(path)) for name, path in folders]
        self._report = report
        self._beat_at = time.monotonic()
        self._seen: tuple[str | None, str] | None = None
        self._stopped = threading.Event()
        self._watched = threading.main_thread().ident
        self._timer: asyncio.TimerHandle | None = None
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._watched = threading.get_ident()
        self._beat()
        self._thread.start()

    async def stop(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._stopped.set()
        await asyncio.to_thread(self._thread.join)

    def _beat(self) -> None:
        """Runs on the loop; when it was late, the thread has seen why."""
        now = time.monotonic()
        stall, self._beat_at = now - self._beat_at, now
        seen, self._seen = self._seen, None
        if seen is not None and stall > LATE_SECONDS:
            self._report(seen[0], stall, seen[1])
        self._timer = asyncio.get_running_loop().call_later(BEAT_SECONDS, self._beat)

    def _watch(self) -> None:
        """Runs in the thread."""
        while not self._stopped.wait(BEAT_SECONDS):
            if self._seen is None and time.monotonic() - self._beat_at > LATE_SECONDS:
                self._seen = self._look()

    def _look(self) -> tuple[str | None, str]:
        """Return the service whose code runs, and the place in it; else the innermost place."""
        frame = sys._current_frames().get(self._watched or 0)  # noqa: SLF001 documented, for exactly this
        innermost = _place(frame)
        while frame is not None:
            for name, folder in self._folders:
                if frame.f_code.co_filename.startswith(folder):
                    return name, _place(frame)
            frame = frame.f_back
        return None, innermost


def _place(frame: FrameType | None) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else "unknown"

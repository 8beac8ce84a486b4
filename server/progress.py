"""How far a long command is: one line that changes on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import TextIO

REDRAWN_SECONDS = 0.1
"""How often the line on a terminal is drawn anew, at the most."""
LINE_SECONDS = 5.0
"""How often there is a line where there is no terminal, such as in a log."""
BAR_COLUMNS = 24


class ProgressBar:
    """Shows how much of something is done, how fast it goes and how long it will take.

    Args:
        stream: where to, such as standard error.
        clock: seconds that only go forward.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._terminal = stream.isatty()
        self._began = clock()
        self._before = 0  # what was done before this began, by an earlier run
        self._started = False
        self._shown_at = float("-inf") if self._terminal else self._began
        self._shown = False

    def show(self, doing: str, done: int, total: int) -> None:
        """Say how far it is; most calls show nothing.

        Args:
            doing: what is done at the moment.
            done: how much of it is done.
            total: how much there is.
        """
        now = self._clock()
        if not self._started:
            self._started, self._before = True, done
        if now - self._shown_at < (REDRAWN_SECONDS if self._terminal else LINE_SECONDS):
            return
        self._shown_at, self._shown = now, True
        text = line(doing, done, total, (done - self._before) / max(now - self._began, 1e-9))
        if self._terminal:
            columns = shutil.get_terminal_size().columns - 1
            self._stream.write(f"\r\x1b[K{text[:columns]}")
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()

    def close(self) -> None:
        """Take the line away, so that what follows stands alone."""
        if self._terminal and self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def line(doing: str, done: int, total: int, rate: float) -> str:
    """Return what is shown.

    Args:
        doing: what is done at the moment.
        done: how much of it is done.
        total: how much there is.
        rate: how much is done in a second.
    """
    part = min(1.0, done / total) if total else 1.0
    filled = int(part * BAR_COLUMNS)
    bar = "#" * filled + "." * (BAR_COLUMNS - filled)
    left = _duration((total - done) / rate) if rate > 0 else "?"
    return f"[{bar}] {int(part * 100):3}%  {rate:,.0f} rows/s  {left} left  {doing}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"

"""Gaps: the moments at which publications of other processes may have been lost."""

from __future__ import annotations

from collections.abc import Callable

from server.log import Log
from server.pubsub.peers import Scheduler, Timer, loop_scheduler

GAP_SECONDS = 1.0
"""Gaps that follow each other within this time are one: whoever hears of one reads the database."""

log = Log("pubsub")


class Gaps:
    """Tells those who want to know that there was a gap: at once, and then at most once in `GAP_SECONDS`.

    Args:
        scheduler: what runs the timer; by default the running event loop.

    Attributes:
        count: how often they were told.
    """

    def __init__(self, scheduler: Scheduler = loop_scheduler) -> None:
        self._scheduler = scheduler
        self._callbacks: list[Callable[[], None]] = []
        self._timer: Timer | None = None
        self._again = False
        self.count = 0

    def listen(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever there was a gap."""
        self._callbacks.append(callback)

    def tell(self) -> None:
        """Say that there was one; those who are told already, and may still be reading, are told again later."""
        if self._timer is not None:
            self._again = True
            return
        self.count += 1
        self._timer = self._scheduler(GAP_SECONDS, self._over)
        for callback in tuple(self._callbacks):
            try:
                callback()
            except Exception as error:  # the others have to hear of it
                log.error("what is to be done about a gap failed", error=error)

    def stop(self) -> None:
        """Tell nobody any more of what was."""
        self._again = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _over(self) -> None:
        self._timer = None
        if self._again:
            self._again = False
            self.tell()

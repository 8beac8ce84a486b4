"""Incidents: failures of a service's own code, each found in the log by its id."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from server.errors import new_incident
from server.log import Log
from server.net.limits import RateLimiter

OFTEN = 10
OFTEN_SECONDS = 60.0
"""A service with so many incidents within so many seconds is named as one that raises often."""

LOGGED_PER_MINUTE = 30
"""Tracebacks of one line of code a minute; a service that raises on every message must not fill the disk."""

Place = tuple[type[BaseException], str, int]


class Incidents:
    """What went wrong in one service.

    Args:
        log: where it is written.
        clock: monotonic seconds.

    Attributes:
        count: incidents since the start.
    """

    def __init__(self, log: Log, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._limiter = RateLimiter(LOGGED_PER_MINUTE, clock=clock)
        self._ids: dict[Place, str] = {}
        self._recent: deque[float] = deque(maxlen=OFTEN)
        self._warned = False
        self._latest = ""
        self.count = 0

    def record(self, error: BaseException, **fields: object) -> str:
        """Log a failure with its traceback.

        Args:
            error: what was raised.
            fields: what else helps to find the reason; no message text, password, cookie or token.

        Returns:
            The id under which the log has it. A line of code that fails again and again is not logged each
            time; then it is the id under which the same failure was logged before.
        """
        self.count += 1
        self._recent.append(self._clock())
        place = _place(error)
        incident = self._ids.get(place)
        if incident is None or not self._limiter.take(place):
            incident = self._ids[place] = new_incident()
            self._log.error("service failed", error=error, incident=incident, **fields)
        self._latest = f"{type(error).__name__}, incident {incident}"
        self._warn()
        return incident

    @property
    def problem(self) -> str:
        """A sentence for the operator while the service raises often, else nothing."""
        if len(self._recent) < OFTEN or self._clock() - self._recent[0] > OFTEN_SECONDS:
            return ""
        return f"raises often: {OFTEN} times within {OFTEN_SECONDS:.0f} seconds, the latest {self._latest}"

    def _warn(self) -> None:
        """Say it once when a service begins to raise often."""
        problem = self.problem
        if problem and not self._warned:
            self._log.warning("service raises often", incidents=self.count)
        self._warned = bool(problem)


def _place(error: BaseException) -> Place:
    """Return the line of code that raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return type(error), "", 0
    return type(error), trace.tb_frame.f_code.co_filename, trace.tb_lineno

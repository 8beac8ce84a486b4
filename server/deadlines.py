"""Deadlines by the thousand: what may take equally long shares one timer.

A timer of the event loop is an object of its own, made, started, stopped and closed for a wait that hardly ever takes
so long. Of many waits with the same bound the oldest is over first, so that a queue of them needs a timer for that one
alone. With it the chat commits a seventh more messages a second (`bench`, commits).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any


class Deadlines:
    """Calls back, or cancels, what takes too long. It belongs to one event loop."""

    def __init__(self) -> None:
        self._queues: dict[float, _Queue] = {}

    def add(self, seconds: float, callback: Callable[[], object]) -> Deadline:
        """Call `callback` after so many seconds, unless what is returned is cancelled before."""
        queue = self._queues.get(seconds)
        if queue is None:
            queue = self._queues[seconds] = _Queue(seconds)
        return queue.add(callback)

    def limit(self, seconds: float) -> Limit:
        """Return a context that cancels what runs in it after so many seconds, and raises TimeoutError.

        It is `asyncio.timeout`, for many waits of one length.
        """
        return Limit(self, seconds)


class Deadline:
    """A moment at which something is called; from `Deadlines.add`."""

    __slots__ = ("_queue", "at", "callback")

    def __init__(self, queue: _Queue, at: float, callback: Callable[[], object]) -> None:
        self._queue = queue
        self.at = at
        self.callback = callback

    def cancel(self) -> None:
        """Do not call any more. Idempotent."""
        self._queue.waiting.pop(self, None)


class Limit:
    """See `Deadlines.limit`."""

    __slots__ = ("_cancelling", "_deadline", "_deadlines", "_expired", "_seconds", "_task")

    def __init__(self, deadlines: Deadlines, seconds: float) -> None:
        self._deadlines = deadlines
        self._seconds = seconds
        self._expired = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a limit is for what runs in a task")
        self._task: asyncio.Task[Any] = task
        self._cancelling = task.cancelling()
        self._deadline = self._deadlines.add(self._seconds, self._expire)

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadline.cancel()
        del self._deadline  # it refers back to this
        # When others cancel the task too, it is theirs to end; as `asyncio.timeout` has it.
        if self._expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error


class _Queue:
    """Deadlines of one length: the oldest is the first to be over."""

    __slots__ = ("_loop", "_seconds", "_timer", "waiting")

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self.waiting: dict[Deadline, None] = {}  # in the order in which they are over

    def add(self, callback: Callable[[], object]) -> Deadline:
        deadline = Deadline(self, self._loop.time() + self._seconds, callback)
        self.waiting[deadline] = None
        if self._timer is None:
            self._timer = self._loop.call_at(deadline.at, self._check)
        return deadline

    def _check(self) -> None:
        now = self._loop.time()
        try:
            while self.waiting:
                oldest = next(iter(self.waiting))
                if oldest.at > now:
                    break
                del self.waiting[oldest]
                oldest.callback()
        finally:  # a callback that raises is the loop's to tell of; the others have their time all the same
            self._timer = None
            if self.waiting:
                self._timer = self._loop.call_at(next(iter(self.waiting)).at, self._check)

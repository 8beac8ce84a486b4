"""Run a coroutine at once, and make a task of it only when it has to wait.

Most requests are answered without waiting for anything. A task for each would cost more than the request itself: the
object, its place in asyncio's registers, and a turn of the event loop before it even begins. From Python 3.12 on
`asyncio.eager_task_factory` does the same, but makes the task first.
"""

from __future__ import annotations

import asyncio
from asyncio import tasks
from collections.abc import Coroutine, Generator
from contextvars import Context, copy_context
from typing import Any, TypeVar

T = TypeVar("T")


def start(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T] | None:
    """Run a coroutine until it waits for the first time.

    Called from within a task, where no second one can run, the coroutine begins in the next turn of the loop instead.

    Returns:
        The task that goes on with it; None when the coroutine is done.

    Raises:
        Exception: what the coroutine raised before it waited for anything.
    """
    loop = asyncio.get_running_loop()
    if tasks.current_task(loop) is not None:
        return loop.create_task(coroutine)
    return _FirstStep(coroutine, loop, copy_context()).take()


class _FirstStep(Coroutine[Any, Any, T]):
    """The current task while a coroutine takes its first step; afterwards the rest of the coroutine.

    Whoever asks for the current task and wants something of it, such as `asyncio.timeout`, gets what the real task
    would have said: that is made then, and is the one that goes on with the coroutine.
    """

    __slots__ = ("_context", "_coroutine", "_done", "_loop", "_task", "_waits_for")

    def __init__(self, coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop, context: Context) -> None:
        self._coroutine = coroutine
        self._loop = loop
        self._context = context
        self._task: asyncio.Task[T] | None = None
        self._waits_for: Any = None
        self._done = False

    def take(self) -> asyncio.Task[T] | None:
        """Run up to the first wait; see `start`."""
        # These two are how asyncio lets others run coroutines ("Extending" in its documentation).
        tasks._enter_task(self._loop, self)  # type: ignore[arg-type]  # noqa: SLF001 documented, for such a use
        try:
            self._waits_for = self._context.run(self._coroutine.send, None)
        except StopIteration:
            self._done = True
            return None
        except BaseException:
            self._done = True
            raise
        finally:
            tasks._leave_task(self._loop, self)  # type: ignore[arg-type]  # noqa: SLF001 as above
        return self._real()

    def _real(self) -> asyncio.Task[T]:
        if self._task is None:
            self._task = self._loop.create_task(self, context=self._context)
        return self._task

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real(), name)

    # The rest of the coroutine, as the real task runs it.

    def send(self, value: Any) -> Any:
        if self._done:
            self._task = None
            raise StopIteration
        waits_for, self._waits_for = self._waits_for, None
        if waits_for is not None:
            return waits_for
        try:
            return self._coroutine.send(value)
        except BaseException:
            self._task = None  # the task and this refer to each other
            raise

    def throw(self, *error: Any) -> Any:
        self._waits_for = None
        if self._done:
            self._task = None
            raise StopIteration
        try:
            return self._coroutine.throw(*error)
        except BaseException:
            self._task = None
            raise

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, T]:
        raise TypeError("only its task runs it")

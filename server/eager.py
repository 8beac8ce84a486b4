"""Run a coroutine at once, and make a task of it only when it has to wait.

Many requests are answered without waiting for anything. To run such a coroutine as a task takes twice as long
(`bench.micro`): the object, its place in asyncio's registers, a turn of the event loop before it even begins.
From Python 3.12 on `asyncio.eager_task_factory` does the same, but makes the task first.
"""

from __future__ import annotations

import asyncio
from asyncio import tasks
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from typing import Any, TypeVar

T = TypeVar("T")


def start(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T] | None:
    """Run a coroutine until it waits for the first time, also from within a task: that goes on afterwards.

    Returns:
        The task that goes on with it; None when the coroutine is done.

    Raises:
        BaseException: what the coroutine raised before it waited for anything.
    """
    loop = asyncio.get_running_loop()
    eager = _Eager(coroutine, loop, copy_context())
    outer = tasks.current_task(loop)
    if outer is None:
        return eager.take()
    tasks._leave_task(loop, outer)  # noqa: SLF001 how asyncio lets others run coroutines, see its "Extending"
    try:
        return eager.take()
    finally:
        tasks._enter_task(loop, outer)  # noqa: SLF001 as above
        del outer  # an error keeps this frame


class _Eager(Coroutine[Any, Any, T]):
    """The current task while a coroutine runs, from its first step to its last.

    It is one and the same for whoever asks for the current task, before the coroutine waits and afterwards: libraries
    compare (anyio, and so httpx). Whoever wants something of it, such as `asyncio.timeout`, gets what the real task
    says: that is made then, or when the coroutine waits, and is the one that goes on with it.
    """

    __slots__ = ("__weakref__", "_blocking", "_context", "_coroutine", "_done", "_loop", "_task", "_waits_for")

    def __init__(self, coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop, context: Context) -> None:
        self._coroutine = coroutine
        self._loop = loop
        self._context = context
        self._task: asyncio.Task[T] | None = None
        self._waits_for: Any = None
        self._blocking = False
        self._done = False

    def __repr__(self) -> str:
        return repr(self._coroutine)

    def take(self) -> asyncio.Task[T] | None:
        """Run up to the first wait; see `start`."""
        tasks._enter_task(self._loop, self)  # type: ignore[arg-type]  # noqa: SLF001 as above; this is the task for now
        try:
            self._waits_for = self._context.run(self._coroutine.send, None)
        except StopIteration:
            self._done = True
            return None
        except BaseException:
            self._done = True
            raise
        finally:
            tasks._leave_task(self._loop, self)  # type: ignore[arg-type]  # noqa: SLF001 as above; this is the task for now
        self._blocking = bool(getattr(self._waits_for, "_asyncio_future_blocking", False))
        if self._blocking:
            # Until the task takes it, in the next turn of the loop, others may wait for the same future.
            self._waits_for._asyncio_future_blocking = False  # noqa: SLF001 the protocol of a future and its task
        return self._real()

    def _real(self) -> asyncio.Task[T]:
        if self._task is None:
            self._task = self._loop.create_task(self, context=self._context)
        return self._task

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("cr_", "__")):  # a task asks these of its coroutine, to describe itself
            return getattr(self._coroutine, name)
        return getattr(_over(self._loop) if self._done else self._real(), name)

    # The rest of the coroutine, as the real task runs it.

    def send(self, value: Any) -> Any:
        if self._done:
            self._task = None
            raise StopIteration
        waits_for, self._waits_for = self._waits_for, None
        if waits_for is None:
            return self._go_on(self._coroutine.send, value)
        if self._blocking:
            waits_for._asyncio_future_blocking = True  # noqa: SLF001 as above
        return waits_for

    def throw(self, error: Any, *_: Any) -> Any:
        waits_for, self._waits_for = self._waits_for, None
        try:
            if self._done:
                self._task = None
                raise StopIteration
            if waits_for is None or not self._blocking or not isinstance(error, asyncio.CancelledError):
                return self._go_on(self._coroutine.throw, error)
            # As `Task.cancel` does: what the coroutine waits for is cancelled, and that ends the waiting.
            if not waits_for.cancel(*error.args):
                return self._go_on(self._coroutine.throw, error)
            waits_for._asyncio_future_blocking = True  # noqa: SLF001 as above
            return waits_for
        finally:
            del error  # it keeps this frame

    def _go_on(self, step: Callable[[Any], Any], value: Any) -> Any:
        task = self._real()
        tasks._leave_task(self._loop, task)  # noqa: SLF001 as above
        tasks._enter_task(self._loop, self)  # type: ignore[arg-type]  # noqa: SLF001 as above; this is the task for now
        try:
            return step(value)
        except BaseException:
            self._done = True
            self._task = None  # the task and this refer to each other
            raise
        finally:
            tasks._leave_task(self._loop, self)  # type: ignore[arg-type]  # noqa: SLF001 as above; this is the task for now
            tasks._enter_task(self._loop, task)  # noqa: SLF001 as above
            del task, value  # an error keeps this frame

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, T]:
        raise TypeError("only its task runs it")


def _over(loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
    """What is left of a task that is over: `done` and `cancel` say so."""
    future = loop.create_future()
    future.set_result(None)
    return future

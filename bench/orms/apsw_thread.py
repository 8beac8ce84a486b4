"""apsw on a thread of its own, reached by the shortest way there is: a queue there, one wake-up back."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from bench.orms.apsw_same_thread import Apsw

R = TypeVar("R")


class ApswThread(Apsw):
    """A connection with its thread."""

    async def open(self, url: str) -> None:
        await super().open(url)
        self._loop = asyncio.get_running_loop()
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    async def run(self, call: Callable[[], R]) -> R:
        future: asyncio.Future[R] = self._loop.create_future()
        self._calls.put((call, future))
        return await future

    async def close(self) -> None:
        self._calls.put(None)
        await asyncio.to_thread(self._thread.join)
        await super().close()

    def _serve(self) -> None:
        while (job := self._calls.get()) is not None:
            call, future = job
            try:
                result = call()
            except Exception as error:
                self._loop.call_soon_threadsafe(future.set_exception, error)
            else:
                self._loop.call_soon_threadsafe(future.set_result, result)


CONTESTANT = ApswThread

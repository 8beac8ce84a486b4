"""Subscribers, a clock and an encoder for the tests of pubsub."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from server.pubsub.delivery import Batch


def encode(message: str | bytes) -> bytes:
    """Frame a message so that joined ones can be told apart: no message holds a semicolon."""
    return (message.encode() if isinstance(message, str) else message) + b";"


def decode(frames: bytes) -> list[str]:
    """Return the messages of joined frames."""
    return frames.decode().split(";")[:-1]


class Recorder:
    """A subscriber that keeps what it receives, and may do something when it does."""

    def __init__(self, on_deliver: Callable[[], object] | None = None) -> None:
        self.batches: list[Batch] = []
        self.on_deliver = on_deliver
        self.closed = False
        self.callbacks: list[Callable[[Any], None]] = []

    @property
    def received(self) -> list[str]:
        return [message for batch in self.batches for message in decode(batch.all)]

    def deliver(self, batch: Batch) -> None:
        self.batches.append(batch)
        if self.on_deliver is not None:
            self.on_deliver()

    def add_close_callback(self, callback: Callable[[Any], None]) -> None:
        if self.closed:
            callback(self)
        else:
            self.callbacks.append(callback)

    def remove_close_callback(self, callback: Callable[[Any], None]) -> None:
        if callback in self.callbacks:
            self.callbacks.remove(callback)

    def close(self) -> None:
        self.closed = True
        callbacks, self.callbacks = self.callbacks, []
        for callback in callbacks:
            callback(self)


class Ticks:
    """Event-loop ticks under the test's control, for `Topics(schedule=...)`."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []

    def __call__(self, flush: Callable[[], None]) -> None:
        self.due.append(flush)

    def tick(self) -> None:
        due, self.due = self.due, []
        for flush in due:
            flush()


class Timer:
    def __init__(self, at: float, callback: Callable[[], None]) -> None:
        self.at = at
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """Time under the test's control, for `Presences(scheduler=...)`."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[Timer] = []

    def __call__(self, seconds: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(self.now + seconds, callback)
        self._timers.append(timer)
        return timer

    @property
    def running(self) -> int:
        self._timers = [timer for timer in self._timers if not timer.cancelled]
        return len(self._timers)

    def advance(self, seconds: float) -> None:
        self.now += seconds
        due = [timer for timer in self._timers if timer.at <= self.now]
        self._timers = [timer for timer in self._timers if timer.at > self.now]
        for timer in due:
            if not timer.cancelled:
                timer.callback()

"""Limits that hold over several processes: what is taken in one is charged in the others."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Annotated, Protocol

import msgspec

from server.log import Log
from server.pubsub.peers import Channel, Scheduler, Timer, loop_scheduler

SHARE_SECONDS = 0.25
"""How often a process tells what it took: so long may somebody use the same tokens in every process."""
MAX_KEYS = 1000
"""Keys of one message; the others go with the next."""
MAX_WAITING = 65536
"""Keys that wait to be told; what is taken under further ones counts here alone."""

log = Log("pubsub")

Key = int | str


class Limiter(Protocol):
    """Counts what is taken under each key, as `RateLimiter` does."""

    on_take: Callable[[object], None] | None

    def charge(self, key: object, count: int = 1) -> None:
        """Count what was taken elsewhere."""


class Taken(msgspec.Struct, frozen=True, array_like=True):
    """What a process took since it last said so.

    Args:
        counts: how often, by key.
    """

    counts: dict[Key, Annotated[int, msgspec.Meta(ge=1)]]


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Taken)


class SharedLimit:
    """Connects a limiter with those of the same channel in other processes.

    Together they allow what one of them would, but for what is taken within `SHARE_SECONDS`. What a broker loses is
    not charged: then a process is as strict as it would be alone. It costs nothing while no other process listens.

    Args:
        limiter: its keys are integers of 64 bits, or text.
        channel: where the other processes are; nothing else is said on it.
        scheduler: what runs the timer; by default the running event loop.
    """

    def __init__(self, limiter: Limiter, channel: Channel, scheduler: Scheduler = loop_scheduler) -> None:
        self._limiter = limiter
        self._channel = channel
        self._scheduler = scheduler
        self._taken: dict[Key, int] = {}
        self._timer: Timer | None = None
        self._end = channel.listen(self._hear)
        limiter.on_take = self._count

    def close(self) -> None:
        """Say the last, and count alone from now on. Idempotent."""
        self._limiter.on_take = None
        self._end()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._taken:
            self._tell()

    def _count(self, key: object) -> None:
        if not self._taken and not self._channel.heard:
            return
        if not isinstance(key, int | str):
            raise TypeError(f"the key of a shared limit is an int or a str, not {type(key).__name__}")
        if key in self._taken or len(self._taken) < MAX_WAITING:
            self._taken[key] = self._taken.get(key, 0) + 1
            if self._timer is None:
                self._timer = self._scheduler(SHARE_SECONDS, self._turn)

    def _turn(self) -> None:
        self._tell()
        self._timer = self._scheduler(SHARE_SECONDS, self._turn) if self._taken else None

    def _tell(self) -> None:
        """Say what was taken, as much as one message holds."""
        if not self._channel.heard:
            self._taken.clear()
            return
        part = dict(islice(self._taken.items(), MAX_KEYS))
        for key in part:
            del self._taken[key]
        self._channel.send(_encode(Taken(part)))

    def _hear(self, process: str, message: bytes) -> None:
        try:
            taken = _decoder.decode(message)
        except msgspec.DecodeError:  # another version's, perhaps
            log.warning("a process shares its limits in a way that is not understood", process=process)
            return
        for key, count in taken.counts.items():
            self._limiter.charge(key, count)

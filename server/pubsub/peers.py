"""The other processes of this Switchboard: what is said between them, who is gone, what may have been missed."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Protocol
from weakref import WeakValueDictionary

import msgspec

from server.log import Log
from server.pubsub.broker import Broker, subject
from server.pubsub.delivery import Publication

ALIVE_SECONDS = 3.0
"""How often a process says that it lives."""
GONE_SECONDS = 9.0
"""A process that is silent for so long is gone: three times it could have been heard."""

log = Log("pubsub")

Hearer = Callable[[str, bytes], None]
"""Takes a message of another process, and which one that is. It returns at once and does not raise."""


class Timer(Protocol):
    """What a scheduler returns."""

    def cancel(self) -> None:
        """Do not call any more."""


Scheduler = Callable[[float, Callable[[], None]], Timer]
"""Call a function after so many seconds."""


def loop_scheduler(seconds: float, callback: Callable[[], None]) -> Timer:
    """Let the running event loop call."""
    return asyncio.get_running_loop().call_later(seconds, callback)


class Alive(msgspec.Struct, frozen=True, tag="alive"):
    """A process lives.

    Args:
        lost: how often something that it said may have been lost on its way out; a change is a gap.
    """

    lost: int = 0


class Gone(msgspec.Struct, frozen=True, tag="gone"):
    """A process is gone: it says so itself, or somebody who knows.

    Args:
        process: which one.
    """

    process: str


_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[Alive | Gone] = msgspec.msgpack.Decoder(Alive | Gone)


class Peers:
    """The other processes, as one process knows them.

    Args:
        broker: carries what is said. What it may have lost on the way out it counts in `lost_out`, if it has that.
        me: what this process is called among them; by default a random name.
        scheduler: what runs the timer; by default the running event loop.
        clock: monotonic seconds.

    Attributes:
        me: what this process is called among them.
    """

    def __init__(
        self,
        broker: Broker,
        me: str | None = None,
        *,
        scheduler: Scheduler = loop_scheduler,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.broker = broker
        self.me = me or secrets.token_hex(8)
        self._scheduler = scheduler
        self._clock = clock
        self._channels: WeakValueDictionary[str, Channel] = WeakValueDictionary()
        self._alive = self.channel("@alive")
        self._known: dict[str, _Known] = {}
        self._on_gap: list[Callable[[], None]] = []
        self._on_gone: list[Callable[[str], None]] = []
        self._on_came: list[Callable[[str], None]] = []
        self._timer: Timer | None = None
        self._beaten_at = 0.0
        self._end: Callable[[], None] | None = None
        self._puzzled = False
        broker.on_gap(self._gap)

    def start(self) -> None:
        """Begin to say that this process lives, and to listen for the others."""
        self._end = self._alive.listen(self._take)
        self._beaten_at = self._clock()
        self._beat()

    def stop(self) -> None:
        """Tell the others that this process is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._alive.send(_encode(Gone(self.me)))
        if self._end is not None:
            self._end()

    def channel(self, name: str) -> Channel:
        """Return the channel `name`: the same object for everybody as long as anybody uses it."""
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = Channel(name, self)
        return channel

    async def settled(self) -> None:
        """Wait until everything that this process listens to is in effect; for a bounded time."""
        await self.broker.settled()

    def on_gap(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever messages of other processes may have been lost: time to read the database."""
        self._on_gap.append(callback)

    def on_gone(self, callback: Callable[[str], None]) -> None:
        """Call `callback` with each process that is gone; what is known from it alone is over."""
        self._on_gone.append(callback)

    def on_came(self, callback: Callable[[str], None]) -> None:
        """Call `callback` with each process that is there now: it is new, or was taken for gone and was only silent."""
        self._on_came.append(callback)

    def gone(self, process: str) -> None:
        """Say, to this process and to the others, that a process is gone: whoever saw it end knows first."""
        self._alive.send(_encode(Gone(process)))
        self._forget(process)

    def notice(self, process: str) -> None:
        """Have a process watched from which something was heard: it will be gone, should it say nothing more."""
        if process not in self._known:
            self._known[process] = _Known(self._clock())

    def _beat(self) -> None:
        self._timer = self._scheduler(ALIVE_SECONDS, self._beat)
        if self._alive.heard:
            self._alive.send(_encode(Alive(getattr(self.broker, "lost_out", 0))))
        now, before = self._clock(), self._beaten_at
        self._beaten_at = now
        if now - before > 2 * ALIVE_SECONDS:
            # It is this process that was held up, and what the others said meanwhile is not read yet.
            for known in self._known.values():
                known.heard_at = now
        for process in [process for process, known in self._known.items() if known.heard_at < now - GONE_SECONDS]:
            log.warning("a process is silent", process=process)
            self._forget(process)

    def _take(self, process: str, message: bytes) -> None:
        try:
            said = _decoder.decode(message)
        except msgspec.MsgspecError as error:  # another version's, perhaps
            if not self._puzzled:
                self._puzzled = True
                log.warning("a process says what is not understood", process=process, problem=str(error))
            return
        if isinstance(said, Gone):
            if said.process != self.me:
                self._forget(said.process)
            return
        known = self._known.get(process)
        if known is None:
            known = self._known[process] = _Known(0.0)
        known.heard_at = self._clock()
        before, known.lost = known.lost, said.lost
        if before is None:
            for callback in tuple(self._on_came):
                _run(callback, process)
        elif before != said.lost:
            self._gap()

    def _forget(self, process: str) -> None:
        self._known.pop(process, None)
        for callback in tuple(self._on_gone):
            _run(callback, process)

    def _gap(self) -> None:
        for callback in tuple(self._on_gap):
            _run(callback)


class _Known:
    """What is known of a process: when it was heard last, in monotonic seconds, and how often it lost something."""

    __slots__ = ("heard_at", "lost")

    def __init__(self, heard_at: float) -> None:
        self.heard_at = heard_at
        self.lost: int | None = None  # it did not say yet


def _run(callback: Callable[..., None], *arguments: str) -> None:
    """Call back; what fails in one part of the program is not to keep others from being told."""
    try:
        callback(*arguments)
    except Exception as error:
        log.error("what other processes are concerned with failed", error=error)


class Channel:
    """Messages between the processes that run one service. A process does not hear itself. Made by `Peers.channel`.

    Like everything that a broker carries, a message may be lost, repeated or out of order.
    """

    __slots__ = ("__weakref__", "_failed", "_hearers", "_peers", "_subject", "name")

    def __init__(self, name: str, peers: Peers) -> None:
        self.name = name
        self._peers = peers
        self._subject = subject(f"~{name}")  # apart from the topics
        self._hearers: list[Hearer] = []
        self._failed = False

    @property
    def heard(self) -> bool:
        """Whether anybody may hear what is sent; if not, it need not even be encoded."""
        return self._peers.broker.heard(self._subject, self._receive)

    def send(self, message: bytes) -> None:
        """Send a message to every other process that listens. Never blocks."""
        self._peers.broker.publish(self._subject, Publication(message, key=self._peers.me), self._receive)

    def listen(self, hearer: Hearer) -> Callable[[], None]:
        """Call `hearer(process, message)` with what other processes send from now on.

        Returns:
            A function that ends it.
        """
        if not self._hearers:
            self._peers.broker.subscribe(self._subject, self._receive)
        self._hearers.append(hearer)

        def end() -> None:
            if hearer in self._hearers:
                self._hearers.remove(hearer)
                if not self._hearers:
                    self._peers.broker.unsubscribe(self._subject, self._receive)

        return end

    def _receive(self, publication: Publication) -> None:
        for hearer in tuple(self._hearers):
            try:
                hearer(publication.key or "", publication.frame)
            except Exception as error:  # what carries is not to suffer from it
                if not self._failed:  # logged once, or it would be once a message
                    self._failed = True
                    log.error("a hearer failed", channel=self.name, error=error)

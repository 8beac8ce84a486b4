"""One client's connection, as a service sees it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from typing import Protocol

import msgspec

from server.errors import ConnectionClosed
from server.log import Log
from server.net.deflate import Compress
from server.net.frames import Frame, encode_once
from server.net.identity import Identity

log = Log("net")

QUEUE_MESSAGES = 16
"""Incoming messages that wait for the service; beyond it the client's socket is not read."""

TOO_SLOW = 4008


class Closed(msgspec.Struct, frozen=True):
    """How a connection ended.

    Args:
        code: close code, RFC 6455 section 7.4: the client's, else ours, else 1006 when it was cut.
        reason: the reason given with it, often empty.
    """

    code: int
    reason: str


class Deliverable(Protocol):
    """What a topic has for its subscribers after one tick.

    Attributes:
        all: every frame, joined.
        deflated: the same, compressed for who agreed on that.
        durable: those alone that a client must not miss without being closed.
        latest: the newest frame of each key; older ones of the same key do not matter.
    """

    all: bytes
    durable: bytes
    latest: tuple[tuple[Hashable, bytes], ...]

    @property
    def deflated(self) -> bytes:
        """Made when it is first asked for."""


class Link(Protocol):
    """What a connection asks of the socket side."""

    def write(self, data: bytes) -> None:
        """Hand bytes to the socket; never blocks."""

    def buffered(self) -> int:
        """Bytes that the socket did not take yet."""

    def closing(self) -> bool:
        """Tell whether nothing may be sent any more."""

    def start_close(self, code: int, reason: str) -> None:
        """Begin the closing handshake; its deadline is the link's. Without effect when it has begun."""

    def abort(self) -> None:
        """Cut the socket; what waits for the client is gone."""

    def read(self, *, pause: bool) -> None:
        """Stop or go on reading from the client."""


class Connection:
    """An open WebSocket.

    Iterate to receive; the iteration ends when the connection closes, whatever the reason:

        async for message in connection:
            await connection.send(message)

    Attributes:
        identity: who it is; None when nobody is logged in.
        remote_address: the client's address; behind a trusted proxy, what that says.
        path: the path of the URL it connected to.
        subprotocol: the one that was agreed on, or None.
        receiver: when it is set, it is called with each message at once, and nothing is queued.
    """

    __slots__ = ("__weakref__", "_behind", "_bound", "_callbacks", "_closed", "_compress", "_drained", "_held",
                 "_holds", "_latest", "_link", "_queue", "_receiver", "_waiter", "_write", "identity", "path",
                 "remote_address", "subprotocol")  # fmt: skip

    def __init__(
        self,
        link: Link,
        *,
        remote_address: str,
        path: str,
        identity: Identity | None = None,
        subprotocol: str | None = None,
        outgoing_bytes: int = 0,
        compress: Compress | None = None,
    ) -> None:
        self._link = link
        self._write: Callable[[bytes], None] = link.write
        self._compress = compress
        self._bound = outgoing_bytes
        self.remote_address = remote_address
        self.path = path
        self.identity = identity
        self.subprotocol = subprotocol
        self._behind = False
        self._holds = 0
        self._held = False
        self._closed: Closed | None = None
        self._receiver: Callable[[str | bytes], None] | None = None
        self._queue: deque[str | bytes] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._latest: dict[Hashable, bytes] | None = None
        self._callbacks: list[Callable[[Connection], None]] | None = None

    def __repr__(self) -> str:
        state = "open" if self._closed is None else f"closed {self._closed.code}"
        return f"<Connection {self.path} {self.remote_address} {state}>"

    @property
    def closed(self) -> Closed | None:
        """How the connection ended; None while it is open or closing."""
        return self._closed

    @property
    def queued_bytes(self) -> int:
        """How much waits for the client to take it."""
        return self._link.buffered()

    @property
    def held_bytes(self) -> int:
        """How much memory its messages take: those that wait for the client, and those that wait for the service."""
        return self._link.buffered() + sum(map(len, self._queue or ()))

    @property
    def behind(self) -> bool:
        """Whether so much waits that the client counts as slow."""
        return self._behind and self._closed is None and not self._link.closing()

    # Receiving.

    @property
    def receiver(self) -> Callable[[str | bytes], None] | None:
        """Who takes messages as they come, instead of the queue."""
        return self._receiver

    @receiver.setter
    def receiver(self, receiver: Callable[[str | bytes], None] | None) -> None:
        self._receiver = receiver
        while receiver is not None and self._queue:
            receiver(self._queue.popleft())
        self._hold_queue()

    def __aiter__(self) -> Connection:
        return self

    async def __anext__(self) -> str | bytes:
        while not self._queue:
            if self._closed is not None:
                raise StopAsyncIteration
            if self._waiter is not None:
                raise RuntimeError("two coroutines receive from one connection")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        message = self._queue.popleft()
        if self._held:
            self._hold_queue()
        return message

    async def receive(self) -> str | bytes:
        """Wait for the next message: text as str, binary as bytes. Cancelling it loses none.

        Raises:
            ConnectionClosed: the connection is closed, and every message that came before was received.
            RuntimeError: somebody else is receiving already.
        """
        async for message in self:
            return message
        assert self._closed is not None
        raise ConnectionClosed(self._closed.code, self._closed.reason)

    def pause_reading(self) -> None:
        """Stop reading from the client until `resume_reading` was called as often as this."""
        self._holds += 1
        self._hold_queue()

    def resume_reading(self) -> None:
        """Take back one `pause_reading`."""
        self._holds -= 1
        self._hold_queue()

    def _hold_queue(self) -> None:
        """Read from the client exactly while somebody has room for what comes."""
        waiting = len(self._queue) if self._queue else 0
        hold = self._holds > 0 or waiting >= (1 if self._held else QUEUE_MESSAGES)
        if hold != self._held:
            self._held = hold
            self._link.read(pause=hold)

    def message_received(self, message: str | bytes) -> None:
        """Take a message from the socket side."""
        if self._receiver is not None:
            self._receiver(message)
            return
        if self._queue is None:
            self._queue = deque()
        self._queue.append(message)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if len(self._queue) >= QUEUE_MESSAGES:
            self._hold_queue()

    # Sending.

    async def send(self, message: str | bytes | Frame) -> None:
        """Send a message; while the client is behind, wait until it has caught up.

        Cancelling it before it returns may or may not have sent the message.

        Args:
            message: str goes as text, bytes as binary, a `Frame` as it is.

        Raises:
            ConnectionClosed: the connection is closed or closing.
        """
        if self._behind:
            await self._catch_up()
        self._write(self._encode(message))

    def write(self, message: str | bytes | Frame) -> None:
        """Send a message without ever waiting; a client too far behind is closed with 4008.

        Without effect once the connection is closed.
        """
        if self._behind:
            self._write_behind(self._encode(message))
        else:
            self._write(self._encode(message))

    def _encode(self, message: str | bytes | Frame) -> bytes:
        return encode_once(message) if self._compress is None else self._compress(encode_once(message))

    def deliver(self, batch: Deliverable) -> None:
        """Write what a topic has. A client that is behind gets what it must not miss, and the newest of the rest."""
        if self._behind:
            self._deliver_behind(batch)
        else:
            self._write(batch.all if self._compress is None else batch.deflated)

    def _deliver_behind(self, batch: Deliverable) -> None:
        if self._closed is None and batch.latest:
            if self._latest is None:
                self._latest = {}
            self._latest.update(batch.latest)
        if batch.durable:
            self._write_behind(batch.durable)

    def _write_behind(self, data: bytes) -> None:
        """Write to a client that does not keep up, within its bound."""
        if self._link.closing():
            return
        if self._bound and self._link.buffered() + len(data) > self._bound:
            self._latest = None
            self._link.start_close(TOO_SLOW, "too slow: reconnect and resume")
        else:
            self._write(data)

    async def _catch_up(self) -> None:
        if self._link.closing():
            closed = await self.wait_closed()
            raise ConnectionClosed(closed.code, closed.reason)
        if self._drained is None:
            self._drained = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._drained)
        if self._behind:
            await self._catch_up()

    def fell_behind(self) -> None:
        """The socket's buffer is over its mark (the socket side calls this)."""
        self._behind = True

    def caught_up(self) -> None:
        """The socket's buffer is empty enough again (the socket side calls this)."""
        self._behind = False
        latest, self._latest = self._latest, None
        if latest:
            self._write(b"".join(latest.values()))
        self._wake_senders()

    def _wake_senders(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    def use(self, write: Callable[[bytes], None]) -> None:
        """Hand bytes to another function from now on (the socket side calls this)."""
        self._write = write

    # Closing.

    def start_close(self, code: int = 1000, reason: str = "") -> None:
        """Begin to close, and do not wait for the client's part of it."""
        self._link.start_close(code, reason)

    def abort(self) -> None:
        """End the connection at once and without a word."""
        self._link.abort()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close, and wait until the client agreed or `server.close_seconds` are over.

        Args:
            code: close code, RFC 6455 section 7.4.
            reason: at most 123 bytes of UTF-8.
        """
        self._link.start_close(code, reason)
        await self.wait_closed()

    async def wait_closed(self) -> Closed:
        """Wait until the connection is closed; returns at once when it is."""
        if self._closed is None:
            ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            callback = _resolver(ended)
            self.add_close_callback(callback)
            try:
                await ended
            finally:
                self.remove_close_callback(callback)
        assert self._closed is not None
        return self._closed

    def add_close_callback(self, callback: Callable[[Connection], None]) -> None:
        """Call `callback` once when the connection is closed; at once when it is already."""
        if self._closed is not None:
            callback(self)
        elif self._callbacks is None:
            self._callbacks = [callback]
        else:
            self._callbacks.append(callback)

    def remove_close_callback(self, callback: Callable[[Connection], None]) -> None:
        """Forget a callback; without effect when it is unknown or was called."""
        if self._callbacks is not None and callback in self._callbacks:
            self._callbacks.remove(callback)

    def connection_closed(self, closed: Closed) -> None:
        """End for good (the socket side calls this, once)."""
        self._closed = closed
        self._behind = True  # every way of sending looks closer now
        self._latest = None
        self._wake_senders()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            try:
                callback(self)
            except Exception as error:
                log.error("a close callback failed", error=error)


def _resolver(future: asyncio.Future[None]) -> Callable[[Connection], None]:
    def resolve(_: Connection) -> None:
        if not future.done():
            future.set_result(None)

    return resolve

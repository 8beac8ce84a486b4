"""The link between the main process and a worker: messages in both directions over a Unix socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from server.log import Log
from server.process.messages import encoder

LENGTH_BYTES = 4
MOST_BYTES = 64 * 2**20
"""No message is as large; whoever announces one is not speaking our language."""

log = Log("process")

Heard = TypeVar("Heard")


class Link(asyncio.Protocol, Generic[Heard]):
    """One end of a link.

    Args:
        decoder: reads what the other end says.
        on_message: called with each message, in order.
        on_lost: called once, when the other end is gone.

    Attributes:
        over: set when nothing more is heard, and all that was said is sent or lost.
    """

    def __init__(
        self,
        decoder: msgspec.msgpack.Decoder[Heard],
        on_message: Callable[[Heard], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._decoder = decoder
        self._on_message = on_message
        self._on_lost = on_lost
        self.over = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()

    async def open(self, sock: socket.socket) -> None:
        """Begin to speak over a connected Unix stream socket, which is the link's from now on."""
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=sock)

    def send(self, message: msgspec.Struct) -> None:
        """Say something; without effect when the other end is gone. Never blocks."""
        if self._transport is not None and not self._transport.is_closing():
            data = encoder.encode(message)
            self._transport.write(len(data).to_bytes(LENGTH_BYTES, "big") + data)

    def buffered(self) -> int:
        """Return how many bytes the other end did not take yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def close(self) -> None:
        """Say nothing more; what is said already is still sent."""
        if self._transport is not None:
            self._transport.close()

    # asyncio's callbacks.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # a stream's is one
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        position = 0
        while len(received) - position >= LENGTH_BYTES:
            begin = position + LENGTH_BYTES
            end = begin + int.from_bytes(received[position:begin], "big")
            if end - begin > MOST_BYTES:
                log.error("the link is out of step", bytes=end - begin)
                self._cut()
                return
            if len(received) < end:
                break
            position = end
            self._take(bytes(memoryview(received)[begin:end]))
        del received[:position]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 asyncio's signature
        self._transport = None
        self.over.set()
        self._on_lost()

    def _take(self, data: bytes) -> None:
        try:
            message = self._decoder.decode(data)
        except msgspec.MsgspecError as error:
            log.error("a message between processes cannot be read", problem=str(error))
            return
        try:
            self._on_message(message)
        except Exception as error:  # it would cut the link, and so end a process with all its clients
            log.error("a message between processes cannot be followed", kind=type(message).__name__, error=error)

    def _cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()

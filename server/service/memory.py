"""A connection's socket side without a socket, for the harness."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from server.net.connection import Closed, Connection


class MemoryLink:
    """The socket side of a connection without a socket: what a service writes is parsed, as a client would.

    Args:
        received: called with each message that the service sent.
    """

    connection: Connection

    def __init__(self, received: Callable[[str | bytes], None]) -> None:
        self._received = received
        self._parser = ClientProtocol(parse_uri("ws://memory/"), state=OPEN, max_size=None)
        self._incoming: deque[str | bytes] = deque()
        self._paused = False
        self._closing = False
        self._piled_up: bytearray | None = None

    # What the connection asks for.

    def write(self, data: bytes) -> None:
        if self._piled_up is not None:
            self._piled_up += data
            return
        self._parser.receive_data(data)
        for frame in self._parser.events_received():
            assert isinstance(frame, Frame)
            self._received(bytes(frame.data).decode() if frame.opcode is Opcode.TEXT else bytes(frame.data))

    def buffered(self) -> int:
        return len(self._piled_up or b"")

    def closing(self) -> bool:
        return self._closing

    def start_close(self, code: int, reason: str) -> None:
        if not self._closing:
            self._closing = True
            self.connection.fell_behind()
            asyncio.get_running_loop().call_soon(self.connection.connection_closed, Closed(code, reason))

    def abort(self) -> None:
        self.start_close(1006, "")

    def read(self, *, pause: bool) -> None:
        self._paused = pause
        if not pause:
            asyncio.get_running_loop().call_soon(self._deliver)

    # What the client does.

    def client_sends(self, message: str | bytes) -> None:
        self._incoming.append(message)
        asyncio.get_running_loop().call_soon(self._deliver)

    def client_leaves(self, code: int) -> None:
        # Behind what the client has sent before.
        asyncio.get_running_loop().call_soon(self.start_close, code, "")

    def stall(self) -> None:
        self._piled_up = bytearray()
        self.connection.fell_behind()

    def go_on(self) -> None:
        data, self._piled_up = self._piled_up, None
        if data:
            self.write(bytes(data))
        if not self._closing:
            self.connection.caught_up()

    def _deliver(self) -> None:
        while self._incoming and not self._paused and not self._closing:
            self.connection.message_received(self._incoming.popleft())

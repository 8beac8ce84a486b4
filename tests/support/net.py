"""A listener on a free port, with services made of plain functions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from server.config import decode
from server.net.connection import Connection
from server.net.handshake import Admission, Gate, Handshake, Refusal
from server.net.listener import Listener

Attach = Callable[[Connection], None]


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """Answer every HTTP request with the client's address and scheme."""
    body = f"{scope['client'][0]} {scope['scheme']}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def echo(connection: Connection) -> None:
    """Send every message back, at once."""
    connection.receiver = connection.write


def gate_to(**services: Attach) -> Gate:
    """Make a gate that lets everybody in, `/NAME` to the function NAME."""

    async def gate(handshake: Handshake) -> Admission | Refusal:
        attach = services.get(handshake.path.removeprefix("/"))
        return Refusal(404, "There is no such service.") if attach is None else Admission(attach)

    return gate


@asynccontextmanager
async def listening(gate: Gate | None = None, **settings: Any) -> AsyncIterator[Listener]:
    """Run a listener on a free port.

    Args:
        gate: by default `/echo` echoes.
        settings: keys of `[server]`.
    """
    table = {"port": 0, "close_seconds": 1, **settings}
    listener = Listener(decode({"server": table}, Path()), hello, gate or gate_to(echo=echo))
    await listener.start()
    try:
        yield listener
    finally:
        await listener.stop()


class RawClient:
    """A client that can send anything.

    Args:
        reader: from `asyncio.open_connection`.
        writer: likewise.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, listener: Listener) -> RawClient:
        """Open a socket."""
        return cls(*await asyncio.open_connection("127.0.0.1", listener.port))

    @classmethod
    async def upgrade(cls, listener: Listener, path: str = "/echo", behind: bytes = b"", **headers: str) -> RawClient:
        """Open a WebSocket; `behind` follows the request in the same write."""
        client = await cls.connect(listener)
        client.writer.write(upgrade_request(path, **headers) + behind)
        head = await client.head()
        assert head.startswith("HTTP/1.1 101 "), head
        return client

    async def head(self) -> str:
        """Read an HTTP head."""
        async with asyncio.timeout(10):
            return (await self.reader.readuntil(b"\r\n\r\n")).decode()

    async def frame(self) -> tuple[int, bytes]:
        """Read one frame; returns the opcode and the payload."""
        async with asyncio.timeout(10):
            head, size = await self.reader.readexactly(2)
            if size == 126:
                size = int.from_bytes(await self.reader.readexactly(2), "big")
            elif size == 127:
                size = int.from_bytes(await self.reader.readexactly(8), "big")
            return head & 0x0F, await self.reader.readexactly(size)

    async def close_code(self) -> int:
        """Read on to the close frame; returns its code, and 1006 where the socket ends without one."""
        while True:
            try:
                opcode, payload = await self.frame()
            except (asyncio.IncompleteReadError, ConnectionError):
                return 1006
            if opcode == 8:
                return int.from_bytes(payload[:2], "big") if payload else 1005

    async def close(self) -> None:
        """Close the socket, also one that is not read."""
        self.writer.transport.abort()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


def upgrade_request(path: str = "/echo", **headers: str) -> bytes:
    """Return an opening handshake; a header may be replaced, or left out with an empty value."""
    fields = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items() if value)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def client_frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bytes | None = b"\1\2\3\4", rsv: int = 0
) -> bytes:
    """Return a client's frame, or what should not be one."""
    size = len(payload)
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    flag = 0 if mask is None else 0x80
    if size < 126:
        head += bytes([flag | size])
    elif size < 65536:
        head += bytes([flag | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([flag | 127]) + size.to_bytes(8, "big")
    if mask is None:
        return head + payload
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))

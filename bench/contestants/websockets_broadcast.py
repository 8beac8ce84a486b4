"""websockets on uvloop, with its own broadcast(): the yardstick."""

from __future__ import annotations

import contextlib
import sys

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

from bench.contestant import Contestant, python_server

CONTESTANT = Contestant(
    name="websockets + uvloop, broadcast()",
    command=python_server("websockets_broadcast"),
    roles=("topic", "echo", "compressed"),
    packages=("websockets", "uvloop"),
)
clients: set[ServerConnection] = set()


async def topic(connection: ServerConnection) -> None:
    """Send every message to everybody."""
    clients.add(connection)
    with contextlib.suppress(ConnectionClosed):
        async for message in connection:
            broadcast(clients, message)
    clients.discard(connection)


async def echo(connection: ServerConnection) -> None:
    """Send every message back."""
    with contextlib.suppress(ConnectionClosed):
        async for message in connection:
            await connection.send(message)


async def main(role: str, port: int) -> None:
    """Serve until killed."""
    handler = echo if role == "echo" else topic
    compression = "deflate" if role == "compressed" else None
    async with serve(handler, "127.0.0.1", port, compression=compression, backlog=4096) as server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))

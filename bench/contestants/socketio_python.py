"""python-socketio under uvicorn, over WebSocket only."""

from __future__ import annotations

import sys

import socketio
import uvicorn

from bench.contestant import Contestant, python_server
from bench.node import SOCKET_IO

CONTESTANT = Contestant(
    name="python-socketio + uvicorn",
    command=python_server("socketio_python"),
    load=lambda _task: SOCKET_IO,
    packages=("python-socketio", "python-engineio", "uvicorn", "websockets", "uvloop"),
)
PING_SECONDS = 300
"""Longer than any measurement: the generator knows nothing of Engine.IO's pings. It spares the server some work."""


def main(role: str, port: int) -> None:
    """Serve until killed."""
    server = socketio.AsyncServer(
        async_mode="asgi",
        transports=["websocket"],
        ping_interval=PING_SECONDS,
    )

    async def topic(_client: str, text: str) -> None:
        await server.emit("m", text)

    async def echo(client: str, text: str) -> None:
        await server.emit("m", text, to=client)

    server.on("m", topic if role == "topic" else echo)
    uvicorn.run(
        socketio.ASGIApp(server),
        host="127.0.0.1",
        port=port,
        backlog=4096,
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        lifespan="off",
        log_level="error",
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

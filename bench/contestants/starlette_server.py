"""Starlette under uvicorn, on uvloop and httptools: a loop over `send_text`."""

from __future__ import annotations

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from bench.contestant import Contestant, python_server

CONTESTANT = Contestant(
    name="Starlette + uvicorn",
    command=python_server("starlette_server"),
    packages=("starlette", "uvicorn", "websockets", "uvloop"),
)
clients: set[WebSocket] = set()


async def topic(client: WebSocket) -> None:
    """Send every message to everybody."""
    await client.accept()
    clients.add(client)
    async for text in client.iter_text():
        for other in tuple(clients):
            try:
                await other.send_text(text)
            except (WebSocketDisconnect, RuntimeError):  # it has gone; RuntimeError when that was known
                clients.discard(other)
    clients.discard(client)


async def echo(client: WebSocket) -> None:
    """Send every message back."""
    await client.accept()
    async for text in client.iter_text():
        await client.send_text(text)


def main(role: str, port: int) -> None:
    """Serve until killed."""
    uvicorn.run(
        Starlette(routes=[WebSocketRoute("/", topic if role == "topic" else echo)]),
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

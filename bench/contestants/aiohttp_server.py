"""aiohttp on uvloop: a loop over `send_frame`, with the text encoded once for everybody."""

from __future__ import annotations

import sys

import uvloop
from aiohttp import ClientConnectionResetError, WSMsgType, web

from bench.contestant import Contestant, python_server

CONTESTANT = Contestant(
    name="aiohttp + uvloop",
    command=python_server("aiohttp_server"),
    packages=("aiohttp", "uvloop"),
)
clients: set[web.WebSocketResponse] = set()


async def accept(request: web.Request) -> web.WebSocketResponse:
    """Answer the handshake. Texts stay bytes: they are passed on, not read."""
    client = web.WebSocketResponse(compress=False, decode_text=False)
    await client.prepare(request)
    return client


async def topic(request: web.Request) -> web.WebSocketResponse:
    """Send every message to everybody."""
    client = await accept(request)
    clients.add(client)
    async for message in client:
        for other in tuple(clients):
            try:
                await other.send_frame(message.data, WSMsgType.TEXT)
            except ClientConnectionResetError:
                clients.discard(other)
    clients.discard(client)
    return client


async def echo(request: web.Request) -> web.WebSocketResponse:
    """Send every message back."""
    client = await accept(request)
    async for message in client:
        await client.send_frame(message.data, WSMsgType.TEXT)
    return client


def main(role: str, port: int) -> None:
    """Serve until killed."""
    app = web.Application()
    app.router.add_get("/", topic if role == "topic" else echo)
    web.run_app(
        app, host="127.0.0.1", port=port, backlog=4096, access_log=None, print=None, loop=uvloop.new_event_loop()
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

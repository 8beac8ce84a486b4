"""The listening socket, and what everything that comes through it shares."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from contextlib import suppress
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from server.config import Settings
from server.errors import ListenError
from server.net.connection import Connection
from server.net.front import ListeningFront
from server.net.handshake import Gate
from server.net.http import HttpProtocol
from server.net.protocol import WebSocketProtocol

DOOR_SECONDS = 0.5
"""How long a stop waits for the requests of those whose sockets were accepted already."""

BACKLOG = 4096
"""Handshakes that the kernel keeps for us while everybody reconnects at once."""


class Listener:
    """Accepts sockets and brings them to the application or to a service.

    Args:
        settings: the whole configuration; `server` is what is read, relative files start from `base`.
        application: the ASGI application that answers plain HTTP.
        gate: decides about opening handshakes.
        inherited: a socket that listens already, instead of an own one.
    """

    def __init__(
        self, settings: Settings, application: Any, gate: Gate, inherited: socket.socket | None = None
    ) -> None:
        self._settings = settings
        self._socket = inherited
        config = uvicorn.Config(
            application,
            http=HttpProtocol,
            ws=WebSocketProtocol,
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
        )
        config.load()
        self._front = ListeningFront(settings.server, gate, config, ServerState())
        self._server: asyncio.Server | None = None
        self.port = settings.server.port

    @property
    def connections(self) -> set[Connection]:
        """Every open WebSocket."""
        return self._front.connections

    @property
    def url(self) -> str:
        """Where a browser finds this server."""
        server = self._settings.server
        host = f"[{server.host}]" if ":" in server.host else server.host
        return f"{'https' if server.tls_certificate else 'http'}://{host}:{self.port}/"

    def bind(self) -> None:
        """Take the address, so that a taken one is known before anything else is started.

        Raises:
            ListenError: it is taken or not ours; the text is for the operator.
        """
        self._bound()

    def _bound(self) -> socket.socket:
        if self._socket is None:
            self._socket = _bind(self._settings.server.host, self._settings.server.port)
        self.port = self._socket.getsockname()[1]
        self._front.address = (self._settings.server.host, self.port)
        return self._socket

    async def start(self) -> None:
        """Begin to accept; binds where `bind` was not called.

        Raises:
            ListenError: as `bind`.
        """
        sock = self._bound()
        self._server = await asyncio.get_running_loop().create_server(
            lambda: HttpProtocol(self._front), sock=sock, backlog=BACKLOG, ssl=self._tls()
        )
        self._front.heartbeat.start()

    def stop_accepting(self) -> None:
        """Take no more sockets; those that are open stay."""
        if self._server is not None:
            self._server.close()
        elif self._socket is not None:
            self._socket.close()

    async def stop(self, code: int = 1012, reason: str = "restart") -> None:
        """Close everything: WebSockets with their closing handshake, HTTP after the answer that is under way.

        Whatever is not closed after `server.close_seconds` is cut.

        Args:
            code: close code for the WebSockets.
            reason: the reason given with it.
        """
        self.stop_accepting()
        front = self._front
        await self._let_in_who_is_at_the_door()
        for task in front.opening:
            task.cancel()
        for connection in tuple(front.connections):
            connection.start_close(code, reason)
        for http in tuple(front.server_state.connections):
            http.shutdown()
        await asyncio.gather(*front.opening, return_exceptions=True)
        await asyncio.gather(*(connection.wait_closed() for connection in tuple(front.connections)))
        for task in front.server_state.tasks:
            task.cancel()
        await asyncio.gather(*front.server_state.tasks, return_exceptions=True)
        front.heartbeat.stop()

    async def _let_in_who_is_at_the_door(self) -> None:
        """Wait a moment for who was accepted and not answered yet: cut now, it would look like a refusal."""
        front = self._front
        with suppress(TimeoutError):
            async with asyncio.timeout(DOOR_SECONDS):
                while front.opening or any(h.cycle is None for h in front.server_state.connections):  # noqa: ASYNC110 a moment
                    await asyncio.sleep(DOOR_SECONDS / 20)

    def _tls(self) -> ssl.SSLContext | None:
        server = self._settings.server
        if not server.tls_certificate:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._settings.base / server.tls_certificate, self._settings.base / server.tls_key)
        return context


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ListenError(f"cannot listen on {host}: {error.strerror}") from None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise ListenError(_explain(error, host, port)) from None
    return sock


def _explain(error: OSError, host: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {port} of {host} is taken; stop what uses it, or choose another with --port"
        case errno.EADDRNOTAVAIL:
            return f"{host} is not an address of this machine; choose one with --host"
        case errno.EACCES:
            return f"port {port} needs more rights; choose one above 1023 with --port"
        case _:
            return f"cannot listen on {host} port {port}: {error.strerror}"

"""What all sockets of one listener share."""

from __future__ import annotations

import asyncio
from typing import Literal

import uvicorn
from uvicorn.server import ServerState

from server.config import ServerSettings
from server.deadlines import Deadlines
from server.net.connection import Connection
from server.net.deflate import compressor
from server.net.handshake import Gate
from server.net.heartbeat import Heartbeat
from server.net.limits import Occupancy
from server.net.reading import ReadLimits
from server.net.upgrade import Upgrader


class Front:
    """What all sockets of one listener share.

    Args:
        settings: the network's part of the configuration.
        config: uvicorn's, loaded: the application that answers plain HTTP, and the protocols.
        gate: decides about opening handshakes.

    Attributes:
        address: where the listener is.
        scheme: whether it speaks TLS.
    """

    def __init__(self, settings: ServerSettings, config: uvicorn.Config, gate: Gate) -> None:
        self.settings = settings
        self.gate = gate
        self.config = config
        self.address: tuple[str, int | None] = (settings.host, settings.port)
        self.scheme: Literal["http", "https"] = "https" if settings.tls_certificate else "http"
        self.server_state = ServerState()
        self.read_limits = ReadLimits(settings.frame_bytes, settings.message_bytes, settings.message_fragments)
        least = settings.compress_bytes
        self.compress = compressor(least) if least else None
        self.upgrader = Upgrader(deflate=bool(least))
        self.deadlines = Deadlines()
        self.heartbeat = Heartbeat(settings.heartbeat_seconds)
        self.opening: set[asyncio.Task[None]] = set()
        self.connections: set[Connection] = set()
        self._by_address = Occupancy(settings.connections_per_address)
        self._sockets = 0

    def entered(self, address_key: str) -> bool:
        """Count a socket in; False when its address, or the server, has as many as it may."""
        most = self.settings.connections
        if (most and self._sockets >= most) or not self._by_address.enter(address_key):
            return False
        self._sockets += 1
        return True

    def left(self, address_key: str | None) -> None:
        """Count a socket out; None when it was never counted in."""
        if address_key is not None:
            self._sockets -= 1
            self._by_address.leave(address_key)

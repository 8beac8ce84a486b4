"""What all WebSockets of one process share, and what all sockets of one listener do."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Any, Literal

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
    """What all WebSockets of one process share.

    Args:
        settings: the network's part of the configuration.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.read_limits = ReadLimits(settings.frame_bytes, settings.message_bytes, settings.message_fragments)
        least = settings.compress_bytes
        self.compress = compressor(least) if least else None
        self.upgrader = Upgrader(deflate=bool(least))
        self.deadlines = Deadlines()
        self.heartbeat = Heartbeat(settings.heartbeat_seconds)
        self.opening: set[asyncio.Task[None]] = set()
        self.connections: set[Connection] = set()

    def left(self, key: Hashable) -> None:
        """Take note that a socket is closed.

        Args:
            key: what it was counted under; None when it was not counted.
        """


class ListeningFront(Front):
    """What all sockets of one listener share.

    Args:
        settings: the network's part of the configuration.
        gate: decides about opening handshakes.
        config: uvicorn's, loaded: the application that answers plain HTTP, and the protocols.
        server_state: uvicorn's: its sockets and requests.

    Attributes:
        address: where the listener is.
        scheme: whether it speaks TLS.
    """

    def __init__(self, settings: ServerSettings, gate: Gate, config: Any, server_state: Any) -> None:
        super().__init__(settings)
        self.gate = gate
        self.config = config
        self.server_state = server_state
        self.address: tuple[str, int | None] = (settings.host, settings.port)
        self.scheme: Literal["http", "https"] = "https" if settings.tls_certificate else "http"
        self._by_address = Occupancy(settings.connections_per_address)
        self._sockets = 0

    def entered(self, address_key: str) -> bool:
        """Count a socket in; False when its address, or the server, has as many as it may."""
        most = self.settings.connections
        if (most and self._sockets >= most) or not self._by_address.enter(address_key):
            return False
        self._sockets += 1
        return True

    def left(self, key: Hashable) -> None:
        """Count a socket out; None when it was never counted in."""
        if key is not None:
            self._sockets -= 1
            self._by_address.leave(str(key))

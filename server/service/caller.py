"""`Caller`: one connection of an RPC service, and the `welcome` that it gets first."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec

from server.errors import NotLoggedIn, TooManyRequests
from server.net.connection import Connection
from server.net.identity import Identity
from server.net.limits import RateLimiter
from server.service.jsonrpc import notification

PROTOCOL = 1
"""Version of the wire contract."""

MAX_IN_FLIGHT = 32
"""Requests of one client that run at once; at so many its socket is not read until half of them are done."""

MAX_REFUSALS = 60
REFUSAL_SECONDS = 60.0
"""A client that goes on after so many refusals (-32029) within so many seconds does not listen, and is closed."""


class User(msgspec.Struct, frozen=True):
    """The user as `welcome` tells it."""

    id: int
    name: str
    role: str


class Reconnect(msgspec.Struct, frozen=True):
    """A client waits a random time between these before it reconnects."""

    min_seconds: float
    max_seconds: float


class Welcome(msgspec.Struct, frozen=True):
    """The first notification on every connection."""

    service: str
    protocol: int
    version: str
    user: User | None
    limits: dict[str, int]
    reconnect: Reconnect


class Caller:
    """Who calls a method: one connection, and the user behind it.

    Attributes:
        connection: the connection.
        state: whatever the service keeps for this connection.
    """

    __slots__ = ("_paused", "_refusals", "_refused_since", "connection", "running", "state")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.state: Any = None
        self.running: set[asyncio.Task[None]] | None = None  # None, for an idle client is to cost little
        self._paused = False
        self._refusals = 0
        self._refused_since = 0.0

    def __repr__(self) -> str:
        return f"<Caller {self.identity.name if self.identity else 'nobody'} {self.connection!r}>"

    @property
    def identity(self) -> Identity | None:
        """The user, or None when nobody is logged in."""
        return self.connection.identity

    @property
    def user(self) -> Identity:
        """The user.

        Raises:
            NotLoggedIn: nobody is logged in.
        """
        if self.connection.identity is None:
            raise NotLoggedIn("Log in first.")
        return self.connection.identity

    def notify(self, name: str, params: msgspec.Struct) -> None:
        """Send a notification to this connection; never waits, and has no effect when it is closed.

        Args:
            name: the event.
            params: a msgspec Struct.
        """
        self.connection.write(notification(name, params))

    def limit(self, limiter: RateLimiter, message: str = "That was too fast. Wait a moment.") -> None:
        """Take one from a limiter, for this user, or for this address where nobody is logged in.

        Who goes on and on after that is closed with 4429.

        Raises:
            TooManyRequests: it has none left; says when it will.
        """
        identity = self.connection.identity
        wait = limiter.take(identity.id if identity is not None else self.connection.remote_address)
        if wait:
            raise TooManyRequests(message, retry_after=round(wait, 3))

    # The engine's part.

    def began(self, task: asyncio.Task[None]) -> None:
        """Note a request that waits for something; stop reading where there are many."""
        if self.running is None:
            self.running = {task}
            return
        self.running.add(task)
        if len(self.running) >= MAX_IN_FLIGHT and not self._paused:
            self._paused = True
            self.connection.pause_reading()

    def finished(self, task: asyncio.Task[None]) -> None:
        """Note that such a request is done; go on reading where there is room again."""
        assert self.running is not None
        self.running.discard(task)
        if self._paused and len(self.running) <= MAX_IN_FLIGHT // 2:
            self._paused = False
            self.connection.resume_reading()
        if not self.running:
            self.running = None

    def refused(self) -> bool:
        """Count a refusal; True when the client does not listen and has to go."""
        now = time.monotonic()
        if now - self._refused_since > REFUSAL_SECONDS:
            self._refused_since, self._refusals = now, 0
        self._refusals += 1
        return self._refusals > MAX_REFUSALS

"""`RpcService`: JSON-RPC 2.0 over a WebSocket, typed methods, notifications both ways.

It is event-driven: a client that says nothing costs no coroutine. A request is a task; the requests of one client
start in the order in which they came, and their answers go out as they finish.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, ClassVar

import msgspec
from msgspec import UNSET

from server.db import Unavailable as DatabaseUnavailable
from server.errors import (
    ConnectionClosed,
    InternalError,
    MethodNotFound,
    NotLoggedIn,
    RpcError,
    TooManyRequests,
    Unavailable,
)
from server.net.connection import Connection
from server.net.identity import Identity
from server.service.base import Service, ServiceContext
from server.service.jsonrpc import Request, RequestId, failure, notification, parse, success
from server.service.methods import Method, method, methods_of
from server.service.openrpc import describe
from server.version import __version__

__all__ = ["Caller", "RpcService", "method", "notification"]

PROTOCOL = 1
"""Version of the wire contract."""

MAX_IN_FLIGHT = 32
"""Requests of one client that run at once; at so many its socket is not read until half of them are done."""
MAX_REFUSALS = 60
REFUSAL_SECONDS = 60.0
"""A client that goes on after so many refusals within so many seconds is closed with 4429."""

UNSUPPORTED_DATA = 1003
FLOOD = 4429


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

    __slots__ = ("_refusals", "_refused_since", "connection", "in_flight", "state")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.state: Any = None
        self.in_flight: set[asyncio.Task[None]] | None = None
        self._refusals = 0
        self._refused_since = 0.0

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
        """Send a notification to this connection; never waits."""
        self.connection.write(notification(name, params))

    def refused(self) -> bool:
        """Count a refusal; True when the client does not listen and has to go."""
        now = time.monotonic()
        if now - self._refused_since > REFUSAL_SECONDS:
            self._refused_since, self._refusals = now, 0
        self._refusals += 1
        return self._refusals > MAX_REFUSALS


class RpcService(Service):
    """A service of methods. Mark coroutines with `@method`; each takes the `Caller` first.

    When a method returns, its answer is written in the same step of the event loop: what it subscribed to right
    before `return` begins exactly behind the answer.

    Attributes:
        events: the notifications that it sends, by name, each with the Struct of its params, for the document.
    """

    events: ClassVar[dict[str, type[msgspec.Struct]]] = {}

    def __init__(self, context: ServiceContext) -> None:
        super().__init__(context)
        self.methods: dict[str, Method] = methods_of(type(self))
        self._callers: dict[Connection, Caller] = {}

    # What a service may write.

    def limits(self) -> dict[str, int]:
        """Return the service's own limits, for `welcome`."""
        return {}

    def joined(self, caller: Caller) -> None:
        """A client is here, and was welcomed. Its requests come after this."""

    def left(self, caller: Caller) -> None:
        """A client is gone; its requests are cancelled. Called exactly once, whatever the reason."""

    @method(name="rpc.discover")
    async def discover(self, caller: Caller) -> dict[str, Any]:  # noqa: ARG002 every method has a caller
        """Describe the service: an OpenRPC document."""
        return self.document()

    def document(self) -> dict[str, Any]:
        """Return the OpenRPC document, made of signatures and docstrings."""
        return describe(type(self), self.name, list(self.methods.values()), {**self.events, "welcome": Welcome})

    # What the engine calls.

    def attach(self, connection: Connection) -> None:
        """Take an open connection."""
        caller = Caller(connection)
        self._callers[connection] = caller
        caller.notify("welcome", self._welcome(connection.identity))
        self.joined(caller)
        connection.receiver = lambda message: self._receive(caller, message)
        connection.add_close_callback(self._detach)

    def _welcome(self, identity: Identity | None) -> Welcome:
        server = self.context.server
        return Welcome(
            service=self.name,
            protocol=PROTOCOL,
            version=__version__,
            user=User(identity.id, identity.name, identity.role) if identity else None,
            limits={"frame_bytes": server.frame_bytes, **self.limits()},
            reconnect=Reconnect(server.reconnect_min_seconds, server.reconnect_max_seconds),
        )

    def _detach(self, connection: Connection) -> None:
        caller = self._callers.pop(connection, None)
        if caller is None:
            return
        connection.receiver = None
        for task in caller.in_flight or ():
            task.cancel()
        try:
            self.left(caller)
        except Exception as error:
            self.incident(error)

    def _receive(self, caller: Caller, message: str | bytes) -> None:
        """Take a message from a client: one request."""
        connection = caller.connection
        if not isinstance(message, str):
            connection.start_close(UNSUPPORTED_DATA, "text frames only")
            return
        try:
            request = parse(message)
        except RpcError as error:
            connection.write(failure(None, error))
            return
        task = self._own(self._answer(caller, request))
        if caller.in_flight is None:
            caller.in_flight = set()
        caller.in_flight.add(task)
        if len(caller.in_flight) == MAX_IN_FLIGHT:
            connection.pause_reading()
        task.add_done_callback(lambda task: self._done(caller, task))

    def _done(self, caller: Caller, task: asyncio.Task[None]) -> None:
        if caller.in_flight is None:
            return
        if len(caller.in_flight) == MAX_IN_FLIGHT:
            caller.connection.resume_reading()
        caller.in_flight.discard(task)
        if not caller.in_flight:
            caller.in_flight = None

    async def _answer(self, caller: Caller, request: Request) -> None:
        """Run a request and write its answer; a notification gets none, whatever happens."""
        request_id: RequestId = None if request.id is UNSET else request.id
        try:
            called = self._method(request.method)
            frame = success(request_id, await called.function(self, caller, *called.arguments(request.params)))
        except Exception as error:
            rpc_error = self._translate(error)
            frame = failure(request_id, rpc_error)
            if isinstance(rpc_error, TooManyRequests) and caller.refused():
                caller.connection.start_close(FLOOD, "too many requests")
        if request.id is not UNSET:
            caller.connection.write(frame)

    def _method(self, name: str) -> Method:
        try:
            return self.methods[name]
        except KeyError:
            raise MethodNotFound(f"There is no method {name[:100]}.") from None

    def _translate(self, error: Exception) -> RpcError:
        """Return the error that the client is told; what is nobody's business becomes an incident."""
        if isinstance(error, RpcError):
            return error
        if isinstance(error, DatabaseUnavailable):
            self.log.warning("database unavailable", problem=str(error))
            return Unavailable()
        if isinstance(error, ConnectionClosed):
            return Unavailable("The connection is closed.")
        return InternalError(self.incident(error))

"""`RpcService`: JSON-RPC 2.0 over a WebSocket, typed methods, notifications both ways.

It is event-driven: a client that says nothing costs no coroutine. A request runs at once, and becomes a task when it
has to wait; the requests of one client start in the order in which they came, and their answers go out as they finish.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from functools import partial
from typing import Any, ClassVar

import msgspec
from msgspec import UNSET

from server.db import Unavailable as DatabaseUnavailable
from server.eager import start
from server.errors import (
    ConnectionClosed,
    InternalError,
    InvalidRequest,
    MethodNotFound,
    RpcError,
    TooManyRequests,
    Unavailable,
)
from server.net.connection import Connection
from server.net.frames import Frame
from server.net.identity import Identity
from server.net.limits import RateLimiter
from server.service.base import INTERNAL_ERROR, Service, ServiceContext, being_cancelled, end
from server.service.caller import PROTOCOL, Caller, Reconnect, User, Welcome
from server.service.jsonrpc import Request, RequestId, failure, identify, notification, parse, success
from server.service.methods import Method, method, methods_of
from server.service.openrpc import describe
from server.version import __version__

__all__ = ["Caller", "RpcService", "method", "notification"]

UNSUPPORTED_DATA = 1003
POLICY_VIOLATION = 1008
FLOOD = 4429

REASON_BYTES = 123
"""What a close frame has room for (RFC 6455, section 5.5)."""

WARNINGS_PER_MINUTE = 12
"""While the database is away every request fails; the log need not say so every time."""


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
        self._warnings = RateLimiter(WARNINGS_PER_MINUTE, burst=1)
        self._document = describe(
            type(self), self.name, list(self.methods.values()), {**self.events, "welcome": Welcome}
        )

    # What a service may write.

    def limits(self) -> dict[str, int]:
        """Return the service's own limits, for `welcome`."""
        return {}

    def joined(self, caller: Caller) -> Awaitable[None] | None:
        """A client is here, and was welcomed; its requests come after this. It may be a coroutine.

        An `RpcError` turns the client away with its message.
        """

    def left(self, caller: Caller) -> Awaitable[None] | None:
        """A client is gone, and so are its requests. It may be a coroutine.

        Called exactly once for each call of `joined`, whatever ended the connection.
        """

    @method(name="rpc.discover")
    async def discover(self, caller: Caller) -> dict[str, Any]:  # noqa: ARG002 every method has a caller
        """Describe the service: an OpenRPC document."""
        return self.document()

    def document(self) -> dict[str, Any]:
        """Return the OpenRPC document, made of signatures and docstrings."""
        return self._document

    # Clients.

    def attach(self, connection: Connection) -> None:
        """Take an open connection."""
        if connection.closed is not None:
            return
        caller = Caller(connection)
        caller.notify("welcome", self._welcome(connection.identity))
        connection.add_close_callback(partial(self._gone, caller))
        try:
            entering = self.joined(caller)
        except (Exception, SystemExit) as error:
            self._turn_away(caller, error)
        else:
            if entering is None:
                connection.receiver = partial(self._receive, caller)
            else:
                self._run(caller, self._enter(caller, entering))

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

    async def _enter(self, caller: Caller, entering: Awaitable[None]) -> None:
        """Finish `joined`; what the client sends meanwhile waits in its connection."""
        try:
            await entering
        except asyncio.CancelledError as error:
            if being_cancelled():
                raise
            self._turn_away(caller, error)
        except (Exception, SystemExit) as error:
            self._turn_away(caller, error)
        else:
            if caller.connection.closed is None:
                caller.connection.receiver = partial(self._receive, caller)

    def _turn_away(self, caller: Caller, error: BaseException) -> None:
        answer = self._translate(error, "joined")
        if isinstance(answer, InternalError):
            caller.connection.start_close(INTERNAL_ERROR, f"incident {answer.incident}")
            return
        code = INTERNAL_ERROR if isinstance(answer, Unavailable) else POLICY_VIOLATION
        caller.connection.start_close(code, answer.message.encode()[:REASON_BYTES].decode(errors="ignore"))

    def _gone(self, caller: Caller, connection: Connection) -> None:
        """The connection is closed: what runs for it may finish, and then the client has left."""
        connection.receiver = None
        if caller.running:
            self._for_client(self._leave(caller))
        elif leaving := self._call_left(caller):
            self._for_client(self._finish_leaving(leaving))

    async def _leave(self, caller: Caller) -> None:
        await end(caller.running or (), self.leave_seconds, self.log)
        if leaving := self._call_left(caller):
            await self._finish_leaving(leaving)

    def _call_left(self, caller: Caller) -> Awaitable[None] | None:
        try:
            return self.left(caller)
        except (Exception, SystemExit) as error:
            self.incident(error, hook="left")
            return None

    async def _finish_leaving(self, leaving: Awaitable[None]) -> None:
        try:
            await leaving
        except (Exception, SystemExit) as error:
            self.incident(error, hook="left")

    async def finish(self, connection: Connection) -> None:
        """Answer the requests of a client that run."""
        receiver = connection.receiver
        if isinstance(receiver, partial):  # `_receive` for a caller: that is all that knows both
            caller: Caller = receiver.args[0]
            if caller.running:
                await asyncio.wait(set(caller.running), timeout=self.leave_seconds)

    # Requests.

    def _receive(self, caller: Caller, message: str | bytes) -> None:
        """Take a message from a client: one request."""
        if not isinstance(message, str):
            caller.connection.start_close(UNSUPPORTED_DATA, "text frames only")
            return
        try:
            request = parse(message)
        except RpcError as error:
            request_id = identify(message) if isinstance(error, InvalidRequest) else None
            caller.connection.write(failure(request_id, error))
            return
        self._run(caller, self._answer(caller, request))

    def _run(self, caller: Caller, work: Coroutine[Any, Any, None]) -> None:
        task = start(work)
        if task is not None:
            caller.began(task)
            task.add_done_callback(caller.finished)

    async def _answer(self, caller: Caller, request: Request) -> None:
        """Run a request and write its answer; a notification gets none, whatever happens.

        Between the method's return and the answer nothing is awaited; see the class.
        """
        request_id: RequestId = None if request.id is UNSET else request.id
        try:
            called = self._method(request.method)
            result = await called.function(self, caller, *called.arguments(request.params))
            frame = success(request_id, result)
        except asyncio.CancelledError as error:
            if being_cancelled():
                raise
            frame = self._refuse(caller, request, request_id, error)
        except (Exception, SystemExit) as error:
            frame = self._refuse(caller, request, request_id, error)
        if request.id is not UNSET:
            caller.connection.write(frame)

    def _method(self, name: str) -> Method:
        try:
            return self.methods[name]
        except KeyError:
            raise MethodNotFound(f"There is no method {name[:100]}.") from None

    def _refuse(self, caller: Caller, request: Request, request_id: RequestId, error: BaseException) -> Frame:
        """Encode why a request has no result."""
        answer = self._translate(error, request.method)
        if isinstance(answer, TooManyRequests) and caller.refused():
            caller.connection.start_close(FLOOD, "too many requests")
        try:
            return failure(request_id, answer)
        except (TypeError, ValueError, OverflowError) as problem:  # the service's data cannot be written as JSON
            return failure(request_id, InternalError(self.incident(problem, method=request.method)))

    def _translate(self, error: BaseException, where: str) -> RpcError:
        """Return the error that the client is told; what is nobody's business becomes an incident."""
        if isinstance(error, RpcError):
            return error
        if isinstance(error, DatabaseUnavailable):
            if not self._warnings.take("database"):
                self.log.warning("database unavailable", method=where, problem=str(error))
            return Unavailable()
        if isinstance(error, ConnectionClosed):
            return Unavailable("The connection is closed.")
        return InternalError(self.incident(error, method=where))

"""HTTP for a service that runs in workers: a request travels to one of them whole, and so does the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import Unavailable
from server.http.responses import Problem
from server.process.messages import HttpAnswer, HttpRequest

ANSWER_SECONDS = 30.0
"""How long a service may take for an answer."""
MOST_ANSWER_BYTES = 16 * 2**20
"""What travels is in memory, whole; more than that belongs into a file that a proxy serves."""

Ask = Callable[[HttpRequest, float], Awaitable[HttpAnswer]]


class Forwarding:
    """The ASGI application of a service's path in the main process.

    Args:
        ask: lets a worker answer.
        body_bytes: what a request's body may have; 0 is no bound.
    """

    def __init__(self, ask: Ask, body_bytes: int) -> None:
        self._ask = ask
        self._body_bytes = body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        body = await self._body(receive)
        if body is None:
            return  # the client has gone
        request = HttpRequest(
            number=0,
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"],
            headers=tuple((bytes(name), bytes(value)) for name, value in scope["headers"]),
            client=client[0] if client else "",
            scheme=scope["scheme"],
            body=body,
        )
        try:
            answer = await self._ask(request, ANSWER_SECONDS)
        except TimeoutError:
            raise Problem(HTTPStatus.GATEWAY_TIMEOUT, "This service does not answer. Try again later.") from None
        except Unavailable:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "This service does not run at the moment.",
                headers={"Retry-After": "1"},
            ) from None
        await send({"type": "http.response.start", "status": answer.status, "headers": list(answer.headers)})
        await send({"type": "http.response.body", "body": answer.body})

    async def _body(self, receive: Receive) -> bytes | None:
        """Return the whole body; None where the client went before it had sent all of it."""
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if self._body_bytes and len(body) > self._body_bytes:
                raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body has more than {self._body_bytes} bytes.")
        return bytes(body)


async def answer(request: HttpRequest, application: ASGIApp) -> HttpAnswer:
    """Let an ASGI application of this process answer a request that came from the main process."""
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.scheme,
        "path": request.path,
        "raw_path": quote(request.path).encode(),
        "root_path": "",
        "query_string": request.query,
        "headers": list(request.headers),
        "client": (request.client, 0),
        "server": None,
    }
    bodies = [request.body]
    status = HTTPStatus.INTERNAL_SERVER_ERROR.value
    headers: list[Any] = []
    parts: list[bytes] = []
    size = 0

    async def receive() -> Message:
        if bodies:
            return {"type": "http.request", "body": bodies.pop(), "more_body": False}
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal status, headers, size
        if message["type"] == "http.response.start":
            status, headers = message["status"], list(message.get("headers", []))
        else:
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > MOST_ANSWER_BYTES:
                raise ValueError(f"an answer of a service with workers may have {MOST_ANSWER_BYTES} bytes")

    await application(scope, receive, send)
    return HttpAnswer(request.number, status, tuple(headers), b"".join(parts))

"""Requests to a service in another process: whole, or not at all."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from server.errors import Unavailable
from server.http.responses import Problem
from server.process import forwarding
from server.process.forwarding import Forwarding, answer
from server.process.messages import HttpAnswer, HttpRequest

SCOPE: Scope = {
    "type": "http",
    "method": "POST",
    "path": "/who/a b",
    "query_string": b"x=1",
    "headers": [(b"host", b"example.org")],
    "client": ("192.0.2.1", 5),
    "scheme": "https",
}


async def ask(messages: list[Message], reply: HttpAnswer | Exception, body_bytes: int = 100) -> tuple[Any, list[Any]]:
    """Send a request through; returns what was asked, and what the client got."""
    asked: list[HttpRequest] = []
    sent: list[Message] = []

    async def worker(request: HttpRequest, seconds: float) -> HttpAnswer:
        asked.append(request)
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await Forwarding(worker, body_bytes)(SCOPE, receive, send)
    return asked, sent


def part(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_a_request_and_its_answer_travel_whole() -> None:
    """The worker is asked once, with the whole body; the client gets its status, headers and body."""
    reply = HttpAnswer(1, 201, ((b"x-y", b"z"),), b"done")
    asked, sent = await ask([part(b"one ", more=True), part(b"two")], reply)
    [request] = asked
    assert (request.method, request.path, request.query, request.body) == ("POST", "/who/a b", b"x=1", b"one two")
    assert (request.client, request.scheme) == ("192.0.2.1", "https")
    assert sent[0] == {"type": "http.response.start", "status": 201, "headers": [(b"x-y", b"z")]}
    assert sent[1]["body"] == b"done"


async def test_what_was_cut_off_is_not_asked() -> None:
    """A client that goes in the middle of its body has asked for nothing."""
    asked, sent = await ask([part(b"one ", more=True), {"type": "http.disconnect"}], HttpAnswer(1, 200, (), b""))
    assert (asked, sent) == ([], [])


async def test_a_body_has_a_bound() -> None:
    """More than `server.body_bytes` is refused, before anybody is asked."""
    with pytest.raises(Problem) as refused:
        await ask([part(b"x" * 101)], HttpAnswer(1, 200, (), b""))
    assert refused.value.status == 413


@pytest.mark.parametrize(("error", "status"), [(TimeoutError(), 504), (Unavailable(), 503)])
async def test_nobody_who_answers(error: Exception, status: int) -> None:
    """A worker that does not answer, or is not there, is said so."""
    with pytest.raises(Problem) as refused:
        await ask([part(b"")], error)
    assert refused.value.status == status


async def test_the_worker_answers_as_a_server_would() -> None:
    """An ASGI application sees the request as it came, and its answer comes back."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"]
        assert (await receive())["type"] == "http.disconnect"
        text = (
            f"{scope['method']} {scope['path']} {scope['query_string'].decode()} {body.decode()} {scope['client'][0]}"
        )
        await PlainTextResponse(text, 202)(scope, receive, send)

    request = HttpRequest(7, "PUT", "/who/x", b"a=b", ((b"host", b"x"),), "192.0.2.1", "http", b"body")
    reply = await answer(request, application)
    assert (reply.number, reply.status, reply.body) == (7, 202, b"PUT /who/x a=b body 192.0.2.1")


async def test_an_answer_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would not fit is an error of the service, not of the process."""
    monkeypatch.setattr(forwarding, "MOST_ANSWER_BYTES", 10)
    request = HttpRequest(7, "GET", "/", b"", (), "", "http", b"")
    with pytest.raises(ValueError, match="may have 10 bytes"):
        await answer(request, PlainTextResponse("x" * 11))

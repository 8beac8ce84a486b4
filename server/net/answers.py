"""Plain HTTP answers of a sentence, for what never becomes a WebSocket."""

from __future__ import annotations

import email.utils
from http import HTTPStatus

from websockets.datastructures import Headers
from websockets.http11 import Response


def plain_response(status: int, text: str) -> Response:
    """Make an HTTP answer of one sentence that ends the socket."""
    body = f"{text}\n".encode()
    headers = Headers(
        {
            "Date": email.utils.formatdate(usegmt=True),
            "Content-Type": "text/plain; charset=utf-8",
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
    )
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = "1"
    return Response(status, HTTPStatus(status).phrase, headers, body)

"""What protects the browser: headers on every answer, and no state-changing request from a foreign page."""

from __future__ import annotations

import email.utils
from collections.abc import Sequence
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.http.responses import Problem, problem_response
from server.net.origins import origin_allowed

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "font-src 'self'",
        "manifest-src 'self'",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
STRICT_TRANSPORT = "max-age=31536000"
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class Security:
    """Wraps the application.

    Args:
        app: the application.
        origins: further origins whose pages may change things here.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        secure = scope["scheme"] == "https"

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message.setdefault("headers", []))
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Date", email.utils.formatdate(usegmt=True))
                if secure:
                    headers.setdefault("Strict-Transport-Security", STRICT_TRANSPORT)
            await send(message)

        headers = Headers(scope=scope)
        allowed = scope["method"] in _SAFE_METHODS or origin_allowed(
            headers.get("origin"), headers.get("host"), secure=secure, allowed=self._origins
        )
        app = self._app if allowed else problem_response(_FOREIGN)
        await app(scope, receive, send_with_headers)


_FOREIGN = Problem(HTTPStatus.FORBIDDEN, "Requests from pages of other sites are not taken.")

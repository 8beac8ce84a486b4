"""HTTP in front: uvicorn's protocol with the guards that an open port needs.

uvicorn parses requests and talks ASGI. What is added here: an absolute deadline for a request, bounds for its line
and headers, a cap on sockets by address, the client's address behind a trusted proxy, and an upgrade that loses no
byte which follows the request.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import get_remote_addr
from websockets.datastructures import Headers
from websockets.http11 import Request

from server.deadlines import Deadline
from server.net.addresses import address_key, client_address, client_is_secure, is_proxy
from server.net.answers import plain_response
from server.net.front import ListeningFront
from server.net.handshake import Handshake
from server.net.protocol import WebSocketProtocol

SURPLUS_SECONDS = 1.0
"""How long a socket over the cap may take to say something and be told so."""

IPV4_MAPPED = "::ffff:"
"""How a socket that takes both shows a client that comes over IPv4 (RFC 4291, section 2.5.5.2)."""

_TOO_MANY = "Too many connections from your address."


class HttpProtocol(HttpToolsProtocol):
    """One accepted socket, until it is upgraded or closed.

    Args:
        front: what all sockets of a listener share.
    """

    def __init__(self, front: ListeningFront) -> None:
        super().__init__(config=front.config, server_state=front.server_state, app_state={})
        self._front = front
        self._peer = ""
        self._address_key: str | None = None
        self._deadline: Deadline | None = None
        self._head_bytes = 0
        self._parsed_bytes = 0
        self._head_complete = False
        self._surplus = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        # What uvicorn's does, without asking the kernel for our own address: every socket comes through one listener.
        self.connections.add(self)
        self.transport = transport
        self.flow = FlowControl(transport)
        self.server = self._front.address
        self.client = get_remote_addr(transport)
        if self.client is not None and self.client[0].startswith(IPV4_MAPPED):
            self.client = (self.client[0].removeprefix(IPV4_MAPPED), self.client[1])
        self.scheme = self._front.scheme
        self._peer = self.client[0] if self.client else ""
        if not is_proxy(self._peer, self._front.settings.proxies) and not self._enter(self._peer):
            # It is told so when it has said something: an answer to nothing confuses clients.
            self._surplus = True
            self._deadline = self._front.deadlines.add(SURPLUS_SECONDS, self.transport.abort)
            return
        self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_deadline()
        self._front.left(self._address_key)
        super().connection_lost(exc)

    # Guards.

    def _enter(self, address: str) -> bool:
        key = address_key(address)
        if not self._front.entered(key):
            return False
        self._address_key = key
        return True

    def _start_deadline(self) -> None:
        seconds = self._front.settings.handshake_seconds
        if seconds and self._deadline is None:
            self._deadline = self._front.deadlines.add(seconds, self._too_slow)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._reject(HTTPStatus.REQUEST_TIMEOUT, "The request took too long.")

    def _reject(self, status: HTTPStatus, text: str) -> None:
        if not self.transport.is_closing():
            self.transport.write(plain_response(status, text).serialize())
            self.transport.close()

    # uvicorn's callbacks.

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._surplus:
            self._reject(HTTPStatus.TOO_MANY_REQUESTS, _TOO_MANY)
            return
        self._unset_keepalive_if_required()
        if not self._head_complete:
            self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._should_upgrade():
                self._upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            if not self._too_large():
                self._reject(HTTPStatus.BAD_REQUEST, "This is not an HTTP request.")
        else:
            self._too_large()

    def _too_large(self) -> bool:
        """Refuse a request whose head is over the bound."""
        most = self._front.settings.request_bytes
        if not most or self._head_complete or max(self._head_bytes, self._parsed_bytes) <= most:
            return False
        if self.headers:
            self._reject(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The headers are too large.")
        else:
            self._reject(HTTPStatus.REQUEST_URI_TOO_LONG, "The address is too long.")
        return True

    def _count(self, size: int) -> None:
        """Count what was parsed of a head; at the bound parsing stops."""
        self._parsed_bytes += size
        most = self._front.settings.request_bytes
        if most and self._parsed_bytes > most:
            raise ValueError("the head of the request is too large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_complete = False
        self._parsed_bytes = 0
        self._start_deadline()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count(len(name) + len(value) + len(b": \r\n"))

    def on_headers_complete(self) -> None:
        self._head_complete = True
        self._head_bytes = 0
        forwarded_for, forwarded_proto = self._header(b"x-forwarded-for"), self._header(b"x-forwarded-proto")
        proxies = self._front.settings.proxies
        if self.client is not None and is_proxy(self._peer, proxies):
            self.scope["client"] = (client_address(self._peer, forwarded_for, proxies), 0)
            secure = client_is_secure(self._peer, forwarded_proto, proxies, tls=self.scheme == "https")
            self.scope["scheme"] = "https" if secure else "http"
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._stop_deadline()
        super().on_message_complete()

    def _header(self, name: bytes) -> str | None:
        values = [value for key, value in self.headers if key == name]
        return b",".join(values).decode("latin-1") if values else None

    # The upgrade.

    def _upgrade(self, rest: bytes) -> None:
        """Hand the socket over to the WebSocket side, with every byte that came."""
        self._stop_deadline()
        client = self.scope["client"]
        address = client[0] if client else ""
        if self._address_key is None and not self._enter(address):
            self._reject(HTTPStatus.TOO_MANY_REQUESTS, _TOO_MANY)
            return
        request, handshake = self._request(address)
        self.connections.discard(self)
        websocket = WebSocketProtocol(self._front, self.transport)
        websocket.address_key, self._address_key = self._address_key, None
        self.transport.set_protocol(websocket)
        websocket.begin(request, handshake, rest, self._front.gate)
        # The parser and this protocol refer to each other; without this, both wait for the garbage collector.
        self.parser = self.transport = self.flow = self.cycle = None  # type: ignore[assignment]  # it is over

    def _request(self, address: str) -> tuple[Request, Handshake]:
        headers = Headers()
        for name, value in self.headers:
            headers[name.decode("latin-1")] = value.decode("latin-1")
        target = self.url.decode("latin-1")
        request = Request(target, headers, method=self.scope["method"], protocol=f"HTTP/{self.scope['http_version']}")
        return request, Handshake(target, headers, address, self.scope["scheme"] == "https")

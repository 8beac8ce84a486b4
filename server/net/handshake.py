"""The opening handshake as the gate sees it, and what the gate may answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import unquote

import msgspec
from websockets.datastructures import Headers, MultipleValuesError

from server.net.connection import Connection
from server.net.handover import Passenger
from server.net.identity import Identity


class Handshake(msgspec.Struct, frozen=True):
    """A client asks for a WebSocket.

    Args:
        target: path and query, as in the request line.
        headers: all of them.
        remote_address: the client's address; behind a trusted proxy, what that says.
        secure: whether the client speaks TLS, to us or to a trusted proxy.
    """

    target: str
    headers: Headers
    remote_address: str
    secure: bool

    @property
    def path(self) -> str:
        """The path, percent-decoded, without the query."""
        return unquote(self.target.partition("?")[0])

    @property
    def query(self) -> str:
        """What follows the question mark, as it came."""
        return self.target.partition("?")[2]

    def header(self, name: str) -> str | None:
        """Return a header; None when it is missing. A repeated one is joined with commas (RFC 9110, 5.3)."""
        try:
            return self.headers.get(name)
        except MultipleValuesError:
            return ", ".join(self.headers.get_all(name))

    @property
    def origin(self) -> str | None:
        """The origin of the page that asks; None for a program."""
        return self.header("Origin")

    @property
    def host(self) -> str | None:
        """The server's name as the client knows it."""
        return self.header("Host")

    def cookie(self, name: str) -> str | None:
        """Return a cookie's value (RFC 6265 section 5.4); None when there is no such cookie."""
        for header in self.headers.get_all("Cookie"):
            for pair in header.split(";"):
                key, separator, value = pair.strip().partition("=")
                if separator and key == name:
                    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
        return None


class Admission(msgspec.Struct, frozen=True):
    """The client may come in.

    Args:
        attach: called once, with the open connection; from then on the service has it.
        identity: who it is; None when nobody is logged in.
        subprotocols: what the service speaks, best first; empty when it does not care.
        close: accept the upgrade and close with this code and reason at once, because a browser's page cannot
            read a refused handshake.
    """

    attach: Callable[[Connection], None]
    identity: Identity | None = None
    subprotocols: tuple[str, ...] = ()
    close: tuple[int, str] | None = None


class Refusal(msgspec.Struct, frozen=True):
    """The client gets an HTTP answer instead of a WebSocket.

    Args:
        status: HTTP status.
        text: one sentence, for the person who reads it.
    """

    status: int
    text: str


class HandOver(msgspec.Struct, frozen=True):
    """Another process serves the client.

    Args:
        take: called once with the client, when nothing here watches its socket any more; it is the taker's then.
        identity: who it is; None when nobody is logged in.
    """

    take: Callable[[Passenger], None]
    identity: Identity | None = None


Decision = Admission | Refusal | HandOver

Gate = Callable[[Handshake], Awaitable[Decision]]
"""Decides about a handshake; the application supplies it. It runs under the handshake's deadline."""

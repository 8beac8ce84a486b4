"""A client on its way to another process: its socket, and all that was read and found out about it."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from contextlib import suppress

import msgspec

from server.net.answers import plain_response
from server.net.identity import Identity


class Ticket(msgspec.Struct, frozen=True, array_like=True):
    """What another process has to know of a client that it takes over.

    Args:
        target: path and query, as in the request line.
        headers: all of them, in their order.
        method: the request's.
        protocol: the request's version, as in `HTTP/1.1`.
        remote_address: the client's address; behind a trusted proxy, what that says.
        secure: whether the client speaks TLS to a trusted proxy.
        identity: who it is; None when nobody is logged in.
        rest: bytes that came behind the request.
    """

    target: str
    headers: tuple[tuple[str, str], ...]
    method: str
    protocol: str
    remote_address: str
    secure: bool
    identity: Identity | None
    rest: bytes


class Passenger:
    """A client between two processes: no event loop watches its socket.

    Whoever has it closes it, after it was sent to the other process too: that has a descriptor of its own then.

    Args:
        ticket: what the other process has to know.
        descriptor: the socket.
        key: what the client is counted under.
        left: to be called with `key` once the client is gone, wherever it went.
    """

    __slots__ = ("descriptor", "key", "left", "ticket")

    def __init__(self, ticket: Ticket, descriptor: int, key: Hashable, left: Callable[[Hashable], None]) -> None:
        self.ticket = ticket
        self.descriptor = descriptor
        self.key = key
        self.left = left

    def close(self) -> None:
        """Close this process's descriptor."""
        os.close(self.descriptor)

    def refuse(self, status: int, text: str) -> None:
        """Answer that it cannot be served, and let it go."""
        with suppress(OSError):  # it may be gone, and an answer of one sentence always fits into a fresh socket
            os.write(self.descriptor, plain_response(status, text).serialize())
        self.close()
        self.left(self.key)

"""Clients that another process has let in: their sockets become WebSockets of this process."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Hashable
from http import HTTPStatus

from websockets.datastructures import Headers
from websockets.http11 import Request

from server.config import ServerSettings
from server.errors import new_incident
from server.log import Log
from server.net.front import Front
from server.net.handover import Ticket
from server.net.handshake import Decision, Handshake, Refusal
from server.net.protocol import WebSocketProtocol

log = Log("net")


class AdoptingFront(Front):
    """What all adopted sockets share.

    Args:
        settings: the network's part of the configuration.
        on_left: called with the number of each client that is gone.
    """

    def __init__(self, settings: ServerSettings, on_left: Callable[[int], None]) -> None:
        super().__init__(settings)
        self._on_left = on_left

    def left(self, key: Hashable) -> None:
        """Tell that a client is gone."""
        if isinstance(key, int):
            self._on_left(key)

    async def adopt(
        self, number: int, descriptor: int, ticket: Ticket, decide: Callable[[Ticket, Handshake], Decision]
    ) -> None:
        """Make a socket a WebSocket of this process. What goes wrong is logged, and tells that the client is gone.

        Args:
            number: what the client is counted under.
            descriptor: the socket; it is closed with the client, whatever happens.
            ticket: what is known of the client.
            decide: called when this loop has the socket; its answer is carried out at once.
        """
        try:
            sock = socket.socket(fileno=descriptor)
        except OSError as error:
            os.close(descriptor)
            self._lost(number, error)
            return
        try:
            sock.setblocking(False)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: _Adopted(self, number, ticket, decide), sock
            )
        except OSError as error:
            sock.close()
            self._lost(number, error)

    def _lost(self, number: int, error: OSError) -> None:
        log.error("a client that was handed over cannot be taken", problem=error.strerror)
        self._on_left(number)


class _Adopted(asyncio.Protocol):
    """A socket between its arrival and its first turn in this loop."""

    def __init__(
        self, front: AdoptingFront, number: int, ticket: Ticket, decide: Callable[[Ticket, Handshake], Decision]
    ) -> None:
        self._front = front
        self._number = number
        self._ticket = ticket
        self._decide = decide

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # a stream's is one
        ticket = self._ticket
        websocket = WebSocketProtocol(self._front, transport)
        websocket.address_key = self._number  # from now on it is the WebSocket that tells when the client is gone
        transport.set_protocol(websocket)
        headers = Headers(ticket.headers)
        request = Request(ticket.target, headers, ticket.method, ticket.protocol)
        handshake = Handshake(ticket.target, headers, ticket.remote_address, ticket.secure)
        websocket.decide(request, handshake, self._decision(handshake), ticket.rest)

    def _decision(self, handshake: Handshake) -> Decision:
        try:
            return self._decide(self._ticket, handshake)
        except Exception as error:
            incident = new_incident()
            log.error("a client that was handed over cannot be let in", error=error, incident=incident)
            return Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, f"Something went wrong. Incident {incident}.")

"""An upgraded socket: the opening handshake, bytes in, bytes out, the closing handshake."""

from __future__ import annotations

import asyncio
import email.utils
from http import HTTPStatus

from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from server.errors import new_incident
from server.log import Log
from server.net.connection import Closed, Connection
from server.net.frames import ping
from server.net.front import Front
from server.net.handshake import Admission, Handshake, Refusal
from server.net.reading import Reader

log = Log("net")

WRITE_HIGH_WATER_BYTES = 65536
"""A client with more than this in its socket's buffer counts as behind."""

WAITING_BYTES = 65536
"""What a client may send while its handshake is decided; then its socket is not read."""

ABNORMAL = Closed(1006, "")


class WebSocketProtocol(asyncio.Protocol):
    """The socket side of one WebSocket.

    Args:
        front: what all sockets of a listener share.
        transport: the socket, already connected.
    """

    __slots__ = ("_close_timer", "_front", "_heard", "_pinged", "_reader", "_slice", "_task", "_transport", "_waiting",
                 "address_key", "connection")  # fmt: skip

    def __init__(self, front: Front, transport: asyncio.Transport) -> None:
        self._front = front
        self._transport = transport
        self._reader: Reader | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiting = b""
        self._heard = True
        self._pinged = False
        self._slice = 0
        self._close_timer: asyncio.TimerHandle | None = None
        self.connection: Connection | None = None
        self.address_key: str | None = None

    # The opening handshake.

    def begin(self, request: Request, handshake: Handshake, rest: bytes) -> None:
        """Start the opening handshake.

        Args:
            request: the upgrade request as websockets wants it.
            handshake: the same as the gate wants it.
            rest: bytes that came behind the request.
        """
        self._waiting = rest
        self._task = asyncio.get_running_loop().create_task(self._open(request, handshake))
        self._front.opening.add(self._task)
        self._task.add_done_callback(self._front.opening.discard)

    async def _open(self, request: Request, handshake: Handshake) -> None:
        try:
            async with asyncio.timeout(self._front.settings.handshake_seconds or None):
                decision = await self._front.gate(handshake)
        except asyncio.CancelledError:
            self._transport.abort()
            raise
        except TimeoutError:
            decision = Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "The server is busy. Try again.")
        except Exception as error:
            incident = new_incident()
            log.error("the gate failed", error=error, incident=incident)
            decision = Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, f"Something went wrong. Incident {incident}.")
        if not self._transport.is_closing():
            self._decide(request, handshake, decision)

    def _decide(self, request: Request, handshake: Handshake, decision: Admission | Refusal) -> None:
        self._task = None
        if isinstance(decision, Refusal):
            self._refuse(plain_response(decision.status, decision.text))
            return
        protocol = ServerProtocol(
            subprotocols=[Subprotocol(name) for name in decision.subprotocols] or None,
            select_subprotocol=_select_subprotocol,
            max_size=None,
        )
        response = protocol.accept(request)
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            self._refuse(response)
            return
        self._transport.write(response.serialize())
        self._admit(handshake, decision, protocol.subprotocol)

    def _refuse(self, response: Response) -> None:
        self._transport.write(response.serialize())
        self._transport.close()

    def _admit(self, handshake: Handshake, admission: Admission, subprotocol: str | None) -> None:
        settings = self._front.settings
        self.connection = Connection(
            self,
            remote_address=handshake.remote_address,
            path=handshake.path,
            identity=admission.identity,
            subprotocol=subprotocol,
            outgoing_bytes=settings.outgoing_bytes,
        )
        self._reader = Reader(
            self._front.read_limits, self.connection.message_received, self._answer, self._pong_received
        )
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_WATER_BYTES)
        self._front.connections.add(self.connection)
        self._slice = self._front.heartbeat.add(self)
        if admission.close is not None:
            self.start_close(*admission.close)
        else:
            admission.attach(self.connection)
        rest, self._waiting = self._waiting, b""
        if not self._transport.is_closing():
            self._transport.resume_reading()
            if rest:
                self.data_received(rest)

    # Bytes from the client.

    def data_received(self, data: bytes) -> None:
        self._heard = True
        if self._reader is None:
            # The gate is deciding. What a client sends meanwhile is kept, and not much of it.
            self._waiting += data
            if len(self._waiting) > WAITING_BYTES:
                self._transport.pause_reading()
        elif not self._reader.closing:
            self._reader.feed(data)

    def _answer(self, protocol: ServerProtocol) -> None:
        """Write what websockets answers: a pong, a close, a failure; then go on as the protocol's state says."""
        for data in protocol.data_to_send():
            if data:
                self._transport.write(data)
            else:
                self._end()
        if protocol.state is OPEN and self._reader is not None and protocol.current_size is None:
            self._reader.protocol = None
        if protocol.state is OPEN and self.buffered() > WRITE_HIGH_WATER_BYTES:
            # It sends pings and does not read the pongs: it is not read either, until it does; and when it never
            # does, nothing is heard of it and the heartbeat drops it.
            self._transport.pause_reading()

    def _end(self) -> None:
        """Close the socket as soon as it took what is buffered; cut it when that takes too long."""
        self._start_close_timer()
        self._transport.close()

    def _pong_received(self) -> None:
        self._pinged = False

    def beat(self) -> None:
        """One heartbeat period is over."""
        if self._heard or (self._reader is not None and self._reader.paused):
            # Whoever we do not read cannot be heard.
            self._heard = self._pinged = False
        elif self._pinged:
            log.info("client is gone", address=self.connection and self.connection.remote_address)
            self._transport.abort()
        elif not self.closing():
            self._pinged = True
            self._transport.write(ping())

    # What the connection asks for.

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def buffered(self) -> int:
        return self._transport.get_write_buffer_size()

    def closing(self) -> bool:
        return self._reader is None or self._close_timer is not None or self._transport.is_closing()

    def read(self, *, pause: bool) -> None:
        if self._reader is None or self._transport.is_closing():
            return
        self._reader.paused = pause
        if pause:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
            asyncio.get_running_loop().call_soon(self._reader.feed, b"")

    def start_close(self, code: int, reason: str) -> None:
        if self._reader is None or self.closing():
            return
        protocol = self._reader.expect_close()
        if protocol.state is OPEN:
            protocol.send_close(code, reason)
            for data in protocol.data_to_send():
                self._transport.write(data)
            if self.connection is not None:
                self.connection.fell_behind()
            self._start_close_timer()

    def _start_close_timer(self) -> None:
        if self._close_timer is None:
            loop = asyncio.get_running_loop()
            self._close_timer = loop.call_later(self._front.settings.close_seconds, self._transport.abort)

    # The socket's life.

    def pause_writing(self) -> None:
        if self.connection is not None:
            self.connection.fell_behind()

    def resume_writing(self) -> None:
        if self.connection is not None and self._reader is not None and not self.closing():
            if not self._reader.paused:
                self._transport.resume_reading()
            self.connection.caught_up()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 asyncio's signature
        if self._task is not None:
            self._task.cancel()
        if self._close_timer is not None:
            self._close_timer.cancel()
        self._front.left(self.address_key)
        connection, reader = self.connection, self._reader
        if connection is None or reader is None:
            return
        self._front.heartbeat.remove(self, self._slice)
        self._front.connections.discard(connection)
        reader.closing = True
        connection.connection_closed(_closed(reader.protocol))
        reader.release()
        self.connection = self._reader = None


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
    return Response(status, HTTPStatus(status).phrase, headers, body)


def _select_subprotocol(protocol: ServerProtocol, offered: object) -> Subprotocol | None:
    """Take the first of ours that the client offers; none in common is no reason to turn it away."""
    offers = offered if isinstance(offered, list) else []
    return next((name for name in protocol.available_subprotocols or () if name in offers), None)


def _closed(protocol: ServerProtocol | None) -> Closed:
    if protocol is not None and protocol.close_rcvd is not None:
        return Closed(protocol.close_rcvd.code, protocol.close_rcvd.reason)
    if protocol is not None and protocol.close_sent is not None:
        return Closed(protocol.close_sent.code, protocol.close_sent.reason)
    return ABNORMAL

"""An upgraded socket: the opening handshake, bytes in, bytes out, the closing handshake."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Hashable
from functools import partial
from http import HTTPStatus

from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from server.deadlines import Deadline
from server.eager import start
from server.errors import new_incident
from server.log import Log
from server.net.answers import plain_response
from server.net.connection import Closed, Connection
from server.net.frames import ping
from server.net.front import Front
from server.net.handover import Passenger, Ticket
from server.net.handshake import Admission, Decision, Gate, HandOver, Handshake, Refusal
from server.net.reading import Reader
from server.net.upgrade import Upgraded

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

    __slots__ = ("_closing", "_front", "_hand_over", "_heard", "_pinged", "_reader", "_slice", "_task", "_timer",
                 "_transport", "_waiting", "address_key", "connection", "write")  # fmt: skip

    def __init__(self, front: Front, transport: asyncio.Transport) -> None:
        self._front = front
        self._transport = transport
        self._reader: Reader | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiting = b""
        self._heard = True
        self._pinged = False
        self._slice = 0
        self._timer: Deadline | None = None  # the deadline of the opening handshake, or of the closing one
        self._closing = False
        self._hand_over: Callable[[], None] | None = None  # when nothing here watches the socket any more
        self.connection: Connection | None = None
        self.address_key: Hashable = None
        self.write: Callable[[bytes], None] = transport.write

    # The opening handshake.

    def begin(self, request: Request, handshake: Handshake, rest: bytes, gate: Gate) -> None:
        """Start the opening handshake.

        Args:
            request: the upgrade request as websockets wants it.
            handshake: the same as the gate wants it.
            rest: bytes that came behind the request.
            gate: decides.
        """
        self._waiting = rest
        self._task = start(self._open(request, handshake, gate))
        if self._task is not None:
            self._front.opening.add(self._task)
            self._task.add_done_callback(self._front.opening.discard)
            self._start_timer(self._front.settings.handshake_seconds, self._gate_too_slow)

    async def _open(self, request: Request, handshake: Handshake, gate: Gate) -> None:
        try:
            decision = await gate(handshake)
        except asyncio.CancelledError:
            if not self._transport.is_closing():
                self._transport.abort()
            raise
        except Exception as error:
            incident = new_incident()
            log.error("the gate failed", error=error, incident=incident)
            decision = Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, f"Something went wrong. Incident {incident}.")
        self._stop_timer()
        self._task = None
        if not self._transport.is_closing():
            self.decide(request, handshake, decision)

    def _gate_too_slow(self) -> None:
        self._refuse(plain_response(HTTPStatus.SERVICE_UNAVAILABLE, "The server is busy. Try again.").serialize())
        if self._task is not None:
            self._task.cancel()

    def decide(self, request: Request, handshake: Handshake, decision: Decision, rest: bytes = b"") -> None:
        """End the opening handshake.

        Args:
            request: the upgrade request as websockets wants it.
            handshake: the same as the gate saw it.
            decision: what the gate said.
            rest: bytes that came behind the request, where `begin` was not told.
        """
        self._waiting += rest
        if isinstance(decision, Refusal):
            self._refuse(plain_response(decision.status, decision.text).serialize())
            return
        if isinstance(decision, HandOver):
            self._leave_to(request, handshake, decision)
            return
        upgraded = self._front.upgrader.upgrade(request, decision.subprotocols)
        if upgraded.accepted:
            self._admit(handshake, decision, upgraded)
        else:
            self._refuse(upgraded.response)

    def _refuse(self, response: bytes) -> None:
        self.write(response)
        self._transport.close()

    def _admit(self, handshake: Handshake, admission: Admission, upgraded: Upgraded) -> None:
        front = self._front
        held = [upgraded.response]
        self.write = held.append  # what the service says first goes out together with this
        self.connection = connection = Connection(
            self,
            remote_address=handshake.remote_address,
            path=handshake.path,
            identity=admission.identity,
            subprotocol=upgraded.subprotocol,
            outgoing_bytes=front.settings.outgoing_bytes,
            compress=front.compress if upgraded.deflate else None,
        )
        self._reader = Reader(
            front.read_limits,
            connection.message_received,
            self._answer,
            self._pong_received,
            self._end_turn,
            deflate=upgraded.deflate,
        )
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_WATER_BYTES)
        front.connections.add(connection)
        self._slice = front.heartbeat.add(self)
        try:
            if admission.close is not None:
                self.start_close(*admission.close)
            else:
                admission.attach(connection)
        finally:
            self.write = self._transport.write
            connection.use(self.write)
            self.write(b"".join(held))
        rest, self._waiting = self._waiting, b""
        if rest and not self._transport.is_closing():
            self._transport.resume_reading()
            self.data_received(rest)

    def _leave_to(self, request: Request, handshake: Handshake, decision: HandOver) -> None:
        """Let go of the socket and leave it to another process; what comes meanwhile, the kernel keeps for that."""
        if len(self._waiting) > WAITING_BYTES:  # RFC 6455, section 4.1: it has to wait for the answer
            self._refuse(plain_response(HTTPStatus.BAD_REQUEST, "Wait for the answer to the handshake.").serialize())
            return
        self._transport.pause_reading()
        ticket = Ticket(
            handshake.target,
            tuple(request.headers.raw_items()),
            request.method,
            request.protocol,
            handshake.remote_address,
            handshake.secure,
            decision.identity,
            self._waiting,
        )
        try:
            descriptor = os.dup(self._transport.get_extra_info("socket").fileno())
        except OSError as error:
            log.error("a client cannot be handed over", problem=error.strerror)
            self._refuse(plain_response(HTTPStatus.SERVICE_UNAVAILABLE, "The server is full. Try again.").serialize())
            return
        key, self.address_key = self.address_key, None
        passenger = Passenger(ticket, descriptor, key, self._front.left)
        self._hand_over = partial(decision.take, passenger)
        self._transport.abort()

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
                self.write(data)
            else:
                self._end()
        if protocol.state is OPEN and self._reader is not None and protocol.current_size is None:
            self._reader.protocol = None
        if protocol.state is OPEN and self.buffered() > WRITE_HIGH_WATER_BYTES:
            # It sends pings and does not read the pongs: it is not read either, until it does; and when it never
            # does, nothing is heard of it and the heartbeat drops it.
            self._transport.pause_reading()

    def _end_turn(self) -> None:
        """Let others have theirs, and go on with what this client has sent in the next turn of the loop."""
        self._transport.pause_reading()
        asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._heard = True  # what it said is being taken: it is not silent
        if self._reader is not None and not self._reader.paused and not self._transport.is_closing():
            if self.buffered() <= WRITE_HIGH_WATER_BYTES:
                self._transport.resume_reading()
            self._reader.feed(b"")

    def _end(self) -> None:
        """Close the socket as soon as it took what is buffered; cut it when that takes too long."""
        self._start_closing()
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
            self.write(ping())

    # What the connection asks for.

    def buffered(self) -> int:
        return self._transport.get_write_buffer_size()

    def closing(self) -> bool:
        return self._reader is None or self._closing or self._transport.is_closing()

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
                self.write(data)
            if self.connection is not None:
                self.connection.fell_behind()
            self._start_closing()

    def abort(self) -> None:
        self._transport.abort()

    def _start_closing(self) -> None:
        if not self._closing:
            self._closing = True
            self._start_timer(self._front.settings.close_seconds, self._transport.abort)

    def _start_timer(self, seconds: float, callback: Callable[[], None]) -> None:
        self._stop_timer()
        if seconds:
            self._timer = self._front.deadlines.add(seconds, callback)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

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
        self._stop_timer()
        self._front.left(self.address_key)
        if self._hand_over is not None:
            # In the next turn of the loop the socket is closed here, and watched by no loop.
            asyncio.get_running_loop().call_soon(self._hand_over)
            self._hand_over = None
        connection, reader = self.connection, self._reader
        if connection is None or reader is None:
            return
        self._front.heartbeat.remove(self, self._slice)
        self._front.connections.discard(connection)
        reader.closing = True
        connection.connection_closed(_closed(reader.protocol))
        reader.release()
        self.connection = self._reader = None


def _closed(protocol: ServerProtocol | None) -> Closed:
    if protocol is not None and protocol.close_rcvd is not None:
        return Closed(protocol.close_rcvd.code, protocol.close_rcvd.reason)
    if protocol is not None and protocol.close_sent is not None:
        return Closed(protocol.close_sent.code, protocol.close_sent.reason)
    return ABNORMAL

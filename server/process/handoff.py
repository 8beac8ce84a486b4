"""The sockets of clients on their way from the main process to a worker: SCM_RIGHTS over SOCK_SEQPACKET, see unix(7).

Each client is one packet: its number, what was read and found out about it, and its descriptor.
"""

from __future__ import annotations

import array
import asyncio
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import msgspec

from server.log import Log
from server.net.handover import Passenger, Ticket

PACKET_BYTES = 262144
"""More than a request's head and what may follow it take (`server.request_bytes`, `WAITING_BYTES`) by default."""
MOST_WAITING = 1024
"""Clients that wait for a worker which does not take them; beyond it they are told to try again."""
MOST_A_TURN = 64
"""Clients that a worker takes in one turn of its loop."""

_NUMBER = struct.Struct("!Q")
_DESCRIPTOR_BYTES = array.array("i").itemsize

log = Log("process")


class Sender:
    """The main process's end.

    Args:
        sock: connected, not blocking; it is the sender's from now on.
        failed: called with each client that the system does not let pass; it is the called one's.
    """

    def __init__(self, sock: socket.socket, failed: Callable[[int, Passenger], None]) -> None:
        self._socket = sock
        self._failed = failed
        self._waiting: deque[tuple[int, Passenger]] = deque()
        self._watching = False
        self._broken = False
        self._encode = msgspec.msgpack.Encoder().encode

    def send(self, number: int, passenger: Passenger) -> bool:
        """Send a client; False when too many wait already, or nobody takes them, and then the caller still has it.

        What becomes of it later is told by the worker, or by `close`.
        """
        if self._broken or len(self._waiting) >= MOST_WAITING:
            return False
        self._waiting.append((number, passenger))
        if not self._watching:
            self._flush()
        return True

    def close(self) -> list[tuple[int, Passenger]]:
        """End; returns the clients that were not sent, which are the caller's."""
        self._watch(on=False)
        self._socket.close()
        waiting, self._waiting = list(self._waiting), deque()
        return waiting

    def _flush(self) -> None:
        while self._waiting:
            number, passenger = self._waiting[0]
            try:
                self._send(number, passenger)
            except (BlockingIOError, InterruptedError):
                break
            except ConnectionError:
                self._broken = True  # the worker takes no more: `close` follows, and another one may have the client
                self._watch(on=False)
                return
            except OSError as error:
                self._waiting.popleft()
                log.error("a client cannot be handed over", problem=error.strerror)
                self._failed(number, passenger)
                continue
            self._waiting.popleft()
            passenger.close()
        self._watch(on=bool(self._waiting))

    def _send(self, number: int, passenger: Passenger) -> None:
        rights = array.array("i", [passenger.descriptor])
        self._socket.sendmsg(
            [_NUMBER.pack(number), self._encode(passenger.ticket)],
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)],
        )

    def _watch(self, *, on: bool) -> None:
        if on != self._watching:
            self._watching = on
            loop = asyncio.get_running_loop()
            if on:
                loop.add_writer(self._socket, self._flush)
            else:
                loop.remove_writer(self._socket)


class Receiver:
    """A worker's end.

    Args:
        sock: connected, not blocking; it is the receiver's from now on.
        arrived: called with number, descriptor and ticket of each client; the descriptor is the called one's.
        spoiled: called with the number of each client that did not arrive whole; its socket is closed.
    """

    def __init__(
        self,
        sock: socket.socket,
        arrived: Callable[[int, int, Ticket], None],
        spoiled: Callable[[int], None],
    ) -> None:
        self._socket = sock
        self._arrived = arrived
        self._spoiled = spoiled
        self._decode = msgspec.msgpack.Decoder(Ticket).decode

    def start(self) -> None:
        """Begin to take clients."""
        asyncio.get_running_loop().add_reader(self._socket, self._take)

    def stop(self) -> None:
        """Take no more. What is on its way is closed by the kernel."""
        with suppress(ValueError):  # it was closed already
            asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _take(self) -> None:
        for _ in range(MOST_A_TURN):
            try:
                packet, ancillary, flags, _ = self._socket.recvmsg(
                    PACKET_BYTES, socket.CMSG_SPACE(_DESCRIPTOR_BYTES), socket.MSG_CMSG_CLOEXEC
                )
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                packet, ancillary, flags = b"", [], 0
            if not packet:  # the main process is gone
                asyncio.get_running_loop().remove_reader(self._socket)
                return
            self._open(packet, _descriptors(ancillary), flags)

    def _open(self, packet: bytes, descriptors: list[int], flags: int) -> None:
        (number,) = _NUMBER.unpack_from(packet)
        whole = not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) and len(descriptors) == 1
        try:
            ticket = self._decode(packet[_NUMBER.size :]) if whole else None
        except msgspec.MsgspecError:
            ticket = None
        if ticket is None:
            # MSG_CTRUNC without a descriptor: this process may have no more of them.
            log.error("a client did not arrive whole", descriptors=len(descriptors), flags=flags)
            for descriptor in descriptors:
                os.close(descriptor)
            self._spoiled(number)
            return
        self._arrived(number, descriptors[0], ticket)


def pair() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a way for sockets: what is sent is one packet, as large as the system allows."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PACKET_BYTES)
        end.setblocking(False)
    return ends


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    found = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    return found.tolist()

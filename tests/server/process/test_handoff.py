"""Sockets from one process to another: whole, once, in order, and without a descriptor left behind."""

from __future__ import annotations

import array
import asyncio
import os
import resource
import socket
from collections.abc import AsyncIterator, Hashable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from server.net.handover import Passenger, Ticket
from server.net.identity import Identity
from server.process.handoff import MOST_WAITING, Receiver, Sender, pair

ANN = Identity(7, "ann", "member", session=3)
TRANSFERS = 100_000


def ticket(rest: bytes = b"") -> Ticket:
    headers = (("Host", "example.org"), ("Cookie", "a=1"), ("Cookie", "b=2"))
    return Ticket("/chat?x=1", headers, "GET", "HTTP/1.1", "192.0.2.1", True, ANN, rest)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Way:
    """Both ends, and what came out."""

    def __init__(self) -> None:
        ours, self.theirs = pair()
        self.failed: list[int] = []
        self.arrived: list[tuple[int, int, Ticket]] = []
        self.spoiled: list[int] = []
        self.gone: list[Hashable] = []
        self.sender = Sender(ours, lambda number, passenger: self.failed.append(number))
        self.receiver = Receiver(self.theirs, lambda *client: self.arrived.append(client), self.spoiled.append)

    def passenger(self, descriptor: int, rest: bytes = b"") -> Passenger:
        return Passenger(ticket(rest), descriptor, "key", self.gone.append)

    async def until_arrived(self, number: int) -> None:
        async with asyncio.timeout(30):
            while len(self.arrived) + len(self.spoiled) < number:  # noqa: ASYNC110 what arrives calls back
                await asyncio.sleep(0)


@pytest.fixture
async def way() -> AsyncIterator[Way]:
    way = Way()
    yield way
    way.sender.close()
    way.receiver.stop()


async def test_a_client_arrives_with_all_that_is_known_of_it(way: Way) -> None:
    """The other process has a socket of its own that speaks to the same client, and the ticket word for word."""
    ours, client = socket.socketpair()
    assert way.sender.send(5, way.passenger(ours.detach(), b"\x81\x80abcd"))
    way.receiver.start()
    await way.until_arrived(1)
    [(number, descriptor, came)] = way.arrived
    assert (number, came) == (5, ticket(b"\x81\x80abcd"))
    assert not os.get_inheritable(descriptor)
    with socket.socket(fileno=descriptor) as there, client:
        there.send(b"hello")
        assert client.recv(10) == b"hello"


async def test_the_sender_keeps_no_descriptor(way: Way) -> None:
    """Once a client was sent, its socket is open in the other process alone: when that closes it, it is closed."""
    ours, client = socket.socketpair()
    way.sender.send(1, way.passenger(ours.detach()))
    way.receiver.start()
    await way.until_arrived(1)
    os.close(way.arrived[0][1])
    with client:
        assert client.recv(10) == b""


async def test_a_worker_that_does_not_take_them_lets_clients_wait_their_turn(way: Way) -> None:
    """What does not fit into the socket waits, in order; beyond the bound it is refused; later all arrive."""
    sent = 0
    while way.sender.send(sent, passenger := way.passenger(os.open("/dev/null", os.O_RDONLY), b"x" * 20_000)):
        sent += 1
    passenger.close()
    assert sent > MOST_WAITING
    way.receiver.start()
    await way.until_arrived(sent)
    assert [number for number, _, _ in way.arrived] == list(range(sent))
    assert way.sender.send(sent, way.passenger(os.open("/dev/null", os.O_RDONLY)))
    await way.until_arrived(sent + 1)
    for _, descriptor, _ in way.arrived:
        os.close(descriptor)


async def test_who_was_not_sent_is_given_back(way: Way) -> None:
    """At the end of a worker the clients that still waited are the caller's, with their sockets."""
    sent = 0
    while way.sender.send(sent, passenger := way.passenger(os.open("/dev/null", os.O_RDONLY), b"x" * 20_000)):
        sent += 1
    passenger.close()
    way.receiver.stop()
    left = way.sender.close()
    assert [number for number, _ in left] == list(range(sent - len(left), sent))
    assert len(left) >= MOST_WAITING
    for _, passenger in left:
        passenger.close()  # each was open


async def test_a_client_that_the_system_does_not_let_pass_is_told(way: Way) -> None:
    """More than a packet can hold fails at once, for that client alone."""
    ours, client = socket.socketpair()
    with client:
        assert way.sender.send(1, way.passenger(ours.detach(), b"x" * 4_000_000))
        assert way.failed == [1]
    way.sender.send(2, way.passenger(os.open("/dev/null", os.O_RDONLY)))
    way.receiver.start()
    await way.until_arrived(1)
    assert [number for number, _, _ in way.arrived] == [2]
    os.close(way.arrived[0][1])


@contextmanager
def no_more_descriptors() -> Iterator[None]:
    """Let this process open no further file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    taken: list[int] = []
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)


async def test_a_descriptor_that_is_cut_off_is_noticed(way: Way) -> None:
    """Where the receiver has no room for a descriptor (MSG_CTRUNC), the client is given up, and the next one served."""
    way.sender.send(1, way.passenger(os.open("/dev/null", os.O_RDONLY)))
    way.receiver.start()
    with no_more_descriptors():
        await way.until_arrived(1)
    assert (way.spoiled, way.arrived) == ([1], [])
    way.sender.send(2, way.passenger(os.open("/dev/null", os.O_RDONLY)))
    await way.until_arrived(2)
    assert [number for number, _, _ in way.arrived] == [2]
    os.close(way.arrived[0][1])


async def test_what_is_no_ticket_spoils_one_client(way: Way) -> None:
    """A packet that cannot be read, or has more descriptors than one, is given up and leaves no descriptor."""
    way.receiver.start()
    raw = way.sender._socket
    before = descriptors()
    for payload, count in ((b"nonsense", 1), (b"", 0), (b"nonsense", 2)):
        files = [os.open("/dev/null", os.O_RDONLY) for _ in range(count)]
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
        raw.sendmsg([(9).to_bytes(8, "big"), payload], rights)
        for file in files:
            os.close(file)
    await way.until_arrived(3)
    assert (way.spoiled, way.arrived) == ([9, 9, 9], [])
    assert descriptors() == before


async def test_a_hundred_thousand_leave_no_descriptor(way: Way) -> None:
    """100,000 hand-offs leak nothing, on either side."""
    way.receiver.start()
    before = descriptors()
    passed = 0

    def arrived(number: int, descriptor: int, _: Ticket) -> None:
        nonlocal passed
        os.close(descriptor)
        passed += 1

    way.receiver._arrived = arrived
    for number in range(TRANSFERS):
        passenger = way.passenger(os.open("/dev/null", os.O_RDONLY))
        while not way.sender.send(number, passenger):  # noqa: ASYNC110 the receiver has its turn
            await asyncio.sleep(0)  # the receiver's turn
    async with asyncio.timeout(120):
        while passed < TRANSFERS:  # noqa: ASYNC110 what arrives calls back
            await asyncio.sleep(0)
    assert descriptors() == before


async def test_the_end_of_the_sender_ends_the_receiver(way: Way) -> None:
    """When the main process is gone the receiver watches a closed socket no more."""
    way.receiver.start()
    way.sender.close()
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(10):
        while loop.remove_reader(way.theirs):
            loop.add_reader(way.theirs, way.receiver._take)
            await asyncio.sleep(0)

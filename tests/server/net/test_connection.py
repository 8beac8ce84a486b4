"""One client's connection as a service sees it, without a socket."""

from __future__ import annotations

import asyncio

import pytest

from server.errors import ConnectionClosed
from server.net.connection import QUEUE_MESSAGES, Closed, Connection
from server.net.deflate import compressor
from server.net.frames import encode
from server.pubsub.delivery import Batch, Delivery, Publication


class Link:
    """A socket that takes everything, or nothing."""

    def __init__(self) -> None:
        self.written = b""
        self.waiting = 0
        self.reading = True
        self.close_code: int | None = None

    def write(self, data: bytes) -> None:
        self.written += data

    def buffered(self) -> int:
        return self.waiting

    def closing(self) -> bool:
        return self.close_code is not None

    def abort(self) -> None:
        self.start_close(1006, "")

    def start_close(self, code: int, reason: str) -> None:
        self.close_code = code

    def read(self, *, pause: bool) -> None:
        self.reading = not pause


@pytest.fixture
def link() -> Link:
    return Link()


@pytest.fixture
def connection(link: Link) -> Connection:
    return Connection(link, remote_address="127.0.0.1", path="/x", outgoing_bytes=1000)


def batch(*publications: Publication) -> Batch:
    return Batch("topic", publications)


async def test_messages_are_received_in_order(connection: Connection) -> None:
    """What comes before somebody receives waits, in order."""
    for message in ("a", b"b", "c"):
        connection.message_received(message)
    assert [await connection.receive() for _ in range(3)] == ["a", b"b", "c"]


async def test_iteration_ends_with_the_connection(connection: Connection) -> None:
    """Messages that came before the end are received; then the iteration ends, whatever the reason."""
    connection.message_received("a")
    connection.connection_closed(Closed(1006, ""))
    assert [message async for message in connection] == ["a"]
    with pytest.raises(ConnectionClosed) as closed:
        await connection.receive()
    assert closed.value.code == 1006


async def test_a_waiting_receiver_is_woken(connection: Connection) -> None:
    """A message, and the end, wake whoever waits."""
    receiving = asyncio.ensure_future(connection.receive())
    await asyncio.sleep(0)
    connection.message_received("a")
    assert await receiving == "a"
    receiving = asyncio.ensure_future(connection.receive())
    await asyncio.sleep(0)
    connection.connection_closed(Closed(1001, "away"))
    with pytest.raises(ConnectionClosed, match="1001 away"):
        await receiving


async def test_cancelled_receiving_loses_nothing(connection: Connection) -> None:
    """Somebody who gives up waiting takes no message along."""
    receiving = asyncio.ensure_future(connection.receive())
    await asyncio.sleep(0)
    connection.message_received("a")
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    assert await connection.receive() == "a"


async def test_two_receivers_are_an_error(connection: Connection) -> None:
    """Two coroutines cannot share a connection's messages by accident."""
    first = asyncio.ensure_future(connection.receive())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="two coroutines"):
        await connection.receive()
    first.cancel()


async def test_a_full_queue_stops_reading(connection: Connection, link: Link) -> None:
    """The queue has a bound: at it the socket is not read, and when it is empty the socket is read again."""
    for _ in range(QUEUE_MESSAGES):
        connection.message_received("a")
    assert not link.reading
    for _ in range(QUEUE_MESSAGES):
        await connection.receive()
    assert link.reading


async def test_holds_nest(connection: Connection, link: Link) -> None:
    """Whoever holds reading back is counted: it goes on when the last one lets go."""
    connection.pause_reading()
    connection.pause_reading()
    connection.resume_reading()
    assert not link.reading
    connection.resume_reading()
    assert link.reading


def test_a_receiver_gets_messages_at_once(connection: Connection) -> None:
    """An event-driven service has no queue; what came before it was set comes first."""
    connection.message_received("early")
    got: list[str | bytes] = []
    connection.receiver = got.append
    connection.message_received("late")
    assert got == ["early", "late"]


async def test_sending_waits_while_the_client_is_behind(connection: Connection, link: Link) -> None:
    """`send` gives a fast service the speed of a slow client."""
    connection.fell_behind()
    sending = asyncio.ensure_future(connection.send("a"))
    await asyncio.sleep(0)
    assert link.written == b""
    connection.caught_up()
    await sending
    assert link.written == encode("a")


async def test_sending_to_nobody_raises(connection: Connection, link: Link) -> None:
    """A service learns that its client is gone when it sends, also while it waits."""
    connection.fell_behind()
    sending = asyncio.ensure_future(connection.send("a"))
    await asyncio.sleep(0)
    link.close_code = 1001
    connection.connection_closed(Closed(1001, ""))
    with pytest.raises(ConnectionClosed):
        await sending
    with pytest.raises(ConnectionClosed):
        await connection.send("b")
    connection.write("c")
    assert link.written == b""


def test_a_client_too_far_behind_is_closed(connection: Connection, link: Link) -> None:
    """Outgoing bytes have a bound; beyond it the client is closed with 4008 and resumes."""
    connection.fell_behind()
    link.waiting = 900
    connection.write(b"x" * 50)
    assert link.close_code is None
    link.waiting = 960
    connection.write(b"x" * 50)
    assert link.close_code == 4008


def test_no_bound_is_no_bound(link: Link) -> None:
    """0 switches the limit off."""
    connection = Connection(link, remote_address="", path="", outgoing_bytes=0)
    connection.fell_behind()
    link.waiting = 10**9
    connection.write("x")
    assert link.close_code is None


def test_delivery_to_a_healthy_client_is_everything(connection: Connection, link: Link) -> None:
    """Who keeps up gets all, in order, in one write."""
    frames = [Publication(b"1"), Publication(b"2", Delivery.DROPPABLE), Publication(b"3", Delivery.LATEST, "k")]
    connection.deliver(batch(*frames))
    assert link.written == b"123"


def test_delivery_to_a_client_that_is_behind(connection: Connection, link: Link) -> None:
    """Who is behind gets what must not be missed; droppable is dropped; of the rest the newest, once caught up."""
    connection.fell_behind()
    connection.deliver(
        batch(Publication(b"D1"), Publication(b"L1", Delivery.LATEST, "k"), Publication(b"M1", Delivery.LATEST, "m"))
    )
    connection.deliver(batch(Publication(b"x", Delivery.DROPPABLE), Publication(b"L2", Delivery.LATEST, "k")))
    assert link.written == b"D1"
    connection.caught_up()
    assert link.written == b"D1L2M1"


def test_close_callbacks_run_exactly_once(connection: Connection) -> None:
    """Leaving runs once, whatever the end was; late comers are called at once; one that fails hurts no other."""
    called: list[str] = []

    def fail(_: Connection) -> None:
        called.append("fails")
        raise ValueError

    def forgotten(_: Connection) -> None:
        called.append("forgotten")

    connection.add_close_callback(fail)
    connection.add_close_callback(forgotten)
    connection.add_close_callback(lambda _: called.append("first"))
    connection.remove_close_callback(forgotten)
    connection.connection_closed(Closed(1000, ""))
    connection.add_close_callback(lambda _: called.append("late"))
    assert called == ["fails", "first", "late"]


async def test_wait_closed(connection: Connection) -> None:
    """Whoever waits for the end is told how it ended; nobody is kept when they stop waiting."""
    waiting = asyncio.ensure_future(connection.wait_closed())
    given_up = asyncio.ensure_future(connection.wait_closed())
    await asyncio.sleep(0)
    given_up.cancel()
    connection.connection_closed(Closed(1000, "bye"))
    assert await waiting == Closed(1000, "bye")
    assert await connection.wait_closed() == Closed(1000, "bye")
    assert repr(connection) == "<Connection /x 127.0.0.1 closed 1000>"


async def test_iterating_and_receiving_are_the_same(connection: Connection, link: Link) -> None:
    """The two ways to receive take turns with one queue, and both let the client go on when there is room again."""
    for number in range(QUEUE_MESSAGES):
        connection.message_received(str(number))
    assert not link.reading
    received = [await connection.receive()]
    async for message in connection:
        received.append(message)
        if len(received) == QUEUE_MESSAGES - 1:
            break
    received.append(await anext(connection))
    assert received == [str(number) for number in range(QUEUE_MESSAGES)]
    assert link.reading


compress = compressor(10)
LONG = "x" * 500


@pytest.fixture
def agreed(link: Link) -> Connection:
    """A connection whose client agreed on compression."""
    return Connection(link, remote_address="127.0.0.1", path="/x", outgoing_bytes=1000, compress=compress)


async def test_what_is_sent_is_compressed_where_that_was_agreed_on(agreed: Connection, link: Link) -> None:
    """Replies, frames that were encoded before, and what waited until the client caught up, are; small ones are not."""
    agreed.write(LONG)
    await agreed.send(encode(LONG))
    agreed.write("small")
    agreed.fell_behind()
    agreed.write(LONG)
    sending = asyncio.ensure_future(agreed.send(LONG))
    await asyncio.sleep(0)
    agreed.caught_up()
    await sending
    assert link.written == compress(encode(LONG)) * 2 + encode("small") + compress(encode(LONG)) * 2
    assert link.written[0] == 0xC1


def test_a_topic_compresses_once_for_all(agreed: Connection, link: Link, connection: Connection) -> None:
    """Each gets what it agreed on, all of a batch, and the compressed one is made once."""
    calls: list[bytes] = []

    def counting(frames: bytes) -> bytes:
        calls.append(frames)
        return compress(frames)

    batch_ = Batch("topic", [Publication(encode(LONG)), Publication(encode("small"))], counting)
    connection.deliver(batch_)
    assert calls == []
    assert link.written == batch_.all
    for _ in range(2):
        link.written = b""
        agreed.deliver(batch_)
        assert link.written == compress(encode(LONG)) + encode("small")
    assert calls == [batch_.all]


def test_a_client_that_is_behind_can_read_what_it_gets(agreed: Connection, link: Link) -> None:
    """Whoever agreed on compression may get frames that are not compressed: the durable ones, and the newest."""
    agreed.fell_behind()
    newest = Publication(encode("y" * 20), Delivery.LATEST, "k")
    agreed.deliver(Batch("topic", [Publication(encode(LONG)), newest], compress))
    agreed.caught_up()
    assert link.written == encode(LONG) + newest.frame

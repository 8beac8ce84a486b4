"""WebSockets over real sockets: handshakes, closing, keep-alive, and clients that do not behave (FAULTS 12 to 20)."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import zlib
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed as TheirConnectionClosed
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from server.net.connection import Closed, Connection
from server.net.deflate import compressor
from server.net.frames import encode
from server.net.handshake import Admission, Gate, Handshake, Refusal
from server.net.identity import Identity
from server.net.listener import Listener
from server.net.reading import MESSAGES_PER_TURN
from server.pubsub.delivery import Delivery
from server.pubsub.local import LocalBroker
from server.pubsub.topics import Topics
from tests.support.net import RawClient, client_frame, echo, gate_to, listening, upgrade_request

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


def url(listener: Listener, path: str = "/echo") -> str:
    return f"ws://127.0.0.1:{listener.port}{path}"


class Kept:
    """Keeps the connections that a gate let in."""

    def __init__(self) -> None:
        self.connections: list[Connection] = []
        self.came = asyncio.Event()

    def __call__(self, connection: Connection) -> None:
        self.connections.append(connection)
        self.came.set()

    async def one(self) -> Connection:
        """Wait for a connection."""
        async with asyncio.timeout(10):
            await self.came.wait()
        return self.connections[-1]


async def test_text_binary_and_fragments_come_back() -> None:
    """Messages of every kind and size arrive whole, of the kind they were."""
    async with listening() as listener, connect(url(listener)) as client:
        for message in ("", "grün", b"", b"\x00\xff", "x" * 60000, b"y" * 65536):
            await client.send(message)
            assert await client.recv() == message
        await client.send(["a", "bc", "d"])
        assert await client.recv() == "abcd"
        await client.send([b"x" * 60000] * 3)
        assert await client.recv() == b"x" * 180000
        await (await client.ping(b"are you there"))


async def test_bytes_behind_the_handshake_are_not_lost() -> None:
    """A client may send its first frames together with the request."""
    async with listening() as listener:
        frames = client_frame(TEXT, b"one") + client_frame(TEXT, b"two")
        client = await RawClient.upgrade(listener, behind=frames)
        assert [await client.frame(), await client.frame()] == [(TEXT, b"one"), (TEXT, b"two")]
        await client.close()


async def test_the_connection_knows_who_and_where() -> None:
    """Identity, address, path and subprotocol are what the handshake said."""
    kept = Kept()
    ann = Identity(7, "ann", "member", 3)
    seen: list[Handshake] = []

    async def gate(handshake: Handshake) -> Admission:
        seen.append(handshake)
        return Admission(kept, ann, subprotocols=("b", "a"))

    async with listening(gate) as listener:
        headers = {"Cookie": 'x=1; session="quoted"', "Origin": "http://o.example"}
        async with connect(
            url(listener, "/some%20path?q=1"),
            subprotocols=[Subprotocol("a"), Subprotocol("b")],
            additional_headers=headers,
        ) as client:
            connection = await kept.one()
            assert client.subprotocol == connection.subprotocol == "b"
            assert (connection.identity, connection.path) == (ann, "/some path")
            assert connection.remote_address == "127.0.0.1"
        (handshake,) = seen
        assert (handshake.query, handshake.origin) == ("q=1", "http://o.example")
        assert (handshake.cookie("session"), handshake.cookie("none")) == ("quoted", None)
        assert handshake.host == f"127.0.0.1:{listener.port}"


async def test_no_common_subprotocol_is_no_reason_to_refuse() -> None:
    """A client without one of ours gets none and decides for itself."""

    async def gate(handshake: Handshake) -> Admission:
        return Admission(echo, subprotocols=("ours",))

    async with listening(gate) as listener, connect(url(listener), subprotocols=[Subprotocol("theirs")]) as client:
        assert client.subprotocol is None


async def test_refusals_are_http_answers() -> None:
    """Who is refused gets a status and a sentence."""
    async with listening() as listener:
        with pytest.raises(InvalidStatus) as refused:
            await connect(url(listener, "/nowhere"))
        assert refused.value.response.status_code == 404
        assert refused.value.response.body == b"There is no such service.\n"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec_WebSocket_Version": "12"}, 400),
        ({"Sec_WebSocket_Key": ""}, 400),
        ({"Sec_WebSocket_Key": "short"}, 400),
    ],
)
async def test_handshakes_that_are_none(headers: dict[str, str], status: int) -> None:
    """A request that is not RFC 6455, section 4.2.1 is answered in HTTP."""
    async with listening() as listener:
        client = await RawClient.connect(listener)
        client.writer.write(upgrade_request(**headers))
        assert (await client.head()).startswith(f"HTTP/1.1 {status} ")
        await client.close()


async def test_a_gate_that_fails_is_an_incident(caplog: pytest.LogCaptureFixture) -> None:
    """The client gets 500 and an incident id that the log has too, and no traceback."""

    async def gate(handshake: Handshake) -> Admission | Refusal:
        raise ValueError("secret detail")

    async with listening(gate) as listener:
        with pytest.raises(InvalidStatus) as refused:
            await connect(url(listener))
    body = (refused.value.response.body or b"").decode()
    assert refused.value.response.status_code == 500
    assert "secret" not in body
    incident = body.split()[-1].rstrip(".")
    assert incident in [record.fields.get("incident") for record in caplog.records if hasattr(record, "fields")]


async def test_a_gate_that_hangs_has_a_deadline() -> None:
    """Nobody waits for a decision for ever: 503, the socket ends, and what the gate was at is cancelled."""
    cancelled = asyncio.Event()

    async def gate(handshake: Handshake) -> Admission | Refusal:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    async with listening(gate, handshake_seconds=0.05, connections_per_address=1) as listener:
        for _ in range(2):  # the second one finds the first one's place free
            client = await RawClient.connect(listener)
            client.writer.write(upgrade_request())
            assert (await client.head()).startswith("HTTP/1.1 503 ")
            async with asyncio.timeout(10):
                assert await client.reader.read() == b"The server is busy. Try again.\n"
                await cancelled.wait()
            await client.close()
            await _nobody_left(listener)


async def test_a_gate_that_will_not_be_cancelled_decides_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever was told 503 is not let in, whatever a gate that is too slow says afterwards."""
    kept, decided = Kept(), asyncio.Event()

    async def gate(handshake: Handshake) -> Admission | Refusal:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            decided.set()
        return Admission(kept)

    async with listening(gate, handshake_seconds=0.05) as listener:
        client = await RawClient.connect(listener)
        client.writer.write(upgrade_request())
        assert (await client.head()).startswith("HTTP/1.1 503 ")
        async with asyncio.timeout(10):
            await decided.wait()
            await client.reader.read()
        assert kept.connections == []
        await client.close()
        await _nobody_left(listener)
    gc.collect()  # a task whose error nobody took says so when it is collected
    assert caplog.records == []


async def test_a_decision_ends_the_deadline() -> None:
    """Once the gate has decided, no timer of the handshake is left that could end the connection."""
    kept = Kept()

    async def gate(handshake: Handshake) -> Admission | Refusal:
        await asyncio.sleep(0)
        return Admission(kept)

    async with listening(gate) as listener:
        client = await RawClient.upgrade(listener)
        assert (await kept.one())._link._timer is None  # type: ignore[attr-defined]  # the socket side has it
        await client.close()


async def test_a_gate_that_decides_at_once_needs_no_task() -> None:
    """A decision that waits for nothing is carried out in the step in which the request came."""
    kept = Kept()
    tasks: list[int] = []

    async def gate(handshake: Handshake) -> Admission | Refusal:
        tasks.append(len(asyncio.all_tasks()))
        if handshake.path == "/wait":
            await asyncio.sleep(0)
            tasks.append(len(asyncio.all_tasks()))
        return Admission(kept)

    async with listening(gate) as listener:
        before = len(asyncio.all_tasks())
        at_once = await RawClient.upgrade(listener)
        assert tasks == [before]
        waited = await RawClient.upgrade(listener, "/wait")
        assert tasks == [before, before, before + 1]
        assert listener._front.opening == set()
        await at_once.close()
        await waited.close()


async def test_a_broken_handshake_after_a_slow_gate_is_answered() -> None:
    """What is found wrong after the decision is answered as well, and the socket does not stay."""

    async def gate(handshake: Handshake) -> Admission | Refusal:
        await asyncio.sleep(0)
        return Admission(echo)

    async with listening(gate, compress_bytes=64) as listener:
        client = await RawClient.connect(listener)
        offer = "permessage-deflate; server_max_window_bits=10"
        client.writer.write(upgrade_request(Sec_WebSocket_Extensions=offer, Sec_WebSocket_Protocol="@@"))
        assert (await client.head()).startswith("HTTP/1.1 400 ")
        async with asyncio.timeout(10):
            await client.reader.read()
        await client.close()


async def _nobody_left(listener: Listener) -> None:
    async with asyncio.timeout(10):
        while listener._front._sockets or listener._front.opening:  # noqa: ASYNC110 nobody tells when a socket was counted out
            await asyncio.sleep(0.001)


async def test_a_client_that_leaves_during_the_gate_is_forgotten() -> None:
    """The decision is cancelled, and nothing is attached."""
    cancelled, started = asyncio.Event(), asyncio.Event()

    async def gate(handshake: Handshake) -> Admission | Refusal:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    async with listening(gate) as listener:
        client = await RawClient.connect(listener)
        client.writer.write(upgrade_request())
        async with asyncio.timeout(10):
            await started.wait()
            client.writer.transport.abort()
            await cancelled.wait()
        assert not listener.connections
        await _nobody_left(listener)


async def test_not_logged_in_is_a_close_code() -> None:
    """A page cannot read a refused handshake: the upgrade goes well and the close code says why."""

    async def gate(handshake: Handshake) -> Admission:
        return Admission(echo, close=(4401, "not logged in"))

    async with listening(gate) as listener, connect(url(listener)) as client:
        with pytest.raises(TheirConnectionClosed) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4401, "not logged in")


async def test_client_closes() -> None:
    """A client's close is answered with its code, and the service is told code and reason."""
    kept = Kept()
    async with listening(gate_to(echo=kept)) as listener:
        client = await connect(url(listener))
        connection = await kept.one()
        await client.close(4000, "enough")
        assert await connection.wait_closed() == Closed(4000, "enough")
        assert client.close_code == 4000
        assert not listener.connections


async def test_server_closes() -> None:
    """A service's close reaches the client with code and reason, and waits for the client's part."""
    kept = Kept()
    async with listening(gate_to(echo=kept)) as listener, connect(url(listener)) as client:
        connection = await kept.one()
        await connection.close(4123, "go")
        await client.wait_closed()
        assert (client.close_code, client.close_reason) == (4123, "go")
        assert connection.closed == Closed(4123, "go")


async def test_server_closes_while_something_is_in_flight() -> None:
    """What a client sent before it knew of the close is not heard, and does not hold the closing up (5.5.1)."""
    kept = Kept()
    heard: list[str | bytes] = []
    async with listening(gate_to(echo=kept), close_seconds=60) as listener:
        client = await RawClient.upgrade(listener)
        connection = await kept.one()
        connection.receiver = heard.append
        connection.start_close(1000)
        client.writer.write(client_frame(TEXT, b"in flight") * 3 + client_frame(CLOSE, b"\x03\xe8"))
        assert await client.close_code() == 1000
        async with asyncio.timeout(10):
            assert await client.reader.read() == b""
            assert await connection.wait_closed() == Closed(1000, "")
        assert heard == []
        await client.close()


async def test_a_cut_connection_is_1006() -> None:
    """A socket that just ends is 1006 (RFC 6455, 7.1.5)."""
    kept = Kept()
    async with listening(gate_to(echo=kept)) as listener:
        client = await RawClient.upgrade(listener)
        connection = await kept.one()
        client.writer.transport.abort()
        assert await connection.wait_closed() == Closed(1006, "")


async def test_a_client_that_does_not_answer_the_close_is_cut() -> None:
    """The closing handshake has a deadline; then the socket is gone all the same."""
    kept = Kept()
    async with listening(gate_to(echo=kept), close_seconds=0.05) as listener:
        client = await RawClient.upgrade(listener)
        connection = await kept.one()
        await connection.close(1000)
        assert connection.closed is not None
        assert connection.closed.code == 1000
        await client.close()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (client_frame(TEXT, b"x", mask=None), 1002),
        (client_frame(3), 1002),
        (client_frame(TEXT, b"\xff"), 1007),
        (client_frame(TEXT, b"x" * 70000)[:14], 1009),
        (client_frame(TEXT, fin=False) + client_frame(0, fin=False) * 2000, 1009),
    ],
)
async def test_violations_end_with_their_code(data: bytes, code: int) -> None:
    """FAULTS 17 and 20: each violation has its close code, and the service is told the same."""
    kept = Kept()
    async with listening(gate_to(echo=kept)) as listener:
        client = await RawClient.upgrade(listener, behind=data)
        assert await client.close_code() == code
        assert (await (await kept.one()).wait_closed()).code == code
        await client.close()


async def test_a_client_that_does_not_read_is_closed_and_others_go_on() -> None:
    """FAULTS 12: outgoing bytes are bounded, the slow one is closed with 4008, and its memory is freed."""
    kept = Kept()
    async with listening(gate_to(slow=kept, echo=echo), outgoing_bytes=200_000, close_seconds=0.1) as listener:
        slow = await RawClient.upgrade(listener, "/slow")
        connection = await kept.one()
        slow.reader._transport.pause_reading()  # type: ignore[attr-defined]  # this client does not read
        frame = encode(b"x" * 50_000)
        async with connect(url(listener)) as healthy:
            for _ in range(1000):
                connection.write(frame)
                assert connection._link.buffered() <= 200_000 + 65_536
                await asyncio.sleep(0)
                if connection._link.closing():
                    break
            await healthy.send("still here")
            assert await healthy.recv() == "still here"
        closed = await connection.wait_closed()
        assert closed.code == 4008
        await slow.close()


async def test_a_slow_client_that_reads_at_last_is_told_4008() -> None:
    """The close frame stands behind what was sent before: the client can resume from the last it saw."""
    kept = Kept()
    async with listening(gate_to(slow=kept), outgoing_bytes=100_000, close_seconds=10) as listener:
        slow = await RawClient.upgrade(listener, "/slow")
        connection = await kept.one()
        slow.reader._transport.pause_reading()  # type: ignore[attr-defined]  # for a while
        while not connection._link.closing():
            connection.write(b"x" * 50_000)
            await asyncio.sleep(0)
        slow.reader._transport.resume_reading()  # type: ignore[attr-defined]  # and now it does
        assert await slow.close_code() == 4008
        await slow.close()


async def test_ping_flood_does_not_grow() -> None:
    """FAULTS 18: who sends pings and reads no pong is not read any more, takes bounded memory, and is dropped."""
    kept = Kept()
    async with listening(gate_to(echo=kept), heartbeat_seconds=0.2) as listener:
        client = await RawClient.upgrade(listener)
        connection = await kept.one()
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]  # it does not read the pongs
        flood = client_frame(PING, b"x" * 125) * 500
        most = 0
        while connection.closed is None:
            if client.writer.transport.get_write_buffer_size() < 10_000_000:
                client.writer.write(flood)
            await asyncio.sleep(0)
            most = max(most, connection._link.buffered())
        assert most < 500_000
        assert connection.closed.code == 1006
        await client.close()


async def test_pings_are_answered_again_once_pongs_are_read() -> None:
    """A client that was slow to read its pongs goes on as if nothing had been."""
    async with listening(heartbeat_seconds=0) as listener:
        client = await RawClient.upgrade(listener)
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]  # for a while
        count = 40_000
        for _ in range(count // 500):
            client.writer.write(client_frame(PING, b"x" * 125) * 500)
            await asyncio.sleep(0)
        client.reader._transport.resume_reading()  # type: ignore[attr-defined]  # and now it does
        for _ in range(count):
            assert await client.frame() == (PONG, b"x" * 125)
        client.writer.write(client_frame(TEXT, b"still here"))
        assert await client.frame() == (TEXT, b"still here")
        await client.close()


async def test_half_open_connections_are_found() -> None:
    """FAULTS 13: a client that answers no ping is gone after a second period; one that answers stays."""
    kept = Kept()
    async with listening(gate_to(dead=kept, echo=echo), heartbeat_seconds=0.1) as listener:
        dead = await RawClient.upgrade(listener, "/dead")
        async with connect(url(listener), ping_interval=None) as alive:
            connection = await kept.one()
            assert await dead.frame() == (PING, b"")
            assert (await connection.wait_closed()).code == 1006
            await alive.send("still here")
            assert await alive.recv() == "still here"
        await dead.close()


async def test_a_full_service_stops_reading_and_goes_on() -> None:
    """A service that does not receive makes its client wait, not the server grow; nothing is lost or reordered."""
    kept = Kept()
    async with listening(gate_to(echo=kept)) as listener, connect(url(listener)) as client:
        connection = await kept.one()
        count = 3000
        sending = asyncio.create_task(_send_all(client, count))
        for number in range(count):
            assert await connection.receive() == str(number)
            assert len(connection._queue or ()) <= 16
        await sending


async def _send_all(client: Any, count: int) -> None:
    for number in range(count):
        await client.send(str(number))


async def test_stop_tells_everybody_to_come_back() -> None:
    """A graceful stop closes with 1012, takes nobody new, and leaves nothing behind."""
    gate: Gate = gate_to(echo=echo)
    async with listening(gate) as listener:
        clients = [await connect(url(listener)) for _ in range(5)]
        stubborn = await RawClient.upgrade(listener)
        async with asyncio.timeout(10):
            await listener.stop()
        for client in clients:
            await client.wait_closed()
            assert client.close_code == 1012
        assert not listener.connections
        with pytest.raises(OSError, match=r"refused|failed"):
            await connect(url(listener))
        await stubborn.close()


# Floods are taken in turns.


async def test_a_flood_comes_in_order_and_lets_others_in_between() -> None:
    """What one client sends in one go is taken in several turns; who says something meanwhile need not wait for all."""
    heard: list[str | bytes] = []
    done = asyncio.Event()
    count = 50 * MESSAGES_PER_TURN

    def flooded(connection: Connection) -> None:
        def take(message: str | bytes) -> None:
            if not heard:
                quiet_socket.sendall(client_frame(TEXT, b"quiet"))
            heard.append(message)
            if message == str(count - 1):
                done.set()

        connection.receiver = take

    def quiet(connection: Connection) -> None:
        connection.receiver = heard.append

    async with listening(gate_to(flood=flooded, quiet=quiet)) as listener:
        other = await RawClient.upgrade(listener, "/quiet")
        quiet_socket = _socket_of(other)
        client = await RawClient.upgrade(listener, "/flood")
        client.writer.write(b"".join(client_frame(TEXT, b"%d" % number) for number in range(count)))
        async with asyncio.timeout(10):
            await done.wait()
        assert heard.index("quiet") < count // 2
        heard.remove("quiet")
        assert heard == [str(number) for number in range(count)]
        quiet_socket.close()
        await client.close()
        await other.close()


def _socket_of(client: RawClient) -> socket.socket:
    """Return the client's socket, to write to it at once; to be closed."""
    own = client.writer.get_extra_info("socket")
    return socket.socket(fileno=os.dup(own.fileno()))


async def test_a_flood_that_is_paused_in_the_middle_goes_on() -> None:
    """A service may stop reading within a turn and between two, and go on later: nothing is lost, or comes twice."""
    heard: list[str | bytes] = []
    done = asyncio.Event()
    count = 10 * MESSAGES_PER_TURN
    pauses = {10, MESSAGES_PER_TURN, MESSAGES_PER_TURN + 1, 3 * MESSAGES_PER_TURN - 1, 5 * MESSAGES_PER_TURN}

    def attach(connection: Connection) -> None:
        def go_on(at: int) -> None:
            assert len(heard) == at
            connection.resume_reading()

        def take(message: str | bytes) -> None:
            heard.append(message)
            if len(heard) in pauses:
                connection.pause_reading()
                asyncio.get_running_loop().call_later(0.01, go_on, len(heard))
            elif len(heard) % 7 == 0:
                asyncio.get_running_loop().call_soon(pause_for_a_moment)
            if len(heard) == count:
                done.set()

        def pause_for_a_moment() -> None:
            connection.pause_reading()
            connection.resume_reading()

        connection.receiver = take

    async with listening(gate_to(flood=attach)) as listener:
        frames = b"".join(client_frame(TEXT, b"%d" % number) for number in range(count))
        client = await RawClient.upgrade(listener, "/flood", behind=frames[:3000])
        client.writer.write(frames[3000:])
        async with asyncio.timeout(10):
            await done.wait()
        assert heard == [str(number) for number in range(count)]
        await client.close()


async def test_a_flood_that_ends_with_a_close_is_heard_to_the_end() -> None:
    """Who floods, closes and goes has said all of that, and in this order."""
    heard: list[str | bytes] = []
    kept = Kept()
    count = 10 * MESSAGES_PER_TURN
    async with listening(gate_to(flood=kept)) as listener:
        client = await RawClient.upgrade(listener, "/flood")
        connection = await kept.one()
        connection.receiver = heard.append
        client.writer.write(client_frame(TEXT, b"x") * count + client_frame(CLOSE, b"\x0f\xa0"))
        client.writer.write_eof()
        async with asyncio.timeout(10):
            assert await connection.wait_closed() == Closed(4000, "")
        assert len(heard) == count
        await client.close()


async def test_a_flood_in_whose_middle_we_close_is_not_heard_further() -> None:
    """A service that closes hears nothing more, and the client is told why in the midst of its flood."""
    heard: list[str | bytes] = []

    def attach(connection: Connection) -> None:
        def take(message: str | bytes) -> None:
            heard.append(message)
            if len(heard) == MESSAGES_PER_TURN + 5:
                connection.start_close(4429, "too many")

        connection.receiver = take

    async with listening(gate_to(flood=attach), close_seconds=60) as listener:
        client = await RawClient.upgrade(listener, "/flood")
        client.writer.write(client_frame(TEXT, b"x") * 10 * MESSAGES_PER_TURN)
        assert await client.close_code() == 4429
        client.writer.write(client_frame(CLOSE, b"\x11\x4d"))
        async with asyncio.timeout(10):
            assert await client.reader.read() == b""
        assert len(heard) == MESSAGES_PER_TURN + 5
        await client.close()


async def test_a_flood_that_is_cut_in_its_middle_leaves_nothing() -> None:
    """A connection that is gone between two turns is closed as any other, and forgotten."""
    kept = Kept()
    heard: list[str | bytes] = []
    async with listening(gate_to(flood=kept)) as listener:
        client = await RawClient.upgrade(listener, "/flood")
        connection = await kept.one()

        def take(message: str | bytes) -> None:
            heard.append(message)
            if len(heard) == 1:
                connection._link._transport.abort()  # type: ignore[attr-defined]  # as when the network says so

        connection.receiver = take
        client.writer.write(client_frame(TEXT, b"x") * 10 * MESSAGES_PER_TURN)
        async with asyncio.timeout(10):
            assert await connection.wait_closed() == Closed(1006, "")
        assert len(heard) <= MESSAGES_PER_TURN
        assert not listener.connections
        await client.close()


# Compression.

OFFER = "permessage-deflate; client_max_window_bits"
LONG = "What is said to many is compressed once. " * 20


async def test_both_kinds_of_clients_hear_the_same() -> None:
    """A topic's messages reach a client that compresses and one that does not alike, and so do replies."""
    topics = Topics(encode, LocalBroker(), compress=compressor(64))

    def attach(connection: Connection) -> None:
        topics.topic("all").subscribe(connection)
        echo(connection)

    async with listening(gate_to(all=attach), compress_bytes=64) as listener:
        async with (
            connect(url(listener, "/all"), compression="deflate") as one,
            connect(url(listener, "/all"), compression=None) as two,
        ):
            assert [len(client.protocol.extensions) for client in (one, two)] == [1, 0]
            sent: list[str | bytes] = ["short", LONG, LONG.encode(), "gr\u00fcn " * 50, b"", "", "x" * 60_000]
            for message in sent:
                topics.topic("all").publish(message)
            topics.topic("all").publish(LONG, Delivery.LATEST, "k")
            for client in (one, two):
                async with asyncio.timeout(10):
                    assert [await client.recv() for _ in sent] == sent
                    assert await client.recv() == LONG
                    for message in sent:
                        await client.send(message)
                        assert await client.recv() == message
                    await client.send([LONG, LONG, "end"])
                    assert await client.recv() == LONG * 2 + "end"
        topics.stop()


async def test_what_is_compressed_on_the_wire() -> None:
    """RSV1 is on messages of at least `compress_bytes`, published or replied, for who agreed; on no other frame."""
    topics = Topics(encode, LocalBroker(), compress=compressor(64))

    def attach(connection: Connection) -> None:
        topics.topic("all").subscribe(connection)
        echo(connection)

    async with listening(gate_to(all=attach), compress_bytes=64) as listener:
        agreed = await RawClient.upgrade(listener, "/all", Sec_WebSocket_Extensions=OFFER)
        plain = await RawClient.upgrade(listener, "/all")
        topics.topic("all").publish(LONG)
        topics.topic("all").publish("short")
        for client in (agreed, plain):
            client.writer.write(client_frame(PING, b"p" * 100))
        for client, rsv1 in ((agreed, 0x40), (plain, 0)):
            frames = [await _whole(client) for _ in range(3)]
            assert {(0x80 | PONG, b"p" * 100), (0x81, b"short")} <= set(frames)
            (long,) = [payload for head, payload in frames if head == 0x81 | rsv1 and payload != b"short"]
            assert (_inflated(long) if rsv1 else long) == LONG.encode()
            client.writer.write(client_frame(TEXT, LONG.encode()))
            head, payload = await _whole(client)
            assert head == 0x81 | rsv1
            assert (_inflated(payload) if rsv1 else payload) == LONG.encode()
            await client.close()
        topics.stop()


async def _whole(client: RawClient) -> tuple[int, bytes]:
    """Read one frame; returns its first byte and the payload."""
    async with asyncio.timeout(10):
        head, size = await client.reader.readexactly(2)
        if size == 126:
            size = int.from_bytes(await client.reader.readexactly(2), "big")
        return head, await client.reader.readexactly(size)


def _inflated(payload: bytes) -> bytes:
    return zlib.decompressobj(-12).decompress(payload + b"\x00\x00\xff\xff")


@pytest.mark.parametrize("compress_bytes", [0, 64])
async def test_nobody_is_compressed_for_without_both_agreeing(compress_bytes: int) -> None:
    """The setting and the client have to say so; else RSV1 is a violation, and nothing is compressed."""
    async with listening(compress_bytes=compress_bytes) as listener:
        client = await RawClient.upgrade(listener, Sec_WebSocket_Extensions="" if compress_bytes else OFFER)
        client.writer.write(client_frame(TEXT, LONG.encode()))
        assert await _whole(client) == (0x81, LONG.encode())
        client.writer.write(client_frame(TEXT, b"x", rsv=4))
        assert await client.close_code() == 1002
        await client.close()


async def test_a_bomb_is_refused() -> None:
    """FAULTS 19: what would be larger than a message may be is 1009."""
    deflater = zlib.compressobj(9, wbits=-15)
    bomb = (deflater.compress(bytes(10_000_000)) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]
    async with listening(compress_bytes=64, message_bytes=100_000) as listener:
        client = await RawClient.upgrade(listener, behind=client_frame(2, bomb, rsv=4), Sec_WebSocket_Extensions=OFFER)
        assert await client.close_code() == 1009
        await client.close()


async def test_a_slow_client_that_compresses_is_told_4008_behind_what_it_can_read() -> None:
    """A client that falls behind gets the durable messages up to its end, each readable, in order, and then 4008."""
    topics = Topics(encode, LocalBroker(), compress=compressor(64))
    kept = Kept()

    def attach(connection: Connection) -> None:
        topics.topic("all").subscribe(connection)
        kept(connection)

    async with listening(gate_to(all=attach), compress_bytes=64, outgoing_bytes=200_000, close_seconds=10) as listener:
        slow = await RawClient.upgrade(listener, "/all", Sec_WebSocket_Extensions=OFFER)
        connection = await kept.one()
        slow.reader._transport.pause_reading()  # type: ignore[attr-defined]  # for a while
        number = 0
        while not connection._link.closing():
            # Every other one cannot be compressed: the socket's buffers fill up soon.
            noise = b"".join(zlib.crc32(b"%d %d" % (number, i)).to_bytes(4, "big") for i in range(5000))
            topics.topic("all").publish(b"%08d" % number + (noise if number % 2 else b" " * 500))
            topics.topic("all").publish("typing" * 50, Delivery.DROPPABLE)
            topics.topic("all").flush()
            number += 1
            await asyncio.sleep(0)
        slow.reader._transport.resume_reading()  # type: ignore[attr-defined]  # and now it does
        numbers = []
        compressed = 0
        while True:
            head, payload = await _whole(slow)
            if head & 0x0F == CLOSE:
                break
            compressed += bool(head & 0x40)
            message = _inflated(payload) if head & 0x40 else payload
            if head & 0x0F == 2:
                numbers.append(int(message[:8]))
        assert int.from_bytes(payload[:2], "big") == 4008
        assert compressed
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= number - 1
        await slow.close()
        topics.stop()

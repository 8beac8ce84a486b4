"""WebSockets over real sockets: handshakes, closing, keep-alive, and clients that do not behave (FAULTS 12 to 20)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed as TheirConnectionClosed
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from server.net.connection import Closed, Connection
from server.net.frames import encode
from server.net.handshake import Admission, Gate, Handshake, Refusal
from server.net.identity import Identity
from server.net.listener import Listener
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
    """Nobody waits for a decision for ever."""

    async def gate(handshake: Handshake) -> Admission | Refusal:
        await asyncio.Event().wait()
        raise AssertionError

    async with listening(gate, handshake_seconds=0.05) as listener:
        with pytest.raises(InvalidStatus) as refused:
            await connect(url(listener))
        assert refused.value.response.status_code == 503


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

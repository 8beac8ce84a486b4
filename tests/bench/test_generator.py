"""The load generator against small servers in this process: it counts right, and it notices what is wrong."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from bench.contestant import Load
from bench.generator import BenchError, Report, compile_generator, find_compiler, generator

Handler = Callable[[ServerConnection], Awaitable[None]]
SECONDS = {"warm": 0.05, "seconds": 0.1}


@pytest.fixture(scope="module", autouse=True)
def program() -> Path:
    """The compiled generator; only where it is a matter of one's own machine may the compiler be missing."""
    if find_compiler() is None and os.environ.get("CI") != "true":
        pytest.skip("there is no C compiler (apt install gcc libc6-dev)")
    return compile_generator()


@asynccontextmanager
async def server(
    handler: Handler, refuse: Callable[[ServerConnection, Request], Response | None] | None = None
) -> AsyncIterator[int]:
    """Serve; yields the port."""

    async def handle(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            await handler(connection)

    async with serve(handle, "127.0.0.1", 0, compression=None, process_request=refuse) as running:
        yield next(iter(running.sockets)).getsockname()[1]


async def load(port: int, options: dict[str, object], what: Load | None = None) -> list[Report]:
    """Run the generator beside this process's loop; returns all its reports."""

    def run() -> list[Report]:
        with generator({**SECONDS, **options}, what or Load(), port) as running:
            return list(running)

    return await asyncio.wait_for(asyncio.to_thread(run), timeout=60)


class Topic:
    """Everybody hears everybody; counts what was said, and can spoil what `spoil` says."""

    def __init__(self, spoil: Callable[[int, str], list[str]] | None = None) -> None:
        self.clients: list[ServerConnection] = []
        self.heard = 0
        self.spoil = spoil

    async def __call__(self, connection: ServerConnection) -> None:
        self.clients.append(connection)
        async for message in connection:
            assert isinstance(message, str)
            self.heard += 1
            spoiled = [message] if self.spoil is None else self.spoil(self.heard, message)
            for text in spoiled:
                broadcast(self.clients[:1], text)
            broadcast(self.clients[1:], message)


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def test_fanout_counts_every_delivery() -> None:
    """Each message is received by each client, once and in order, and the sums are the server's own."""
    topic = Topic()
    async with server(topic) as port:
        reports = await load(port, {"mode": "fanout", "clients": 7, "publishers": 3, "outstanding": 4})
    assert [report.event for report in reports] == ["ready", "begin", "end", "result"]
    result = reports[-1]
    assert result.sent_total == topic.heard > 0
    assert result.received_total == 7 * topic.heard
    assert 0 < result.received <= result.received_total
    assert (result.lost, result.disordered, result.closed, result.refused) == (0, 0, 0, 0)


async def test_echo_counts_every_answer() -> None:
    """Each client receives its own messages, and those alone."""
    async with server(echo) as port:
        result = (await load(port, {"mode": "echo", "clients": 5, "outstanding": 2}))[-1]
    assert result.received_total == result.sent_total > 0
    assert (result.lost, result.disordered) == (0, 0)


@pytest.mark.parametrize("size", [17, 125, 126, 60000])
async def test_every_length_of_frame(size: int) -> None:
    """Frames with short and with extended lengths are counted alike."""
    async with server(echo) as port:
        result = (await load(port, {"mode": "echo", "clients": 2, "bytes": size}))[-1]
    assert result.received_total == result.sent_total > 0
    assert (result.lost, result.disordered) == (0, 0)


async def test_a_repetition_is_noticed() -> None:
    """One message that one client receives twice is reported."""
    topic = Topic(lambda number, text: [text, text] if number == 5 else [text])
    async with server(topic) as port:
        result = (await load(port, {"mode": "fanout", "clients": 3, "outstanding": 2, "parallel": 1}))[-1]
    assert result.disordered == 1


async def test_a_loss_is_noticed() -> None:
    """One message that one client never receives is reported, although the others have it."""
    topic = Topic(lambda number, text: [] if number == 5 else [text])
    async with server(topic) as port:
        options = {"mode": "fanout", "clients": 3, "outstanding": 2, "parallel": 1, "drain": 0.2}
        result = (await load(port, options))[-1]
    assert result.lost == 1
    assert result.disordered == 1


async def test_a_closed_client_is_noticed() -> None:
    """A client that the server closes is reported, and what it misses is lost."""
    topic = Topic()

    async def turn_one_out(connection: ServerConnection) -> None:
        if len(topic.clients) == 1:
            topic.clients.append(connection)
            await connection.recv()
            await connection.close(1013)
        else:
            await topic(connection)

    async with server(turn_one_out) as port:
        options = {"mode": "fanout", "clients": 3, "publishers": 2, "parallel": 1, "drain": 0.2}
        result = (await load(port, options))[-1]
    assert result.closed == 1
    assert result.lost > 0


async def test_clients_join_and_fill_the_template() -> None:
    """Before they take part clients say what they are told to, with their own header; refusals are counted."""
    joined: set[str] = set()
    nonces: list[str] = []

    async def room(connection: ServerConnection) -> None:
        assert connection.request is not None
        joined.add(connection.request.headers["Cookie"])
        joined.add(str(await connection.recv()))
        await connection.send("wait")
        await connection.send("welcome in")
        async for message in connection:
            assert isinstance(message, str)
            number, nonce, text = message.split("|")
            assert int(number) >= 1000
            nonces.append(nonce)
            await connection.send('{"error": 1}' if len(nonces) == 3 else "accepted")
            await connection.send(text)

    what = Load("/room", ("Cookie: a=1", "Cookie: a=2"), "let me into $R", "welcome", "$I|$N|$T")
    async with server(room) as port:
        result = (await load(port, {"mode": "echo", "clients": 4, "rooms": 3}, what))[-1]
    assert joined == {"a=1", "a=2", "let me into 0", "let me into 1", "let me into 2"}
    assert len(set(nonces)) == len(nonces) == result.sent_total
    assert result.received_total == result.sent_total
    assert result.refused == 1


async def test_connecting() -> None:
    """Mode `connect` ends when the last client is in."""
    async with server(echo) as port:
        (result,) = await load(port, {"mode": "connect", "clients": 20})
    assert result.clients == 20
    assert result.seconds > 0


async def test_idle_clients_stay_until_released() -> None:
    """Mode `idle` holds its clients, and answers their pings, until it is told to let go."""
    pongs: list[float] = []

    async def ping(connection: ServerConnection) -> None:
        pongs.append(await asyncio.wait_for(await connection.ping(), 10))
        await connection.wait_closed()

    def run(port: int) -> Report:
        with generator({"mode": "idle", "clients": 3}, Load(), port) as running:
            reports = iter(running)
            assert next(reports).event == "ready"
            running.release()
            return next(reports)

    async with server(ping) as port:
        result = await asyncio.wait_for(asyncio.to_thread(run, port), timeout=60)
    assert (result.clients, result.closed) == (3, 0)
    assert len(pongs) == 3


async def test_a_refused_client_is_an_error() -> None:
    """A server that answers with something else than an upgrade is named as the reason."""

    def refuse(connection: ServerConnection, request: Request) -> Response | None:
        return connection.respond(404, "not here")

    async with server(echo, refuse) as port:
        with pytest.raises(BenchError, match="404"):
            await load(port, {"mode": "fanout", "clients": 2})


def test_without_a_compiler_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No compiler is a sentence with a remedy, not a traceback."""
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match="apt install gcc"):
        compile_generator(tmp_path)


def test_compiled_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The program is kept, and found again without a compiler."""
    program = compile_generator(tmp_path)
    monkeypatch.setenv("PATH", "")
    assert compile_generator(tmp_path) == program
    assert list(tmp_path.iterdir()) == [program]

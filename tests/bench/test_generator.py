"""The load generator against small servers in this process: it counts right, and it notices what is wrong."""

from __future__ import annotations

import asyncio
import os
import time
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
    handler: Handler,
    refuse: Callable[[ServerConnection, Request], Response | None] | None = None,
    compression: str | None = None,
) -> AsyncIterator[int]:
    """Serve; yields the port."""

    async def handle(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            await handler(connection)

    async with serve(handle, "127.0.0.1", 0, compression=compression, process_request=refuse) as running:
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
    assert [report.event for report in reports] == ["opened", "ready", "begin", "end", "result"]
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


async def test_compressed_messages_are_read() -> None:
    """Clients insist on compression; what they publish comes back compressed, and is counted and checked alike."""
    topic = Topic(lambda number, text: [] if number == 5 else [text])
    options: dict[str, object] = {"clients": 3, "outstanding": 2, "parallel": 1, "drain": 0.2, "compress": 1}
    try:
        async with server(topic, compression="deflate") as port:
            result = (await load(port, options))[-1]
    except BenchError as error:
        if "zlib was not there" not in str(error) or os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    assert topic.heard > 5
    assert (result.lost, result.disordered) == (1, 1)
    async with server(topic) as port:
        with pytest.raises(BenchError, match="does not agree"):
            await load(port, options)


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
            running.wait("ready")
            running.release()
            return running.wait("result")

    async with server(ping) as port:
        result = await asyncio.wait_for(asyncio.to_thread(run, port), timeout=60)
    assert (result.clients, result.closed) == (3, 0)
    assert len(pongs) == 3


async def test_a_missing_acknowledgement_is_noticed() -> None:
    """Where messages are acknowledged, one that is not counts as lost although it was delivered."""
    heard = 0

    async def acknowledge(connection: ServerConnection) -> None:
        nonlocal heard
        async for message in connection:
            heard += 1
            await connection.send(message)
            await connection.send("still thinking" if heard == 3 else "accepted")

    async with server(acknowledge) as port:
        options = {"mode": "echo", "clients": 2, "drain": 0.2}
        result = (await load(port, options, Load(acknowledged="accepted")))[-1]
    assert result.received_total == result.sent_total > 3
    assert (result.lost, result.disordered) == (1, 0)


async def test_each_client_hears_its_room_alone() -> None:
    """In rooms, a client misses nothing that is said elsewhere; each room's messages reach all that are in it."""
    rooms: dict[str, list[ServerConnection]] = {}

    async def room(connection: ServerConnection) -> None:
        mine = rooms.setdefault(str(await connection.recv()), [])
        mine.append(connection)
        await connection.send("welcome")
        async for message in connection:
            broadcast(mine, message)

    what = Load(join="$R", joined="welcome")
    async with server(room) as port:
        result = (await load(port, {"clients": 6, "publishers": 3, "rooms": 3}, what))[-1]
    assert {name: len(there) for name, there in rooms.items()} == {"0": 2, "1": 2, "2": 2}
    assert result.received_total == 2 * result.sent_total > 0
    assert (result.lost, result.disordered) == (0, 0)


async def test_clients_in_several_rooms_talk_in_turn() -> None:
    """A client joins each of its rooms once, before it talks, and then talks in all of them."""
    joined: list[str] = []
    talked: set[str] = set()

    async def room(connection: ServerConnection) -> None:
        async for message in connection:
            verb, name, text = str(message).split("|")
            if verb == "join":
                joined.append(name)
                await connection.send("welcome")
            else:
                talked.add(name)
                await connection.send(text)

    what = Load(join="join|$R|", joined="welcome", template="say|$R|$T")
    async with server(room) as port:
        result = (await load(port, {"mode": "echo", "clients": 2, "rooms": 6, "joins": 3}, what))[-1]
    assert sorted(joined) == ["0", "1", "2", "3", "4", "5"]
    assert talked == set(joined)
    assert result.lost == 0


async def test_latency_counts_from_when_a_message_was_due() -> None:
    """In open loop the schedule goes on while the server stalls, and everybody behind it is late."""
    stall = 0.15
    topic = Topic()

    async def stalls_once(connection: ServerConnection) -> None:
        topic.clients.append(connection)
        async for message in connection:
            topic.heard += 1
            if topic.heard == 30:
                time.sleep(stall)  # noqa: ASYNC251 the whole server stalls, on purpose
            broadcast(topic.clients, message)

    async with server(stalls_once) as port:
        result = (await load(port, {"clients": 3, "publishers": 2, "rate": 200, "warm": 0.1, "seconds": 0.4}))[-1]
    assert result.latency is not None
    assert result.lost == result.disordered == 0
    # Each message that was due in that time counts at each client, and what the stall held up counts in full.
    assert result.latency.count >= 3 * 200 * 0.4 * 0.9
    assert result.latency.greatest >= stall * 1e6 * 0.9
    assert result.latency.p50 <= result.latency.p99 <= result.latency.p999 <= result.latency.greatest * 1.01


async def test_a_client_that_stalls_reads_the_last_words() -> None:
    """It does not read while it is measured, is no loss to the others, and says how it was closed."""
    slow = asyncio.Event()

    def said(_number: int, text: str) -> list[str]:
        slow.set()
        return [text]

    topic = Topic(said)

    async def turn_slow_ones_out(connection: ServerConnection) -> None:
        if len(topic.clients) == 2:  # the third that comes is the last, which stalls
            topic.clients.append(connection)
            await slow.wait()
            topic.clients.remove(connection)
            await connection.close(4008)
        else:
            await topic(connection)

    async with server(turn_slow_ones_out) as port:
        result = (await load(port, {"clients": 3, "stall": 1, "parallel": 1, "drain": 1}))[-1]
    assert result.stalled_code == 4008
    assert (result.lost, result.closed) == (0, 0)


async def test_churners_come_and_go() -> None:
    """In mode `churn` each client joins, leaves, closes and connects again; at the end nobody is left behind."""
    there: set[ServerConnection] = set()
    came = went = 0

    async def room(connection: ServerConnection) -> None:
        nonlocal came, went
        assert await connection.recv() == "hello"
        came += 1
        there.add(connection)
        await connection.send("welcome")
        async for message in connection:
            assert message == "bye"
            await connection.send("farewell")
            went += 1
        there.discard(connection)

    what = Load(join="hello", joined="welcome", leave="bye", left="farewell")
    async with server(room) as port:
        result = (await load(port, {"mode": "churn", "clients": 3}, what))[-1]
        assert not there
    assert result.cycles > 0
    # Those that came first go without a farewell: from then on everybody says it.
    assert came == went + 3
    assert (result.lost, result.closed) == (0, 0)


@pytest.mark.parametrize(("given", "wrong"), [(3, 0), (2, 4)])
async def test_what_was_missed_is_counted(given: int, wrong: int) -> None:
    """Each client has to be given as many items as it has missed; those that are not are reported."""

    async def catch_up(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send("welcome " + "item " * given)
        await connection.wait_closed()

    def run(port: int) -> Report:
        what = Load(join="hello", joined="welcome", item="item")
        with generator({"mode": "idle", "clients": 4, "each": 3}, what, port) as running:
            running.wait("ready")
            running.release()
            return running.wait("result")

    async with server(catch_up) as port:
        result = await asyncio.wait_for(asyncio.to_thread(run, port), timeout=60)
    assert (result.items, result.lost) == (4 * given, wrong)


async def test_a_client_that_may_not_join_is_an_error() -> None:
    """The server's refusal is the reason that is named."""

    async def refuse(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send('{"error": "there is no such room"}')
        await connection.wait_closed()

    async with server(refuse) as port:
        with pytest.raises(BenchError, match="no such room"):
            await load(port, {"clients": 2}, Load(join="hello", joined="welcome"))


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

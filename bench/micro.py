"""`python -m bench.micro`: what the parts cost that the code and its docstrings speak of, without a network.

Each line compares a way that was taken with the one that would be usual, in one process. Figures are the best of
several repeats, in microseconds.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator

import msgspec
import uvloop
from websockets.datastructures import Headers
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from server.deadlines import Deadlines
from server.eager import start
from server.net.deflate import MEMORY_LEVEL, WINDOW_BITS
from server.net.frames import encode
from server.net.reading import Reader, ReadLimits
from server.net.upgrade import Upgrader
from server.pubsub.delivery import Batch, Publication

TIMES = 2000
REPEATS = 5
MESSAGE = (
    b'{"jsonrpc":"2.0","id":1,"method":"messages.send","params":{"room":"lobby","text":"Good morning, everybody."}}'
)
MASKED = Frame(Opcode.TEXT, MESSAGE).serialize(mask=True)
PUBLICATIONS = 80
"""Messages of a tick in scenario f20."""


class Comparison(msgspec.Struct, frozen=True):
    """Two ways of doing one thing.

    Args:
        what: is done.
        ours: how long our way takes, in microseconds.
        usual: how long the usual way takes.
        usually: what the usual way is.
    """

    what: str
    ours: float
    usual: float
    usually: str


async def compare() -> list[Comparison]:
    """Measure everything."""
    return [
        await _requests(),
        await _deadlines(),
        Comparison("read a message", _timed(_short_path()), _timed(_generic_path()), "websockets' parser"),
        Comparison("answer a handshake", _timed(_one_for_all()), _timed(_one_each()), "a ServerProtocol for each"),
        _compression(),
        await _writing(),
    ]


def _timed(work: Callable[[], object], times: int = TIMES) -> float:
    """Return how long a call takes at best, in microseconds."""
    best = float("inf")
    for _ in range(REPEATS):
        began = time.perf_counter()
        for _ in range(times):
            work()
        best = min(best, time.perf_counter() - began)
    return 1e6 * best / times


async def _timed_async(work: Callable[[], Awaitable[object]], times: int = TIMES) -> float:
    best = float("inf")
    for _ in range(REPEATS):
        began = time.perf_counter()
        for _ in range(times):
            await work()
        best = min(best, time.perf_counter() - began)
    return 1e6 * best / times


async def _nothing() -> None:
    """Wait for nothing, as most requests."""


async def _requests() -> Comparison:
    loop = asyncio.get_running_loop()
    tasks = await _timed_async(lambda: loop.create_task(_nothing()))
    return Comparison("run a coroutine that waits for nothing", _timed(lambda: start(_nothing())), tasks, "a task")


async def _deadlines() -> Comparison:
    deadlines = Deadlines()

    async def ours() -> None:
        with deadlines.limit(10):
            pass

    async def usual() -> None:
        async with asyncio.timeout(10):  # noqa: ASYNC100 what it costs by itself is the question
            pass

    return Comparison("bound a wait", await _timed_async(ours), await _timed_async(usual), "asyncio.timeout")


def _short_path() -> Callable[[], object]:
    def nothing(*_: object) -> None:
        """Take what comes."""

    reader = Reader(ReadLimits(65536, 1048576, 1024), nothing, nothing, nothing, nothing)
    return lambda: reader.feed(MASKED)


def _generic_path() -> Callable[[], object]:
    protocol = ServerProtocol(state=OPEN, max_size=None)

    def read() -> str:
        protocol.receive_data(MASKED)
        (frame,) = protocol.events_received()
        assert isinstance(frame, Frame)
        return bytes(frame.data).decode()

    return read


def _request() -> Request:
    headers = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    return Request("/chat", Headers(headers))


def _one_for_all() -> Callable[[], object]:
    upgrader, request = Upgrader(deflate=False), _request()
    return lambda: upgrader.upgrade(request, ())


def _one_each() -> Callable[[], object]:
    request = _request()
    return lambda: ServerProtocol().accept(request).serialize()


def _compression() -> Comparison:
    def compress(bits: int, level: int) -> bytes:
        deflater = zlib.compressobj(wbits=-bits, memLevel=level)
        return deflater.compress(MESSAGE) + deflater.flush(zlib.Z_SYNC_FLUSH)

    ours = _timed(lambda: compress(WINDOW_BITS, MEMORY_LEVEL))
    return Comparison("compress a message by itself", ours, _timed(lambda: compress(15, 8)), "zlib's own window")


async def _writing() -> Comparison:
    """Write a tick's frames to a subscriber: joined once for all of them, or handed over one by one."""
    publications = [Publication(encode(MESSAGE.decode())) for _ in range(PUBLICATIONS)]
    batch, frames = Batch("room", publications), [publication.frame for publication in publications]
    here, there = socket.socketpair()
    there.setblocking(False)
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=here)

    def drained(write: Callable[[], None]) -> Iterator[float]:
        for _ in range(TIMES):
            began = time.perf_counter()
            write()
            yield time.perf_counter() - began
            while there.recv_into(bytearray(1 << 20)) == 1 << 20:
                pass

    joined = 1e6 * sorted(drained(lambda: transport.write(batch.all)))[TIMES // 2]
    one_by_one = 1e6 * sorted(drained(lambda: transport.writelines(frames)))[TIMES // 2]
    transport.close()
    there.close()
    return Comparison(f"write {PUBLICATIONS} frames to one subscriber", joined, one_by_one, "writelines")


def main() -> int:
    """Print the comparisons."""
    for found in uvloop.run(compare()):
        ratio = found.usual / found.ours
        print(f"{found.what:40} {found.ours:7.2f} us   {found.usually:28} {found.usual:7.2f} us   {ratio:5.1f}x")
    return 0


if __name__ == "__main__":
    sys.exit(main())

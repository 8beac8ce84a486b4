"""The link between two processes: messages arrive whole and in order, and its end is noticed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.config import load
from server.process import messages
from server.process.link import Link
from server.process.messages import CloseSession, Drain, HttpAnswer, Left, Ping, Start


class End:
    """One end, and what it heard."""

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.lost = asyncio.Event()
        self.link: Link[messages.ToWorker] = Link(messages.to_worker, self.heard.append, self.lost.set)

    async def until_heard(self, number: int) -> None:
        async with asyncio.timeout(30):
            while len(self.heard) < number:  # noqa: ASYNC110 what is heard calls back
                await asyncio.sleep(0)


@pytest.fixture
async def ends() -> AsyncIterator[tuple[End, End]]:
    ours, theirs = socket.socketpair()
    first, second = End(), End()
    for end, sock in ((first, ours), (second, theirs)):
        sock.setblocking(False)
        await end.link.open(sock)
    yield first, second
    first.link.close()
    second.link.close()
    await asyncio.gather(first.lost.wait(), second.lost.wait())


async def test_messages_arrive_in_order(ends: tuple[End, End]) -> None:
    """What one end says the other hears, in the same order, large and small."""
    here, there = ends
    said = [
        Ping(),
        CloseSession(3, 4401, "logged out"),
        Drain(2.5),
        *(CloseSession(n, 1, "x" * n) for n in range(3000)),
    ]
    for message in said:
        here.link.send(message)
    await there.until_heard(len(said))
    assert there.heard == said


async def test_the_whole_configuration_travels(ends: tuple[End, End], tmp_path: Path) -> None:
    """A worker has the very settings that the main process has."""
    config = tmp_path / "config.toml"
    config.write_text('[server]\nproxies = ["127.0.0.1"]\n[services.chat]\nworkers = 2\ndefault_rooms = ["a", "b"]\n')
    settings = load(config, {})
    ends[0].link.send(Start(settings, "chat", "chat-1", "chat-1-0f"))
    await ends[1].until_heard(1)
    [came] = ends[1].heard
    assert isinstance(came, Start)
    assert came == Start(settings, "chat", "chat-1", "chat-1-0f")
    assert isinstance(came.settings.base, Path)


async def test_the_end_is_noticed(ends: tuple[End, End]) -> None:
    """When one end closes, the other is told, after it has heard everything; what it says then has no effect."""
    here, there = ends
    here.link.send(Ping())
    here.link.close()
    await there.lost.wait()
    assert there.heard == [Ping()]
    there.link.send(Ping())
    assert there.link.buffered() == 0


async def test_what_cannot_be_read_is_passed_over(ends: tuple[End, End], caplog: pytest.LogCaptureFixture) -> None:
    """A message of another kind is logged, and those after it are heard."""
    here, there = ends
    here.link.send(Left([1, 2]))  # nobody says that to a worker
    here.link.send(Ping())
    await there.until_heard(1)
    assert there.heard == [Ping()]
    assert "cannot be read" in caplog.text


async def test_an_absurd_length_cuts_the_link(ends: tuple[End, End]) -> None:
    """Whoever announces a message of gigabytes is not waited for."""
    here, there = ends
    assert here.link._transport is not None
    here.link._transport.write(b"\xff\xff\xff\xff")
    await there.lost.wait()
    assert there.heard == []


@given(st.lists(st.binary(max_size=200), max_size=20), st.data())
@settings(max_examples=50)
def test_any_cut_gives_the_same_messages(bodies: list[bytes], data: st.DataObject) -> None:
    """However the kernel cuts the stream, the same messages come out."""
    said = [HttpAnswer(number, 200, (), body) for number, body in enumerate(bodies)]
    stream = b"".join(len(e).to_bytes(4, "big") + e for e in map(messages.encoder.encode, said))
    heard: list[object] = []
    decoder = msgspec.msgpack.Decoder(HttpAnswer)
    link: Link[HttpAnswer] = Link(decoder, heard.append, lambda: None)
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        link.data_received(stream[:size])
        stream = stream[size:]
    assert heard == said

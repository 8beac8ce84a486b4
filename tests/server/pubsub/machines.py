"""Machines on a NATS, each with a broker, for the tests of pubsub."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from server.config import BrokerSettings
from server.pubsub.delivery import Publication
from server.pubsub.nats import NatsBroker

WAIT_SECONDS = 20.0


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; give up with TimeoutError."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():  # noqa: ASYNC110 another process is what is waited for
            await asyncio.sleep(0.002)


class Receiver:
    """One process's part in a subject."""

    def __init__(self) -> None:
        self.heard: list[Publication] = []

    def receive(self, publication: Publication) -> None:
        self.heard.append(publication)

    @property
    def frames(self) -> list[bytes]:
        return [publication.frame for publication in self.heard]


class Machine:
    """A broker, and what is heard on its machine."""

    def __init__(self, url: str, prefix: str = "test", **settings: str) -> None:
        self.broker = NatsBroker(BrokerSettings(url=url, prefix=prefix, **settings), Path("/"))
        self.told = 0
        self.broker.on_gap(self._tell)
        self.origin = Receiver().receive

    def _tell(self) -> None:
        self.told += 1

    @property
    def connected(self) -> bool:
        return self.broker.health().connected

    def listen(self, subject: str) -> Receiver:
        receiver = Receiver()
        self.broker.subscribe(subject, receiver.receive)
        return receiver

    def say(self, subject: str, *frames: bytes) -> None:
        for frame in frames:
            self.broker.publish(subject, Publication(frame), self.origin)


@asynccontextmanager
async def machines(*made: Machine, connected: bool = True) -> AsyncIterator[tuple[Machine, ...]]:
    async with AsyncExitStack() as stack:
        for machine in made:
            await machine.broker.start()
            stack.push_async_callback(machine.broker.stop)
        if connected:
            await eventually(lambda: all(machine.connected for machine in made))
        yield made


async def refused(machine: Machine, why: str) -> None:
    """Wait until the machine says why it does not connect."""
    await eventually(lambda: why in machine.broker.health().detail)
    assert not machine.connected

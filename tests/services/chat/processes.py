"""Several chats on one database and one broker, which behave as several processes do, and a broker that does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import repeat
from typing import Any

from server.pubsub.broker import BrokerHealth, Receiver
from server.pubsub.delivery import Publication
from server.pubsub.local import LocalBroker
from server.service.harness import WAIT_SECONDS, ServiceHarness
from services.chat import Chat
from services.chat.liveroom import LiveRoom

HONEST = "deliver"


class LossyBroker(LocalBroker):
    """Delivers, drops, repeats and delays publications, as a test says.

    Attributes:
        about: what a subject has in it for the broker to be lossy about it.
        fates: what becomes of the next publications, for each receiver: `deliver`, `drop`, `twice` or `late`.
        connected: what it says of itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self.about = "~chat/room/"
        self.fates: Iterator[str] = repeat(HONEST)
        self.connected = True
        self._late: list[tuple[Receiver, Publication]] = []
        self._on_gap: list[Callable[[], None]] = []

    def publish(self, subject: str, publication: Publication, origin: Receiver) -> None:
        for receiver in tuple(self._receivers.get(subject, ())):
            if receiver != origin:
                match next(self.fates, HONEST) if self.about in subject else HONEST:
                    case "deliver":
                        receiver(publication)
                    case "twice":
                        receiver(publication)
                        receiver(publication)
                    case "late":
                        self._late.append((receiver, publication))

    def will(self, *fates: str) -> None:
        """Say what becomes of the next publications."""
        self.fates = iter(fates)

    def will_always(self, fate: str) -> None:
        """Say what becomes of all publications."""
        self.fates = repeat(fate)

    def release(self) -> None:
        """Deliver what is late, the last first."""
        late, self._late = self._late, []
        for receiver, publication in reversed(late):
            receiver(publication)

    def on_gap(self, callback: Callable[[], None]) -> None:
        self._on_gap.append(callback)

    def gap(self) -> None:
        """Say that publications may have been lost."""
        for callback in self._on_gap:
            callback()

    def health(self) -> BrokerHealth:
        return BrokerHealth(connected=self.connected, detail="of a test")


@asynccontextmanager
async def processes(
    count: int, database: str, broker: LocalBroker | None = None, options: dict[str, Any] | None = None
) -> AsyncIterator[list[ServiceHarness[Chat]]]:
    """Run so many chats on one database."""
    broker = broker or LocalBroker()
    options = {"messages_per_minute": 0} if options is None else options
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(ServiceHarness(Chat, options, database=database, broker=broker))
            for _ in range(count)
        ]


async def eventually(true: Callable[[], bool]) -> None:
    """Wait until something is true."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not true():  # noqa: ASYNC110 what is waited for tells nobody
            await asyncio.sleep(0.001)


def live(chat: ServiceHarness[Chat], name: str = "lobby") -> LiveRoom:
    """Return a room that is live in a process."""
    room = chat.service._rooms.get(name)
    assert room is not None
    return room


async def compare(chats: Iterable[ServiceHarness[Chat]]) -> None:
    """Compare what is live in processes with the database, once."""
    async with asyncio.timeout(WAIT_SECONDS):
        for chat in chats:
            await chat.service._others._heads.compare()

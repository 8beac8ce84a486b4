"""Limits over several processes: hubs of one LocalBroker behave as processes do."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from server.config import ServerSettings
from server.db import Database
from server.log import Log
from server.net.limits import RateLimiter
from server.pubsub import sharing
from server.pubsub.local import LocalBroker
from server.pubsub.peers import Peers
from server.pubsub.presence import Presences
from server.pubsub.sharing import SharedLimit, Taken
from server.pubsub.topics import Topics
from server.service.base import Service, ServiceContext
from server.service.incidents import Incidents
from tests.server.pubsub.support import Clock, encode


class Process:
    """A process with a limit of 60 a minute, 4 at once."""

    def __init__(self, broker: LocalBroker, clock: Clock) -> None:
        self.channel = Peers(broker, scheduler=clock).channel("limit")
        self.limiter = RateLimiter(60, 4, clock=lambda: clock.now)
        self.shared = SharedLimit(self.limiter, self.channel, clock)

    def take(self, key: object, count: int) -> list[bool]:
        return [not self.limiter.take(key) for _ in range(count)]


def test_processes_share_a_limit() -> None:
    """What one process gave away, another has no more, once it was told; keys of either kind stay apart."""
    broker, clock = LocalBroker(), Clock()
    one, two = Process(broker, clock), Process(broker, clock)
    assert one.take("ann", 3) == [True] * 3
    assert one.take(7, 1) == [True]
    clock.advance(sharing.SHARE_SECONDS)
    assert two.take("ann", 2) == [True, False]
    assert two.take(7, 4) == [True, True, True, False]
    assert two.take("7", 4) == [True] * 4
    clock.advance(sharing.SHARE_SECONDS)
    assert one.take("ann", 1) == [False]
    assert one.take("7", 1) == [False]


def test_what_is_charged_is_not_told_again() -> None:
    """A token goes once to each process and comes back to none; what was refused was not taken."""
    broker, clock = LocalBroker(), Clock()
    one, two = Process(broker, clock), Process(broker, clock)
    told: list[str] = []
    Peers(broker).channel("limit").listen(lambda process, _message: told.append(process))
    one.take("ann", 9)
    for _ in range(8):
        clock.advance(sharing.SHARE_SECONDS)
    assert len(told) == 1
    assert two.limiter.peek("ann") == one.limiter.peek("ann") == 0.0  # of 4 tokens, 2 seconds earned 2
    assert clock.running == 0


def test_alone_nothing_is_kept() -> None:
    """A process without others counts nothing for them, and starts no timer."""
    clock = Clock()
    alone = Process(LocalBroker(), clock)
    alone.take("ann", 4)
    assert alone.shared._taken == {}
    assert clock.running == 0


def test_a_message_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of keys is told in several messages, and beyond a bound not at all."""
    monkeypatch.setattr(sharing, "MAX_KEYS", 3)
    monkeypatch.setattr(sharing, "MAX_WAITING", 7)
    broker, clock = LocalBroker(), Clock()
    one, two = Process(broker, clock), Process(broker, clock)
    sizes: list[int] = []

    def measure(_process: str, message: bytes) -> None:
        sizes.append(len(msgspec.msgpack.decode(message, type=Taken).counts))

    Peers(broker).channel("limit").listen(measure)
    for key in range(9):
        one.take(key, 4)
    for _ in range(4):
        clock.advance(sharing.SHARE_SECONDS)
    assert sizes == [3, 3, 1]
    assert [two.take(key, 4).count(True) for key in (6, 7)] == [0, 4]


def test_closing_tells_the_last() -> None:
    """A limit that is closed has said what it took, and afterwards neither says nor hears anything."""
    broker, clock = LocalBroker(), Clock()
    one, two = Process(broker, clock), Process(broker, clock)
    one.take("ann", 4)
    one.shared.close()
    one.shared.close()
    assert two.take("ann", 1) == [False]
    assert one.take("ben", 4) == [True] * 4
    two.take("cid", 4)
    clock.advance(sharing.SHARE_SECONDS)
    assert two.take("ben", 4) == one.take("cid", 4) == [True] * 4
    assert clock.running == 0


@pytest.mark.parametrize("message", [b"", b"\xc1", msgspec.msgpack.encode([{"ann": -1}]), msgspec.msgpack.encode(7)])
def test_nonsense_is_dropped(message: bytes) -> None:
    """What is no such message, or would give tokens back, changes nothing."""
    broker, clock = LocalBroker(), Clock()
    one = Process(broker, clock)
    one.take("ann", 4)
    Peers(broker).channel("limit").send(message)
    assert one.take("ann", 1) == [False]


def test_other_keys_are_refused() -> None:
    """A key that cannot be told is an error where it is taken, not later in a timer."""
    broker, clock = LocalBroker(), Clock()
    one, _ = Process(broker, clock), Process(broker, clock)
    with pytest.raises(TypeError, match=r"int or a str"):
        one.limiter.take(("ann", 1))


async def test_the_running_loop_tells() -> None:
    """Without a scheduler of its own it is the event loop that does."""
    broker = LocalBroker()
    limiter = RateLimiter(60, 4)
    shared = SharedLimit(limiter, Peers(broker).channel("limit"))
    other = Process(broker, Clock())
    limiter.take("ann")
    assert shared._timer is not None
    shared.close()
    assert other.take("ann", 4) == [True, True, True, False]


async def test_services_share(tmp_path: Path) -> None:
    """What a service shares holds over its processes, is apart from other services' limits, and ends with it."""
    broker, clock = LocalBroker(), Clock()
    async with await Database.open(f"sqlite:///{tmp_path / 'test.db'}") as db:

        def service(name: str) -> tuple[Service, RateLimiter]:
            topics, peers = Topics(encode, broker), Peers(broker)
            context = ServiceContext(name, None, ServerSettings(), db, topics, Presences(), peers, Incidents(Log(name)))
            limiter = RateLimiter(60, 4, clock=lambda: clock.now)
            made = Service(context)
            made.share(limiter, "messages")
            return made, limiter

        (one, here), (two, there), (three, elsewhere) = service("chat"), service("chat"), service("dice")
        for _ in range(4):
            here.take("ann")
        await one.end_spawned()
        assert there.take("ann") > 0
        assert elsewhere.take("ann") == 0
        await two.end_spawned()
        await three.end_spawned()
        assert broker._receivers == {}
        assert there.on_take is None

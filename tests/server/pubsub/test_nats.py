"""The broker of several machines, with a real NATS: each broker here is what one machine has."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from server.pubsub import gaps
from server.pubsub import nats as module
from server.pubsub.delivery import Delivery, Publication
from server.pubsub.peers import Peers
from server.pubsub.topics import Topics
from tests.server.pubsub.machines import Machine, eventually, machines
from tests.server.pubsub.support import Recorder, encode
from tests.support.nats import Nats, private_nats


@pytest.fixture(scope="module")
def shared() -> Iterator[Nats]:
    """A server for the tests that leave it alone."""
    with private_nats() as server:
        yield server


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gaps close to each other are told apart here, and what does not end is given up soon."""
    monkeypatch.setattr(gaps, "GAP_SECONDS", 0.01)
    monkeypatch.setattr(module, "DRAIN_SECONDS", 0.5)


async def test_machines_hear_each_other(shared: Nats) -> None:
    """A publication goes once to every receiver on either machine but its origin, with all that it is, in order."""
    async with machines(Machine(shared.url), Machine(shared.url)) as (one, two):
        here, there, also_there, elsewhere = one.listen("room"), two.listen("room"), two.listen("room"), two.listen("x")
        await asyncio.gather(one.broker.settled(), two.broker.settled())
        said = [
            Publication(b"\0\xff", Delivery.LATEST, "k\xe4y"),
            Publication(b"b", Delivery.DROPPABLE),
            Publication(b""),
        ]
        for publication in said:
            one.broker.publish("room", publication, one.origin)
        assert here.heard == said  # at once
        await eventually(lambda: len(there.heard) == 3)
        two.say("room", b"back")
        await eventually(lambda: len(here.heard) == 4)
        assert there.heard == also_there.heard == [*said, Publication(b"back")]
        assert here.heard == [*said, Publication(b"back")]
        assert elsewhere.heard == []
        assert (one.broker.carried, one.broker.received) == (3, 1)


async def test_nobody_hears_themselves(shared: Nats) -> None:
    """What a machine publishes does not come back to it from NATS, its origin hears nothing at all."""
    async with machines(Machine(shared.url), Machine(shared.url)) as (one, two):
        origin, other = one.listen("room"), one.listen("room")
        there = two.listen("room")
        await two.broker.settled()
        one.broker.publish("room", Publication(b"a"), origin.receive)
        await eventually(lambda: there.frames == [b"a"])
        await one.broker.settled()  # what could have come back has
        assert (origin.frames, other.frames, one.broker.received) == ([], [b"a"], 0)


async def test_prefixes_are_apart(shared: Nats) -> None:
    """Two Switchboards that share a NATS do not hear each other."""
    async with machines(Machine(shared.url, "a"), Machine(shared.url, "a.b"), Machine(shared.url, "a")) as (
        one,
        two,
        three,
    ):
        near, far = three.listen("room"), two.listen("room")
        await asyncio.gather(two.broker.settled(), three.broker.settled())
        one.say("room", b"x")
        await eventually(lambda: near.frames == [b"x"])
        await two.broker.settled()
        assert far.frames == []


async def test_only_what_somebody_wants_comes(shared: Nats) -> None:
    """NATS sends a machine the subjects that have receivers there, from the first to the last of them."""
    async with machines(Machine(shared.url, "interest"), Machine(shared.url, "interest")) as (one, two):
        first, second = two.listen("room"), two.listen("room")
        await two.broker.settled()
        assert "interest.room" in shared.subjects()
        two.broker.unsubscribe("room", first.receive)
        one.say("room", b"a")
        await eventually(lambda: second.frames == [b"a"])
        two.broker.unsubscribe("room", second.receive)
        await two.broker.settled()
        assert "interest.room" not in shared.subjects()
        last = two.listen("last")
        await two.broker.settled()
        one.say("room", b"b")
        one.say("last", b"c")
        await eventually(lambda: last.frames == [b"c"])
        assert (first.frames, second.frames, two.broker.received) == ([], [b"a"], 2)


async def test_what_ends_at_once_is_never_asked_for(shared: Nats) -> None:
    """Interest that comes and goes within a tick costs NATS nothing, and leaves nothing behind."""
    async with machines(Machine(shared.url, "churn")) as (one,):
        for _ in range(100):
            receiver = one.listen("room")
            one.broker.unsubscribe("room", receiver.receive)
        await one.broker.settled()
        assert shared.subjects() & {"churn.room"} == set()
        assert one.broker._interest == {}


async def test_a_burst_travels_together_and_in_order(shared: Nats) -> None:
    """Everything of one tick and one subject is one NATS message, cut where its limit is; nothing is missing."""
    async with machines(Machine(shared.url), Machine(shared.url)) as (one, two):
        there, other = two.listen("room"), two.listen("other")
        await two.broker.settled()
        before = shared.monitor("varz")["in_msgs"]
        frames = [b"%d" % number for number in range(5000)]
        one.say("room", *frames)
        one.say("other", b"o")
        await eventually(lambda: len(there.heard) == 5000)
        assert there.frames == frames
        assert shared.monitor("varz")["in_msgs"] - before == 2
        large = [bytes([number]) * 400_000 for number in range(6)]
        one.say("room", *large)
        await eventually(lambda: len(there.heard) == 5006)
        assert there.frames[5000:] == large
        assert other.frames == [b"o"]
        assert (one.broker.lost_out, one.told, two.told) == (0, 1, 1)  # the one that every connection begins with


async def test_stopping_sends_what_is_queued(shared: Nats) -> None:
    """What was published before the end arrives; afterwards nothing does, and nothing is left running."""
    before = asyncio.all_tasks()
    async with machines(Machine(shared.url)) as (two,):
        there = two.listen("room")
        await two.broker.settled()
        async with machines(Machine(shared.url)) as (one,):
            one.say("room", *[b"%d" % number for number in range(1000)])
        one.say("room", b"late")
        await eventually(lambda: len(there.heard) == 1000)
        await one.broker.stop()
    assert there.frames[-1] == b"999"
    assert asyncio.all_tasks() == before


async def test_topics_and_channels_over_nats(shared: Nats) -> None:
    """A topic has subscribers on both machines, and a channel reaches the processes of the other one."""
    async with machines(Machine(shared.url), Machine(shared.url)) as (one, two):
        hubs = [Topics(encode, machine.broker) for machine in (one, two)]
        here, there = Recorder(), Recorder()
        name = "chat/room *.> \u2603"
        hubs[0].topic(name).subscribe(here)
        hubs[1].topic(name).subscribe(there)
        peers = [Peers(machine.broker) for machine in (one, two)]
        heard: list[tuple[str, bytes]] = []
        end = peers[1].channel("c").listen(lambda process, message: heard.append((process, message)))
        await asyncio.gather(one.broker.settled(), two.broker.settled())
        hubs[0].topic(name).publish("hello")
        assert peers[0].channel("c").heard
        peers[0].channel("c").send(b"psst")
        await eventually(lambda: there.received == here.received == ["hello"])
        await eventually(lambda: heard == [(peers[0].me, b"psst")])
        end()
        for hub in hubs:
            hub.stop()

"""The broker of worker processes: through the main process, over a link."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest

from server.process.link import Link
from server.pubsub import relay as relaying
from server.pubsub import way
from server.pubsub.broker import BrokerHealth
from server.pubsub.delivery import Delivery, Publication
from server.pubsub.local import LocalBroker
from server.pubsub.peers import Peers
from server.pubsub.presence import Presences
from server.pubsub.relay import Relay, RelayBroker, RelayMessage
from server.pubsub.way import Carry, Gap, Interest, Peered, Sync, Synced
from tests.server.pubsub.support import Recorder

DEADLINE_SECONDS = 10

decoder: msgspec.msgpack.Decoder[RelayMessage] = msgspec.msgpack.Decoder(RelayMessage)


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition, turn by turn of the loop."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():  # noqa: ASYNC110 what is waited for tells nobody that it has happened
            await asyncio.sleep(0)


async def turns(number: int = 20) -> None:
    """Let everything happen that can: nothing here waits for longer than a few turns of the loop."""
    for _ in range(number):
        await asyncio.sleep(0)


class Wire:
    """One direction of a link: what is said arrives in order, encoded and decoded, in a later turn of the loop."""

    def __init__(self) -> None:
        self.take: Callable[[RelayMessage], None] = lambda _: None
        self.said: list[RelayMessage] = []
        self.behind = 0  # bytes that the other side has not taken, as the test wants it
        self.looks = 0  # how often that was asked
        self._held: deque[bytes] | None = None

    def send(self, message: RelayMessage) -> None:
        self.said.append(message)
        data = msgspec.msgpack.encode(message)
        if self._held is not None:
            self._held.append(data)
        else:
            asyncio.get_running_loop().call_soon(lambda: self.take(decoder.decode(data)))

    def buffered(self) -> int:
        self.looks += 1
        return self.behind

    def hold(self) -> None:
        """Let nothing arrive: the other side does not read."""
        self._held = deque()

    def release(self) -> None:
        held, self._held = self._held or (), None
        for data in held:
            self.take(decoder.decode(data))

    def carried(self) -> list[Carry]:
        return [message for message in self.said if isinstance(message, Carry)]


class Worker:
    """A worker's broker, and the main process's relay for it."""

    def __init__(self, house: House) -> None:
        self.up, self.down = Wire(), Wire()
        self.broker = RelayBroker(self.up.send, self.up.buffered)
        self.relay = Relay(house.broker, self.down.send, self.down.buffered, house.lost)
        self.up.take, self.down.take = self.relay.take, self.broker.take
        self.gaps = 0
        self.broker.on_gap(self._gap)

    def _gap(self) -> None:
        self.gaps += 1

    def receiver(self, subject: str) -> Receiver:
        receiver = Receiver()
        self.broker.subscribe(subject, receiver.receive)
        return receiver


class Receiver:
    """Keeps the frames that it receives."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def receive(self, publication: Publication) -> None:
        self.frames.append(publication.frame)


class House:
    """A main process with workers."""

    def __init__(self, broker: LocalBroker | None = None) -> None:
        self.broker = broker or LocalBroker()
        self.workers: list[Worker] = []
        self.losses = 0

    def lost(self) -> None:
        self.losses += 1
        for worker in self.workers:
            worker.relay.gap()

    async def worker(self, *, peered: bool = True) -> Worker:
        worker = Worker(self)
        self.workers.append(worker)
        if peered:
            await worker.relay.peer(True)
        return worker


def nobody(_publication: Publication) -> None:
    """An origin that does not listen."""


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    yield house
    for worker in house.workers:
        await worker.broker.stop()
        worker.relay.close()
    assert house.broker._receivers == {}


class TestCarrying:
    """Who gets what."""

    async def test_reaches_everybody_else(self, house: House) -> None:
        """A publication goes once to each receiver of its subject, in every process, and not to its origin."""
        one, two, three = [await house.worker() for _ in range(3)]
        origin, beside, other = one.receiver("room"), one.receiver("room"), two.receiver("room")
        elsewhere = three.receiver("other")
        in_main = Receiver()
        house.broker.subscribe("room", in_main.receive)
        await one.broker.settled()
        await two.broker.settled()
        one.broker.publish("room", Publication(b"x"), origin.receive)
        assert beside.frames == [b"x"]
        await until(lambda: other.frames and in_main.frames)
        await turns()
        assert beside.frames == other.frames == in_main.frames == [b"x"]
        assert origin.frames == elsewhere.frames == []
        assert three.down.carried() == []
        house.broker.unsubscribe("room", in_main.receive)

    async def test_publication_arrives_as_it_was(self, house: House) -> None:
        """Frame, class and key come through."""
        one, two = await house.worker(), await house.worker()
        publications = [
            Publication(b"\x00\xff", Delivery.LATEST, "key"),
            Publication(b"", Delivery.DROPPABLE),
            Publication(b"x" * 100_000),
        ]
        heard: list[Publication] = []
        two.broker.subscribe("room", heard.append)
        await two.broker.settled()
        for publication in publications:
            one.broker.publish("room", publication, nobody)
        await until(lambda: len(heard) == 3)
        assert heard == publications

    async def test_one_tick_is_one_message(self, house: House) -> None:
        """What is published in one tick travels together, in order, on both parts of the way."""
        one, two = await house.worker(), await house.worker()
        receiver = two.receiver("room")
        await two.broker.settled()
        frames = [str(number).encode() for number in range(1000)]
        for frame in frames:
            one.broker.publish("room", Publication(frame), nobody)
        await until(lambda: len(receiver.frames) == 1000)
        assert receiver.frames == frames
        assert len(one.up.carried()) == len(two.down.carried()) == 1
        assert one.broker.carried == two.relay.carried == 1000

    async def test_a_message_has_a_bound(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        """A tick with too much goes in several messages."""
        monkeypatch.setattr(way, "CARRY_BYTES", 1000)
        one, two = await house.worker(), await house.worker()
        receiver = two.receiver("room")
        await two.broker.settled()
        for _ in range(10):
            one.broker.publish("room", Publication(b"x" * 500), nobody)
        await until(lambda: len(receiver.frames) == 10)
        assert [len(carry.publications) for carry in one.up.carried()] == [2] * 5

    async def test_only_what_is_listened_to(self, house: House) -> None:
        """A worker gets a subject's publications from `subscribe` to `unsubscribe` of its last receiver."""
        one, two = await house.worker(), await house.worker()
        first, second = two.receiver("room"), two.receiver("room")
        two.broker.unsubscribe("room", first.receive)
        await two.broker.settled()
        one.broker.publish("room", Publication(b"1"), nobody)
        await until(lambda: second.frames)
        two.broker.unsubscribe("room", second.receive)
        await two.broker.settled()
        one.broker.publish("room", Publication(b"2"), nobody)
        await one.broker.settled()
        assert first.frames == []
        assert second.frames == [b"1"]
        assert len(two.down.carried()) == 1
        assert house.broker._receivers == {}

    async def test_interest_is_what_it_is_in_the_end(self, house: House) -> None:
        """A subject that is left and wanted again in one tick is still wanted, and the other way round."""
        one, two = await house.worker(), await house.worker()
        receiver = two.receiver("stays")
        await two.broker.settled()
        two.broker.unsubscribe("stays", receiver.receive)
        two.broker.subscribe("stays", receiver.receive)
        brief = two.receiver("brief")
        two.broker.unsubscribe("brief", brief.receive)
        await two.broker.settled()
        assert set(house.broker._receivers) == {"stays"}
        one.broker.publish("stays", Publication(b"x"), nobody)
        await until(lambda: receiver.frames)

    async def test_many_subjects_are_said_in_several_messages(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However many rooms a worker has, one message of interest stays small."""
        monkeypatch.setattr(way, "SUBJECTS", 10)
        one = await house.worker()
        for number in range(95):
            one.receiver(str(number))
        await one.broker.settled()
        assert len([said for said in one.up.said if isinstance(said, Interest)]) == 10
        assert len(house.broker._receivers) == 95

    async def test_what_a_worker_left_behind_is_cleaned_up(self, house: House) -> None:
        """A worker that is gone is subscribed to nothing, and hears nothing; what it said late has no effect."""
        one, two = await house.worker(), await house.worker()
        two.receiver("room")
        await two.broker.settled()
        two.relay.close()
        two.relay.close()
        assert house.broker._receivers == {}
        two.receiver("other")
        one.broker.publish("room", Publication(b"x"), nobody)
        await turns()
        assert house.broker._receivers == {}
        assert two.down.carried() == []


class TestPeers:
    """A worker without peers tells nobody anything."""

    async def test_alone(self, house: House) -> None:
        """It says nothing over the link, hears nobody, and settles at once; its own receivers hear each other."""
        one = await house.worker(peered=False)
        receiver = one.receiver("room")
        assert not one.broker.heard("room", receiver.receive)
        assert one.broker.heard("room", nobody)
        one.broker.publish("room", Publication(b"x"), nobody)
        await one.broker.settled()
        await turns()
        assert receiver.frames == [b"x"]
        assert one.up.said == []

    async def test_peers_come(self, house: House) -> None:
        """When `peer` returns, main knows every subject of the worker, and the worker is heard."""
        one = await house.worker(peered=False)
        receivers = [one.receiver(str(number)) for number in range(5)]
        await one.relay.peer(True)
        assert set(house.broker._receivers) == {"0", "1", "2", "3", "4"}
        assert one.broker.heard("anything", nobody)
        house.broker.publish("3", Publication(b"x"), nobody)
        await until(lambda: receivers[3].frames)
        await one.relay.peer(True)
        assert len([said for said in one.up.said if isinstance(said, Interest)]) == 1, "said once"

    async def test_peers_go(self, house: House) -> None:
        """When there are none any more, main is subscribed to nothing for the worker, and the worker is silent."""
        one = await house.worker()
        receiver = one.receiver("room")
        await one.broker.settled()
        await one.relay.peer(False)
        assert house.broker._receivers == {}
        assert not one.broker.heard("room", receiver.receive)
        said = len(one.up.said)
        one.broker.publish("room", Publication(b"x"), receiver.receive)
        one.receiver("other")
        await turns()
        assert len(one.up.said) == said
        await one.relay.peer(True)
        assert set(house.broker._receivers) == {"room", "other"}

    async def test_a_worker_that_does_not_answer(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        """`peer` gives up on it; when it answers after all, everybody is told that something may be missing."""
        monkeypatch.setattr(relaying, "PEER_SECONDS", 0.01)
        one, two = await house.worker(), await house.worker(peered=False)
        two.down.hold()
        await two.relay.peer(True)
        assert house.losses == 0
        two.down.release()
        await until(lambda: house.losses and one.gaps and two.gaps)

    async def test_a_worker_that_dies_meanwhile(self, house: House) -> None:
        """`peer` returns when the worker is gone, and does nothing afterwards."""
        one = await house.worker(peered=False)
        one.down.hold()
        peering = asyncio.create_task(one.relay.peer(True))
        await turns()
        one.relay.close()
        async with asyncio.timeout(DEADLINE_SECONDS):
            await peering
            await one.relay.peer(True)
        assert house.losses == 0


class Slow(LocalBroker):
    """A broker to which subscribing takes time."""

    def __init__(self) -> None:
        super().__init__()
        self.settles = asyncio.Event()
        self.fails = False
        self.connected = True

    async def settled(self) -> None:
        await self.settles.wait()
        if self.fails:
            raise OSError("away")

    def health(self) -> BrokerHealth:
        return BrokerHealth(self.connected, "slow")


async def done(task: Awaitable[object]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        await task


class TestSettled:
    """Waiting for subscriptions to be in effect."""

    async def test_what_is_published_afterwards_arrives(self, house: House) -> None:
        """As soon as `settled` returns nothing is missed, whoever publishes."""
        one, two = await house.worker(), await house.worker()
        receivers = []
        for number in range(20):
            receivers.append(two.receiver(str(number)))
            await done(two.broker.settled())
            one.broker.publish(str(number), Publication(b"x"), nobody)
        await until(lambda: all(receiver.frames for receiver in receivers))

    async def test_it_is_the_broker_of_main_that_settles(self) -> None:
        """Main answers when its own broker is ready, also where that fails; many who wait ask once."""
        broker = Slow()
        house = House(broker)
        one = await house.worker()
        waiting = [asyncio.create_task(one.broker.settled()) for _ in range(10)]
        await turns()
        later = [asyncio.create_task(one.broker.settled()) for _ in range(10)]
        await turns()
        assert not any(task.done() for task in waiting)
        assert [said.number for said in one.up.said if isinstance(said, Sync)] == [1], "one question at a time"
        broker.fails = True
        broker.settles.set()
        await done(asyncio.gather(*waiting, *later))
        assert [said.number for said in one.up.said if isinstance(said, Sync)] == [1, 2]
        one.relay.close()

    async def test_it_gives_up(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        """A main process that is busy holds nobody up; when it answers, what was missed until then is a gap, once."""
        monkeypatch.setattr(relaying, "SETTLED_SECONDS", 0.01)
        one = await house.worker()
        one.up.hold()
        await done(asyncio.gather(*(one.broker.settled() for _ in range(5))))
        assert one.gaps == 0
        one.up.release()
        await until(lambda: one.gaps)
        await turns()
        assert one.gaps == 1
        assert not one.broker._gaps._again

    async def test_what_was_said_before_comes_before(self, house: House) -> None:
        """An answer is behind everything that was published before the question, on both ends."""
        one = await house.worker()
        one.receiver("room")
        await one.broker.settled()
        house.broker.publish("room", Publication(b"x"), nobody)
        one.relay.take(Sync(4711))
        assert [type(said) for said in one.down.said[-2:]] == [Carry, Synced]
        one.broker.publish("room", Publication(b"x"), nobody)
        one.receiver("other")
        one.broker.take(Sync(4711))
        assert [type(said) for said in one.up.said[-3:]] == [Interest, Carry, Synced]

    async def test_nobody_waits_for_a_worker_that_ends(self) -> None:
        """Neither a worker that stops nor a relay that is closed leaves anybody waiting."""
        broker = Slow()
        house = House(broker)
        one = await house.worker()
        waiting = asyncio.create_task(one.broker.settled())
        await until(lambda: one.relay._settling)
        later = asyncio.create_task(one.broker.settled())
        await turns()
        one.relay.close()
        await one.broker.stop()
        await done(asyncio.gather(waiting, later))
        await done(one.broker.settled())
        await until(lambda: not one.relay._settling)

    async def test_an_answer_to_nothing(self, house: House) -> None:
        """An answer that nobody waits for is ignored."""
        one = await house.worker()
        one.broker.take(Synced(4711))
        one.relay.take(Synced(4711))


class TestGaps:
    """What is lost is told."""

    async def test_a_worker_that_is_behind(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        """What it cannot take is dropped, not kept; when it has caught up it is told once, and hears again."""
        monkeypatch.setattr(way, "DRAIN_SECONDS", 0.001)
        one, two = await house.worker(), await house.worker()
        receiver, other = two.receiver("room"), one.receiver("room")
        await two.broker.settled()
        await one.broker.settled()
        two.down.behind = way.RELAY_BYTES + 1
        for number in range(5):
            house.broker.publish("room", Publication(b"%d" % number), nobody)
            await turns()
        two.down.behind = way.RELAY_BYTES // 2 + 1
        house.broker.publish("room", Publication(b"5"), nobody)
        looks = two.down.looks
        await until(lambda: len(other.frames) == 6 and two.down.looks > looks + 3)
        assert (two.relay.gaps, two.gaps, receiver.frames) == (1, 0, [])
        two.down.behind = 0
        await until(lambda: two.gaps)
        house.broker.publish("room", Publication(b"6"), nobody)
        await until(lambda: receiver.frames)
        assert (two.relay.gaps, two.gaps, one.gaps, receiver.frames) == (1, 1, 0, [b"6"])
        assert [type(said) for said in two.down.said[-2:]] == [Gap, Carry]

    async def test_a_main_process_that_is_behind(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        """What a worker drops on its way out is a gap for everybody, and the worker counts it."""
        monkeypatch.setattr(way, "DRAIN_SECONDS", 0.001)
        one, two = await house.worker(), await house.worker()
        one.up.behind = way.RELAY_BYTES + 1
        one.broker.publish("room", Publication(b"x"), nobody)
        await turns()
        assert not one.broker.health().connected
        assert house.losses == 0
        one.up.behind = 0
        await until(lambda: two.gaps)
        assert house.losses == 1
        assert one.broker.lost_out == 1
        assert two.broker.lost_out == 0
        assert one.broker.health().connected

    async def test_closing_while_behind(self, house: House) -> None:
        """A relay that is closed while it drops leaves no timer."""
        one = await house.worker()
        one.receiver("room")
        await one.broker.settled()
        one.down.behind = way.RELAY_BYTES + 1
        house.broker.publish("room", Publication(b"x"), nobody)
        await until(lambda: one.relay.gaps)
        one.relay.close()
        assert one.relay._way._timer is None

    async def test_what_is_done_about_a_gap_may_fail(self, house: House, caplog: pytest.LogCaptureFixture) -> None:
        """Who fails keeps nobody else from being told."""
        one = await house.worker()
        told: list[str] = []

        def fail() -> None:
            raise LookupError

        one.broker._gaps._callbacks[:] = [fail, lambda: told.append("other")]
        one.relay.gap()
        await until(lambda: told)
        assert "LookupError" in caplog.text

    async def test_without_peers_there_is_no_gap(self, house: House) -> None:
        """A worker that has nobody to hear from cannot have missed anything."""
        one = await house.worker(peered=False)
        one.relay.gap()
        await turns()
        assert one.gaps == 0


class TestHealth:
    """How the way to other processes is."""

    async def test_as_the_broker_of_main(self) -> None:
        """A worker knows whether the main process's broker is connected, from the start and after each look."""
        broker = Slow()
        broker.settles.set()
        broker.connected = False
        house = House(broker)
        one = await house.worker()
        assert not one.broker.health().connected
        broker.connected = True
        one.relay.look()
        one.relay.look()
        await until(lambda: one.broker.health().connected)
        broker.connected = False
        one.relay.gap()
        await until(lambda: one.gaps)
        assert not one.broker.health().connected
        one.relay.close()

    async def test_counts(self, house: House) -> None:
        """What was carried and lost is counted for /metrics."""
        one = await house.worker()
        one.broker.publish("room", Publication(b"x"), nobody)
        one.relay.gap()
        await until(lambda: one.gaps)
        health = one.broker.health()
        assert (health.connected, health.carried, health.gaps) == (True, 1, 1)
        assert one.broker.gaps == 1


async def test_stopping_says_the_last(house: House) -> None:
    """What was published before a worker stops reaches the others; afterwards nothing does."""
    one, two = await house.worker(), await house.worker()
    receiver = two.receiver("room")
    await two.broker.settled()
    await one.broker.start()
    one.broker.publish("room", Publication(b"last"), nobody)
    await one.broker.stop()
    one.broker.publish("room", Publication(b"too late"), nobody)
    await until(lambda: receiver.frames)
    await turns()
    assert receiver.frames == [b"last"]


async def test_over_a_real_link() -> None:
    """Through Unix sockets: 20,000 publications arrive in order, and one who does not read gets a gap for the rest."""
    house = House()
    gaps: list[bool] = []
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.setblocking(False)
    to_main: Link[RelayMessage] = Link(decoder, lambda message: relay.take(message), lambda: None)
    to_worker: Link[RelayMessage] = Link(decoder, lambda message: broker.take(message), lambda: None)
    relay = Relay(house.broker, to_main.send, to_main.buffered, house.lost)
    broker = RelayBroker(to_worker.send, to_worker.buffered)
    await to_main.open(ours)
    await to_worker.open(theirs)
    broker.on_gap(lambda: gaps.append(True))
    receiver = Receiver()
    broker.subscribe("room", receiver.receive)
    await relay.peer(True)
    frames = [b"%d" % number for number in range(20_000)]
    for frame in frames:
        house.broker.publish("room", Publication(frame), nobody)
    await until(lambda: len(receiver.frames) == len(frames))
    assert receiver.frames == frames

    assert to_worker._transport is not None
    to_worker._transport.pause_reading()
    large = Publication(b"x" * 2**20)
    for _ in range(20):
        house.broker.publish("room", large, nobody)
    assert relay.gaps == 1
    assert to_main.buffered() < way.RELAY_BYTES + 2 * way.CARRY_BYTES
    receiver.frames.clear()
    to_worker._transport.resume_reading()
    await until(lambda: gaps)
    assert 0 < len(receiver.frames) < 20
    relay.close()
    await broker.stop()
    to_main.close()
    to_worker.close()
    await until(lambda: to_main._transport is to_worker._transport is None)


async def test_presence_over_it(house: House) -> None:
    """Workers see each other's members as soon as they have peers, and when one is gone its members are."""
    one, two = await house.worker(peered=False), await house.worker(peered=False)
    peers = [Peers(one.broker, "one"), Peers(two.broker, "two")]
    presences = [Presences(0.001, peers=each) for each in peers]
    for each in peers:
        each.start()
    rooms = [each.presence("room") for each in presences]
    connections = [Recorder(), Recorder()]
    for number, (room, connection) in enumerate(zip(rooms, connections, strict=True)):
        room.enter(number, f"member {number}", connection)
    await turns()
    assert [room.count for room in rooms] == [1, 1]
    assert one.up.said == two.up.said == []
    await one.relay.peer(True)
    await two.relay.peer(True)
    for each in peers:
        each._beat()  # as they do every few seconds
    await until(lambda: [room.count for room in rooms] == [2, 2])
    two.relay.close()
    in_main = Peers(house.broker, "main")
    in_main.gone("two")
    await until(lambda: rooms[0].members() == ["member 0"])
    for hub, each in zip(presences, peers, strict=True):
        hub.stop()
        each.stop()


@pytest.mark.parametrize("message", [Peered(True), Interest(["a"], []), Sync(1)])
async def test_nonsense_does_not_matter(house: House, message: RelayMessage) -> None:
    """What only the other side says is ignored by the side that says it, or answered."""
    one = await house.worker(peered=False)
    if isinstance(message, Peered):
        one.relay.take(message)
    elif isinstance(message, Interest):
        one.broker.take(message)
    else:
        one.broker.take(message)
        await until(lambda: one.up.said == [Synced(1)])
    assert house.broker._receivers == {}

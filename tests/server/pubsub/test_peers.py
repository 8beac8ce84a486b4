"""The other processes: who lives, who is gone, what may be missing. Hubs of one LocalBroker behave as processes do."""

from __future__ import annotations

import gc
from collections.abc import Callable

import msgspec
import pytest

from server.pubsub.broker import subject
from server.pubsub.delivery import Publication
from server.pubsub.local import LocalBroker
from server.pubsub.peers import ALIVE_SECONDS, GONE_SECONDS, Gone, Peers
from tests.server.pubsub.support import Clock

# The longest until the silence of a process is noticed.
SILENCE_SECONDS = GONE_SECONDS + ALIVE_SECONDS


class Lossy(LocalBroker):
    """Tells of gaps, and of losses on the way out, when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.lost_out = 0
        self.gap: list[Callable[[], None]] = []

    def on_gap(self, callback: Callable[[], None]) -> None:
        self.gap.append(callback)


class Process:
    """A process that notes what it is told of the others."""

    def __init__(self, broker: LocalBroker, clock: Clock, name: str) -> None:
        self.peers = Peers(broker, name, scheduler=clock, clock=lambda: clock.now)
        self.gone: list[str] = []
        self.came: list[str] = []
        self.gaps = 0
        self.peers.on_gone(self.gone.append)
        self.peers.on_came(self.came.append)
        self.peers.on_gap(self._gap)
        self.peers.start()

    def _gap(self) -> None:
        self.gaps += 1


class World:
    """Processes and their time."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.broker = Lossy()

    def process(self, name: str) -> Process:
        return Process(self.broker, self.clock, name)

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds)):
            self.clock.advance(1.0)


@pytest.fixture
def world() -> World:
    return World()


def freeze(process: Process) -> None:
    """Let a process do nothing, as SIGSTOP does: it neither says nor hears anything."""
    assert process.peers._timer is not None
    process.peers._timer.cancel()
    assert process.peers._end is not None
    process.peers._end()


def thaw(process: Process) -> None:
    """Let it go on: its timer is late, and fires at once."""
    process.peers._end = process.peers._alive.listen(process.peers._take)
    process.peers._beat()


class TestLife:
    """Who lives, and who is gone."""

    def test_who_lives_is_never_gone(self, world: World) -> None:
        """As long as processes live, and hear each other, all that is told is that they came."""
        one, two = world.process("one"), world.process("two")
        world.wait(100)
        assert one.gone == two.gone == []
        assert (one.came, two.came) == (["two"], ["one"])

    def test_who_stops_is_gone_at_once(self, world: World) -> None:
        """A process that stops says so; afterwards it neither says nor hears anything."""
        one, two = world.process("one"), world.process("two")
        two.peers.stop()
        assert one.gone == ["two"]
        one.peers.stop()
        assert two.gone == []
        assert world.clock.running == 0
        assert world.broker._receivers == {}

    def test_who_dies_is_gone_when_somebody_says_so(self, world: World) -> None:
        """Who saw a process end tells everybody, itself too, however often it was heard before."""
        one, two = world.process("one"), world.process("two")
        world.process("three")
        one.peers.gone("three")
        assert one.gone == two.gone == ["three"]
        one.peers.gone("never heard of")
        assert two.gone == ["three", "never heard of"]

    def test_who_dies_is_gone_after_a_while(self, world: World) -> None:
        """A process that says nothing any more is gone; everybody finds that out by itself, once."""
        one, two, three = [world.process(name) for name in ("one", "two", "three")]
        world.wait(ALIVE_SECONDS)
        freeze(three)
        world.wait(GONE_SECONDS - ALIVE_SECONDS)
        assert one.gone == two.gone == []
        world.wait(2 * ALIVE_SECONDS)
        assert one.gone == two.gone == ["three"]
        world.wait(100)
        assert one.gone == two.gone == ["three"]

    def test_who_was_noticed_is_watched(self, world: World) -> None:
        """A process of which something is known is gone some day, even if it never said that it lives."""
        one = world.process("one")
        one.peers.notice("dead already")
        one.peers.notice("two")
        world.process("two")
        assert one.came == ["two"]
        world.wait(SILENCE_SECONDS + 1)
        assert one.gone == ["dead already"]

    def test_who_was_only_silent_comes_back(self, world: World) -> None:
        """A process that was taken for gone, and is heard again, comes like one that is new."""
        one, two = world.process("one"), world.process("two")
        world.wait(ALIVE_SECONDS)
        freeze(two)
        world.wait(SILENCE_SECONDS + 1)
        assert one.gone == ["two"]
        thaw(two)
        assert one.came == ["two", "two"]
        world.process("three")
        world.wait(10)
        assert one.came == ["two", "two", "three"]
        assert one.gone == ["two"]

    def test_who_was_silent_itself_blames_nobody_else(self, world: World) -> None:
        """A process that was held up has not heard the others, and does not take them for gone; unless they are."""
        one, two = world.process("one"), world.process("two")
        world.wait(ALIVE_SECONDS)
        freeze(one)
        world.wait(100)
        thaw(one)
        assert one.gone == []
        world.wait(ALIVE_SECONDS)
        freeze(two)
        world.wait(SILENCE_SECONDS + 1)
        assert one.gone == ["two"]

    def test_nobody_believes_its_own_death(self, world: World) -> None:
        """A process that hears that it is gone knows better."""
        one, two = world.process("one"), world.process("two")
        two.peers.gone("one")
        assert one.gone == []
        assert two.gone == ["one"]

    def test_who_is_gone_takes_no_memory(self, world: World) -> None:
        """Nothing is kept of processes that are gone: their names do not come again."""
        one, two = world.process("one"), world.process("two")
        for number in range(1000):
            one.peers.notice(str(number))
            two.peers.gone(str(number))
        assert set(one.peers._known) == {"two"}
        assert len(two.peers._known) <= 1


class TestGaps:
    """What may have been missed."""

    def test_the_broker_tells(self, world: World) -> None:
        """A gap of the broker is everybody's who wants to know."""
        one = world.process("one")
        (gap,) = world.broker.gap
        gap()
        assert one.gaps == 1

    def test_others_tell(self, world: World) -> None:
        """What another process lost on its way out is a gap here; what it lost before we met is not."""
        world.broker.lost_out = 5
        one = world.process("one")
        world.process("two")
        world.wait(10)
        assert one.gaps == 0
        world.broker.lost_out = 6
        world.wait(ALIVE_SECONDS)
        assert one.gaps == 1
        world.wait(10)
        assert one.gaps == 1

    def test_one_that_fails_disturbs_nobody(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        """What somebody does about a gap, or a process that is gone, may fail: the others are told all the same."""

        def fail(*_: object) -> None:
            raise LookupError

        peers = Peers(world.broker, "zero", scheduler=world.clock)
        told: list[str] = []
        peers.on_gap(fail)
        peers.on_gap(lambda: told.append("gap"))
        peers.on_gone(fail)
        peers.on_gone(told.append)
        world.broker.gap[0]()
        peers.gone("one")
        assert told == ["gap", "one"]
        assert caplog.text.count("LookupError") >= 2


@pytest.mark.parametrize(
    "message", [b"", b"\xc1", msgspec.msgpack.encode({"type": "unheard of"}), msgspec.msgpack.encode([7])]
)
def test_nonsense_is_dropped(world: World, message: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """What is not understood changes nothing, and is logged once, not once a message."""
    one, two = world.process("one"), world.process("two")
    for _ in range(3):
        two.peers.channel("@alive").send(message)
    assert one.gone == []
    assert one.came == ["two"]
    assert len(caplog.records) == 1


def test_another_version_may_say_more(world: World) -> None:
    """A field that is not known here does no harm: processes of two versions run side by side during an update."""
    one, two = world.process("one"), world.process("two")
    two.peers.channel("@alive").send(msgspec.msgpack.encode({"type": "gone", "process": "three", "why": "fire"}))
    two.peers.channel("@alive").send(msgspec.msgpack.encode({"type": "alive"}))
    assert one.gone == ["three"]


class TestChannels:
    """Messages between processes."""

    def test_everybody_but_the_sender(self, world: World) -> None:
        """A message reaches every hearer in every other process, with the name of the sender."""
        processes = [world.process(name) for name in ("one", "two", "three")]
        heard: list[tuple[str, str, bytes]] = []
        for process in processes:
            me = process.peers.me
            for hearer in "ab":
                process.peers.channel("news").listen(
                    lambda sender, message, me=me, hearer=hearer: heard.append((me + hearer, sender, message))  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
                )
        processes[0].peers.channel("news").send(b"x")
        assert heard == [(name, "one", b"x") for name in ("twoa", "twob", "threea", "threeb")]

    def test_heard(self, world: World) -> None:
        """A channel is heard while another process listens; one's own hearers do not count."""
        one, two = world.process("one"), world.process("two")
        one.peers.channel("news").listen(lambda *_: None)
        assert not one.peers.channel("news").heard
        assert two.peers.channel("news").heard
        end = two.peers.channel("news").listen(lambda *_: None)
        assert one.peers.channel("news").heard
        end()
        end()
        assert not one.peers.channel("news").heard

    def test_apart_from_topics(self, world: World) -> None:
        """A channel and a topic of the same name have nothing to do with each other."""
        one = world.process("one")
        heard: list[bytes] = []
        one.peers.channel("news").listen(lambda _process, message: heard.append(message))
        world.broker.publish(subject("news"), Publication(b"x"), heard.append)  # type: ignore[arg-type]  # an origin
        assert heard == []

    def test_ending_while_hearing(self, world: World) -> None:
        """A hearer may end itself, or another, or begin to listen, while a message is handed out."""
        one, two, three = [world.process(name) for name in ("one", "two", "three")]
        heard: list[str] = []
        ends: list[Callable[[], None]] = []

        def once(*_: object) -> None:
            heard.append("once")
            for end in ends:
                end()
            two.peers.channel("news").listen(lambda *_: heard.append("later"))

        ends.append(two.peers.channel("news").listen(once))
        three.peers.channel("news").listen(lambda *_: heard.append("three"))
        one.peers.channel("news").send(b"x")
        assert heard == ["once", "three"]
        one.peers.channel("news").send(b"x")
        assert sorted(heard[2:]) == ["later", "three"]

    def test_a_hearer_that_fails(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        """It hurts neither the other hearers nor the sender, and is logged once."""
        one, two = world.process("one"), world.process("two")
        heard: list[bytes] = []

        def fail(*_: object) -> None:
            raise LookupError

        two.peers.channel("news").listen(fail)
        two.peers.channel("news").listen(lambda _process, message: heard.append(message))
        for _ in range(3):
            one.peers.channel("news").send(b"x")
        assert heard == [b"x"] * 3
        assert len(caplog.records) == 1

    def test_unused_channels_take_no_memory(self, world: World) -> None:
        """A channel is the same object as long as it is used, and is forgotten then."""
        one = world.process("one")
        assert one.peers.channel("a") is not one.peers.channel("b")
        end = one.peers.channel("news").listen(lambda *_: None)
        assert one.peers.channel("news") is one.peers.channel("news")
        end()
        del end
        gc.collect()
        assert set(one.peers._channels) == {"@alive"}


def test_gone_travels_by_name() -> None:
    """The message of a death has the field that processes of other versions read."""
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(Gone("one"))) == {"type": "gone", "process": "one"}


async def test_settled_is_the_brokers(world: World) -> None:
    """A process waits for what its broker waits for."""
    await world.process("one").peers.settled()


async def test_the_running_loop_beats() -> None:
    """Without a scheduler of its own it is the event loop that calls, and a name is made up."""
    broker = LocalBroker()
    one, two = Peers(broker), Peers(broker)
    assert one.me != two.me
    one.start()
    one.stop()

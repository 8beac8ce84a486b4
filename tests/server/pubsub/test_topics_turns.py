"""Topics take turns: a batch for many goes out in parts, and neither order nor anybody's messages suffer from that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from server.pubsub import topics as topics_module
from server.pubsub.delivery import Batch
from server.pubsub.local import LocalBroker
from server.pubsub.topics import PART, Subscription, Topic, Topics
from tests.server.pubsub.support import Recorder, Ticks, encode

MANY = 5
"""Subscribers, of whom a turn delivers to two: a batch takes three turns."""


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics_module, "PART", 2)


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def topics(ticks: Ticks) -> Topics:
    return Topics(encode, LocalBroker(), ticks)


@pytest.fixture
def topic(topics: Topics) -> Topic:
    return topics.topic("room")


@pytest.fixture
def crowd(topic: Topic) -> list[Recorder]:
    return subscribed(topic)


def subscribed(topic: Topic, count: int = MANY) -> list[Recorder]:
    recorders = [Recorder() for _ in range(count)]
    for recorder in recorders:
        topic.subscribe(recorder)
    return recorders


def received(crowd: list[Recorder]) -> list[list[str]]:
    return [recorder.received for recorder in crowd]


def run_out(ticks: Ticks) -> None:
    while ticks.due:
        ticks.tick()


def test_a_batch_for_many_goes_out_in_parts(topic: Topic, crowd: list[Recorder], ticks: Ticks) -> None:
    """In each tick as many get it as a part has, in the order of subscribing, and it is one and the same batch."""
    topic.publish("a")
    for expected in ([["a"]] * 2 + [[]] * 3, [["a"]] * 4 + [[]], [["a"]] * 5):
        assert len(ticks.due) == 1
        ticks.tick()
        assert received(crowd) == expected
    assert ticks.due == []
    assert all(recorder.batches == crowd[0].batches for recorder in crowd)


def test_publications_made_meanwhile_are_one_later_batch(topic: Topic, crowd: list[Recorder], ticks: Ticks) -> None:
    """What is published while a batch goes out is joined, however long that takes, and comes behind it for all."""
    topic.publish("a")
    for message in "bcd":
        ticks.tick()
        topic.publish(message)
    run_out(ticks)
    assert [[batch.all for batch in recorder.batches] for recorder in crowd] == [[b"a;", b"b;c;d;"]] * MANY


def test_everybody_has_a_batch_before_anybody_has_the_next(topic: Topic, ticks: Ticks) -> None:
    """One who comes late in a batch is not overtaken by those who came early."""
    order: list[tuple[str, int]] = []

    class Noting(Recorder):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

        def deliver(self, batch: Batch) -> None:
            order.append((batch.all.decode(), self.number))

    for number in range(MANY):
        topic.subscribe(Noting(number))
    for message in "abc":
        topic.publish(message)
        topic.subscribe(Recorder())  # which cuts a batch
    run_out(ticks)
    assert order == [(f"{message};", number) for message in "abc" for number in range(MANY)]


@pytest.mark.parametrize("gone_out", [0, 1, 2, 3])
def test_a_newcomer_hears_nothing_older(topic: Topic, crowd: list[Recorder], ticks: Ticks, gone_out: int) -> None:
    """Whoever comes while a batch goes out gets neither that nor what waits behind it, and everything afterwards."""
    late = Recorder()
    topic.publish("under way")
    for _ in range(gone_out):
        ticks.tick()
    topic.publish("waiting")
    topic.subscribe(late)
    topic.publish("after")
    run_out(ticks)
    assert late.received == ["after"]
    assert received(crowd) == [["under way", "waiting", "after"]] * MANY


@pytest.mark.parametrize("gone_out", [0, 1, 2, 3])
@pytest.mark.parametrize("who", range(MANY))
def test_who_leaves_has_everything_older_once(topic: Topic, ticks: Ticks, who: int, gone_out: int) -> None:
    """Whoever leaves while a batch goes out has got all that was published, whether its turn was before or not."""
    crowd = [Recorder() for _ in range(MANY)]
    subscriptions = [topic.subscribe(recorder) for recorder in crowd]
    topic.publish("under way")
    for _ in range(gone_out):
        ticks.tick()
    topic.publish("cut")
    topic.subscribe(Recorder())
    topic.publish("waiting")
    subscriptions[who].close()
    assert crowd[who].received == ["under way", "cut", "waiting"]
    assert crowd[who].callbacks == []
    topic.publish("after")
    run_out(ticks)
    assert crowd.pop(who).received == ["under way", "cut", "waiting"]
    assert received(crowd) == [["under way", "cut", "waiting", "after"]] * (MANY - 1)


@pytest.mark.parametrize("gone_out", [0, 1, 2])
def test_who_is_closed_gets_nothing_more(topic: Topic, crowd: list[Recorder], ticks: Ticks, gone_out: int) -> None:
    """A subscriber that ends while a batch goes out has none of it afterwards, and the others do not wait for it."""
    topic.publish("a")
    for _ in range(gone_out):
        ticks.tick()
    before = received(crowd)
    for recorder in crowd[1:4]:
        recorder.close()
    run_out(ticks)
    assert received(crowd)[1:4] == before[1:4]
    assert [crowd[0].received, crowd[4].received] == [["a"], ["a"]]
    assert topic.subscribers == 2


def test_all_leave_in_the_middle(topics: Topics, topic: Topic, crowd: list[Recorder], ticks: Ticks) -> None:
    """When nobody is left, what is left of a batch does no harm, and who comes then starts anew."""
    topic.publish("a")
    ticks.tick()
    for recorder in crowd:
        recorder.close()
    topic.publish("nobody hears")
    new = Recorder()
    topic.subscribe(new)
    topic.publish("b")
    run_out(ticks)
    assert received(crowd) == [["a"]] * 2 + [[]] * 3
    assert new.received == ["b"]


def test_flush_delivers_all_at_once(topic: Topic, crowd: list[Recorder], ticks: Ticks) -> None:
    """`flush` delivers the rest of a batch and all that waits behind it to everybody, and nothing is due any more."""
    topic.publish("a")
    ticks.tick()
    topic.publish("b")
    topic.subscribe(Recorder())
    topic.publish("c")
    topic.flush()
    assert received(crowd) == [["a", "b", "c"]] * MANY
    run_out(ticks)
    assert received(crowd) == [["a", "b", "c"]] * MANY


@pytest.mark.parametrize("stop", [False, True])
def test_closing_delivers_all_at_once(topics: Topics, topic: Topic, ticks: Ticks, *, stop: bool) -> None:
    """`Topic.close` and `Topics.stop` deliver what is pending to everybody before they end the subscriptions."""
    crowd = subscribed(topic)
    topic.publish("a")
    ticks.tick()
    topic.publish("b")
    topics.stop() if stop else topic.close()
    assert received(crowd) == [["a", "b"]] * MANY
    assert topic.subscribers == 0
    run_out(ticks)
    assert received(crowd) == [["a", "b"]] * MANY


class TestSeveralTopics:
    """A turn is one for all topics of the process."""

    def test_a_quiet_topic_waits_for_one_part(self, topics: Topics, ticks: Ticks) -> None:
        """However much one topic has to deliver, another's message waits for one part of that, not for all."""
        flooded, quiet = topics.topic("flooded"), topics.topic("quiet")
        crowd = subscribed(flooded, 100)
        other = Recorder()
        quiet.subscribe(other)
        for number in range(100):
            flooded.publish(str(number))
            flooded.subscribe(Recorder())
        ticks.tick()
        quiet.publish("a")
        ticks.tick()
        ticks.tick()
        assert other.received == ["a"]
        assert crowd[-1].received == []
        for _ in range(10):
            quiet.publish("b")
            ticks.tick()
            ticks.tick()
        assert other.received == ["a", *"b" * 10]
        run_out(ticks)
        assert received(crowd) == [[str(number) for number in range(100)]] * 100

    def test_floods_share_fairly(self, topics: Topics, ticks: Ticks) -> None:
        """Topics that have much to deliver get turns alike."""
        crowds = [subscribed(topics.topic(name), 20) for name in "abc"]
        for name in "abc":
            topics.topic(name).publish(name)
        for _ in range(9):
            ticks.tick()
        assert [sum(map(len, received(crowd))) for crowd in crowds] == [6, 6, 6]
        run_out(ticks)
        assert [received(crowd) for crowd in crowds] == [[["a"]] * 20, [["b"]] * 20, [["c"]] * 20]

    def test_small_topics_share_a_tick(self, topics: Topics, ticks: Ticks) -> None:
        """What fits into one part goes out in one tick, of however many topics it is; what does not, in the next."""
        recorders = []
        for name in "abc":
            recorders += subscribed(topics.topic(name), 1)
            topics.topic(name).publish(name)
        assert len(ticks.due) == 1
        ticks.tick()
        assert received(recorders) == [["a"], ["b"], []]
        ticks.tick()
        assert received(recorders) == [["a"], ["b"], ["c"]]
        assert ticks.due == []


Act = Callable[[], object]


class TestWithinADelivery:
    """What a subscriber does inside `deliver`, while others still wait for their part."""

    @pytest.mark.parametrize("who", range(MANY))
    def test_publish(self, topic: Topic, crowd: list[Recorder], ticks: Ticks, who: int) -> None:
        """An answer comes behind the batch that it answers, for everybody."""
        answers = iter(["answer"])

        def answer() -> None:
            for message in answers:
                topic.publish(message)

        crowd[who].on_deliver = answer
        topic.publish("question")
        run_out(ticks)
        assert received(crowd) == [["question", "answer"]] * MANY

    @pytest.mark.parametrize("who", range(MANY))
    def test_publish_and_subscribe(self, topic: Topic, crowd: list[Recorder], ticks: Ticks, who: int) -> None:
        """Whoever comes inside a delivery hears what is published afterwards, and nothing else."""
        late = Recorder()
        once = iter([1])

        def act() -> None:
            for _ in once:
                topic.publish("between")
                topic.subscribe(late)
                topic.publish("after")

        crowd[who].on_deliver = act
        topic.publish("first")
        run_out(ticks)
        assert received(crowd) == [["first", "between", "after"]] * MANY
        assert late.received == ["after"]

    @pytest.mark.parametrize("who", range(MANY))
    def test_flush(self, topic: Topic, crowd: list[Recorder], ticks: Ticks, who: int) -> None:
        """Whoever flushes inside a delivery overtakes nobody."""
        crowd[who].on_deliver = topic.flush
        topic.publish("a")
        ticks.tick()
        topic.publish("b")
        run_out(ticks)
        assert received(crowd) == [["a", "b"]] * MANY

    @pytest.mark.parametrize(("who", "other"), [(0, 1), (0, 4), (4, 0), (2, 3), (3, 2), (1, 1)])
    def test_close(self, topic: Topic, ticks: Ticks, who: int, other: int) -> None:
        """Who is closed inside a delivery has each message at most once, and the others have all."""
        crowd = [Recorder() for _ in range(MANY)]
        subscriptions = [topic.subscribe(recorder) for recorder in crowd]
        crowd[who].on_deliver = lambda: subscriptions[other].close()
        topic.publish("a")
        ticks.tick()
        topic.publish("b")
        run_out(ticks)
        closed = crowd.pop(other)
        assert closed.received == ["a", "b"][: len(closed.received)]
        assert closed.callbacks == []
        assert received(crowd) == [["a", "b"]] * (MANY - 1)

    def test_stop(self, topics: Topics, topic: Topic, crowd: list[Recorder], ticks: Ticks) -> None:
        """Stopping inside a delivery ends everybody's subscription."""
        crowd[1].on_deliver = topics.stop
        topic.publish("a")
        run_out(ticks)
        assert received(crowd) == [["a"]] * 2 + [[]] * 3
        assert topic.subscribers == 0
        assert not any(recorder.callbacks for recorder in crowd)


class TestWithinTheLastDelivery:
    """What a subscriber does inside the `deliver` that its own `close` brings."""

    @pytest.fixture
    def leaving(self, topic: Topic, crowd: list[Recorder], ticks: Ticks) -> tuple[Recorder, Subscription]:
        """One who has two batches to get when it leaves."""
        recorder = Recorder()
        subscription = topic.subscribe(recorder)
        topic.publish("a")
        topic.subscribe(Recorder())
        topic.publish("b")
        return recorder, subscription

    def test_closing_again(self, crowd: list[Recorder], leaving: tuple[Recorder, Subscription], ticks: Ticks) -> None:
        """Whoever closes inside the last delivery has ended there: no message comes twice."""
        recorder, subscription = leaving
        recorder.on_deliver = subscription.close
        subscription.close()
        assert recorder.received == ["a"]
        assert (subscription.subscriber, recorder.callbacks) == (None, [])
        run_out(ticks)
        assert received(crowd) == [["a", "b"]] * MANY

    @pytest.mark.parametrize("what", ["publish", "subscribe", "flush", "close another", "raise"])
    def test_other_things(
        self, topic: Topic, crowd: list[Recorder], leaving: tuple[Recorder, Subscription], ticks: Ticks, what: str
    ) -> None:
        """Whatever is done there, whoever leaves has everything once, and the others get what they would have got."""
        recorder, subscription = leaving
        another = Recorder()
        anothers = topic.subscribe(another)
        late = Recorder()

        def act() -> None:
            topic.publish("answer")
            match what:
                case "subscribe":
                    topic.subscribe(late)
                case "flush":
                    topic.flush()
                case "close another":
                    anothers.close()
                case "raise":
                    raise RuntimeError("broken subscriber")

        recorder.on_deliver = act
        subscription.close()
        assert recorder.received == ["a", "b"]
        assert (subscription.subscriber, recorder.callbacks) == (None, [])
        run_out(ticks)
        assert recorder.received == ["a", "b"]
        assert received(crowd) == [["a", "b", "answer", "answer"]] * MANY
        assert late.received == (["answer"] if what == "subscribe" else [])
        assert another.received == ([] if what == "close another" else ["answer", "answer"])


async def test_the_loop_has_its_turn_between_two_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a batch for thousands goes out, the loop does other things too."""
    monkeypatch.setattr(topics_module, "PART", PART)
    topics = Topics(encode, LocalBroker())
    topic = topics.topic("room")
    delivered: list[str] = []
    done = asyncio.Event()

    def deliver() -> None:
        delivered.append("x")
        if len(delivered) == 10 * PART:
            done.set()

    for _ in range(10 * PART):
        topic.subscribe(Recorder(deliver))
    topic.publish("a")
    seen = []
    while not done.is_set():
        seen.append(len(delivered))
        await asyncio.sleep(0)
    assert set(seen) == {number * PART for number in range(10)}
    topics.stop()


async def test_who_waits_for_the_last_knows_that_everybody_has_it(
    topic: Topic, ticks: Ticks, crowd: list[Recorder]
) -> None:
    """`delivered` is done with the last part of what was published before, whatever is published afterwards."""
    topic.publish("before")
    delivered = topic.delivered()
    topic.publish("after")
    for done in (False, False, True):
        ticks.tick()
        assert delivered.done() is done
    assert all(recorder.received for recorder in crowd)
    assert not all(len(recorder.received) == 2 for recorder in crowd)
    run_out(ticks)
    assert all(len(recorder.received) == 2 for recorder in crowd)


async def test_nobody_waits_for_nothing(topic: Topic, ticks: Ticks, crowd: list[Recorder]) -> None:
    """`delivered` is done at once where nothing is on its way, and a wait that was given up on hinders nobody."""
    assert topic.delivered().done()
    topic.publish("something")
    given_up, kept = topic.delivered(), topic.delivered()
    given_up.cancel()
    run_out(ticks)
    assert kept.done()
    assert not kept.cancelled()

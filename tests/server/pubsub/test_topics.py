"""Topics: subscribers receive what is published, in order, once a tick, whatever the others do."""

from __future__ import annotations

import asyncio
import gc

import pytest

from server.pubsub.delivery import Batch, Delivery
from server.pubsub.local import LocalBroker
from server.pubsub.topics import Topics
from tests.server.pubsub.support import Recorder, Ticks, encode


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def topics(ticks: Ticks) -> Topics:
    return Topics(encode, LocalBroker(), ticks)


def test_one_batch_a_tick(topics: Topics, ticks: Ticks) -> None:
    """What is published in one tick arrives as one batch, the very same object for everybody."""
    topic, one, two = topics.topic("room"), Recorder(), Recorder()
    topic.subscribe(one)
    topic.subscribe(two)
    for message in ("a", b"b", "c"):
        topic.publish(message)
    assert one.batches == []
    assert len(ticks.due) == 1
    ticks.tick()
    assert one.received == ["a", "b", "c"]
    assert [batch.all for batch in one.batches] == [b"a;b;c;"]
    assert one.batches[0] is two.batches[0]
    assert ticks.due == []


async def test_publishers_woken_together_share_a_batch() -> None:
    """By default the running event loop flushes, after everybody who was woken by the same tick has spoken."""
    topics = Topics(encode, LocalBroker())
    topic, delivered = topics.topic("room"), asyncio.Event()
    recorder = Recorder(delivered.set)
    start = asyncio.Event()

    async def publish_when_woken() -> None:
        await start.wait()
        topic.publish("woken")

    with topic.subscribe(recorder):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(publish_when_woken())
            await asyncio.sleep(0)
            topic.publish("now")
            start.set()
        await asyncio.wait_for(delivered.wait(), timeout=10)
    assert [batch.all for batch in recorder.batches] == [b"now;woken;"]


async def test_publishing_from_a_thread_is_refused() -> None:
    """It raises where the mistake is made, and the topic works on."""
    topics = Topics(encode, LocalBroker())
    topic, delivered = topics.topic("room"), asyncio.Event()
    recorder = Recorder(delivered.set)
    with topic.subscribe(recorder):
        with pytest.raises(RuntimeError, match="event loop"):
            await asyncio.to_thread(topic.publish, "from a thread")
        topic.publish("from the loop")
        await asyncio.wait_for(delivered.wait(), timeout=10)
    assert recorder.received == ["from the loop"]


def test_delivery_classes_reach_the_batch(topics: Topics, ticks: Ticks) -> None:
    """The class and the key given to `publish` decide where a frame stands in the batch."""
    topic, recorder = topics.topic("room"), Recorder()
    topic.subscribe(recorder)
    topic.publish("durable")
    topic.publish("old", Delivery.LATEST, "k")
    topic.publish("new", Delivery.LATEST, "k")
    topic.publish("typing", Delivery.DROPPABLE)
    ticks.tick()
    (batch,) = recorder.batches
    assert batch.all == b"durable;old;new;typing;"
    assert batch.durable == b"durable;"
    assert batch.latest == ((("room", "k"), b"new;"),)


def test_silent_subscribers_receive_and_are_not_counted(topics: Topics, ticks: Ticks) -> None:
    """`subscribers` counts those who are not silent; all of them receive."""
    topic, silent, counted = topics.topic("room"), Recorder(), Recorder()
    first = topic.subscribe(silent, silent=True)
    second = topic.subscribe(counted)
    assert topic.subscribers == 1
    topic.publish("a")
    ticks.tick()
    assert silent.received == counted.received == ["a"]
    first.close()
    assert topic.subscribers == 1
    second.close()
    assert topic.subscribers == 0


def test_a_newcomer_hears_nothing_older(topics: Topics, ticks: Ticks) -> None:
    """`subscribe` delivers what is pending first, so a snapshot taken beside it has no gap and no overlap."""
    topic, old, new = topics.topic("room"), Recorder(), Recorder()
    topic.subscribe(old)
    topic.publish("before")
    topic.subscribe(new)
    topic.publish("after")
    ticks.tick()
    assert old.received == ["before", "after"]
    assert new.received == ["after"]


def test_who_leaves_has_heard_everything_older(topics: Topics, ticks: Ticks) -> None:
    """`close` delivers what was published before it, nothing afterwards, and may be called again."""
    topic, recorder = topics.topic("room"), Recorder()
    with topic.subscribe(recorder) as subscription:
        topic.publish("before")
    assert recorder.received == ["before"]
    subscription.close()
    topic.publish("after")
    ticks.tick()
    assert recorder.received == ["before"]
    assert recorder.callbacks == []


def test_a_subscription_ends_with_its_subscriber(topics: Topics, ticks: Ticks) -> None:
    """A closed subscriber is not counted and not delivered to; the others still get what is pending."""
    topic, gone, here = topics.topic("room"), Recorder(), Recorder()
    subscription = topic.subscribe(gone)
    topic.subscribe(here)
    topic.publish("a")
    gone.close()
    assert topic.subscribers == 1
    ticks.tick()
    assert gone.received == []
    assert here.received == ["a"]
    subscription.close()


def test_a_closed_subscriber_cannot_subscribe(topics: Topics) -> None:
    """The subscription has ended before `subscribe` returns."""
    recorder = Recorder()
    recorder.close()
    assert topics.topic("room").subscribe(recorder).subscriber is None
    assert topics.topic("room").subscribers == 0


def test_a_failing_subscriber_disturbs_nobody(topics: Topics, ticks: Ticks, caplog: pytest.LogCaptureFixture) -> None:
    """The others receive; the failure is logged once, with its traceback; it stays subscribed."""
    topic, healthy = topics.topic("room"), Recorder()

    def fail() -> None:
        raise RuntimeError("broken subscriber")

    broken = Recorder(fail)
    topic.subscribe(broken)
    topic.subscribe(healthy)
    for message in ("a", "b"):
        topic.publish(message)
        ticks.tick()
    assert healthy.received == broken.received == ["a", "b"]
    (record,) = caplog.records
    assert record.exc_info is not None
    assert "broken subscriber" in str(record.exc_info[1])


class TestDuringAFlush:
    """What a subscriber does inside `deliver` is well defined."""

    def test_publication_goes_to_the_next_flush(self, topics: Topics, ticks: Ticks) -> None:
        """Everybody has the batch before anybody has the answer to it."""
        topic = topics.topic("room")
        answers = iter(["answer"])
        order: list[str] = []

        def answer() -> None:
            for message in answers:
                topic.publish(message)

        class Listener(Recorder):
            def deliver(self, batch: Batch) -> None:
                order.append(batch.all.decode())
                super().deliver(batch)

        topic.subscribe(Listener(answer))
        topic.subscribe(Listener())
        topic.publish("question")
        ticks.tick()
        assert order == ["question;", "question;"]
        ticks.tick()
        assert order == ["question;", "question;", "answer;", "answer;"]

    def test_newcomer_gets_later_publications_only(self, topics: Topics, ticks: Ticks) -> None:
        """Whoever subscribes inside a flush gets neither its batch nor anything older than that."""
        topic, late, last = topics.topic("room"), Recorder(), Recorder()
        once = iter([1])

        def enrol() -> None:
            for _ in once:
                topic.publish("between")
                topic.subscribe(late)
                topic.publish("after")

        topic.subscribe(Recorder(enrol))
        topic.subscribe(last)
        topic.publish("first")
        ticks.tick()
        ticks.tick()
        assert last.received == ["first", "between", "after"]
        assert late.received == ["after"]

    def test_answers_to_the_last_batch_are_not_for_who_closes(self, topics: Topics, ticks: Ticks) -> None:
        """`close` delivers what is pending; what others publish because of that comes after the end."""
        topic, recorder = topics.topic("room"), Recorder()
        subscription = topic.subscribe(recorder)
        answers = iter(["answer"])

        def answer() -> None:
            for message in answers:
                topic.publish(message)
                topic.subscribe(Recorder())

        topic.subscribe(Recorder(answer))
        topic.publish("question")
        subscription.close()
        assert recorder.received == ["question"]
        ticks.tick()
        assert recorder.received == ["question"]

    def test_close_takes_effect_at_once(self, topics: Topics, ticks: Ticks, caplog: pytest.LogCaptureFixture) -> None:
        """Whoever is closed by an earlier subscriber's `deliver` is not delivered to any more."""
        topic, later = topics.topic("room"), Recorder()
        topic.subscribe(Recorder(lambda: subscription.close()))
        subscription = topic.subscribe(later)
        topic.publish("a")
        ticks.tick()
        assert later.received == []
        assert caplog.records == []
        assert topic.subscribers == 1

    def test_subscriber_may_close_itself(self, topics: Topics, ticks: Ticks) -> None:
        """A connection over its bound closes inside `deliver`; its subscription goes with it."""
        topic = topics.topic("room")
        slow, healthy = Recorder(), Recorder()
        slow.on_deliver = slow.close
        topic.subscribe(slow)
        topic.subscribe(healthy)
        for message in ("a", "b"):
            topic.publish(message)
            ticks.tick()
        assert slow.received == ["a"]
        assert healthy.received == ["a", "b"]


class TestSeveralProcesses:
    """Two hubs on one broker behave as two processes."""

    def test_publications_reach_both_once(self, ticks: Ticks) -> None:
        """Each hub's subscribers hear both hubs' publications, and nothing is echoed back."""
        broker = LocalBroker()
        here, there = Topics(encode, broker, ticks), Topics(encode, broker, ticks)
        one, two = Recorder(), Recorder()
        here.topic("room").subscribe(one)
        there.topic("room").subscribe(two)
        here.topic("room").publish("from here", Delivery.LATEST, "k")
        there.topic("room").publish("from there")
        there.topic("other").publish("elsewhere")
        ticks.tick()
        assert one.received == two.received == ["from here", "from there"]
        assert two.batches[0].latest == ((("room", "k"), b"from here;"),)

    def test_what_is_for_here_stays_here(self, ticks: Ticks) -> None:
        """What others have from elsewhere goes to the subscribers of this process alone, in its place in the order."""
        broker = LocalBroker()
        here, there = Topics(encode, broker, ticks), Topics(encode, broker, ticks)
        one, two = Recorder(), Recorder()
        here.topic("room").subscribe(one)
        there.topic("room").subscribe(two)
        here.topic("room").publish("for all")
        here.topic("room").publish("for here", Delivery.LATEST, "k", here=True)
        here.topic("room").publish("for all again")
        ticks.tick()
        assert one.received == ["for all", "for here", "for all again"]
        assert one.batches[0].latest == ((("room", "k"), b"for here;"),)
        assert two.received == ["for all", "for all again"]

    def test_publisher_needs_no_subscriber(self, ticks: Ticks) -> None:
        """A process without a subscriber reaches those of another."""
        broker = LocalBroker()
        here, there = Topics(encode, broker, ticks), Topics(encode, broker, ticks)
        recorder = Recorder()
        there.topic("room").subscribe(recorder)
        here.topic("room").publish("a")
        ticks.tick()
        assert recorder.received == ["a"]
        assert here.topic("room").subscribers == 0

    def test_interest_follows_the_subscribers(self, ticks: Ticks) -> None:
        """The broker is asked for a topic exactly while somebody here is subscribed to it, silent or not."""
        broker = LocalBroker()
        topics = Topics(encode, broker, ticks)
        first = topics.topic("room").subscribe(Recorder(), silent=True)
        second = topics.topic("room").subscribe(Recorder())
        assert {name: len(receivers) for name, receivers in broker._receivers.items()} == {"room": 1}
        first.close()
        assert list(broker._receivers) == ["room"]
        second.close()
        assert list(broker._receivers) == []


class TestLife:
    """Topics come and go with their users."""

    def test_same_name_same_topic(self, topics: Topics) -> None:
        """All who use a name at the same time mean the same topic."""
        topic = topics.topic("room")
        assert topics.topic("room") is topic
        assert topics.topic("other") is not topic

    def test_unused_topics_take_no_memory(self, topics: Topics, ticks: Ticks) -> None:
        """A topic is gone when its last subscription is; publishing to nobody makes none."""
        for number in range(100):
            topics.topic(f"room {number}").publish("nobody hears")
        assert ticks.due == []
        assert len(topics) == 0
        subscription = topics.topic("room").subscribe(Recorder())
        topics.topic("room").publish("a")
        assert len(topics) == 1
        subscription.close()
        ticks.tick()
        del subscription
        gc.collect()
        assert len(topics) == 0

    def test_a_topic_without_a_name_is_refused(self, topics: Topics) -> None:
        """The name is the caller's mistake, said where it is made."""
        with pytest.raises(ValueError, match="needs a name"):
            topics.topic("")

    def test_closing_a_topic(self, topics: Topics, ticks: Ticks) -> None:
        """Everybody has what is pending, then nobody is subscribed."""
        topic, recorder = topics.topic("room"), Recorder()
        topic.subscribe(recorder)
        topic.publish("a")
        topic.close()
        assert recorder.received == ["a"]
        assert topic.subscribers == 0

    def test_stop(self, topics: Topics, ticks: Ticks) -> None:
        """`stop` delivers what is pending and ends every subscription; afterwards nothing is delivered."""
        recorder, late = Recorder(), Recorder()
        topic = topics.topic("room")
        subscription = topic.subscribe(recorder)
        topic.publish("a")
        topics.stop()
        assert recorder.received == ["a"]
        assert subscription.subscriber is None
        assert topics.topic("room").subscribe(late).subscriber is None
        topic.publish("b")
        ticks.tick()
        assert recorder.received == ["a"]
        assert late.received == []


def test_figures(topics: Topics, ticks: Ticks) -> None:
    """A delivery is one message to one subscriber; who left is served last, and counts once."""
    topic, one, two = topics.topic("room"), Recorder(), Recorder()
    topic.publish("nobody hears it")
    first, _ = topic.subscribe(one), topic.subscribe(two)
    topic.publish("a")
    topic.publish("b")
    first.close()
    ticks.tick()
    topic.publish("c")
    ticks.tick()
    assert (one.received, two.received) == (["a", "b"], ["a", "b", "c"])
    assert (topics.publications, topics.deliveries) == (4, 5)

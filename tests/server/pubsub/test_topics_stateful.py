"""Topics against a model: each subscriber receives exactly what is published while it is subscribed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from server.pubsub import topics
from server.pubsub.delivery import Delivery
from server.pubsub.local import LocalBroker
from server.pubsub.topics import Subscription, Topics
from tests.server.pubsub.support import Recorder, Ticks, encode

names = st.sampled_from(["one", "two"])
hubs = st.integers(0, 1)


class Listener:
    """A subscription beside what it must have received."""

    def __init__(self, machine: TopicsMachine, hub: int, name: str) -> None:
        self.machine = machine
        self.name = name
        self.expected: list[str] = []
        self.reaction: Callable[[], object] | None = None
        self.recorder = Recorder(self.react)
        self.subscription: Subscription = machine.hubs[hub].topic(name).subscribe(self.recorder)
        self.leaving = False  # hears what was published so far, and nothing later
        self.cut = False  # ended without having heard what was pending

    def react(self) -> None:
        """Do once, inside `deliver`, what the machine prepared."""
        reaction, self.reaction = self.reaction, None
        if reaction is not None:
            reaction()

    @property
    def is_open(self) -> bool:
        return self.subscription.subscriber is not None


class TopicsMachine(RuleBasedStateMachine):
    """Two processes, two topics, and subscribers that do things when they are delivered to.

    A turn delivers to few, so that batches for more than that are under way while anything else happens.
    """

    listeners = Bundle("listeners")

    @initialize(part=st.integers(1, 3))
    def start(self, part: int) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(topics, "PART", part)
        self.ticks = Ticks()
        broker = LocalBroker()
        self.hubs = [Topics(encode, broker, self.ticks) for _ in range(2)]
        self.all: list[Listener] = []
        self.published = 0

    @rule(target=listeners, hub=hubs, name=names)
    def subscribe(self, hub: int, name: str) -> Listener:
        listener = Listener(self, hub, name)
        self.all.append(listener)
        return listener

    @rule(hub=hubs, name=names, delivery=st.sampled_from(Delivery))
    def publish(self, hub: int, name: str, delivery: Delivery = Delivery.DURABLE) -> None:
        self.published += 1
        message = f"{name} {self.published}"
        for listener in self.all:
            if listener.is_open and not listener.leaving and listener.name == name:
                listener.expected.append(message)
        self.hubs[hub].topic(name).publish(message, delivery, "key")

    @rule(listener=consumes(listeners))
    def close(self, listener: Listener) -> None:
        listener.leaving = True
        listener.subscription.close()
        assert listener.cut or listener.recorder.received == listener.expected

    @rule(listener=consumes(listeners))
    def lose(self, listener: Listener) -> None:
        listener.cut = True
        listener.recorder.close()

    @rule(listener=listeners, hub=hubs, name=names)
    def publish_when_delivered(self, listener: Listener, hub: int, name: str) -> None:
        listener.reaction = lambda: self.publish(hub, name)

    @rule(listener=listeners, hub=hubs, name=names)
    def subscribe_when_delivered(self, listener: Listener, hub: int, name: str) -> None:
        listener.reaction = lambda: self.subscribe(hub, name)

    @rule(listener=listeners, hub=hubs, name=names)
    def publish_and_subscribe_when_delivered(self, listener: Listener, hub: int, name: str) -> None:
        def both() -> None:
            self.publish(hub, name)
            self.subscribe(hub, name)
            self.publish(hub, name)

        listener.reaction = both

    @rule(listener=listeners, hub=hubs, name=names)
    def flush_when_delivered(self, listener: Listener, hub: int, name: str) -> None:
        def flush() -> None:
            self.publish(hub, name)
            self.hubs[hub].topic(name).flush()

        listener.reaction = flush

    @rule(listener=listeners)
    def close_itself_when_delivered(self, listener: Listener) -> None:
        self.close_when_delivered(listener, listener)

    @rule(hub=hubs, name=names)
    def flush(self, hub: int, name: str) -> None:
        topic = self.hubs[hub].topic(name)
        due = {listener: len(listener.expected) for listener in self.all if listener.subscription.topic is topic}
        topic.flush()  # what is published because of that is for later
        for listener, count in due.items():
            assert not listener.is_open or len(listener.recorder.received) >= count

    @rule(listener=listeners, other=listeners)
    def close_when_delivered(self, listener: Listener, other: Listener) -> None:
        def close() -> None:
            other.cut = True
            other.subscription.close()

        listener.reaction = close

    @rule(listener=listeners)
    def raise_when_delivered(self, listener: Listener) -> None:
        def fail() -> None:
            raise RuntimeError("broken subscriber")

        listener.reaction = fail

    @rule()
    def tick(self) -> None:
        self.ticks.tick()

    @invariant()
    def nobody_hears_what_is_not_theirs(self) -> None:
        for listener in self.all:
            received = listener.recorder.received
            assert received == listener.expected[: len(received)]

    @rule()
    def nobody_waits_for_ever(self) -> None:
        ticks = 0
        while self.ticks.due:
            self.ticks.tick()
            ticks += 1
            assert ticks <= 10 + sum(len(listener.expected) for listener in self.all)

    def teardown(self) -> None:
        try:
            self.nobody_waits_for_ever()
        finally:
            self.patch.undo()
        for listener in self.all:
            if not listener.cut:
                assert listener.recorder.received == listener.expected
        for hub in self.hubs:
            hub.stop()
        assert not any(listener.is_open or listener.recorder.callbacks for listener in self.all)


TestTopicsMachine = TopicsMachine.TestCase

"""Topics: what is published once reaches every subscriber, with the same bytes and one write a tick.

`Topic.publish` frames a message once, appends it and schedules one flush for the end of the event loop's tick.
The flush joins the tick's frames once and gives every subscriber the same batch. Idle, that costs no latency;
under load it turns thousands of system calls into a few.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self
from weakref import WeakValueDictionary

from server.log import Log
from server.pubsub.broker import Broker, subject
from server.pubsub.delivery import Batch, Delivery, Publication

log = Log("pubsub")


class Closeable(Protocol):
    """Something that ends some day and tells."""

    def add_close_callback(self, callback: Callable[[Any], None]) -> None:
        """Call `callback` exactly once when this ends; at once when it has ended already."""

    def remove_close_callback(self, callback: Callable[[Any], None]) -> None:
        """Forget the callback; without effect when it is unknown or was called."""


class Subscriber(Closeable, Protocol):
    """Who receives from topics: in production a `Connection`."""

    def deliver(self, batch: Batch) -> None:
        """Take a batch: at once, without waiting."""


def _end_of_tick(flush: Callable[[], None]) -> None:
    """Flush after the next turn of the event loop, so that who was woken together is heard together.

    Sockets that became readable together wake one coroutine each, and those run in the next turn. A flush in that
    same turn would part them into two batches, and once parted, publishers that wait for their echo stay parted:
    with 20 of them and 1,000 subscribers that halves the deliveries (`bench`, scenario f20).
    """
    loop = asyncio.get_running_loop()
    loop.call_soon(loop.call_soon, flush)


class Topics:
    """The topics of one process.

    Args:
        encode: makes a frame of a message; a frame it returns as it is.
        broker: carries publications to and from other processes.
        schedule: runs a topic's flush at the end of the tick; by default the running event loop does.
    """

    def __init__(
        self,
        encode: Callable[[str | bytes], bytes],
        broker: Broker,
        schedule: Callable[[Callable[[], None]], None] = _end_of_tick,
    ) -> None:
        self.encode = encode
        self.broker = broker
        self.schedule = schedule
        self.stopped = False
        # A topic lives as long as somebody holds it: a service, a subscription, a flush that is due.
        self._topics: WeakValueDictionary[str, Topic] = WeakValueDictionary()

    def topic(self, name: str) -> Topic:
        """Return the topic `name`: the same object for everybody as long as anybody uses it.

        Raises:
            ValueError: the name is empty.
        """
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = Topic(name, self)
        return topic

    def stop(self) -> None:
        """Deliver what is pending, end every subscription, and refuse new ones."""
        self.stopped = True
        for topic in list(self._topics.values()):
            topic.close()

    def __len__(self) -> int:
        """Return how many topics are in use."""
        return len(self._topics)


class Topic:
    """A name that messages are published to and that subscribers receive from.

    Made by `Topics.topic`.
    """

    __slots__ = (
        "__weakref__",
        "_counted",
        "_delivering",
        "_hub",
        "_pending",
        "_scheduled",
        "_sealed",
        "_subject",
        "_subscriptions",
        "name",
    )

    def __init__(self, name: str, hub: Topics) -> None:
        self.name = name
        self._hub = hub
        self._subject = subject(name)
        self._subscriptions: dict[Subscription, None] = {}  # a dict keeps the order of subscribing
        self._counted = 0
        self._pending: list[Publication] = []
        self._scheduled = False
        # Batches that are cut and not delivered yet, each with those who were subscribed when it was cut.
        self._sealed: list[tuple[Batch, tuple[Subscription, ...]]] = []
        self._delivering = False

    @property
    def subscribers(self) -> int:
        """How many subscriptions there are in this process, silent ones not counted."""
        return self._counted

    def subscribe(self, subscriber: Subscriber, *, silent: bool = False) -> Subscription:
        """Let `subscriber` receive exactly what is published after this call, in order.

        Args:
            subscriber: who receives. The subscription ends with it. One that subscribes twice receives twice.
            silent: receive without being counted in `subscribers`.

        Returns:
            The subscription: a context manager, or to be closed. It has ended already where the subscriber is
            closed or the hub is stopped.
        """
        if self._hub.stopped:
            return Subscription(self, None, silent=silent)
        self._seal()  # whoever comes now must not hear what was said before
        if not self._subscriptions:
            self._hub.broker.subscribe(self._subject, self._receive)
        subscription = Subscription(self, subscriber, silent=silent)
        self._subscriptions[subscription] = None
        self._counted += not silent
        subscriber.add_close_callback(subscription.end)
        return subscription

    def publish(self, message: str | bytes, delivery: Delivery = Delivery.DURABLE, key: str | None = None) -> None:
        """Send a message to every subscriber, in this process and in others. Never blocks.

        Args:
            message: text, bytes, or a frame encoded before.
            delivery: what happens to it where a subscriber is behind.
            key: with `Delivery.LATEST`, what the message is the newest of, within this topic.

        Raises:
            RuntimeError: called from outside the event loop, such as from another thread.
        """
        if self._hub.stopped:
            return
        publication = Publication(self._hub.encode(message), delivery, key)
        self._receive(publication)
        self._hub.broker.publish(self._subject, publication, self._receive)

    def flush(self) -> None:
        """Deliver what is pending now, instead of at the end of the tick."""
        self._seal()
        if self._delivering:
            return  # called from within a `deliver`: what was sealed follows when its batch is through
        self._delivering = True
        try:
            while self._sealed:
                batch, subscriptions = self._sealed.pop(0)
                _deliver(batch, subscriptions)
        finally:
            self._delivering = False

    def close(self) -> None:
        """Deliver what is pending and end every subscription."""
        self.flush()
        for subscription in list(self._subscriptions):
            subscription.close()

    def forget(self, subscription: Subscription) -> None:
        """Send a subscription nothing of what is published from now on; this is `Subscription`'s to call."""
        if subscription not in self._subscriptions:
            return
        self._seal()
        del self._subscriptions[subscription]
        self._counted -= not subscription.silent
        if not self._subscriptions:
            self._hub.broker.unsubscribe(self._subject, self._receive)

    def _seal(self) -> None:
        """Settle that what is pending is for those who are subscribed now, and for nobody else."""
        if self._pending:
            self._sealed.append((Batch(self.name, self._pending), tuple(self._subscriptions)))
            self._pending = []

    def _receive(self, publication: Publication) -> None:
        """Take a publication, from this process or from the broker, for the subscribers here."""
        if not self._subscriptions:
            return
        if not self._scheduled:
            self._hub.schedule(self._tick)  # first: where it raises, nothing has happened
            self._scheduled = True
        self._pending.append(publication)

    def _tick(self) -> None:
        self._scheduled = False
        self.flush()


class Subscription:
    """A subscriber's part in a topic: from `Topic.subscribe` until `close`, or until the subscriber closes.

    Attributes:
        topic: what it is subscribed to.
        subscriber: who receives; None once the subscription has ended.
        silent: whether it is left out of `Topic.subscribers`.
    """

    __slots__ = ("_failed", "silent", "subscriber", "topic")

    def __init__(self, topic: Topic, subscriber: Subscriber | None, *, silent: bool) -> None:
        self.topic = topic
        self.subscriber = subscriber
        self.silent = silent
        self._failed = False

    def close(self) -> None:
        """End it. What was published before is delivered first; afterwards nothing is. Idempotent.

        Called from within a `deliver` of the same topic it ends at once: what is not delivered yet is not.
        """
        if self.subscriber is not None:
            self.topic.forget(self)
            self.topic.flush()
            self.end()

    def end(self, _closed: object = None) -> None:
        """End it at once; what is pending is not delivered. Called when the subscriber closes. Idempotent."""
        subscriber, self.subscriber = self.subscriber, None
        if subscriber is not None:
            subscriber.remove_close_callback(self.end)
            self.topic.forget(self)

    def failed(self, error: Exception) -> None:
        """Log that the subscriber raised; it stays subscribed. Logged once, or it would be once a tick."""
        if not self._failed:
            self._failed = True
            log.error("subscriber failed", topic=self.topic.name, error=error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _deliver(batch: Batch, subscriptions: tuple[Subscription, ...]) -> None:
    for subscription in subscriptions:
        subscriber = subscription.subscriber
        if subscriber is not None:  # None when an earlier `deliver` of this very flush led to its end
            try:
                subscriber.deliver(batch)
            except Exception as error:
                subscription.failed(error)

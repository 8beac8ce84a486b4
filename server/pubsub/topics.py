"""Topics: what is published once reaches every subscriber, with the same bytes and one write a tick.

`Topic.publish` frames a message once, appends it and has the topic's turn scheduled for the end of the event loop's
tick. There the tick's frames are joined once, and every subscriber gets the same batch. Idle, that costs no latency;
under load it turns thousands of system calls into a few.

A batch for many is delivered in parts, and topics take turns: between two parts the loop reads what clients send and
answers them, and a quiet topic waits for one part of a flooded one, not for all of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self
from weakref import WeakValueDictionary

from server.log import Log
from server.pubsub.broker import Broker, subject
from server.pubsub.delivery import Batch, Delivery, Publication

log = Log("pubsub")

PART = 256
"""Deliveries of one topic until it is another's turn: about 2 ms."""


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
        schedule: runs what is due at the end of the tick; by default the running event loop does.
        compress: makes frames smaller, for subscribers who agreed on that.

    Attributes:
        publications: how many were published in this process so far.
        deliveries: how many messages went to subscribers so far: one for each message and each of its subscribers.
    """

    def __init__(
        self,
        encode: Callable[[str | bytes], bytes],
        broker: Broker,
        schedule: Callable[[Callable[[], None]], None] = _end_of_tick,
        compress: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self.encode = encode
        self.broker = broker
        self.compress = compress
        self.stopped = False
        self.publications = 0
        self.deliveries = 0
        self._schedule = schedule
        self._scheduled = False
        self._due: deque[Topic] = deque()
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

    def due(self, topic: Topic) -> None:
        """Let a topic deliver at the end of the tick, when it is its turn; this is `Topic`'s to call."""
        if not self._scheduled:
            self._schedule(self._turn)  # first: where it raises, nothing has happened
            self._scheduled = True
        self._due.append(topic)

    def _turn(self) -> None:
        """Deliver up to a part's worth, of as many topics as that takes; the others have theirs in the next tick."""
        self._scheduled = False
        left = PART
        for _ in range(len(self._due)):  # what becomes due meanwhile is of the next tick
            left -= self._due.popleft().deliver_part(left)
            if left <= 0:
                break
        if self._due and not self._scheduled:
            self._schedule(self._turn)
            self._scheduled = True

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
        "_due",
        "_hub",
        "_pending",
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
        self._due = False  # it waits for its turn
        self._sealed: deque[_Sealed] = deque()
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

    def publish(
        self,
        message: str | bytes,
        delivery: Delivery = Delivery.DURABLE,
        key: str | None = None,
        *,
        here: bool = False,
    ) -> None:
        """Send a message to every subscriber, in this process and in others. Never blocks.

        Args:
            message: text, bytes, or a frame encoded before.
            delivery: what happens to it where a subscriber is behind.
            key: with `Delivery.LATEST`, what the message is the newest of, within this topic.
            here: leave out the other processes: they have it from elsewhere.

        Raises:
            RuntimeError: called from outside the event loop, such as from another thread.
        """
        if self._hub.stopped:
            return
        publication = Publication(self._hub.encode(message), delivery, key)
        self._hub.publications += 1
        self._receive(publication)
        if not here:
            self._hub.broker.publish(self._subject, publication, self._receive)

    def flush(self) -> None:
        """Deliver what is pending now, instead of at the end of the tick."""
        self._seal()
        while self._sealed and not self._delivering:
            self._deliver(len(self._sealed[0].subscriptions))

    def delivered(self) -> asyncio.Future[None]:
        """Return what is done when every subscriber here has what was published so far.

        Order holds within a topic. Where something else has to come behind a publication, wait for this first.
        """
        delivered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._seal()
        if self._sealed:
            self._sealed[-1].waiting.append(delivered)
        else:
            delivered.set_result(None)
        return delivered

    def deliver_part(self, most: int) -> int:
        """Deliver to so many subscribers at the most; returns to how many. This is `Topics`'s to call."""
        self._due = False
        if not self._sealed or self._sealed[0].position == 0:
            self._seal()  # else it goes on growing until those before it have gone out
        delivered = 0
        for _ in range(len(self._sealed)):
            if delivered < most:
                delivered += self._deliver(most - delivered)
        self._become_due()
        return delivered

    def hand_over(self, subscription: Subscription) -> None:
        """Deliver to one subscriber what it has not got yet; this is `Subscription`'s to call."""
        self._seal()
        if self._delivering:
            return
        self._delivering = True
        try:
            for sealed in tuple(self._sealed):  # more may be cut meanwhile, and that is for others
                if subscription in sealed.subscriptions[sealed.position :]:
                    _deliver(sealed.batch, (subscription,))
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
            batch = Batch(self.name, self._pending, self._hub.compress)
            self._sealed.append(_Sealed(batch, len(self._pending), tuple(self._subscriptions)))
            self._pending = []

    def _receive(self, publication: Publication) -> None:
        """Take a publication, from this process or from the broker, for the subscribers here."""
        if self._subscriptions:
            self._become_due(new=True)
            self._pending.append(publication)

    def _become_due(self, *, new: bool = False) -> None:
        if not self._due and (new or self._pending or self._sealed):
            self._hub.due(self)
            self._due = True

    def _deliver(self, most: int) -> int:
        """Go on with the oldest batch; returns how many subscribers it went to."""
        if self._delivering:
            return 0  # called from within a `deliver`: the batch that is under way goes on when that returns
        sealed = self._sealed[0]
        part = sealed.subscriptions[sealed.position : sealed.position + most]
        sealed.position += len(part)
        self._hub.deliveries += len(part) * sealed.messages
        self._delivering = True
        try:
            _deliver(sealed.batch, part)
        finally:
            self._delivering = False
            if sealed.position >= len(sealed.subscriptions):
                self._sealed.popleft().done()
        return len(part)


class _Sealed:
    """A batch that is cut, those who were subscribed then, how many of them have it, and who waits for the last."""

    __slots__ = ("batch", "messages", "position", "subscriptions", "waiting")

    def __init__(self, batch: Batch, messages: int, subscriptions: tuple[Subscription, ...]) -> None:
        self.batch = batch
        self.messages = messages
        self.subscriptions = subscriptions
        self.position = 0
        self.waiting: list[asyncio.Future[None]] = []

    def done(self) -> None:
        """Tell those who wait that everybody has it."""
        for future in self.waiting:
            if not future.done():
                future.set_result(None)


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
            self.topic.hand_over(self)
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
        if subscriber is not None:  # None when it has ended since the batch was cut
            try:
                subscriber.deliver(batch)
            except Exception as error:
                subscription.failed(error)

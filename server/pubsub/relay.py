"""The broker of a worker process: it carries through the main process, over their link.

`RelayBroker` is the worker's end, `Relay` the main process's end of one worker's. The main process subscribes at its own
broker to what the worker listens to, and publishes there what the worker publishes; so what is carried goes to those
who listen, and never back to where it came from. A worker without peers keeps everything to itself.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from functools import partial

import msgspec

from server.eager import start
from server.log import Log
from server.pubsub.broker import Broker, BrokerHealth, Receiver
from server.pubsub.delivery import Publication
from server.pubsub.local import LocalBroker

RELAY_BYTES = 8 * 2**20
"""What the other side may be behind, in bytes; beyond it publications are dropped, and the other side is told."""
CARRY_BYTES = 2**20
"""A message with so much is sent before the tick is over, so that what waits here is bounded too."""
OVERHEAD_BYTES = 64
"""What a publication takes in a message beside its frame, about."""
DRAIN_SECONDS = 0.05
"""How often is looked whether the other side has caught up, while it is too far behind."""
SUBJECTS = 1000
"""Subjects of one message of interest: more of them would hold up what comes behind."""
SETTLED_SECONDS = 2.0
"""How long a worker waits for its subscriptions to be in effect."""
PEER_SECONDS = 5.0
"""How long the main process waits for a worker to say what it listens to; it may be starting still."""

log = Log("pubsub")


class _Said(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Something that is said over the link, by either side."""


class Interest(_Said, frozen=True, gc=False, tag="interest"):
    """What a worker listens to from now on.

    Args:
        added: subjects that it did not listen to before.
        withdrawn: subjects that it does not listen to any more.
    """

    added: list[str]
    withdrawn: list[str]


class Carry(_Said, frozen=True, gc=False, tag="carry"):
    """Publications, in order, each with its subject."""

    publications: list[tuple[str, Publication]]


class Peered(_Said, frozen=True, gc=False, tag="peered"):
    """Whether there are other processes that a worker may have something to say to, or hear from."""

    peered: bool


class Reach(_Said, frozen=True, gc=False, tag="reach"):
    """Whether publications reach all other processes at the moment, as the main process's broker says."""

    connected: bool


class Sync(_Said, frozen=True, gc=False, tag="sync"):
    """Answer with `Synced` and this number when everything that was said before is in effect."""

    number: int


class Synced(_Said, frozen=True, gc=False, tag="synced"):
    """The answer to `Sync`."""

    number: int


class Gap(_Said, frozen=True, gc=False, tag="gap"):
    """Publications may have been lost before this."""


RelayMessage = Interest | Carry | Peered | Reach | Sync | Synced | Gap
"""What the two ends say to each other."""


class RelayBroker:
    """The broker of a worker process, see the module. It is for `Peers` and `Topics`; the link calls `take`.

    Args:
        send: says something to the main process. It returns at once, and does not raise.
        buffered: returns how many bytes the main process has not taken yet.
    """

    def __init__(self, send: Callable[[RelayMessage], None], buffered: Callable[[], int]) -> None:
        self._way = _Way(send, buffered, "the main process")
        self._local = LocalBroker()
        self._peered = False
        self._connected = True
        self._gaps_heard = 0
        self._on_gap: list[Callable[[], None]] = []

    @property
    def gaps(self) -> int:
        """How often publications may have been lost, of this process or for it."""
        return self._way.gaps + self._gaps_heard

    @property
    def carried(self) -> int:
        """Publications that went to the main process."""
        return self._way.carried

    @property
    def lost_out(self) -> int:
        """How often publications of this process may have been lost on the way out."""
        return self._way.gaps

    async def start(self) -> None:
        """The link is there already, or there would be no process."""

    async def stop(self) -> None:
        """Hand what is queued to the link."""
        self._way.flush()
        self._way.close()

    def publish(self, subject: str, publication: Publication, origin: Receiver) -> None:
        """Carry a publication to every receiver of the subject but `origin`, here and in other processes."""
        self._local.publish(subject, publication, origin)
        if self._peered:
            self._way.carry(subject, publication)

    def subscribe(self, subject: str, receiver: Receiver) -> None:
        """Let `receiver` have the subject's publications from now on."""
        if self._peered and subject not in self._local.subjects:
            self._way.listen(subject, wanted=True)
        self._local.subscribe(subject, receiver)

    def unsubscribe(self, subject: str, receiver: Receiver) -> None:
        """Let `receiver` have nothing more."""
        self._local.unsubscribe(subject, receiver)
        if self._peered and subject not in self._local.subjects:
            self._way.listen(subject, wanted=False)

    def heard(self, subject: str, origin: Receiver) -> bool:
        """Tell whether a publication may reach another receiver than `origin`: with peers always, for all we know."""
        return self._peered or self._local.heard(subject, origin)

    async def settled(self) -> None:
        """Wait until the main process, and its broker, know every subscription so far; at most `SETTLED_SECONDS`."""
        if not self._peered:
            return
        answer = self._way.ask()
        await asyncio.wait((answer,), timeout=SETTLED_SECONDS)
        if not answer.done():
            # From when the subscriptions were in effect is known then; what came before was missed.
            answer.remove_done_callback(self._settled_late)
            answer.add_done_callback(self._settled_late)

    def on_gap(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever publications of other processes may have been lost."""
        self._on_gap.append(callback)

    def health(self) -> BrokerHealth:
        """Say how the way to other processes is."""
        return BrokerHealth(
            connected=self._connected and not self._way.losing,
            detail="through the main process",
            gaps=self.gaps,
            carried=self.carried,
        )

    def take(self, message: RelayMessage) -> None:
        """Take what the main process says."""
        if isinstance(message, Carry):
            for subject, publication in message.publications:
                self._local.publish(subject, publication, _nobody)
        elif isinstance(message, Sync):
            self._way.say(Synced(message.number))
        elif isinstance(message, Synced):
            self._way.answered(message.number)
        elif isinstance(message, Peered):
            self._peer(message.peered)
        elif isinstance(message, Reach):
            self._connected = message.connected
        elif isinstance(message, Gap):
            self._gap()

    def _peer(self, peered: bool) -> None:
        if peered != self._peered:
            self._peered = peered
            for subject in self._local.subjects:
                self._way.listen(subject, wanted=peered)

    def _gap(self) -> None:
        self._gaps_heard += 1
        for callback in tuple(self._on_gap):
            try:
                callback()
            except Exception as error:
                log.error("what is to be done after a gap failed", error=error)

    def _settled_late(self, answer: asyncio.Future[None]) -> None:
        if not answer.cancelled():
            self._gap()


class Relay:
    """The main process's end for one worker, see the module. The link calls `take`.

    Args:
        broker: the main process's own: where the worker's publications go, and come from.
        send: says something to the worker. It returns at once, and does not raise.
        buffered: returns how many bytes the worker has not taken yet.
        lost: called when publications of the worker may have been lost: all who may have missed them need a gap.
    """

    def __init__(
        self,
        broker: Broker,
        send: Callable[[RelayMessage], None],
        buffered: Callable[[], int],
        lost: Callable[[], None],
    ) -> None:
        self._broker = broker
        self._way = _Way(send, buffered, "a worker")
        self._lost = lost
        self._peered = False
        self._connected = True
        self._closed = False
        self._receivers: dict[str, Receiver] = {}
        self._settling: set[asyncio.Task[None]] = set()

    @property
    def gaps(self) -> int:
        """How often publications for the worker were dropped."""
        return self._way.gaps

    @property
    def carried(self) -> int:
        """Publications that went to the worker."""
        return self._way.carried

    async def peer(self, peered: bool) -> None:
        """Tell the worker whether it has peers, and wait until it has said what it listens to, or has withdrawn it.

        It waits for `PEER_SECONDS` at the most; a worker that does so later gets a gap, and so does everybody else.
        """
        if self._closed:
            return
        self._peered = peered
        self._way.say(Peered(peered))
        self.look()
        answer = self._way.ask()
        await asyncio.wait((answer,), timeout=PEER_SECONDS)
        if not answer.done():
            log.warning("a worker does not say what it listens to")
            answer.remove_done_callback(self._peered_late)
            answer.add_done_callback(self._peered_late)

    def look(self) -> None:
        """Tell the worker whether the broker is connected, where that has changed; to be called now and then."""
        connected = self._broker.health().connected
        if connected != self._connected and self._peered:
            self._connected = connected
            self._way.say(Reach(connected))

    def gap(self) -> None:
        """Tell the worker that it may have missed publications: the broker, or another worker, lost some."""
        self.look()
        if self._peered:
            self._way.say(Gap())

    def take(self, message: RelayMessage) -> None:
        """Take what the worker says."""
        if self._closed:
            return
        if isinstance(message, Carry):
            for subject, publication in message.publications:
                self._broker.publish(subject, publication, self._receivers.get(subject, _nobody))
        elif isinstance(message, Interest):
            self._listen(message)
        elif isinstance(message, Sync):
            self._answer(message.number)
        elif isinstance(message, Synced):
            self._way.answered(message.number)
        elif isinstance(message, Gap):
            self._lost()

    def close(self) -> None:
        """The worker is gone: listen to nothing for it any more. Idempotent."""
        self._closed = True
        self._way.close()
        for task in self._settling:
            task.cancel()
        while self._receivers:
            self._broker.unsubscribe(*self._receivers.popitem())

    def _listen(self, interest: Interest) -> None:
        for subject in interest.added:
            if subject not in self._receivers:
                receiver = self._receivers[subject] = partial(self._way.carry, subject)
                self._broker.subscribe(subject, receiver)
        for subject in interest.withdrawn:
            withdrawn = self._receivers.pop(subject, None)
            if withdrawn is not None:
                self._broker.unsubscribe(subject, withdrawn)

    def _answer(self, number: int) -> None:
        """Answer a question of the worker, who has one at a time; most brokers need no time for it."""
        task = start(self._settle(number))
        if task is not None:
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)

    async def _settle(self, number: int) -> None:
        try:
            await self._broker.settled()
        except Exception as error:
            log.error("the broker does not settle", error=error)
        self._way.say(Synced(number))

    def _peered_late(self, answer: asyncio.Future[None]) -> None:
        if not answer.cancelled():
            self._lost()
            self.gap()


class _Way:
    """What one side says to the other, in order; what is published during one tick goes in one message.

    Args:
        send: says it.
        buffered: returns how many bytes the other side has not taken yet.
        whither: who the other side is, for the log.

    Attributes:
        carried: publications that were sent.
        gaps: how often some were dropped, because the other side was too far behind.
        losing: whether they are dropped at the moment.
    """

    def __init__(self, send: Callable[[RelayMessage], None], buffered: Callable[[], int], whither: str) -> None:
        self.carried = 0
        self.gaps = 0
        self.losing = False
        self._send = send
        self._buffered = buffered
        self._whither = whither
        self._closed = False
        self._due = False
        self._interest: dict[str, bool] = {}
        self._publications: list[tuple[str, Publication]] = []
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._numbers = itertools.count(1)
        # One question at a time: what is asked meanwhile is one question too, the next.
        self._asked: tuple[int, asyncio.Future[None]] | None = None
        self._to_ask: asyncio.Future[None] | None = None

    def carry(self, subject: str, publication: Publication) -> None:
        """Let the other side have a publication."""
        self._publications.append((subject, publication))
        self._bytes += len(publication.frame) + OVERHEAD_BYTES
        if self._bytes >= CARRY_BYTES:
            self.flush()
        elif not self._due:
            self._become_due()

    def listen(self, subject: str, *, wanted: bool) -> None:
        """Let the other side know what is listened to here."""
        self._interest[subject] = wanted
        if not self._due:
            self._become_due()

    def say(self, message: RelayMessage) -> None:
        """Say something, behind everything before."""
        self.flush()
        if not self._closed:
            self._send(message)

    def ask(self) -> asyncio.Future[None]:
        """Return what is done when everything said so far is in effect at the other side; cancelled by `close`."""
        if self._to_ask is None:
            self._to_ask = asyncio.get_running_loop().create_future()
            if self._closed:
                self._to_ask.cancel()
            self._become_due()
        return self._to_ask

    def answered(self, number: int) -> None:
        """Take the answer to what was asked."""
        if self._asked is not None and self._asked[0] == number:
            self._asked[1].set_result(None)
            self._asked = None
            self.flush()

    def flush(self) -> None:
        """Say what is due."""
        self._due = False
        if self._closed:
            self._interest.clear()
            self._publications.clear()
            return
        if self._interest:
            self._say_interest()
        if self._publications:
            self._say_publications()
        if self._to_ask is not None and self._asked is None:
            self._asked, self._to_ask = (next(self._numbers), self._to_ask), None
            self._send(Sync(self._asked[0]))

    def close(self) -> None:
        """Say nothing more, and expect no answers. Idempotent."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._asked is not None:
            self._asked[1].cancel()
        if self._to_ask is not None:
            self._to_ask.cancel()

    def _become_due(self) -> None:
        asyncio.get_running_loop().call_soon(self.flush)
        self._due = True

    def _say_interest(self) -> None:
        changes = list(self._interest.items())
        self._interest.clear()
        for begin in range(0, len(changes), SUBJECTS):
            part = changes[begin : begin + SUBJECTS]
            added = [subject for subject, wanted in part if wanted]
            withdrawn = [subject for subject, wanted in part if not wanted]
            self._send(Interest(added, withdrawn))

    def _say_publications(self) -> None:
        publications, self._publications, self._bytes = self._publications, [], 0
        if self.losing:
            return
        if self._buffered() > RELAY_BYTES:
            self._lose()
            return
        self.carried += len(publications)
        self._send(Carry(publications))

    def _lose(self) -> None:
        """Drop everything until half of what waits is taken: many small gaps would be no better than a large one."""
        self.losing = True
        self.gaps += 1
        log.warning("publications are dropped, the other side is too far behind", whither=self._whither)
        self._timer = asyncio.get_running_loop().call_later(DRAIN_SECONDS, self._look_again)

    def _look_again(self) -> None:
        if self._buffered() > RELAY_BYTES // 2:
            self._timer = asyncio.get_running_loop().call_later(DRAIN_SECONDS, self._look_again)
            return
        self._timer = None
        self.flush()  # dropped still, and covered by what is said now
        self.losing = False
        self._send(Gap())


def _nobody(_publication: Publication) -> None:
    """The origin of what comes from elsewhere: no receiver."""

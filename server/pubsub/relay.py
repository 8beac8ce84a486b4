"""The broker of a worker process: it carries through the main process, over their link.

`RelayBroker` is the worker's end, `Relay` the main process's end of one worker's. The main process subscribes at its
own broker to what the worker listens to, and publishes there what the worker publishes; so what is carried goes to
those who listen, and never back to where it came from. A worker without peers keeps everything to itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from server.eager import start
from server.log import Log
from server.pubsub.broker import Broker, BrokerHealth, Receiver
from server.pubsub.delivery import Publication
from server.pubsub.gaps import Gaps
from server.pubsub.local import LocalBroker
from server.pubsub.way import Carry, Gap, Interest, Peered, Reach, Sync, Synced, Way
from server.pubsub.way import RelayMessage as RelayMessage  # for the link too

SETTLED_SECONDS = 2.0
"""How long a worker waits for its subscriptions to be in effect."""
PEER_SECONDS = 5.0
"""How long the main process waits for a worker to say what it listens to; it may be starting still."""

log = Log("pubsub")


class RelayBroker:
    """The broker of a worker process, see the module. It is for `Peers` and `Topics`; the link calls `take`.

    Args:
        send: says something to the main process. It returns at once, and does not raise.
        buffered: returns how many bytes the main process has not taken yet.
    """

    def __init__(self, send: Callable[[RelayMessage], None], buffered: Callable[[], int]) -> None:
        self._way = Way(send, buffered, "the main process")
        self._local = LocalBroker()
        self._peered = False
        self._connected = True
        self._gaps = Gaps()

    @property
    def gaps(self) -> int:
        """How often publications may have been lost, of this process or for it."""
        return self._way.gaps + self._gaps.count

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
        self._gaps.stop()

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
        self._gaps.listen(callback)

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
            self._gaps.tell()

    def _peer(self, peered: bool) -> None:
        if peered != self._peered:
            self._peered = peered
            for subject in self._local.subjects:
                self._way.listen(subject, wanted=peered)

    def _settled_late(self, answer: asyncio.Future[None]) -> None:
        if not answer.cancelled():
            self._gaps.tell()


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
        self._way = Way(send, buffered, "a worker")
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


def _nobody(_publication: Publication) -> None:
    """The origin of what comes from elsewhere: no receiver."""

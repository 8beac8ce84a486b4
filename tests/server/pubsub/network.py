"""Processes in one process, each with its own time, and a network between them that is as bad as the test wants."""

from __future__ import annotations

import random
from collections.abc import Callable

from server.pubsub.broker import BrokerHealth, Receiver
from server.pubsub.delivery import Publication
from server.pubsub.peers import Peers
from server.pubsub.presence import Presences
from tests.server.pubsub.support import Clock

STEP_SECONDS = 0.25


class Network:
    """Carries between `Line`s.

    Attributes:
        bad: of ten messages, so many have a fate: to be dropped, repeated, or held until `release`.
        random: decides which.
        loses: tells of a message whether it is to be dropped in any case.
        carried: what was published, with its subject.
    """

    def __init__(self) -> None:
        self.bad = 0
        self.random = random.Random(0)
        self.loses: Callable[[str, bytes], bool] = lambda _subject, _message: False
        self.lines: list[Line] = []
        self.carried: list[tuple[str, Publication]] = []
        self._held: list[tuple[Line, Receiver, Publication]] = []

    def publish(self, subject: str, publication: Publication, origin: Line) -> None:
        self.carried.append((subject, publication))
        if self.loses(subject, publication.frame):
            return
        for line in tuple(self.lines):
            if line is not origin:
                for receiver in tuple(line.receivers.get(subject, ())):
                    self._carry(line, receiver, publication)

    def _carry(self, line: Line, receiver: Receiver, publication: Publication) -> None:
        fate = self.random.choice(("drop", "drop", "repeat", "hold")) if self.random.random() * 10 < self.bad else ""
        if fate == "hold":
            self._held.append((line, receiver, publication))
        elif fate != "drop":
            line.take(receiver, publication)
        if fate == "repeat":
            self._held.append((line, receiver, publication))

    def release(self) -> None:
        """Deliver what was held, in any order."""
        held, self._held = self._held, []
        self.random.shuffle(held)
        for line, receiver, publication in held:
            line.take(receiver, publication)

    def calm(self, *, late: bool = True) -> None:
        """Lose nothing any more; what was held arrives late, or never."""
        self.bad = 0
        if not late:
            self._held.clear()
        self.release()


class Line:
    """A process's broker: its end of the network. It may be frozen, and it may be cut."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.receivers: dict[str, list[Receiver]] = {}
        self.frozen = False
        self.gap: list[Callable[[], None]] = []
        self.lost_out = 0
        self._inbox: list[tuple[Receiver, Publication]] = []
        network.lines.append(self)

    def take(self, receiver: Receiver, publication: Publication) -> None:
        if self not in self.network.lines:
            return
        if self.frozen:
            self._inbox.append((receiver, publication))
        else:
            receiver(publication)

    def thaw(self) -> None:
        self.frozen = False
        inbox, self._inbox = self._inbox, []
        for receiver, publication in inbox:
            receiver(publication)

    def cut(self) -> None:
        self.network.lines.remove(self)

    # A broker.

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def settled(self) -> None: ...

    def publish(self, subject: str, publication: Publication, origin: Receiver) -> None:
        if self in self.network.lines:
            self.network.publish(subject, publication, self)

    def subscribe(self, subject: str, receiver: Receiver) -> None:
        self.receivers.setdefault(subject, []).append(receiver)

    def unsubscribe(self, subject: str, receiver: Receiver) -> None:
        self.receivers[subject].remove(receiver)
        if not self.receivers[subject]:
            del self.receivers[subject]

    def heard(self, subject: str, origin: Receiver) -> bool:
        return any(subject in line.receivers for line in self.network.lines if line is not self)

    def on_gap(self, callback: Callable[[], None]) -> None:
        self.gap.append(callback)

    def health(self) -> BrokerHealth:
        return BrokerHealth(connected=True, detail="of the test")


class Process:
    """A process of the test: its presences, and what it takes to have them.

    Attributes:
        late: while it is frozen, how many seconds have passed outside.
    """

    def __init__(self, network: Network, name: str) -> None:
        self.name = name
        self.line = Line(network)
        self.clock = Clock()
        self.late = 0.0
        self.peers = Peers(self.line, name, scheduler=self.clock, clock=lambda: self.clock.now)
        self.presences = Presences(scheduler=self.clock, peers=self.peers)
        self.peers.start()

    def advance(self, seconds: float) -> None:
        if self.line.frozen:
            self.late += seconds
        else:
            self.clock.advance(seconds)

    def freeze(self) -> None:
        """Stop it, as SIGSTOP does."""
        self.line.frozen = True

    def thaw(self) -> None:
        """Let it go on: its timers are late, and everything that was said meanwhile waits for it."""
        late, self.late = self.late, 0.0
        self.line.frozen = False
        self.clock.advance(late)
        self.line.thaw()

    def kill(self) -> None:
        """End it, as SIGKILL does: it says nothing."""
        self.line.cut()
        self.clock = Clock()

    def stop(self) -> None:
        """End it in good order."""
        self.presences.stop()
        self.peers.stop()
        self.line.cut()

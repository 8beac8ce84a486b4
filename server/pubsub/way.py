"""What the two ends of a relay say to each other, and the way on which they say it; see `server.pubsub.relay`."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import msgspec

from server.log import Log
from server.pubsub.delivery import Publication

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


class Way:
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

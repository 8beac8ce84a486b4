"""The history checker: was anything acknowledged lost, repeated or put out of order?"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from typing import Any

import msgspec


class Sending(msgspec.Struct):
    """A message that somebody sent, and what they were told."""

    nonce: str
    text: str
    seq: int | None = None


class Meter:
    """Counts acknowledgements, and wakes whoever waits for a number of them.

    Attributes:
        count: how many there are.
    """

    def __init__(self) -> None:
        self.count = 0
        self._waiting: list[tuple[int, asyncio.Event]] = []

    def add(self) -> None:
        """Count one."""
        self.count += 1
        for enough, event in self._waiting:
            if self.count >= enough:
                event.set()

    async def reach(self, enough: int) -> None:
        """Wait until there are so many."""
        event = asyncio.Event()
        self._waiting.append((enough, event))
        if self.count < enough:
            await event.wait()


class Journal:
    """What the clients of one room sent, were told, and heard.

    Args:
        meter: counts what is acknowledged.
    """

    def __init__(self, meter: Meter | None = None) -> None:
        self._meter = meter or Meter()
        self._sent: dict[Any, list[Sending]] = defaultdict(list)
        self._heard: dict[Any, list[tuple[int, int, str]]] = defaultdict(list)

    def sending(self, client: Any, nonce: str, text: str) -> None:
        """A client is about to send; in this order."""
        self._sent[client].append(Sending(nonce, text))

    def acknowledged(self, client: Any, nonce: str, seq: int) -> None:
        """A client was told that its message is durable."""
        next(sending for sending in self._sent[client] if sending.nonce == nonce).seq = seq
        self._meter.add()

    def heard(self, client: Any, rev: int, user: int, text: str) -> None:
        """A client was given an event, live or by catching up."""
        self._heard[client].append((rev, user, text))

    def skipped(self, client: Any, upto: int) -> None:
        """A client was told to drop what it had: it starts anew behind an event."""
        self._heard[client] = [(rev, 0, "") for rev in range(1, upto + 1)]

    def problems(self, history: list[dict[str, Any]]) -> list[str]:
        """Hold everything against the room's final history, oldest first; no problem is an empty list."""
        return [
            *_numbering(history),
            *self._lost(history),
            *self._repeated(history),
            *self._out_of_order(history),
            *self._streams(history),
        ]

    def _lost(self, history: list[dict[str, Any]]) -> list[str]:
        texts = {message["seq"]: message["text"] for message in history}
        return [
            f"acknowledged as {sending.seq} and not there: {sending.text}"
            for sendings in self._sent.values()
            for sending in sendings
            if sending.seq is not None and texts.get(sending.seq) != sending.text
        ]

    def _repeated(self, history: list[dict[str, Any]]) -> list[str]:
        # Every text is said once, so that a text that is there twice was written twice.
        counts = Counter(message["text"] for message in history)
        sent = {sending.text for sendings in self._sent.values() for sending in sendings}
        return [f"{count} times: {text}" for text, count in counts.items() if count > 1 and text in sent]

    def _out_of_order(self, history: list[dict[str, Any]]) -> list[str]:
        place = {message["text"]: message["seq"] for message in history}
        problems = []
        for sendings in self._sent.values():
            places = [place[sending.text] for sending in sendings if sending.text in place]
            if places != sorted(places):
                problems.append(f"an author's messages stand in another order than sent: {places}")
        return problems

    def _streams(self, history: list[dict[str, Any]]) -> list[str]:
        truth = {message["rev"]: message["text"] for message in history}
        problems = []
        for heard in self._heard.values():
            revs = [rev for rev, _, _ in heard]
            if revs != list(range(1, len(revs) + 1)):
                odd = next(i for i, rev in enumerate(revs, start=1) if rev != i)
                problems.append(f"a stream has a gap or a repeat at {odd}: {revs[max(0, odd - 3) : odd + 3]}")
            problems += [f"heard {text!r} as {rev}" for rev, _, text in heard if text and truth.get(rev) != text]
        return problems


def _numbering(history: list[dict[str, Any]]) -> list[str]:
    seqs = [message["seq"] for message in history]
    return [] if seqs == list(range(1, len(seqs) + 1)) else [f"the numbers have a gap or a repeat: {seqs}"]

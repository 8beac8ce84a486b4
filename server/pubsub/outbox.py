"""What waits for the way to other machines: publications by subject, in batches, and not without bound."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from server.pubsub.delivery import Publication

MOST_BYTES = 8 * 1024 * 1024
"""What may wait; a network takes that in a fraction of a second."""
OVERHEAD_BYTES = 32
"""What a publication takes beside its frame and its key, at the most."""


class Outbox:
    """A queue of publications for each subject; their order holds within a subject.

    Args:
        most_bytes: how much may wait.

    Attributes:
        bytes: how much waits.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._waiting: dict[str, list[Publication]] = {}
        self.bytes = 0

    def __bool__(self) -> bool:
        """Tell whether anything waits."""
        return bool(self._waiting)

    def put(self, subject: str, publication: Publication) -> bool:
        """Let a publication wait; False when it is full."""
        size = size_of(publication)
        if self.bytes + size > self._most_bytes:
            return False
        self._waiting.setdefault(subject, []).append(publication)
        self.bytes += size
        return True

    def take(self) -> tuple[str, list[Publication]]:
        """Return a subject, the one that waits longest, and everything that waits for it."""
        subject = next(iter(self._waiting))
        publications = self._waiting.pop(subject)
        self.bytes -= sum(map(size_of, publications))
        return subject, publications

    def clear(self) -> int:
        """Drop everything; returns how many publications that were."""
        count = sum(map(len, self._waiting.values()))
        self._waiting.clear()
        self.bytes = 0
        return count


def size_of(publication: Publication) -> int:
    """Return how large a publication is on its way, in bytes, at the most."""
    return len(publication.frame) + OVERHEAD_BYTES + 4 * len(publication.key or "")


def batches(publications: Iterable[Publication], most_bytes: int) -> Iterator[list[Publication]]:
    """Put publications together, in their order; one that is too large by itself is alone."""
    batch: list[Publication] = []
    room = most_bytes
    for publication in publications:
        size = size_of(publication)
        if batch and size > room:
            yield batch
            batch, room = [], most_bytes
        batch.append(publication)
        room -= size
    if batch:
        yield batch

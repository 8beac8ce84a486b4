"""What a topic delivers: publications, each with its delivery class, and the batches they travel in."""

from __future__ import annotations

import enum
from collections.abc import Callable, Hashable, Sequence

import msgspec


class Delivery(enum.Enum):
    """How much a publication matters to a subscriber that reads slowly.

    The values travel between processes.
    """

    DURABLE = "durable"
    """It has a number and can be resumed: kept as long as the subscriber is."""

    LATEST = "latest"
    """Only the newest of its key matters: while a subscriber is behind, a newer one replaces an older one."""

    DROPPABLE = "droppable"
    """It matters now or never: a subscriber that is behind does not get it."""


class Publication(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message of a topic, encoded; also what a broker carries.

    Args:
        frame: the encoded message, ready for the wire.
        delivery: its class.
        key: with `Delivery.LATEST`, what it is the newest of; None is a key like any other.
    """

    frame: bytes
    delivery: Delivery = Delivery.DURABLE
    key: str | None = None


class Batch:
    """What one topic has for its subscribers after one tick of the loop; they all share the same bytes.

    Args:
        topic: the topic's name.
        publications: at least one, in the order of publication.
        compress: makes frames smaller, for those who agreed on that.

    Attributes:
        all: every frame, joined: what a healthy subscriber writes, in one go.
        durable: the frames of class DURABLE alone, joined: what a subscriber that is behind queues.
        latest: the newest frame of each LATEST key; the keys of different topics differ.
    """

    __slots__ = ("_compress", "_deflated", "all", "durable", "latest")

    def __init__(
        self, topic: str, publications: Sequence[Publication], compress: Callable[[bytes], bytes] | None = None
    ) -> None:
        self._compress = compress
        self._deflated: bytes | None = None
        self.all = b"".join([publication.frame for publication in publications])
        self.durable = self.all
        self.latest: tuple[tuple[Hashable, bytes], ...] = ()
        if any(publication.delivery is not Delivery.DURABLE for publication in publications):
            self._separate(topic, publications)

    @property
    def deflated(self) -> bytes:
        """`all`, compressed: once for everybody, when the first who wants it is there."""
        if self._deflated is None:
            self._deflated = self.all if self._compress is None else self._compress(self.all)
        return self._deflated

    def _separate(self, topic: str, publications: Sequence[Publication]) -> None:
        durable: list[bytes] = []
        latest: dict[Hashable, bytes] = {}
        for publication in publications:
            if publication.delivery is Delivery.DURABLE:
                durable.append(publication.frame)
            elif publication.delivery is Delivery.LATEST:
                latest[topic, publication.key] = publication.frame
        self.durable = b"".join(durable)
        self.latest = tuple(latest.items())

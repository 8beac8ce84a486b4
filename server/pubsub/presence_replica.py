"""What a process knows of one presence: what it has told of its own members, and what others told of theirs.

See `server.pubsub.presence_between`, which does the talking.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from server.pubsub.peers import Channel

PART = 1000
"""Members of one message: few enough for what brokers let through."""

Key = int | str
Info = TypeVar("Info")


class Place(Protocol):
    """A presence, as far as it is shared."""

    @property
    def name(self) -> str:
        """What it is called in every process."""

    @property
    def info_type(self) -> Any:
        """The type of what is known of its members."""

    def count_here(self) -> int:
        """Return how many members have connections in this process."""

    def here(self, members: Iterable[Any] | None = None) -> Iterator[tuple[Any, Any]]:
        """Yield those of `members`, by default of all, who have connections in this process, each with its info."""

    def appear(self, member: Any, info: Any) -> None:
        """Another process has a member."""

    def vanish(self, member: Any) -> None:
        """Another process has a member no more."""


class Delta(msgspec.Struct, Generic[Info], frozen=True, array_like=True, tag="delta"):
    """How the members of a process have changed.

    Args:
        before: the version that this starts from.
        after: the version that this leads to.
        joined: who is there now, with what is known of each; perhaps again, with something else known.
        left: who is not there now, and perhaps was not before.
    """

    before: int
    after: int
    joined: list[tuple[Key, Info]]
    left: list[Key]


class Part(msgspec.Struct, Generic[Info], frozen=True, array_like=True, tag="part"):
    """All members of a process, or as many of them as fit.

    Args:
        version: their version.
        index: which part it is, from 0.
        last: whether it is the last.
        members: they, with what is known of each.
    """

    version: int
    index: int
    last: bool
    members: list[tuple[Key, Info]]


class Replica:
    """What is known of a place beyond the presence itself.

    Args:
        place: it; it is kept in use by others, not by this.
        channel: on which its members are told.

    Attributes:
        place: returns it; None when nobody uses it any more.
        channel: as said.
        end: ends listening to the channel.
        changed: members who came or left here, and that is not told yet.
        version: of the members here, as they were told last.
    """

    __slots__ = ("_others", "changed", "channel", "end", "place", "version")

    def __init__(self, place: Place, channel: Channel) -> None:
        self.place = weakref.ref(place)
        self.channel = channel
        self.end: Callable[[], None] = _nothing
        self.changed: dict[Key, None] = {}
        self.version = 0
        self._others: dict[str, _Other] = {}

    def versions(self) -> list[tuple[str, int]]:
        """Return the versions that are known of other processes."""
        return [(process, other.version) for process, other in self._others.items() if other.version]

    def deltas(self, place: Place, versions: Iterator[int]) -> Iterator[Delta[Any]]:
        """Yield what is to be told of the changes here, as many messages as that takes."""
        changed, self.changed = list(self.changed), {}
        for begin in range(0, len(changed), PART):
            part = changed[begin : begin + PART]
            joined = dict(place.here(part))
            before, self.version = self.version, next(versions)
            if begin + PART >= len(changed) and not place.count_here():
                self.version = 0
            yield Delta(before, self.version, list(joined.items()), [member for member in part if member not in joined])

    def parts(self, place: Place) -> Iterator[Part[Any]]:
        """Yield all members here, as many messages as that takes: one at least."""
        members = list(place.here())
        for index, begin in enumerate(range(0, max(1, len(members)), PART)):
            last = begin + PART >= len(members)
            yield Part(self.version, index, last, members[begin : begin + PART])

    def take(self, place: Place, process: str, said: Delta[Any] | Part[Any]) -> bool:
        """Take what a process says about its members; False where something before it is missing."""
        other = self._others.get(process)
        if other is None:
            other = self._others[process] = _Other()
        fits = True
        if isinstance(said, Part):
            if other.put_together(said):
                told = dict(other.parts)
                _leave(place, other.members, [member for member in other.members if member not in told])
                _join(place, other.members, other.parts)
                other.version, other.parts = said.version, []
        elif other.version == said.before:
            _join(place, other.members, said.joined)
            _leave(place, other.members, said.left)
            other.version = said.after
        else:
            fits = 0 < said.after <= other.version  # then it is old
        if not other.version and not other.parts:
            self.forget(process)  # nothing is left of it but perhaps mistakes
        return fits

    def forget(self, process: str) -> None:
        """A process is gone, and with it its members."""
        place, other = self.place(), self._others.pop(process, None)
        if other is not None and place is not None:
            for member in other.members:
                place.vanish(member)

    def forget_all(self) -> None:
        """All other processes are gone."""
        for process in tuple(self._others):
            self.forget(process)


class _Other:
    """What is known of another process's members at a place.

    Attributes:
        version: as that process counts.
        members: who they are, with what is known of each.
        parts: the members of a later version, as far as they were told in parts.
    """

    __slots__ = ("_next", "members", "parts", "version")

    def __init__(self) -> None:
        self.version = 0
        self.members: dict[Key, Any] = {}
        self.parts: list[tuple[Key, Any]] = []
        self._next = (0, 0)

    def put_together(self, part: Part[Any]) -> bool:
        """Take a part; tells whether all parts are there now. Where one is missing, none counts."""
        if part.index == 0:
            self.parts = []
        elif self._next != (part.version, part.index):
            self.parts, self._next = [], (0, 0)
            return False
        if 0 < part.version < self.version:
            return False  # it is old
        self.parts.extend(part.members)
        self._next = (part.version, part.index + 1)
        return part.last


def _join(place: Place, members: dict[Key, Any], joined: Iterable[tuple[Key, Any]]) -> None:
    for member, info in joined:
        if member in members:
            if members[member] == info:
                continue
            place.vanish(member)
        members[member] = info
        place.appear(member, info)


def _leave(place: Place, members: dict[Key, Any], left: Iterable[Key]) -> None:
    for member in left:
        if member in members:
            del members[member]
            place.vanish(member)


def _nothing() -> None:
    """What ends what has not begun."""

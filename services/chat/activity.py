"""How lively rooms are, for people who are not in them: what happens here, and what other processes tell."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec

from server import Delivery, Topic, notification
from services.chat import wire
from services.chat.between import Active
from services.chat.liveroom import LiveRoom
from services.chat.rooms import Rooms

MOST_ROOMS = 4096
"""Rooms of other processes that are remembered; of those beyond it nobody is told to be in them."""
ANSWER_SECONDS = 5.0
"""How long other processes may take to tell again what they told before."""


class _Elsewhere:
    """A room with people in it, as other processes tell; `processes` are those that the people are connected to."""

    __slots__ = ("processes", "room")

    def __init__(self, room: wire.RoomActivity) -> None:
        self.room = room
        self.processes: set[str] = set()


class Activity:
    """Tells everybody here how lively rooms are.

    A room that is live here is known at first hand. Of the others, the processes tell in which something happened.

    Args:
        everybody: the topic of all who are connected here.
        rooms: the rooms that are live here.
    """

    def __init__(self, everybody: Topic, rooms: Rooms) -> None:
        self._everybody = everybody
        self._rooms = rooms
        self._changed: set[LiveRoom] = set()
        self._caused: set[LiveRoom] = set()
        self._elsewhere: dict[str, _Elsewhere] = {}  # in the order in which they were told of
        self._doubted: set[str] = set()
        self._doubted_until = 0.0

    def note(self, live: LiveRoom, *, here: bool) -> None:
        """Take a room in which something happened, in this process or in another."""
        self._changed.add(live)
        if here:
            self._caused.add(live)

    def note_all(self) -> None:
        """Take every room with people who are connected here: others ask, or have to know anew."""
        self._caused.update(live for live in self._rooms if live.topic.subscribers)

    def present(self, room: str) -> int:
        """Return how many people are in a room that is not live here."""
        elsewhere = self._elsewhere.get(room)
        return elsewhere.room.present if elsewhere else 0

    def tell_here(self) -> None:
        """Tell everybody here which rooms have more or fewer people or messages than the last time."""
        for live in self._rooms:
            changed_at_all, changed_here = live.people_moved()
            if changed_at_all or changed_here:
                self.note(live, here=changed_here)
        changed, self._changed = self._changed, set()
        for live in changed:
            if live.row.visibility == "public":
                self._everybody.publish(notification("room", live.activity()), Delivery.LATEST, live.name, here=True)
        if self._doubted and time.monotonic() > self._doubted_until:
            for name in self._doubted:
                self._end(name)
            self._doubted.clear()

    def for_others(self) -> Iterator[Active]:
        """Return what other processes have to know since the last time."""
        caused, self._caused = self._caused, set()
        return (Active(live.activity(), bool(live.topic.subscribers)) for live in caused)

    # What others tell.

    def hear(self, process: str, active: Active) -> None:
        """Take how a room is, from another process."""
        name, room = active.room.room, active.room
        known = self._elsewhere.pop(name, None)
        before = known.room if known else None
        if before is not None and before.last_rev > room.last_rev:
            room = msgspec.structs.replace(room, last_rev=before.last_rev)
        if room.present:
            elsewhere = self._elsewhere[name] = known or _Elsewhere(room)  # the last one told of is the last to go
            elsewhere.room = room
            if active.here:
                elsewhere.processes.add(process)
            else:
                elsewhere.processes.discard(process)
            if len(self._elsewhere) > MOST_ROOMS:
                del self._elsewhere[next(iter(self._elsewhere))]
        self._doubted.discard(name)
        if room != before:
            self._tell(room)

    def gone(self, process: str) -> None:
        """Forget what is known from a process alone: it is gone."""
        for name, elsewhere in tuple(self._elsewhere.items()):
            if process in elsewhere.processes:
                elsewhere.processes.discard(process)
                if not elsewhere.processes:
                    self._end(name)
        self.note_all()  # rooms that had people there and here have fewer now

    def doubt(self) -> None:
        """Forget, after a while, what nobody tells again: something that was told may be lost."""
        self._doubted = set(self._elsewhere)
        self._doubted_until = time.monotonic() + ANSWER_SECONDS

    def _end(self, name: str) -> None:
        elsewhere = self._elsewhere.pop(name, None)
        if elsewhere is not None:
            self._tell(msgspec.structs.replace(elsewhere.room, present=0))

    def _tell(self, room: wire.RoomActivity) -> None:
        if room.visibility == "public" and self._rooms.get(room.room) is None:
            self._everybody.publish(notification("room", room), Delivery.LATEST, room.room, here=True)

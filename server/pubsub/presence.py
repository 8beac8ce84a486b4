"""Presence: who is there, counted by connections, told as differences.

A member is there from the first connection that enters until the last one that leaves. Changes are collected
for a moment (the window) and told once: a thousand people who come at the same time are one event, and
somebody who reloads a page is none.

Where there are several processes, a presence has the members of all of them (`server.pubsub.presence_between`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from types import TracebackType
from typing import Any, Self
from weakref import WeakValueDictionary

from server.log import Log
from server.pubsub.peers import Peers, Scheduler, Timer, loop_scheduler
from server.pubsub.presence_between import Between
from server.pubsub.topics import Closeable

WINDOW_SECONDS = 0.25
"""Long enough for a page to reload inside it, short enough to be taken for at once."""

CROWD = 50
MOST_WINDOWS = 8
"""With more members than a crowd the window grows with them, up to so many times: everybody is told of everybody, and
a room where all come at once would otherwise be busy with that alone."""

log = Log("pubsub")

Watcher = Callable[[list[Any], list[Any], int], None]
"""Called with who joined, who left (apply these first), and how many members there are now."""


class Presences:
    """The presences of one process.

    Args:
        window_seconds: how long changes are collected before they are told; longer where there is a crowd.
        scheduler: what runs the timers; by default the running event loop.
        peers: the other processes, whose members count too; by default there are none.
    """

    def __init__(
        self,
        window_seconds: float = WINDOW_SECONDS,
        scheduler: Scheduler = loop_scheduler,
        peers: Peers | None = None,
    ) -> None:
        self.window_seconds = window_seconds
        self.scheduler = scheduler
        # A presence lives as long as somebody holds it: a service, an entry, a timer, or `watched`.
        self._presences: WeakValueDictionary[str, Presence] = WeakValueDictionary()
        self.watched: set[Presence] = set()
        self.between = Between(self._presences, peers, scheduler) if peers is not None else None

    def presence(self, name: str, info_type: Any = Any) -> Presence:
        """Return the presence `name`: the same object for everybody as long as anybody uses it.

        Args:
            name: the same in every process.
            info_type: the type of what is known of its members, as msgspec takes it: what another process knows is
                made one of these. Without it that consists of what JSON has, and bytes.
        """
        presence = self._presences.get(name)
        if presence is None:
            presence = self._presences[name] = Presence(name, self, info_type)
            if self.between is not None:
                self.between.used(name)
        elif info_type is not Any:
            presence.info_type = info_type
        return presence

    def stop(self) -> None:
        """Tell nothing more: cancel every timer and forget every watcher."""
        if self.between is not None:
            self.between.stop()
        for presence in list(self._presences.values()):
            presence.close()

    def __len__(self) -> int:
        """Return how many presences are in use."""
        return len(self._presences)


class Presence:
    """Who is at one place, such as a room. Made by `Presences.presence`.

    Attributes:
        name: as said.
        info_type: the type of what is known of its members.
        changes_here: how often a member's first connection to this process came, or its last one left. A change of
            the members during which this has not moved came from another process.
    """

    __slots__ = (
        "__weakref__",
        "_here",
        "_hub",
        "_members",
        "_timer",
        "_watchers",
        "_window",
        "changes_here",
        "info_type",
        "name",
    )

    def __init__(self, name: str, hub: Presences, info_type: Any) -> None:
        self.name = name
        self.info_type = info_type
        self.changes_here = 0
        self._hub = hub
        self._here = 0
        self._members: dict[Hashable, _Member] = {}
        self._watchers: list[Watcher] = []
        self._window: _Window | None = None  # there while there is something to tell
        self._timer: Timer | None = None  # runs while there is a window

    @property
    def count(self) -> int:
        """How many members are here now."""
        return len(self._members)

    def members(self, viewer: Hashable = None) -> list[Any]:
        """Return what is known of each member that is here now (`info`), in the order in which they came.

        Args:
            viewer: the member who will see the list, if it is for one. Somebody who comes, sees the list
                with itself in it and leaves, all in one window, is still no event.
        """
        if self._window is not None:
            self._window.show(viewer)
        return [member.info for member in self._members.values()]

    def __contains__(self, member: Hashable) -> bool:
        return member in self._members

    def enter(self, member: Hashable, info: Any, subscriber: Closeable) -> Entry:
        """Let a connection of a member be here.

        Args:
            member: identifies the member across connections: an integer of 64 bits or text, where there are other
                processes.
            info: what others are told of the member: what the first connection said, until the last leaves. Other
                processes are told what msgspec encodes.
            subscriber: the connection. The entry ends with it.

        Returns:
            The entry: a context manager, or to be left by `leave`.
        """
        entry = Entry(self, member, subscriber)
        known = self._know(member, info)
        known.connections += 1
        if known.connections == 1:
            self._changed_here(member, 1)
        subscriber.add_close_callback(entry.leave)
        return entry

    def on_change(self, watcher: Watcher) -> Callable[[], None]:
        """Call `watcher(joined, left, count)` after each window in which the members changed.

        `joined` and `left` are lists of `info`; apply them as sets, those who left first. Whoever starts from
        `members()` at any moment and applies every later change has the true members after each.

        Returns:
            A function that forgets the watcher. The presence is in use until it is called.
        """
        self._watchers.append(watcher)
        self._hub.watched.add(self)

        def forget() -> None:
            if watcher in self._watchers:
                self._watchers.remove(watcher)
                if not self._watchers:
                    self._hub.watched.discard(self)

        return forget

    def close(self) -> None:
        """Tell nothing more."""
        self._watchers.clear()
        self._hub.watched.discard(self)
        self._end_window()

    def forget(self, member: Hashable) -> None:
        """Take out one connection of a member; this is `Entry`'s to call."""
        known = self._members[member]
        known.connections -= 1
        if known.connections == 0:
            self._changed_here(member, -1)
            self._unknow(member, known)

    # What `Between` calls: other processes' part.

    def count_here(self) -> int:
        """Return how many members have connections in this process."""
        return self._here

    def here(self, members: Iterable[Hashable] | None = None) -> Iterator[tuple[Hashable, Any]]:
        """Yield those of `members`, by default of all, who have connections in this process, each with its info."""
        for member in self._members if members is None else members:
            known = self._members.get(member)
            if known is not None and known.connections:
                yield member, known.info

    def appear(self, member: Hashable, info: Any) -> None:
        """Another process has a member."""
        self._know(member, info).processes += 1

    def vanish(self, member: Hashable) -> None:
        """Another process has a member no more."""
        known = self._members[member]
        known.processes -= 1
        self._unknow(member, known)

    # Members and windows.

    def _know(self, member: Hashable, info: Any) -> _Member:
        known = self._members.get(member)
        if known is None:
            known = self._members[member] = _Member(info)
            self._changed().join(member, info)
            self._settle()
        return known

    def _unknow(self, member: Hashable, known: _Member) -> None:
        """Let a member go who is nowhere any more."""
        if known.connections == known.processes == 0:
            del self._members[member]
            self._changed().leave(member, known.info)
            self._settle()

    def _changed_here(self, member: Hashable, difference: int) -> None:
        self._here += difference
        self.changes_here += 1
        if self._hub.between is not None:
            self._hub.between.changed(self, member)

    def _changed(self) -> _Window:
        if self._window is None:
            self._window = _Window()
            crowds = min(MOST_WINDOWS, max(1.0, len(self._members) / CROWD))
            self._timer = self._hub.scheduler(crowds * self._hub.window_seconds, self._tell)
        return self._window

    def _settle(self) -> None:
        """Drop a window whose changes took each other back."""
        if self._window is not None and not self._window.joined and not self._window.left:
            self._end_window()

    def _end_window(self) -> None:
        self._window = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell(self) -> None:
        window = self._window
        self._end_window()
        if window is None:
            return
        joined, left = list(window.joined.values()), list(window.left.values())
        for watcher in tuple(self._watchers):
            try:
                watcher(joined, left, self.count)
            except Exception as error:
                log.error("presence watcher failed", presence=self.name, error=error)


class Entry:
    """One connection's part in a presence: from `Presence.enter` until `leave` or the connection's end."""

    __slots__ = ("_member", "_presence", "_subscriber")

    def __init__(self, presence: Presence, member: Hashable, subscriber: Closeable) -> None:
        self._presence = presence
        self._member = member
        self._subscriber: Closeable | None = subscriber

    def leave(self, _closed: object = None) -> None:
        """End it; also called when the connection closes. Idempotent."""
        subscriber, self._subscriber = self._subscriber, None
        if subscriber is not None:
            subscriber.remove_close_callback(self.leave)
            self._presence.forget(self._member)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()


class _Member:
    """What is known of a member, by how many connections it is here, and in how many other processes it is."""

    __slots__ = ("connections", "info", "processes")

    def __init__(self, info: Any) -> None:
        self.info = info
        self.connections = 0
        self.processes = 0


class _Window:
    """Changes that are not told yet.

    Coming and leaving take each other back, unless somebody saw the state between in `Presence.members`:
    whoever did must be told that it is over.
    """

    __slots__ = ("joined", "left", "seen")

    def __init__(self) -> None:
        self.joined: dict[Hashable, Any] = {}
        self.left: dict[Hashable, Any] = {}
        self.seen: set[Hashable] = set()

    def show(self, viewer: Hashable) -> None:
        """Note that somebody saw the state between; what the viewer saw of itself does not matter."""
        self.seen.update(member for member in (*self.joined, *self.left) if member != viewer)

    def join(self, member: Hashable, info: Any) -> None:
        """Note that a member came."""
        returned = member in self.left and self.left[member] == info
        if returned:
            del self.left[member]
        if not returned or member in self.seen:
            self.joined[member] = info

    def leave(self, member: Hashable, info: Any) -> None:
        """Note that a member left."""
        untold = member in self.joined
        if untold:
            del self.joined[member]
        if not untold or member in self.seen:
            self.left.setdefault(member, info)

"""Presence against a model: whoever applies the changes in order has the true members."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from server.pubsub.presence import WINDOW_SECONDS, Entry, Presences
from tests.server.pubsub.support import Clock, Recorder

members = st.integers(1, 4)


class Viewer:
    """A client: starts from a snapshot and applies every change it is told afterwards."""

    def __init__(self, snapshot: list[Any], own: int | None = None) -> None:
        self.members = {member for member, _ in snapshot}
        self.own = own

    def __call__(self, joined: list[Any], left: list[Any], count: int) -> None:
        self.members -= {member for member, _ in left}
        self.members |= {member for member, _ in joined}


class PresenceMachine(RuleBasedStateMachine):
    """Members with several connections come, leave, are lost, and look around."""

    entries = Bundle("entries")

    @initialize()
    def start(self) -> None:
        self.clock = Clock()
        self.presences = Presences(scheduler=self.clock)
        self.presence = self.presences.presence("room")
        self.connections: dict[Entry, tuple[int, Recorder]] = {}
        self.told: dict[int, str] = {}
        self.viewers: list[Viewer] = []
        self.presence.on_change(self.changed)

    @property
    def true_members(self) -> set[int]:
        return {member for member, _ in self.connections.values()}

    def changed(self, joined: list[Any], left: list[Any], count: int) -> None:
        assert joined or left
        for member, _ in left:
            self.told.pop(member, None)
        self.told.update(joined)
        assert self.told == dict(self.presence.members())
        assert count == len(self.told)

    @rule(target=entries, member=members, name=st.sampled_from(["old", "new"]))
    def enter(self, member: int, name: str) -> Entry:
        connection = Recorder()
        entry = self.presence.enter(member, (member, name), connection)
        self.connections[entry] = (member, connection)
        return entry

    @rule(entry=consumes(entries))
    def leave(self, entry: Entry) -> None:
        entry.leave()
        self.gone(entry)

    @rule(entry=consumes(entries))
    def lose(self, entry: Entry) -> None:
        self.connections[entry][1].close()
        self.gone(entry)

    def gone(self, entry: Entry) -> None:
        member, connection = self.connections.pop(entry)
        assert connection.callbacks == []
        if member not in self.true_members:
            self.viewers = [viewer for viewer in self.viewers if viewer.own != member]

    @rule()
    def look(self) -> None:
        viewer = Viewer(self.presence.members())
        self.viewers.append(viewer)
        self.presence.on_change(viewer)

    @rule(member=members)
    def look_at_oneself_too(self, member: int) -> None:
        if member in self.true_members:
            viewer = Viewer(self.presence.members(viewer=member), own=member)
            self.viewers.append(viewer)
            self.presence.on_change(viewer)

    @rule(part=st.sampled_from([0.4, 1.0]))
    def wait(self, part: float) -> None:
        self.clock.advance(part * WINDOW_SECONDS)

    @invariant()
    def members_are_true(self) -> None:
        assert self.presence.count == len(self.true_members)
        assert all(member in self.presence for member in self.true_members)
        assert self.clock.running <= 1

    @invariant()
    def idle_means_all_is_told(self) -> None:
        if self.clock.running == 0:
            assert set(self.told) == self.true_members
            assert all(viewer.members == self.true_members for viewer in self.viewers)

    def teardown(self) -> None:
        self.clock.advance(WINDOW_SECONDS)
        self.idle_means_all_is_told()


TestPresenceMachine = PresenceMachine.TestCase

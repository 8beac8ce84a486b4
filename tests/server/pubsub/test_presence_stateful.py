"""Presence against a model: whoever applies the changes in order has the true members, in a crowd too."""

from __future__ import annotations

from typing import Any
from unittest import mock

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from server.pubsub import presence
from server.pubsub.presence import MOST_WINDOWS, WINDOW_SECONDS, Entry, Presences
from tests.server.pubsub.support import Clock, Recorder
from tests.server.pubsub.test_presence import until_told

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
    longest = 1
    """Windows that a change may wait."""

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

    @rule(part=st.sampled_from([0.375, 1.0]))
    def wait(self, part: float) -> None:
        self.clock.advance(part * WINDOW_SECONDS)

    @invariant()
    def members_are_true(self) -> None:
        assert self.presence.count == len(self.true_members)
        assert all(member in self.presence for member in self.true_members)
        assert self.clock.running <= 1

    @invariant()
    def no_change_waits_too_long(self) -> None:
        assert self.clock.running == 0 or until_told(self.clock) <= self.longest * WINDOW_SECONDS

    @invariant()
    def idle_means_all_is_told(self) -> None:
        if self.clock.running == 0:
            assert set(self.told) == self.true_members
            assert all(viewer.members == self.true_members for viewer in self.viewers)

    def teardown(self) -> None:
        self.clock.advance(self.longest * WINDOW_SECONDS)
        assert self.clock.running == 0
        self.idle_means_all_is_told()


class CrowdMachine(PresenceMachine):
    """The same where one member is more than a crowd, so that windows are now long, now short."""

    longest = MOST_WINDOWS

    @initialize()
    def start(self) -> None:
        self.crowd = mock.patch.object(presence, "CROWD", 0.5)
        self.crowd.start()
        super().start()

    @rule()
    def wait_long(self) -> None:
        self.clock.advance(MOST_WINDOWS * WINDOW_SECONDS)
        assert self.clock.running == 0

    def teardown(self) -> None:
        if hasattr(self, "crowd"):
            super().teardown()
            self.crowd.stop()


TestPresenceMachine = PresenceMachine.TestCase
TestCrowdMachine = CrowdMachine.TestCase

"""Presence between processes against a model: whatever the network and the processes did, it is right 15 s later.

Three processes share two rooms over a network that drops, repeats, holds and reorders messages as chance has it.
Processes are killed and started again, stopped in good order, and frozen until the others take them for gone.
"""

from __future__ import annotations

import random
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from server.pubsub.presence import Entry, Presence
from tests.server.pubsub.network import STEP_SECONDS, Network, Process
from tests.server.pubsub.support import Recorder
from tests.server.pubsub.test_presence_between import RIGHT_SECONDS

ROOMS = ("a", "b")
MOST_WINDOW_SECONDS = 2.0
"""The longest window is shorter: after it everything is told."""

slots = st.integers(0, 2)
rooms = st.sampled_from(ROOMS)
names = st.sampled_from(["old", "new"])


class Person(msgspec.Struct, frozen=True):
    id: int
    name: str


class Viewer:
    """A client: starts from the members, and applies every change that it is told afterwards."""

    def __init__(self, presence: Presence) -> None:
        self.presence = presence
        self.members = {person.id for person in presence.members()}
        self.forget = presence.on_change(self)

    def __call__(self, joined: list[Any], left: list[Any], count: int) -> None:
        assert joined or left
        self.members -= {person.id for person in left}
        self.members |= {person.id for person in joined}
        assert len(self.members) == count == self.presence.count


class Slot:
    """A process that runs, with who is in its rooms, and who looks at them."""

    def __init__(self, network: Network, name: str) -> None:
        self.process = Process(network, name)
        self.entries: dict[Entry, tuple[str, int, Recorder]] = {}
        self.viewers: dict[str, Viewer] = {}

    def room(self, name: str) -> Presence:
        return self.process.presences.presence(name, Person)

    def members(self, room: str) -> set[int]:
        return {member for name, member, _ in self.entries.values() if name == room}


class BetweenMachine(RuleBasedStateMachine):
    """Members with several connections come and go in three processes, while everything goes wrong."""

    @initialize(seed=st.integers(0, 2**16))
    def start(self, seed: int) -> None:
        self.network = Network()
        self.network.random = random.Random(seed)
        self.started = 0
        self.slots = [self.new() for _ in range(3)]

    def new(self) -> Slot:
        self.started += 1
        slot = Slot(self.network, f"process-{self.started}")
        slot.viewers[ROOMS[0]] = Viewer(slot.room(ROOMS[0]))
        return slot

    def advance(self, seconds: float) -> None:
        for _ in range(max(1, round(seconds / STEP_SECONDS))):
            for slot in self.slots:
                slot.process.advance(min(seconds, STEP_SECONDS))

    # What people do.

    # Hypothesis uses a few rules at a time: so all that people do is one, and all that may happen to a process.
    @rule(moves=st.lists(st.tuples(st.booleans(), slots, rooms, st.integers(1, 4), names), min_size=1, max_size=6))
    def move(self, moves: list[tuple[bool, int, str, int, str]]) -> None:
        """Some come, and some leave."""
        for comes, number, room, member, name in moves:
            slot = self.slots[number]
            if comes:
                connection = Recorder()
                entry = slot.room(room).enter(member, Person(member, name), connection)
                slot.entries[entry] = (room, member, connection)
            else:
                for entry, (where, who, _) in tuple(slot.entries.items()):
                    if (where, who) == (room, member):
                        entry.leave()
                        del slot.entries[entry]
                        break

    @rule(number=slots, room=rooms)
    def look(self, number: int, room: str) -> None:
        """Begin to look at a room, or look away."""
        slot = self.slots[number]
        viewer = slot.viewers.pop(room, None)
        if viewer is None:
            slot.viewers[room] = Viewer(slot.room(room))
        else:
            viewer.forget()

    # What the network and the processes do.

    @rule(bad=st.sampled_from([3, 0, 10]))
    def weather(self, bad: int) -> None:
        self.network.bad = bad

    @rule(number=slots, what=st.sampled_from(["freeze", "thaw", "kill", "kill, and tell", "restart", "gap", "release"]))
    def fault(self, number: int, what: str) -> None:
        process = self.slots[number].process
        if what == "freeze":
            process.freeze()
        elif what == "thaw" and process.line.frozen:
            process.thaw()
        elif what.startswith("kill"):
            process.kill()
            self.slots[number] = self.new()
            if what == "kill, and tell":
                self.slots[(number + 1) % 3].process.peers.gone(process.name)
        elif what == "restart":
            process.stop()
            self.slots[number] = self.new()
        elif what == "gap":
            for callback in process.line.gap:
                callback()
        elif what == "release":
            self.network.release()

    @rule(seconds=st.sampled_from([0.0, 0.25, 3.0, 14.0]))
    def wait(self, seconds: float) -> None:
        self.advance(seconds)

    # What must hold.

    @rule(late=st.booleans())
    def calm(self, late: bool) -> None:
        """Nothing is lost any more: soon all agree with the truth, and so does everybody who looks.

        Args:
            late: what was held arrives still.
        """
        self.network.calm(late=late)
        for slot in self.slots:
            if slot.process.line.frozen:
                slot.process.thaw()
        self.advance(RIGHT_SECONDS)
        for room in ROOMS:
            truth = set().union(*(slot.members(room) for slot in self.slots))
            for slot in self.slots:
                if room in slot.viewers or slot.members(room):
                    presence = slot.room(room)
                    assert {person.id for person in presence.members()} == truth
                    assert presence.count == len(truth)
        self.advance(MOST_WINDOW_SECONDS)
        for slot in self.slots:
            for room, viewer in slot.viewers.items():
                assert viewer.members == {person.id for person in slot.room(room).members()}

    @invariant()
    def who_is_here_is_here(self) -> None:
        """A process is never wrong about its own."""
        for slot in self.slots:
            for room in ROOMS:
                here = slot.members(room)
                if here:
                    presence = slot.room(room)
                    assert presence.count_here() == len(here)
                    assert all(member in presence for member in here)

    @invariant()
    def counts_add_up(self) -> None:
        """Nobody is a member who is neither here nor in another process, and numbers are never negative."""
        for slot in self.slots:
            for presence in tuple(slot.process.presences._presences.values()):
                for known in presence._members.values():
                    assert known.connections >= 0
                    assert known.processes >= 0
                    assert known.connections + known.processes > 0

    def teardown(self) -> None:
        self.calm(late=False)
        for slot in self.slots:
            slot.process.stop()
            assert slot.process.line.receivers == {}
            assert slot.process.clock.running == 0


BetweenMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestBetweenMachine = BetweenMachine.TestCase

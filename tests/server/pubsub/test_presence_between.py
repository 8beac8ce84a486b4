"""Presence between processes: everybody sees the members of all, whatever happens to processes and to the network."""

from __future__ import annotations

import gc
import itertools
from typing import Any

import msgspec
import pytest

from server.pubsub import presence_between, presence_replica
from server.pubsub.peers import ALIVE_SECONDS, GONE_SECONDS
from server.pubsub.presence import WINDOW_SECONDS, Presence, Presences
from server.pubsub.presence_between import BEAT_SECONDS, BEATS, Have
from server.pubsub.presence_replica import Delta, Part
from tests.server.pubsub.network import STEP_SECONDS, Network, Process
from tests.server.pubsub.support import Recorder
from tests.server.pubsub.test_presence import Watcher

RIGHT_SECONDS = 15.0
"""So long after a fault everything is right again."""


class Person(msgspec.Struct, frozen=True):
    id: int
    name: str


class World:
    """Processes with one time; each may look at the same room."""

    def __init__(self) -> None:
        self.network = Network()
        self.processes: list[Process] = []
        self.connections: list[Recorder] = []

    def process(self) -> Process:
        process = Process(self.network, f"process-{len(self.processes)}")
        self.processes.append(process)
        return process

    def pair(self) -> tuple[Process, Process]:
        return self.process(), self.process()

    def enter(self, presence: Presence, member: int) -> Recorder:
        """Let a member come; closing what is returned is leaving."""
        connection = Recorder()
        self.connections.append(connection)
        presence.enter(member, Person(member, f"name {member}"), connection)
        return connection

    def wait(self, seconds: float = WINDOW_SECONDS) -> None:
        """Let time pass, in small steps."""
        for _ in range(round(seconds / STEP_SECONDS)):
            for process in self.processes:
                process.advance(STEP_SECONDS)
            self.end_tick()

    def end_tick(self) -> None:
        """Let the present tick end, and a few more, so that questions are answered."""
        for _ in range(4):
            for process in self.processes:
                process.advance(0.0)

    def said(self, kind: type[Any], room: str = "room") -> list[Any]:
        """Return the messages of one kind about a room."""
        found = []
        for subject, publication in self.network.carried:
            if subject == f"~@presence/{room}":
                message = msgspec.msgpack.decode(publication.frame, type=Delta[Any] | Part[Any])
                if isinstance(message, kind):
                    found.append(message)
        return found


@pytest.fixture
def world() -> World:
    return World()


def room(process: Process, name: str = "room") -> Presence:
    return process.presences.presence(name, Person)


def ids(presence: Presence) -> list[int]:
    return sorted(person.id for person in presence.members())


class TestUnion:
    """The members of a presence are those of all processes."""

    def test_members_of_all(self, world: World) -> None:
        """Who comes in one process is a member in all that look, with all that is known of it."""
        one, two = [room(process) for process in world.pair()]
        world.enter(one, 1)
        connection = world.enter(two, 2)
        world.end_tick()
        assert set(one.members()) == set(two.members()) == {Person(1, "name 1"), Person(2, "name 2")}
        assert one.count == two.count == 2
        assert 2 in one
        assert 1 in two
        connection.close()
        world.end_tick()
        assert ids(one) == ids(two) == [1]

    def test_who_looks_later_sees_who_was_there(self, world: World) -> None:
        """A process that uses a presence for the first time is told who is there, in any number of processes."""
        first, second, third = world.process(), world.process(), world.process()
        world.enter(room(first), 1)
        world.enter(room(second), 2)
        world.wait()
        late = room(third)
        assert late.count == 0
        world.end_tick()
        world.end_tick()
        assert ids(late) == [1, 2]

    def test_a_process_that_starts_later(self, world: World) -> None:
        """What was there before there was any other process is told to the one that comes."""
        first = world.process()
        presence = room(first)
        world.enter(presence, 1)
        world.wait()
        late = room(world.process())
        world.enter(late, 2)
        world.wait()
        assert ids(presence) == ids(late) == [1, 2]

    def test_one_member_in_two_processes(self, world: World) -> None:
        """Somebody is there from the first connection to the last, over all processes, and is one member."""
        one, two = [room(process) for process in world.pair()]
        watchers = Watcher(), Watcher()
        one.on_change(watchers[0])
        two.on_change(watchers[1])
        here = world.enter(one, 1)
        world.wait()
        there = world.enter(two, 1)
        world.wait()
        assert one.count == two.count == 1
        here.close()
        world.wait()
        assert one.count == two.count == 1
        person: Any = Person(1, "name 1")
        assert watchers[0].changes == watchers[1].changes == [([person], [], 1)]
        there.close()
        world.wait(1.0)
        assert watchers[0].changes == watchers[1].changes == [([person], [], 1), ([], [person], 0)]

    def test_changes_elsewhere_are_told_once_a_window(self, world: World) -> None:
        """A crowd that comes in another process is one change here, and so is what comes with a snapshot."""
        one, two = [room(process) for process in world.pair()]
        world.enter(two, 0)
        world.wait(1.0)
        watcher = Watcher()
        one.on_change(watcher)
        for member in range(1, 500):
            world.enter(two, member)
        world.wait(10 * WINDOW_SECONDS)
        ((joined, left, count),) = watcher.changes
        assert (len(joined), left, count) == (499, [], 500)
        assert len(world.said(Delta)) == 1
        late = Watcher()
        three = room(world.process())
        three.on_change(late)
        world.wait(10 * WINDOW_SECONDS)
        assert [(len(joined), left, count) for joined, left, count in late.changes] == [(500, [], 500)]

    def test_reloading_is_no_event_elsewhere(self, world: World) -> None:
        """Somebody who leaves and comes back within a window is no change, in another process too."""
        one, two = [room(process) for process in world.pair()]
        watcher = Watcher()
        one.on_change(watcher)
        connection = world.enter(two, 1)
        world.wait(1.0)
        connection.close()
        world.end_tick()
        assert one.count == 0
        world.enter(two, 1)
        world.end_tick()
        world.wait(1.0)
        assert len(watcher.changes) == 1

    def test_moving_to_another_process_is_no_event(self, world: World) -> None:
        """Somebody who comes back in another process within a window has not left: so may a restart be."""
        first, second, third = world.process(), world.process(), world.process()
        watcher = Watcher()
        room(third).on_change(watcher)
        here = world.enter(room(first), 1)
        world.wait(1.0)
        here.close()
        world.end_tick()
        world.enter(room(second), 1)
        world.wait(1.0)
        assert len(watcher.changes) == 1

    def test_what_is_known_follows(self, world: World) -> None:
        """Who leaves, and comes back as somebody else, is known as that in every process, though messages are lost."""
        one, two = [room(process) for process in world.pair()]
        connection = world.enter(two, 1)
        world.wait()
        world.network.bad = 10
        connection.close()
        two.enter(1, Person(1, "other"), Recorder())
        world.wait()
        world.network.calm()
        world.wait(RIGHT_SECONDS)
        assert one.members() == two.members() == [Person(1, "other")]

    def test_rooms_are_apart(self, world: World) -> None:
        """Members of one presence are in no other; who does not use a presence is told nothing of it."""
        first, second = world.pair()
        world.enter(room(first, "a"), 1)
        used = room(second, "b")
        world.wait()
        assert used.count == 0
        assert not any(subject.endswith("/a") for subject, _ in world.network.carried)

    def test_keys_keep_their_type(self, world: World) -> None:
        """Members may be known by a number or by text, and 1 is not "1"."""
        first, second = world.pair()
        one, two = first.presences.presence("room"), second.presences.presence("room")
        one.enter(1, {"plain": ["info"]}, Recorder())
        one.enter("1", b"bytes", Recorder())
        world.wait()
        assert 1 in two
        assert "1" in two
        assert two.members() == [{"plain": ["info"]}, b"bytes"]

    def test_changes_here(self, world: World) -> None:
        """`changes_here` moves with the first and the last connection in this process, and with nothing else."""
        one, two = [room(process) for process in world.pair()]
        first, second = world.enter(one, 1), world.enter(one, 1)
        world.wait()
        assert (one.changes_here, two.changes_here) == (1, 0)
        elsewhere = world.enter(two, 1)
        first.close()
        world.wait()
        assert (one.changes_here, two.changes_here) == (1, 1)
        second.close()
        assert (one.changes_here, one.count) == (2, 1)
        elsewhere.close()
        world.wait()
        assert (one.changes_here, two.changes_here, one.count) == (2, 2, 0)


class TestFaults:
    """What is wrong is right again within 15 s."""

    @pytest.mark.parametrize("what", ["join", "leave", "last leave", "snapshot"])
    def test_a_lost_message(self, world: World, what: str) -> None:
        """Whichever message is lost: nobody is told that it was, and no other follows."""
        one, two = [room(process) for process in world.pair()]
        connections = [world.enter(two, member) for member in range(2)]
        if what == "snapshot":
            world.enter(one, 7)
            world.network.bad = 10
            world.end_tick()
        world.wait()
        world.network.bad = 10
        if what == "join":
            world.enter(two, 2)
        elif what == "leave":
            connections[0].close()
        elif what == "last leave":
            for connection in connections:
                connection.close()
        world.wait()
        assert ids(one) != ids(two)
        world.network.bad = 0
        world.wait(RIGHT_SECONDS)
        assert ids(one) == ids(two) == {"join": [0, 1, 2], "leave": [1], "last leave": []}.get(what, [0, 1, 7])

    def test_a_difference_that_does_not_fit(self, world: World) -> None:
        """Where the message before is missing, who hears the next asks at once."""
        one, two = [room(process) for process in world.pair()]
        world.enter(two, 1)
        world.wait()
        world.network.bad = 10
        world.enter(two, 2)
        world.end_tick()
        world.network.bad = 0
        world.enter(two, 3)
        assert ids(one) == [1]
        world.end_tick()
        assert ids(one) == [1, 2, 3]

    def test_a_gap(self, world: World) -> None:
        """Who is told of a gap asks at once, for every presence."""
        first, second = world.pair()
        rooms = [(room(first, name), room(second, name)) for name in "abc"]
        world.wait()
        world.network.bad = 10
        for number, (_, there) in enumerate(rooms):
            world.enter(there, number)
        world.end_tick()
        world.network.bad = 0
        for gap in first.line.gap:
            gap()
        world.wait()
        assert [ids(here) for here, _ in rooms] == [[0], [1], [2]]

    def test_another_process_lost_something(self, world: World) -> None:
        """A process that says it lost something on its way out is asked, as soon as it says so."""
        first, second = world.pair()
        here, there = room(first), room(second)
        world.wait(ALIVE_SECONDS)
        world.network.bad = 10
        world.enter(there, 1)
        world.end_tick()
        world.network.bad = 0
        second.line.lost_out += 1
        world.wait(ALIVE_SECONDS + 1)
        assert ids(here) == [1]

    def test_a_process_that_is_killed(self, world: World) -> None:
        """Its members leave: at once where somebody saw it end, and otherwise when it has been silent for a while."""
        first, second, third, fourth = [world.process() for _ in range(4)]
        here = room(first)
        watcher = Watcher()
        here.on_change(watcher)
        for member, process in enumerate((first, second, third, fourth)):
            world.enter(room(process), member)
        world.wait(ALIVE_SECONDS)
        assert ids(here) == [0, 1, 2, 3]
        second.kill()
        world.processes.remove(second)
        fourth.peers.gone(second.name)
        assert ids(here) == ids(room(third)) == ids(room(fourth)) == [0, 2, 3]
        world.wait(1.0)
        person: Any = Person(1, "name 1")
        assert watcher.changes[-1] == ([], [person], 3)
        third.kill()
        world.processes.remove(third)
        world.wait(GONE_SECONDS - ALIVE_SECONDS - 1)
        assert ids(here) == [0, 2, 3]
        world.wait(RIGHT_SECONDS)
        assert ids(here) == ids(room(fourth)) == [0, 3]

    def test_a_process_that_stops(self, world: World) -> None:
        """It says goodbye, and its members leave at once; nothing of it is left anywhere."""
        first, second = world.pair()
        here, there = room(first), room(second)
        world.enter(there, 1)
        world.wait()
        assert ids(here) == [1]
        second.stop()
        assert here.count == 0
        assert second.line.receivers == {}
        assert second.clock.running == 0

    def test_a_process_that_was_only_silent(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """One that is frozen, taken for gone, and goes on is right again at once, and so are the others."""
        monkeypatch.setattr(presence_between, "BEATS", 2**62)  # nobody asks without a reason
        first, second = world.pair()
        here, there = room(first), room(second)
        world.enter(here, 1)
        leaving = world.enter(here, 2)
        world.enter(there, 3)
        world.wait(ALIVE_SECONDS)
        assert ids(here) == ids(there) == [1, 2, 3]
        second.freeze()
        world.wait(GONE_SECONDS + 2 * ALIVE_SECONDS)
        assert ids(here) == [1, 2]
        leaving.close()
        world.enter(here, 4)
        world.wait()
        second.thaw()
        world.wait(1.0)
        assert ids(here) == ids(there) == [1, 3, 4]

    def test_old_messages(self, world: World) -> None:
        """What comes again, or too late, does not bring back who has left."""
        one, two = [room(process) for process in world.pair()]
        world.wait()
        connections = [world.enter(two, member) for member in range(3)]
        world.end_tick()
        connections[0].close()
        world.end_tick()
        (subject, first), (_, second) = [said for said in world.network.carried if "@presence/" in said[0]][-2:]
        for publication in (first, second, first):
            world.network.publish(subject, publication, world.processes[1].line)
        assert ids(one) == [1, 2]
        asked = len(world.network.carried)
        world.wait()
        assert len(world.network.carried) == asked, "an old message is no reason to ask"
        connections[1].close()
        connections[2].close()
        world.end_tick()
        world.network.publish(subject, first, world.processes[1].line)
        world.wait(RIGHT_SECONDS)
        assert ids(one) == []

    def test_an_old_snapshot(self, world: World) -> None:
        """All members as they were before the last change, when that is known already, change nothing."""
        first, second = world.pair()
        there = room(second)
        leaving = world.enter(there, 1)
        world.enter(there, 2)
        here = room(first)
        world.end_tick()
        (subject, snapshot) = [said for said in world.network.carried if "@presence/" in said[0]][-1]
        leaving.close()
        world.end_tick()
        assert ids(here) == [2]
        world.network.publish(subject, snapshot, second.line)
        assert ids(here) == [2]

    def test_a_dead_process_speaks(self, world: World) -> None:
        """A message that comes when its process is gone already brings nobody in for good."""
        first, second = world.pair()
        world.process()
        here = room(first)
        world.wait()
        world.enter(room(second), 1)
        world.end_tick()
        (subject, last) = [said for said in world.network.carried if "@presence/" in said[0]][-1]
        second.kill()
        world.processes.remove(second)
        first.peers.gone(second.name)
        assert here.count == 0
        world.network.publish(subject, last, second.line)
        assert ids(here) == [1]
        world.wait(RIGHT_SECONDS)
        assert here.count == 0

    @pytest.mark.parametrize(
        "message", [b"", b"\xc1", b"\x93\x01\x02\x03", msgspec.msgpack.encode(["delta", 0, 1, 7, 8])]
    )
    def test_nonsense(self, world: World, message: bytes, caplog: pytest.LogCaptureFixture) -> None:
        """What is not understood changes nothing, and is logged once."""
        first, second = world.pair()
        here, there = room(first), room(second)
        world.wait()
        for _ in range(3):
            second.peers.channel("@presence/room").send(message)
            second.peers.channel("@presence").send(message)
        world.enter(there, 1)
        world.wait()
        assert ids(here) == [1]
        assert len(caplog.records) == 1

    def test_info_that_is_not_of_its_type(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        """A process that knows members by another type is not understood, and does no harm."""
        first, second = world.pair()
        here, there = room(first), second.presences.presence("room", str)
        there.enter(1, "a name", Recorder())
        world.enter(here, 2)
        world.wait()
        assert ids(here) == [2]
        assert there.members() == ["a name"]
        assert len(caplog.records) == 2

    def test_info_that_cannot_be_told(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        """Where msgspec cannot encode what is known of a member, others do not see it; here nothing is wrong."""
        first, second = world.pair()
        here, there = room(first), second.presences.presence("room")
        there.enter(1, object(), Recorder())
        world.enter(here, 2)
        world.wait()
        assert there.count == 2
        assert here.count == 1
        assert caplog.records


class TestSize:
    """Large presences, and many."""

    def test_many_members_go_in_parts(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is told of a large presence is told in messages that brokers let through."""
        monkeypatch.setattr(presence_replica, "PART", 10)
        first, second, third = world.process(), world.process(), world.process()
        here, there = room(first), room(second)
        world.wait()
        connections = [world.enter(there, member) for member in range(95)]
        world.wait()
        assert len(world.said(Delta)) == 10
        assert ids(here) == list(range(95))
        late = room(third)
        world.wait()
        assert len(world.said(Part)) == 10
        assert ids(late) == list(range(95))
        for connection in connections[5:]:
            connection.close()
        world.wait()
        assert ids(here) == ids(late) == list(range(5))

    @pytest.mark.parametrize("lost", [0, 3, 9])
    def test_a_lost_part(self, world: World, monkeypatch: pytest.MonkeyPatch, lost: int) -> None:
        """Where one part is missing none counts, and all are asked for again."""
        monkeypatch.setattr(presence_replica, "PART", 10)
        first, second = world.pair()
        there = room(second)
        for member in range(95):
            world.enter(there, member)
        world.wait()
        numbers = itertools.count()

        def loses(subject: str, message: bytes) -> bool:
            return b"part" in message and next(numbers) == lost

        world.network.loses = loses
        here = room(first)
        world.end_tick()
        assert here.count == 0
        world.wait(RIGHT_SECONDS)
        assert ids(here) == list(range(95))

    def test_asking_is_paced(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """However many presences there are, a gap makes no stampede: questions and answers go in rounds."""
        monkeypatch.setattr(presence_between, "MOST_ASKED", 10)
        monkeypatch.setattr(presence_between, "MOST_TOLD", 30)
        first, second = world.pair()
        rooms = [(room(first, str(number)), room(second, str(number))) for number in range(100)]
        world.wait(10)
        world.network.bad = 10
        for _, there in rooms:
            world.enter(there, 1)
        world.end_tick()
        world.network.calm()
        world.network.carried.clear()
        for gap in first.line.gap:
            gap()
        world.end_tick()
        asked = [
            msgspec.msgpack.decode(publication.frame, type=Have)
            for subject, publication in world.network.carried
            if subject == "~@presence"
        ]
        assert [len(have.places) for have in asked] == [10]
        world.wait(10)
        assert [ids(here) for here, _ in rooms] == [[1]] * 100
        assert max(len(have.places) for have in asked) <= 10

    def test_everything_is_asked_about_once_a_while(self, world: World) -> None:
        """In `BEATS` beats each presence is asked about, in equal parts as far as chance has it."""
        first, second = world.pair()
        rooms = [room(first, str(number)) for number in range(200)]
        there = room(second)
        world.wait(5)
        world.network.carried.clear()
        world.wait(BEATS * BEAT_SECONDS)
        names = [
            name
            for subject, publication in world.network.carried
            if subject == "~@presence"
            for name, _ in msgspec.msgpack.decode(publication.frame, type=Have).places
        ]
        assert sorted(names) == sorted([presence.name for presence in (*rooms, there)])


class TestThrift:
    """What nobody needs is not done."""

    def test_alone(self, world: World) -> None:
        """A process that has no others says nothing, keeps nothing, and runs no timer but that of a window."""
        process = world.process()
        presence = room(process)
        world.enter(presence, 1)
        world.wait()
        assert world.network.carried == []
        assert process.presences.between is not None
        assert process.presences.between._replicas == {}
        assert set(process.line.receivers) == {"~@alive", "~@presence"}
        assert process.clock.running == 1, "that of `Peers`"

    def test_without_peers(self) -> None:
        """Presences need no peers."""
        presences = Presences()
        assert presences.between is None
        presences.stop()

    def test_alone_again(self, world: World) -> None:
        """When the last of the others is gone, nothing is kept for others any more; it begins again with the next."""
        first, second = world.pair()
        here = room(first)
        world.enter(here, 1)
        world.enter(room(second), 2)
        world.wait()
        assert ids(here) == [1, 2]
        second.kill()
        world.processes.remove(second)
        world.wait(BEAT_SECONDS)
        assert ids(here) == [1], "there is nobody who could be silent only"
        assert first.presences.between is not None
        assert first.presences.between._replicas == {}
        assert set(first.line.receivers) == {"~@alive", "~@presence"}
        world.network.carried.clear()
        there = room(world.process())
        world.wait()
        assert ids(there) == [1]

    def test_at_rest_little_is_said(self, world: World) -> None:
        """Where nothing changes, nobody tells its members again."""
        one, two = [room(process) for process in world.pair()]
        world.enter(one, 1)
        world.enter(two, 2)
        world.wait(1.0)
        world.network.carried.clear()
        world.wait(100)
        assert ids(one) == ids(two) == [1, 2]
        assert not [subject for subject, _ in world.network.carried if "@presence/" in subject]

    def test_unused_presences_are_forgotten(self, world: World) -> None:
        """A presence that nobody uses here any more is listened to no more; used again, it is right again."""
        first, second = world.pair()
        world.enter(room(second), 1)
        connection = world.enter(room(first), 2)
        world.wait(1.0)
        assert "~@presence/room" in first.line.receivers
        connection.close()
        world.wait(2 * BEAT_SECONDS)
        gc.collect()
        assert len(first.presences) == 0
        world.wait(BEAT_SECONDS)
        assert "~@presence/room" not in first.line.receivers
        assert ids(room(second)) == [1]
        again = room(first)
        world.wait()
        assert ids(again) == [1]

    def test_who_has_nobody_there_takes_no_memory(self, world: World) -> None:
        """Of a process whose members have all left a presence, nothing is kept."""
        first, second = world.pair()
        here, there = room(first), room(second)
        connection = world.enter(there, 1)
        world.wait()
        assert first.presences.between is not None
        others = first.presences.between._share(here)._others
        assert set(others) == {second.name}
        connection.close()
        world.wait()
        assert others == {}

    def test_used_again_at_once(self, world: World) -> None:
        """A presence that is let go and used again before that was noticed is right, here and elsewhere."""
        first, second = world.pair()
        there = room(second)
        world.enter(there, 1)
        world.enter(room(first), 2).close()
        world.wait(1.0)
        gc.collect()
        assert len(first.presences) == 0
        again = room(first)
        world.enter(again, 3)
        world.wait()
        assert ids(again) == ids(there) == [1, 3]
        assert len(first.line.receivers["~@presence/room"]) == 1

    def test_only_looked_at(self, world: World) -> None:
        """Who asks for a count in passing does not begin to listen."""
        first, second = world.pair()
        world.enter(room(second), 1)
        world.wait()
        assert room(first).count == 0
        world.wait()
        assert "~@presence/room" not in first.line.receivers

    def test_stopping(self, world: World) -> None:
        """After `stop` nothing is said, nothing heard, and no timer runs, whatever still happens."""
        first, second = world.pair()
        here, there = room(first), room(second)
        connection = world.enter(here, 1)
        world.wait()
        first.presences.stop()
        first.peers.stop()
        world.network.carried.clear()
        connection.close()
        world.enter(there, 2)
        room(first, "other")
        world.end_tick()
        assert first.line.receivers == {}
        assert here.count == 0
        assert not any("other" in subject for subject, _ in world.network.carried)

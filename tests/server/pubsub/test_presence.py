"""Presence: members are counted by connections, and changes are told once a window."""

from __future__ import annotations

import asyncio
import gc

import pytest

from server.pubsub.presence import CROWD, MOST_WINDOWS, WINDOW_SECONDS, Presences
from tests.server.pubsub.support import Clock, Recorder

Change = tuple[list[str], list[str], int]


class Watcher:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.changes: list[Change] = []

    def __call__(self, joined: list[str], left: list[str], count: int) -> None:
        self.changes.append((joined, left, count))


def until_told(clock: Clock) -> float:
    """Return how long it is until the timer that runs."""
    (timer,) = (timer for timer in clock._timers if not timer.cancelled)
    return timer.at - clock.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def presences(clock: Clock) -> Presences:
    return Presences(scheduler=clock)


@pytest.fixture
def watcher() -> Watcher:
    return Watcher()


def test_member_is_here_from_first_to_last_connection(presences: Presences) -> None:
    """A second connection changes nothing, and the member leaves with the last one."""
    presence = presences.presence("room")
    first = presence.enter(1, "ann", Recorder())
    second = presence.enter(1, "ann again", Recorder())
    presence.enter(2, "bob", Recorder())
    assert presence.members() == ["ann", "bob"]
    assert presence.count == 2
    first.leave()
    first.leave()
    assert 1 in presence
    second.leave()
    assert 1 not in presence
    assert presence.members() == ["bob"]


def test_leaving_with_the_connection(presences: Presences) -> None:
    """An entry ends when its connection closes; leaving afterwards changes nothing."""
    presence, connection = presences.presence("room"), Recorder()
    entry = presence.enter(1, "ann", connection)
    connection.close()
    assert presence.count == 0
    entry.leave()
    presence.enter(2, "bob", connection)
    assert presence.count == 0, "a closed connection cannot enter"


def test_entry_is_a_context_manager(presences: Presences) -> None:
    """Leaving runs however the block ends, and the connection keeps nothing of it."""
    presence, connection = presences.presence("room"), Recorder()

    def stay() -> None:
        with presence.enter(1, "ann", connection):
            assert presence.count == 1
            raise RuntimeError

    with pytest.raises(RuntimeError):
        stay()
    assert presence.count == 0
    assert connection.callbacks == []


def test_many_joins_are_one_event(presences: Presences, clock: Clock, watcher: Watcher) -> None:
    """A thousand members who come within one window are told at once, by one timer."""
    presence = presences.presence("room")
    presence.on_change(watcher)
    for number in range(1000):
        presence.enter(number, str(number), Recorder())
    assert clock.running == 1
    assert watcher.changes == []
    clock.advance(WINDOW_SECONDS)
    assert watcher.changes == [([str(number) for number in range(1000)], [], 1000)]
    assert clock.running == 0


@pytest.mark.parametrize(
    ("members", "windows"),
    [
        (1, 1.0),
        (CROWD, 1.0),
        (2 * CROWD, 2.0),
        (5 * CROWD // 2, 2.5),
        (MOST_WINDOWS * CROWD, MOST_WINDOWS),
        (10 * MOST_WINDOWS * CROWD, MOST_WINDOWS),
    ],
)
def test_a_crowd_is_told_in_longer_windows(
    presences: Presences, clock: Clock, watcher: Watcher, members: int, windows: float
) -> None:
    """With so many members a change waits for so many windows, who comes and who leaves, and is told once."""
    presence = presences.presence("room")
    entries = [presence.enter(number, str(number), Recorder()) for number in range(members - 1)]
    clock.advance(MOST_WINDOWS * WINDOW_SECONDS)
    presence.on_change(watcher)
    presence.enter("new", "new", Recorder())
    clock.advance((windows - 0.01) * WINDOW_SECONDS)
    assert watcher.changes == []
    entries.append(presence.enter("late", "late", Recorder()))
    assert clock.running == 1
    clock.advance(0.01 * WINDOW_SECONDS)
    assert watcher.changes == [(["new", "late"], [], members + 1)]
    assert clock.running == 0
    entries.pop(0).leave()
    assert until_told(clock) == pytest.approx(windows * WINDOW_SECONDS)
    clock.advance(MOST_WINDOWS * WINDOW_SECONDS)
    assert len(watcher.changes) == 2
    assert watcher.changes[1][2] == members


def test_a_crowd_that_comes_at_once_is_told_soon(presences: Presences, clock: Clock, watcher: Watcher) -> None:
    """The window is as long as the crowd was when it began: into an empty room all come within a short one."""
    presence = presences.presence("room")
    presence.on_change(watcher)
    entries = [presence.enter(number, str(number), Recorder()) for number in range(20 * CROWD)]
    clock.advance(WINDOW_SECONDS)
    assert [len(joined) for joined, _, _ in watcher.changes] == [20 * CROWD]
    for entry in entries:
        entry.leave()
    clock.advance(WINDOW_SECONDS)
    assert len(watcher.changes) == 1
    clock.advance((MOST_WINDOWS - 1) * WINDOW_SECONDS)
    assert [len(left) for _, left, _ in watcher.changes] == [0, 20 * CROWD]


def test_coming_and_going_is_no_event(presences: Presences, clock: Clock, watcher: Watcher) -> None:
    """Who comes and leaves within one window was never here, and no timer runs for it."""
    presence = presences.presence("room")
    presence.on_change(watcher)
    presence.enter(1, "ann", Recorder()).leave()
    assert clock.running == 0
    clock.advance(WINDOW_SECONDS)
    assert watcher.changes == []


def test_reloading_is_no_event(presences: Presences, clock: Clock, watcher: Watcher) -> None:
    """Who leaves and comes back within one window was here all the time."""
    presence = presences.presence("room")
    entry = presence.enter(1, "ann", Recorder())
    clock.advance(WINDOW_SECONDS)
    presence.on_change(watcher)
    entry.leave()
    presence.enter(1, "ann", Recorder())
    assert clock.running == 0
    clock.advance(WINDOW_SECONDS)
    assert watcher.changes == []


def test_coming_back_as_somebody_else_is_an_event(presences: Presences, clock: Clock, watcher: Watcher) -> None:
    """Who comes back with another name leaves under the old one and comes under the new one."""
    presence = presences.presence("room")
    entry = presence.enter(1, "ann", Recorder())
    clock.advance(WINDOW_SECONDS)
    presence.on_change(watcher)
    entry.leave()
    presence.enter(1, "anna", Recorder())
    clock.advance(WINDOW_SECONDS)
    assert watcher.changes == [(["anna"], ["ann"], 1)]


def test_who_was_seen_is_told_to_have_left(presences: Presences, clock: Clock, watcher: Watcher) -> None:
    """A snapshot taken within a window stays correctable, although coming and leaving is no event."""
    presence = presences.presence("room")
    presence.on_change(watcher)
    entry = presence.enter(1, "ann", Recorder())
    assert presence.members() == ["ann"]
    entry.leave()
    clock.advance(WINDOW_SECONDS)
    assert watcher.changes == [([], ["ann"], 0)]


def test_who_left_is_told_by_the_name_that_was_told(presences: Presences, clock: Clock, watcher: Watcher) -> None:
    """Who leaves, comes back with another name that somebody sees, and leaves, has left under the old name."""
    presence = presences.presence("room")
    entry = presence.enter(1, "ann", Recorder())
    clock.advance(WINDOW_SECONDS)
    presence.on_change(watcher)
    entry.leave()
    entry = presence.enter(1, "anna", Recorder())
    assert presence.members() == ["anna"]
    entry.leave()
    clock.advance(WINDOW_SECONDS)
    assert watcher.changes == [([], ["ann"], 0)]


def test_seeing_oneself_makes_no_event(presences: Presences, clock: Clock, watcher: Watcher) -> None:
    """Who comes, gets the list for itself and leaves within one window is no event."""
    presence = presences.presence("room")
    presence.on_change(watcher)
    entry = presence.enter(1, "ann", Recorder())
    assert presence.members(viewer=1) == ["ann"]
    entry.leave()
    clock.advance(WINDOW_SECONDS)
    assert watcher.changes == []


def test_a_failing_watcher_disturbs_nobody(
    presences: Presences, clock: Clock, watcher: Watcher, caplog: pytest.LogCaptureFixture
) -> None:
    """The other watchers are told, and the failure is logged with its traceback."""

    def broken(joined: list[str], left: list[str], count: int) -> None:
        raise RuntimeError("broken watcher")

    presence = presences.presence("room")
    presence.on_change(broken)
    presence.on_change(watcher)
    presence.enter(1, "ann", Recorder())
    clock.advance(WINDOW_SECONDS)
    assert watcher.changes == [(["ann"], [], 1)]
    assert caplog.records[0].exc_info is not None


async def test_the_event_loop_is_the_default_clock() -> None:
    """Without a scheduler the running loop's timers are used."""
    told = asyncio.Event()
    presence = Presences(window_seconds=0.001).presence("room")
    presence.on_change(lambda joined, left, count: told.set())
    presence.enter(1, "ann", Recorder())
    await asyncio.wait_for(told.wait(), timeout=10)


class TestLife:
    """Presences come and go with their users."""

    def test_same_name_same_presence(self, presences: Presences) -> None:
        """All who use a name at the same time mean the same place."""
        presence = presences.presence("room")
        assert presences.presence("room") is presence
        assert presences.presence("other") is not presence

    def test_unused_presences_take_no_memory(self, presences: Presences, clock: Clock) -> None:
        """Asking for a count keeps nothing; an entry keeps its presence until what it changed is told."""
        assert presences.presence("room").count == 0
        assert len(presences) == 0
        connection = Recorder()
        presences.presence("room").enter(1, "ann", connection)
        assert presences.presence("room").members() == ["ann"]
        clock.advance(WINDOW_SECONDS)
        connection.close()
        clock.advance(WINDOW_SECONDS)
        gc.collect()
        assert len(presences) == 0

    def test_watched_presences_stay(self, presences: Presences, clock: Clock, watcher: Watcher) -> None:
        """A watcher need not hold the presence; once forgotten it is told nothing and keeps nothing alive."""
        forget = presences.presence("room").on_change(watcher)
        gc.collect()
        entry = presences.presence("room").enter(1, "ann", Recorder())
        clock.advance(WINDOW_SECONDS)
        assert watcher.changes == [(["ann"], [], 1)]
        forget()
        forget()
        entry.leave()
        clock.advance(WINDOW_SECONDS)
        assert len(watcher.changes) == 1
        del forget, entry
        gc.collect()
        assert len(presences) == 0

    def test_stop(self, presences: Presences, clock: Clock, watcher: Watcher) -> None:
        """After `stop` no timer runs and nobody is told anything."""
        presence = presences.presence("room")
        presence.on_change(watcher)
        presence.enter(1, "ann", Recorder())
        presences.stop()
        assert clock.running == 0
        clock.advance(WINDOW_SECONDS)
        assert watcher.changes == []

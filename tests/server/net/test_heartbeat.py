"""One timer for all connections."""

from __future__ import annotations

from server.net.heartbeat import SLICES, Heartbeat


class Member:
    def __init__(self) -> None:
        self.beats = 0

    def beat(self) -> None:
        self.beats += 1


def test_everybody_is_beaten_once_a_period() -> None:
    """In a period every connection has its turn exactly once, and they are spread over it."""
    heartbeat = Heartbeat(20)
    members = [Member() for _ in range(100)]
    for member in members:
        heartbeat.add(member)
    in_one_tick = 0
    for _ in range(SLICES):
        before = sum(member.beats for member in members)
        heartbeat.beat()
        in_one_tick = max(in_one_tick, sum(member.beats for member in members) - before)
    assert {member.beats for member in members} == {1}
    assert in_one_tick == 100 // SLICES


def test_who_left_is_not_beaten() -> None:
    """A connection that is gone costs nothing more."""
    heartbeat = Heartbeat(20)
    member = Member()
    place = heartbeat.add(member)
    heartbeat.remove(member, place)
    heartbeat.remove(member, place)
    for _ in range(SLICES):
        heartbeat.beat()
    assert member.beats == 0


async def test_zero_switches_it_off() -> None:
    """Without a period there is no timer; stopping one that does not run is fine."""
    heartbeat = Heartbeat(0)
    heartbeat.start()
    assert heartbeat._timer is None
    heartbeat.stop()
    running = Heartbeat(10)
    running.start()
    running.stop()
    assert running._timer is None

"""Limits by key."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.net import limits
from server.net.limits import Occupancy, RateLimiter


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_burst_then_rate() -> None:
    """A burst is there at once; after it one token comes each minute divided by the rate."""
    clock = Clock()
    limiter = RateLimiter(60, 3, clock)
    assert [limiter.take("a") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert limiter.take("a") == 1.0
    clock.now += 0.5
    assert limiter.take("a") == 0.5
    clock.now += 0.5
    assert limiter.take("a") == 0.0
    assert limiter.take("a") == 1.0


def test_keys_are_apart() -> None:
    """What one uses up, another still has."""
    limiter = RateLimiter(60, 1, Clock())
    assert limiter.take("a") == 0.0
    assert limiter.take("a") > 0
    assert limiter.take("b") == 0.0


def test_zero_switches_it_off() -> None:
    """0 is no limit, and remembers nobody."""
    limiter = RateLimiter(0)
    assert all(limiter.take("a") == 0.0 for _ in range(10000))
    assert limiter.peek("a") == 0.0


def test_peeking_takes_nothing() -> None:
    """Whoever only looks uses nothing up."""
    limiter = RateLimiter(60, 1, Clock())
    assert limiter.peek("a") == 0.0
    assert limiter.take("a") == 0.0
    assert limiter.peek("a") == 1.0


def test_charging_asks_nobody() -> None:
    """What was used elsewhere is gone, even where it was not there; it is earned back like anything else."""
    clock = Clock()
    limiter = RateLimiter(60, 3, clock)
    limiter.charge("a", 2)
    assert [limiter.take("a"), limiter.take("a")] == [0.0, 1.0]
    limiter.charge("a", 5)
    assert limiter.take("a") == 6.0
    clock.now += 6
    assert limiter.take("a") == 0.0
    off = RateLimiter(0)
    off.charge("a", 100)
    assert off.take("a") == 0.0


def test_takes_are_told() -> None:
    """`on_take` hears of every token that was taken, and of nothing else."""
    limiter = RateLimiter(60, 2, Clock())
    taken: list[object] = []
    limiter.on_take = taken.append
    for _ in range(3):
        limiter.take("a")
    limiter.peek("b")
    limiter.charge("c")
    assert taken == ["a", "a"]


@given(st.lists(st.floats(0, 5), max_size=60), st.integers(1, 600), st.integers(1, 20))
def test_never_more_than_the_bucket(pauses: list[float], per_minute: int, burst: int) -> None:
    """In any stretch of time there are at most burst + rate x time tokens, and waiting as told always helps."""
    clock = Clock()
    limiter = RateLimiter(per_minute, burst, clock)
    start = clock.now
    for taken, pause in enumerate(pauses, start=1):
        clock.now += pause
        wait = limiter.take("a")
        if wait:
            clock.now += wait + 1e-6
            assert limiter.take("a") == 0.0
        assert taken <= burst + (clock.now - start) * per_minute / 60 + 1e-3


def test_memory_is_bounded() -> None:
    """A flood of keys is forgotten, full buckets first."""
    clock = Clock()
    limiter = RateLimiter(60, 1, clock)
    for key in range(limits.MAX_KEYS + 10):
        limiter.take(key)
    assert len(limiter._empty_at) <= limits.MAX_KEYS
    clock.now += 3600
    for key in range(limits.MAX_KEYS, limits.MAX_KEYS + 20):
        limiter.take(key)
    assert len(limiter._empty_at) < 100


def test_occupancy() -> None:
    """At most so many at once under each key; who leaves makes room."""
    occupancy = Occupancy(2)
    assert [occupancy.enter("a"), occupancy.enter("a"), occupancy.enter("a")] == [True, True, False]
    assert occupancy.enter("b")
    occupancy.leave("a")
    assert occupancy.enter("a")
    assert all(Occupancy(0).enter("a") for _ in range(1000))

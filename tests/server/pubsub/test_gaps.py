"""Gaps: who hears of them, and how often."""

from __future__ import annotations

import pytest

from server.pubsub.gaps import GAP_SECONDS, Gaps
from tests.server.pubsub.support import Clock


def test_gaps_in_a_row_are_one() -> None:
    """The first is told at once, those that follow are told together; never more often than that, and never less."""
    clock = Clock()
    gaps = Gaps(clock)
    told: list[float] = []
    gaps.listen(lambda: told.append(clock.now))
    for _ in range(5):
        gaps.tell()
    assert told == [0.0]
    clock.advance(GAP_SECONDS)
    assert told == [0.0, GAP_SECONDS]
    clock.advance(GAP_SECONDS)
    assert clock.running == 0
    gaps.tell()
    assert told == [0.0, GAP_SECONDS, 2 * GAP_SECONDS]
    assert gaps.count == 3


def test_a_callback_that_fails_hurts_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """Everybody hears of a gap, whatever another does about it."""
    gaps = Gaps(Clock())
    told: list[str] = []

    def fail() -> None:
        raise LookupError

    gaps.listen(fail)
    gaps.listen(lambda: told.append("other"))
    gaps.tell()
    assert told == ["other"]
    assert "LookupError" in caplog.text


def test_stopped() -> None:
    """What was to be told later is not, and no timer runs."""
    clock = Clock()
    gaps = Gaps(clock)
    told: list[float] = []
    gaps.listen(lambda: told.append(clock.now))
    gaps.tell()
    gaps.tell()
    gaps.stop()
    clock.advance(2 * GAP_SECONDS)
    assert told == [0.0]
    assert clock.running == 0

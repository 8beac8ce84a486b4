"""Dice: fair within their bounds, and a contract that is checked."""

from __future__ import annotations

from typing import Any

import pytest

from server import InvalidParams
from server.service.harness import ServiceHarness
from services.dice import Dice


async def test_one_die_with_six_sides_is_the_default() -> None:
    """Without params: one die with six sides; every side comes up."""
    async with ServiceHarness(Dice) as dice:
        rolls = [await dice.call("roll") for _ in range(300)]
    assert {face for roll in rolls for face in roll["faces"]} == {1, 2, 3, 4, 5, 6}
    assert all(roll["faces"] == [roll["total"]] for roll in rolls)


@pytest.mark.parametrize(("sides", "count"), [(2, 1), (2, 100), (1000, 100), (6, 3)])
async def test_as_many_as_asked_for(sides: int, count: int) -> None:
    """`count` faces within `sides`, and their total; by name and by position."""
    async with ServiceHarness(Dice) as dice:
        for roll in (await dice.call("roll", sides=sides, count=count), await dice.call("roll", sides, count)):
            assert len(roll["faces"]) == count
            assert all(1 <= face <= sides for face in roll["faces"])
            assert roll["total"] == sum(roll["faces"])


@pytest.mark.parametrize(
    ("params", "path"),
    [({"sides": 1}, "sides"), ({"sides": 1001}, "sides"), ({"count": 0}, "count"), ({"count": 101}, "count"),
     ({"sides": "6"}, "sides"), ({"sides": None}, "sides"), ({"side": 6}, "side")],
)  # fmt: skip
async def test_bounds(params: dict[str, Any], path: str) -> None:
    """What is out of bounds is refused, with the field's name."""
    async with ServiceHarness(Dice) as dice:
        with pytest.raises(InvalidParams) as refused:
            await dice.call("roll", **params)
        assert refused.value.path == path

"""Scale on paper: the formula and the simulation say the same, and more people never need less."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.scale import DATABASE_US, DELIVERY_US, FULL, MESSAGE_US, PUBLISHED, Load, plan, simulate, table

ROOT = Path(__file__).parents[2]

loads = st.builds(
    Load,
    clients=st.integers(1, 1_000_000),
    rooms=st.integers(1, 100_000),
    rate=st.floats(0.0001, 0.05),
    connects=st.floats(0, 2_000),
).filter(lambda load: load.rooms <= load.clients and load.members <= 1_000)


@given(loads)
@settings(max_examples=100, deadline=None)
def test_no_part_of_a_plan_is_too_busy(load: Load) -> None:
    """Whatever is planned, each process has room for more, and there is at least one of each."""
    planned = plan(load)
    assert planned.worker_busy <= FULL
    assert planned.database_busy <= FULL
    assert planned.broker_busy <= FULL
    assert planned.workers >= planned.machines >= 1
    assert (planned.brokers > 0) == (planned.machines > 1)


@given(loads)
@settings(max_examples=50, deadline=None)
def test_what_is_sent_is_delivered(load: Load) -> None:
    """Each message is delivered to each member of its room, whatever the number of processes."""
    planned = plan(load)
    each = planned.load.members / planned.heard
    assert planned.load.messages * planned.heard * each == pytest.approx(load.deliveries)


@given(loads, st.integers(2, 5))
@settings(max_examples=50, deadline=None)
def test_more_people_need_no_less(load: Load, times: int) -> None:
    """So many times the rooms, with the people in them, take at least as many of everything."""
    larger = Load(load.clients * times, load.rooms * times, load.rate, load.connects)
    one, many = plan(load), plan(larger)
    assert many.workers >= one.workers
    assert many.databases >= one.databases
    assert many.memory_bytes * many.machines >= one.memory_bytes * one.machines


def test_where_nobody_waits_the_simulation_is_the_cost_alone() -> None:
    """With hardly anything to do, the time at a part is what a message costs there."""
    waits = simulate(plan(Load(10, 10, 0.0001)))
    assert waits.worker == pytest.approx((MESSAGE_US + DELIVERY_US) / 1000, rel=0.01)
    assert waits.database == pytest.approx(DATABASE_US / 1000, rel=0.01)
    assert waits.broker == 0


def test_the_fuller_the_longer() -> None:
    """The same database with more to do makes messages wait longer."""
    waits = [simulate(plan(Load(clients, clients, 0.05))).database for clients in (2_000, 60_000, 140_000)]
    assert waits == sorted(waits)
    assert waits[-1] > 2 * waits[0]


def test_the_published_table_is_what_comes_out() -> None:
    """docs/scaling.md shows what the program prints."""
    assert table(PUBLISHED) in (ROOT / "docs" / "scaling.md").read_text()


def test_it_is_a_command() -> None:
    """A load of one's own is a line of options."""
    command = [sys.executable, "-m", "bench.scale", "--clients", "1000000", "--rooms", "10000"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert "| 1,000,000 | 100 |" in done.stdout

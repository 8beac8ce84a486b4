"""`python -m bench` as a whole, in small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from bench.contestant import YARDSTICK, find_contestants
from bench.report import Run
from bench.scenarios import SCENARIOS
from tests.bench.test_generator import program  # noqa: F401 an autouse fixture: the same compiler is needed here

ROOT = Path(__file__).parents[2]


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", "--rounds", "1", "--seconds", "0.2", "--results", str(folder)]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, cwd=ROOT, timeout=120)


def test_measures_switchboard_beside_the_yardstick(tmp_path: Path) -> None:
    """Real servers are started, measured and ended; nothing is lost; the figures are kept."""
    run = bench(tmp_path, "--scenario", "r20", "--scenario", "connects", "--contestant", "switchboard_raw")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Nothing was lost" in run.stdout
    (file,) = tmp_path.iterdir()
    kept = msgspec.json.decode(file.read_bytes(), type=Run)
    for scenario in ("r20", "connects"):
        assert list(kept.samples[scenario]) == [YARDSTICK, "switchboard_raw"]
        assert all(sample.value > 0 for samples in kept.samples[scenario].values() for sample in samples)


def test_unknown_contestants_are_named(tmp_path: Path) -> None:
    """A mistyped name is a wrong use of the command, with the right names in the answer."""
    run = bench(tmp_path, "--contestant", "websocket")
    assert run.returncode == 2
    assert "no such contestant; there are switchboard_" in run.stderr


def test_yardstick_always_takes_part() -> None:
    """Ratios need it, so it is there whoever else is asked for, and first."""
    assert list(find_contestants(["switchboard_raw"])[0]) == [YARDSTICK, "switchboard_raw"]
    assert next(iter(find_contestants([])[0])) == YARDSTICK


def test_a_contestant_that_is_not_installed_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its package is named, and the others take part."""
    monkeypatch.setitem(sys.modules, "bench.contestants.switchboard_raw", None)
    found, missing = find_contestants([])
    assert "switchboard_raw" not in found
    assert YARDSTICK in found
    assert list(missing) == ["switchboard_raw"]


def test_goals_are_for_contestants_that_exist() -> None:
    """A goal that nobody is judged by would be forgotten."""
    known = set(find_contestants([])[0])
    assert {name for scenario in SCENARIOS.values() for name in scenario.goals} <= known

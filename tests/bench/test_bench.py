"""`python -m bench` as a whole, in small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from bench.contestant import YARDSTICK, Contestant, Role, find_contestants
from bench.rounds import measurements
from bench.run import Run
from bench.scenarios import PEERS, SCENARIOS
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
    assert "no such contestant; there are " in run.stderr
    assert "websockets_broadcast" in run.stderr


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
    assert "switchboard_raw" in missing


def test_goals_are_for_contestants_that_exist() -> None:
    """A goal that nobody is judged by would be forgotten."""
    found, missing = find_contestants([])
    known = {*found, *missing}
    goals = [goal for scenario in SCENARIOS.values() for goal in scenario.goals]
    assert {goal.contestant for goal in goals} | {goal.to for goal in goals if goal.to} <= known
    assert {*PEERS, *(name for scenario in SCENARIOS.values() for name in scenario.roles)} <= known
    for scenario in SCENARIOS.values():
        assert set(scenario.peers) <= set(PEERS)


def plan(*scenarios: str, everybody: bool = False) -> list[tuple[str, str, str]]:
    """Who does what in which scenario, of contestants that can do everything a peer can."""
    peers = {name: Contestant(name=name, command=lambda _role, _port, _folder: []) for name in (YARDSTICK, *PEERS)}
    roles: dict[str, Role] = {"switchboard_rpc": "rpc", "switchboard_cookie": "cookie", "switchboard_chat": "chat"}
    own = {
        name: Contestant(name=name, command=lambda _role, _port, _folder: [], roles=(role,))
        for name, role in roles.items()
    }
    return [(each.key, each.name, each.role) for each in measurements(peers | own, scenarios, everybody=everybody)]


def test_calls_are_compared_with_the_bare_echo() -> None:
    """In one scenario, contestants may have different roles."""
    assert plan("rpc") == [("rpc", YARDSTICK, "echo"), ("rpc", "switchboard_rpc", "rpc")]


def test_special_contestants_take_part_where_they_are_asked_for() -> None:
    """The cookie's is in the race of connecting, and in no other."""
    assert ("connects", "switchboard_cookie", "cookie") in plan("connects")
    assert not [name for _, name, _ in plan("f1", "echo", "memory") if name.startswith("switchboard_")]


def test_the_full_run_has_all_peers() -> None:
    """The main table does with those that a scenario names; nobody is a peer of what peers cannot do."""
    assert [name for _, name, _ in plan("latency")] == [YARDSTICK, "picows_server"]
    assert [name for _, name, _ in plan("latency", everybody=True)] == [YARDSTICK, *PEERS]
    assert plan("churn", everybody=True) == [("churn", "switchboard_chat", "chat")]

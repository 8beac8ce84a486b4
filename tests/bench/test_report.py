"""The report: figures that can be compared, goals that are judged, faults that are not hidden."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bench.contestant import YARDSTICK, Contestant
from bench.generator import Latency, Report
from bench.report import figure, render
from bench.run import Run, Spread
from bench.scenario import Point, Sample


def sample(value: float, **counts: int) -> Sample:
    report = msgspec.structs.replace(Report("result"), **counts)
    return Sample(value=value, report=report, server_cpu=1.0, generator_cpu=0.5)


def busy(generator: float, other: float) -> Sample:
    return Sample(value=1, report=Report("result"), server_cpu=0.9, generator_cpu=generator, other_cpu=other)


@pytest.fixture
def run() -> Run:
    contestants = {
        name: Contestant(name=f"the {name}", command=lambda _role, _port, _folder: [], packages=("msgspec",))
        for name in (YARDSTICK, "switchboard_raw", "switchboard_chat", "picows_server")
    }
    return Run.begin(contestants, 3, 2)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.5"), (999, "999"), (1000, "1k"), (14_612, "14.6k"), (168_400, "168k"), (14_640_000, "14.6M")],
)
def test_figures_have_three_digits(value: float, text: str) -> None:
    """A figure is as long as it is sure."""
    assert figure(value) == text


def test_ratio_is_of_medians(run: Run) -> None:
    """One slow round does not decide."""
    for value in (90, 100, 500):
        run.add("f20", YARDSTICK, sample(value))
    for value in (1, 6000, 7000):
        run.add("f20", "switchboard_raw", sample(value))
    assert run.ratio("f20", "switchboard_raw") == 60
    assert run.ratio("f20", YARDSTICK) == 1
    assert run.ratio("f1", "switchboard_raw") is None
    text = render(run)
    assert "6k  (1 - 7k)" in text
    assert "60.00x" in text
    assert "goal for the switchboard_raw: >= 60x: 60.00x, met" in text
    assert "Nothing was lost" in text


@pytest.mark.parametrize(("own", "verdict"), [(44, "<= 0.45x: 0.44x, met"), (46, "<= 0.45x: 0.46x, MISSED")])
def test_memory_is_a_cost(run: Run, own: float, verdict: str) -> None:
    """Of memory, less is better."""
    run.add("memory", YARDSTICK, sample(100))
    run.add("memory", "switchboard_raw", sample(own))
    assert verdict in render(run)


def test_a_missed_goal_is_named(run: Run) -> None:
    """What falls short is said in the row it belongs to."""
    run.add("f20", YARDSTICK, sample(100))
    run.add("f20", "switchboard_raw", sample(5999))
    assert ">= 60x: 59.99x, MISSED" in render(run)


def test_faults_are_reported(run: Run) -> None:
    """Whatever was lost stands in the report, once, with who lost it."""
    for _ in range(2):
        run.add("f1", YARDSTICK, sample(100, lost=1234, disordered=1))
    run.add("f1", "switchboard_raw", sample(100))
    assert run.failures == [f"f1, the {YARDSTICK}: 1,234 lost, 1 out of order"]
    text = render(run)
    assert run.failures[0] in text
    assert "Nothing was lost" not in text


def test_a_busy_generator_is_reported(run: Run) -> None:
    """A figure that the generator limits is not the server's, and says so."""
    run.add("f1", YARDSTICK, busy(0.96, 0))
    assert "the limit" not in render(run)
    run.add("f16", YARDSTICK, busy(0.99, 0))
    text = render(run)
    assert "generator 99% (the limit!)" in text
    assert f"the limit in f16 (the {YARDSTICK}):" in text


def test_a_disturbed_run_is_reported(run: Run) -> None:
    """What was measured beside something else should not be quoted, and says so."""
    run.add("f1", YARDSTICK, busy(0.5, 0.1))
    assert "quiet machine" not in render(run)
    run.add("f1", YARDSTICK, busy(0.5, 0.4))
    assert "used up to 40% of a core in f1." in render(run)


def test_a_failure_is_short(run: Run) -> None:
    """Of a traceback the report has the ends; the whole of it was shown when it happened."""
    run.fail("f1", YARDSTICK, "the server ended:\n  line 1\n  line 2\n  ImportError: no")
    assert run.failures == [f"f1, the {YARDSTICK}: the server ended: ... ImportError: no"]


def test_kept_as_json(run: Run, tmp_path: Path) -> None:
    """What is kept can be read back, with everything that was counted."""
    run.add("f1", YARDSTICK, sample(100, sent=5))
    kept = Run.read(run.save(tmp_path / "new"))
    assert kept == run
    assert "msgspec" in kept.versions


def test_absolute_goals_are_judged_by_the_figure(run: Run) -> None:
    """Where there is nothing to compare with, the figure itself counts, and the row has no ratio."""
    run.add("commits", "switchboard_chat", sample(9_990))
    text = render(run)
    assert "goal for the switchboard_chat: messages/s, >= 10k: 9.99k, MISSED" in text
    assert run.ratio("commits", "switchboard_chat") is None


def test_latency_is_compared_with_the_peer_that_is_named(run: Run) -> None:
    """A goal may refer to another contestant than the yardstick, and waits until that was measured."""
    for name, p99 in (("switchboard_raw", 900.0), ("picows_server", 1000.0)):
        assert not list(run.verdicts("latency"))
        latency = Latency(count=10, p50=100, p99=p99, p999=2000, greatest=3000)
        run.add("latency", name, Sample(value=p99, report=Report("result", latency=latency)))
    text = render(run)
    assert "goal for the switchboard_raw: <= 1x of the picows_server: 0.90x, met" in text
    assert "p50 100 us, p99.9 2,000 us, at most 3,000 us" in text


def test_cpu_per_delivery_is_what_the_server_used_for_each() -> None:
    """Half a core for a second and 100,000 deliveries are 5 microseconds for each."""
    report = Report("result", seconds=1, received=100_000)
    assert Sample(value=1, report=report, server_cpu=0.5).cpu == pytest.approx(5)
    assert Sample(value=1, report=report).cpu is None
    assert Sample(value=1, report=Report("result"), server_cpu=0.5).cpu is None


def test_curves_have_a_spread_at_each_point(run: Run) -> None:
    """Rounds are summed up size by size."""
    for factor in (1, 2, 6):
        curve = (Point(10, 100 * factor), Point(100, 90 * factor))
        run.add("subscribers", "switchboard_raw", Sample(value=0.9, report=Report("result"), curve=curve))
    found = run.curve("subscribers", "switchboard_raw")
    assert found == {10: Spread(200, 100, 600), 100: Spread(180, 90, 540)}
    assert "100: 180/s" in render(run)


def test_who_could_not_take_part_is_named(run: Run) -> None:
    """A table without a peer says why it is not there."""
    run.absent["ws_node"] = "ws is not installed"
    assert "ws_node did not take part: ws is not installed." in render(run)


def test_problems_of_a_method_are_faults(run: Run) -> None:
    """What a method found wrong beside the generator's counts fails the run too."""
    wrong = Sample(value=1, report=Report("result", lost=2), problem="not closed with 4008")
    run.add("slow", "switchboard_raw", wrong)
    assert run.failures == ["slow, the switchboard_raw: 2 lost, not closed with 4008"]

"""The report: figures that can be compared, goals that are judged, faults that are not hidden."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bench.contestant import YARDSTICK, Contestant
from bench.generator import Report
from bench.report import Run, figure, render
from bench.scenarios import Sample


def sample(value: float, **counts: int) -> Sample:
    return Sample(value, msgspec.structs.replace(Report("result"), **counts), server_cpu=1.0, generator_cpu=0.5)


@pytest.fixture
def run() -> Run:
    contestants = {
        name: Contestant(name=f"the {name}", command=lambda _role, _port, _folder: [], packages=("msgspec",))
        for name in (YARDSTICK, "switchboard_raw")
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
    assert "goal >= 60x met" in text
    assert "Nothing was lost" in text


@pytest.mark.parametrize(("own", "verdict"), [(44, "goal <= 0.45x met"), (46, "goal <= 0.45x MISSED")])
def test_memory_is_a_cost(run: Run, own: float, verdict: str) -> None:
    """Of memory, less is better."""
    run.add("memory", YARDSTICK, sample(100))
    run.add("memory", "switchboard_raw", sample(own))
    assert verdict in render(run)


def test_a_missed_goal_is_named(run: Run) -> None:
    """What falls short is said in the row it belongs to."""
    run.add("f20", YARDSTICK, sample(100))
    run.add("f20", "switchboard_raw", sample(5999))
    assert "goal >= 60x MISSED" in render(run)


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
    run.add("f1", YARDSTICK, Sample(100, Report("result"), server_cpu=0.9, generator_cpu=0.99))
    assert "the limit!" in render(run)


def test_a_disturbed_run_is_reported(run: Run) -> None:
    """What was measured beside something else should not be quoted, and says so."""
    run.add("f1", YARDSTICK, Sample(100, Report("result"), 0.9, 0.5, other_cpu=0.1))
    assert "quiet machine" not in render(run)
    run.add("f1", YARDSTICK, Sample(100, Report("result"), 0.9, 0.5, other_cpu=0.4))
    assert "used 40% of a core" in render(run)


def test_a_failure_is_short(run: Run) -> None:
    """Of a traceback the report has the ends; the whole of it was shown when it happened."""
    run.fail("f1", YARDSTICK, "the server ended:\n  line 1\n  line 2\n  ImportError: no")
    assert run.failures == [f"f1, the {YARDSTICK}: the server ended: ... ImportError: no"]


def test_kept_as_json(run: Run, tmp_path: Path) -> None:
    """What is kept can be read back, with everything that was counted."""
    run.add("f1", YARDSTICK, sample(100, sent=5))
    kept = msgspec.json.decode(run.save(tmp_path / "new").read_bytes(), type=Run)
    assert kept == run
    assert "msgspec" in kept.versions

"""The regression check: what is worse is found, whichever direction is worse."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bench.check import BASELINE, CHECKED, Baseline, compare, report
from bench.contestant import YARDSTICK, Contestant
from bench.generator import BenchError, Report
from bench.run import Run
from bench.scenario import Sample
from bench.scenarios import SCENARIOS

RAW, CHAT = "switchboard_raw", "switchboard_chat"


def run(**ratios: float) -> Run:
    """Make a run in which the raw service reaches these ratios, by scenario."""
    contestants = {
        name: Contestant(name=name, command=lambda _role, _port, _folder: []) for name in (YARDSTICK, RAW, CHAT)
    }
    made = Run.begin(contestants, 1, 1)
    for scenario, ratio in ratios.items():
        made.add(scenario, YARDSTICK, Sample(value=1000, report=Report("result")))
        made.add(scenario, RAW, Sample(value=1000 * ratio, report=Report("result")))
    return made


def test_the_same_again_is_fine(capsys: pytest.CaptureFixture[str]) -> None:
    """A run compared with itself passes, and each ratio is printed."""
    then = run(f1=1.5, memory=0.4)
    assert report(Baseline.of(then), then) == 0
    text = capsys.readouterr().out
    assert text.count("fine") == 2
    assert "WORSE" not in text


@pytest.mark.parametrize(("scenario", "now", "status"), [
    ("f1", 0.81, 0), ("f1", 0.79, 1), ("f1", 5, 0),
    ("memory", 1.19, 0), ("memory", 1.21, 1), ("memory", 0.2, 0),
])  # fmt: skip
def test_only_what_is_worse_beyond_the_tolerance_fails(scenario: str, now: float, status: int) -> None:
    """Of a rate less is worse, of a cost more is; better is never a failure."""
    assert report(Baseline.of(run(**{scenario: 1.0})), run(**{scenario: now})) == status


def test_it_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    """Who sees a failure learns how to go on, whether the change was meant or not."""
    assert report(Baseline.of(run(f20=60)), run(f20=30)) == 1
    text = capsys.readouterr().out
    assert "-50%  WORSE" in text
    assert "git bisect" in text
    assert "--update" in text


def test_what_could_not_be_measured_fails() -> None:
    """A contestant that does not start is no improvement."""
    then, now = run(f1=1.5), run(f1=1.5)
    del now.samples["f1"][RAW]
    assert [each.is_worse for each in compare(Baseline.of(then), now)] == [True]


def test_what_was_lost_fails() -> None:
    """Speed that loses something is none."""
    then, now = run(f1=1.5), run(f1=1.5)
    now.add("f1", RAW, Sample(value=1500, report=Report("result", lost=1)))
    assert report(Baseline.of(then), now) == 1


def test_what_is_new_is_shown_and_what_was_not_asked_for_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """A new scenario has nothing to be compared with; one that did not run has nothing to say."""
    assert report(Baseline.of(run(f1=1.5, f16=15)), run(f1=1.5, echo=3)) == 0
    text = capsys.readouterr().out
    assert "new" in text
    assert "f16" not in text


def test_another_machine_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Ratios differ between processors, so the reader should know."""
    then, now = Baseline.of(run(f1=1.5)), run(f1=1.5)
    report(then, now)
    assert "another machine" not in capsys.readouterr().out
    now.machine = msgspec.structs.replace(now.machine, processor="another one")
    report(then, now)
    assert "another machine" in capsys.readouterr().out


def test_kept_as_json(tmp_path: Path) -> None:
    """A baseline can be read back; where there is none, the reader learns how to take one."""
    baseline = Baseline.of(run(f1=1.5))
    baseline.write(tmp_path / "baseline.json")
    assert Baseline.read(tmp_path / "baseline.json") == baseline
    with pytest.raises(BenchError, match="--update"):
        Baseline.read(tmp_path / "nothing.json")


def test_the_committed_baseline_fits() -> None:
    """It can be read, and is about scenarios that are checked."""
    assert set(CHECKED) <= set(SCENARIOS)
    assert {ratio.scenario for ratio in Baseline.read(BASELINE).ratios} == set(CHECKED)

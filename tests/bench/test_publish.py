"""The page of benchmarks: figures come from a run, words stay as they were written."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.contestant import YARDSTICK, Contestant
from bench.generator import Report
from bench.publish import PAGE, publish, replace
from bench.run import Run
from bench.scenario import Point, Sample

PARTS = ("machine", "table", "goals", "charts", "figures")
RAW = "switchboard_raw"


@pytest.fixture
def run() -> Run:
    contestants = {
        name: Contestant(name=f"the {name}", command=lambda _role, _port, _folder: []) for name in (YARDSTICK, RAW)
    }
    made = Run.begin(contestants, 2, 1)
    for scenario, name, value in (("f1", YARDSTICK, 100_000), ("f1", RAW, 140_000), ("memory", RAW, 6_500)):
        made.add(scenario, name, Sample(value=value, report=Report("result")))
    curve = (Point(10, 1e6), Point(100, 2e6))
    made.add("subscribers", RAW, Sample(value=1, report=Report("result"), curve=curve))
    return made


@pytest.fixture
def page(tmp_path: Path) -> Path:
    page = tmp_path / "benchmarks.md"
    page.write_text("# Words\n" + "".join(f"before {n}\n<!-- begin {n} -->\nold\n<!-- end {n} -->\n" for n in PARTS))
    return page


def test_only_what_is_between_markers_changes(run: Run, page: Path) -> None:
    """Words stay; figures, goals and charts are the run's; to do it twice is the same as once."""
    publish(run, page)
    text = page.read_text()
    assert text.startswith("# Words\nbefore machine\n")
    assert "old" not in text
    assert f"| **the {RAW}** | 140k | 6.5 KB |" in text
    assert "| f1 | the switchboard_raw: >= 1.3x: 1.40x | met |" in text
    assert "| subscribers | the switchboard_raw: of the rate, >= 0.8: 1 | met |" in text
    assert "judged in this run: f1, f16, " in text  # where nobody was measured, nothing is claimed
    publish(run, page)
    assert page.read_text() == text


def test_charts_are_beside_the_page_and_on_it(run: Run, page: Path) -> None:
    """Where several can be compared there are bars, where there is a curve there is one; each is shown."""
    written = publish(run, page)
    charts = [file for file in written if file.suffix == ".svg"]
    assert [file.name for file in charts] == ["f1.svg", "subscribers.svg"]
    for file in charts:
        ElementTree.fromstring(file.read_text())
        assert f"](benchmarks/{file.name})" in page.read_text()


def test_a_missing_marker_is_named() -> None:
    """A page that has lost its place for something is an error, not a page without it."""
    with pytest.raises(ValueError, match="begin table"):
        replace("nothing here", "table", "part")


def test_the_page_has_every_marker() -> None:
    """What is committed can be published to."""
    text = PAGE.read_text()
    for name in PARTS:
        replace(text, name, "")

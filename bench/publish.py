"""`python -m bench.publish RESULT.json`: put a run's figures into docs/benchmarks.md, and its charts beside it.

The page is written by hand but for what stands between `<!-- begin NAME -->` and `<!-- end NAME -->`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from bench.charts import Bar, Point, Series, bars, lines
from bench.contestant import OWN, YARDSTICK
from bench.report import beside, figure, goal_text, remarks
from bench.run import Run
from bench.scenario import Figure
from bench.scenarios import SCENARIOS

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"


class Column(msgspec.Struct, frozen=True):
    """A column of the table of all contestants."""

    title: str
    scenario: str
    figure: Figure = "value"
    unit: str = ""
    scale: float = 1


COLUMNS = (
    Column("f1", "f1"),
    Column("f16", "f16"),
    Column("f20", "f20"),
    Column("r20", "r20"),
    Column("echo msg/s", "echo"),
    Column("memory per idle client", "memory", unit=" KB", scale=1e3),
    Column("connects/s", "connects"),
    Column("CPU per delivery at 25k/s", "latency", "cpu", " us"),
    Column("p99 at 25k/s", "latency", "p99", " ms", 1e3),
)
AXES = {"subscribers": ("subscribers", "deliveries/s"), "rooms": ("rooms", "messages/s")}
"""The titles of a curve's axes, by scenario."""


def publish(run: Run, page: Path = PAGE) -> list[Path]:
    """Rewrite what a page tells of a run.

    Args:
        run: its figures.
        page: Markdown; charts go into the folder beside it that is called like it.

    Returns:
        The files that were written.

    Raises:
        ValueError: the page lacks a marker.
    """
    charts = dict(_charts(run))
    folder = page.with_suffix("")
    folder.mkdir(exist_ok=True)
    written = [page]
    for name, drawing in charts.items():
        written.append(folder / f"{name}.svg")
        written[-1].write_text(drawing)
    parts: dict[str, Callable[[], Iterator[str]]] = {
        "machine": lambda: _machine(run),
        "table": lambda: _table(run),
        "goals": lambda: _goals(run),
        "charts": lambda: (f"![{SCENARIOS[key].title}]({folder.name}/{key}.svg)\n" for key in charts),
        "figures": lambda: _figures(run),
    }
    text = page.read_text()
    for name, part in parts.items():
        text = replace(text, name, "\n".join(part()))
    page.write_text(text)
    return written


def replace(text: str, name: str, part: str) -> str:
    """Return a text with what stands between two markers replaced.

    Raises:
        ValueError: they are not there.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"the page has no {begin} ... {end}")
    return pattern.sub(lambda _: f"{begin}\n{part.strip()}\n{end}", text, count=1)


def _machine(run: Run) -> Iterator[str]:
    yield (
        f"Measured on {run.started_at:%Y-%m-%d} on this machine: {run.machine}. Medians of {run.rounds} "
        f"{'round' if run.rounds == 1 else 'rounds'}, {run.seconds:g} s each; in brackets the lowest and the highest."
    )
    yield ""
    yield ", ".join(f"{package} {version}" for package, version in run.versions.items()) + "."
    yield ""
    yield from (f"- {line.strip()}" for line in remarks(run))


def _table(run: Run) -> Iterator[str]:
    """Write one row for each contestant that is in a column."""
    columns = [column for column in COLUMNS if column.scenario in run.samples]
    yield _row(["", *(column.title for column in columns)])
    yield "|---|" + "--:|" * len(columns)
    for key, name in run.names.items():
        cells = [_cell(run, column, key) for column in columns]
        if any(cells):
            yield _row([f"**{name}**" if key.startswith(OWN) else name, *cells])


def _cell(run: Run, column: Column, contestant: str) -> str:
    found = run.median(column.scenario, contestant, column.figure)
    return "" if found is None else f"{figure(found / column.scale)}{column.unit}"


def _goals(run: Run) -> Iterator[str]:
    yield _row(["scenario", "goal and what was reached", ""])
    yield "|---|---|---|"
    unjudged = []
    for key, scenario in SCENARIOS.items():
        verdicts = list(run.verdicts(key))
        unjudged += [key] if len(verdicts) < len(scenario.goals) else []
        for verdict in verdicts:
            text = goal_text(run, key, verdict).rpartition(",")[0].removeprefix("goal for ")
            yield _row([key, text, "met" if verdict.met else "**missed**"])
    if unjudged:
        yield f"\nNot, or not wholly, judged in this run: {', '.join(unjudged)}."


def _figures(run: Run) -> Iterator[str]:
    for key in (key for key in SCENARIOS if key in run.samples):
        scenario = SCENARIOS[key]
        yield f"### {key}: {scenario.title}\n"
        yield _row(["", scenario.unit, "ratio", "beside it"])
        yield "|---|--:|--:|---|"
        for contestant, samples in run.samples[key].items():
            spread, ratio = run.spread(key, contestant), run.ratio(key, contestant)
            value = f"{figure(spread.median)} ({figure(spread.low)} - {figure(spread.high)})"
            name = run.names[contestant]
            yield _row([name, value, f"{ratio:.2f}x" if ratio is not None else "", ", ".join(beside(samples))])
        yield ""


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _charts(run: Run) -> Iterator[tuple[str, str]]:
    """Draw a curve where there is one, and bars where several can be compared."""
    for key in (key for key in SCENARIOS if key in run.samples):
        if key in AXES:
            yield key, _curves(run, key)
        elif len(run.samples[key]) > 1:
            yield key, _bars(run, key)


def _curves(run: Run, key: str) -> str:
    series = [
        Series(
            run.names[contestant],
            [Point(x, y.median, y.low, y.high) for x, y in run.curve(key, contestant).items()],
            contestant.startswith(OWN),
        )
        for contestant in run.samples[key]
    ]
    x_title, y_title = AXES[key]
    title = SCENARIOS[key].title.partition(":")[0]
    return lines(title, x_title, y_title, series, log_x=True, log_y=True)


def _bars(run: Run, key: str) -> str:
    scenario = SCENARIOS[key]
    rows = []
    for contestant in run.samples[key]:
        spread = run.spread(key, contestant)
        label = run.names[contestant] + (" (yardstick)" if contestant == YARDSTICK else "")
        rows.append(Bar(label, spread.median, spread.low, spread.high, contestant.startswith(OWN)))
    rows.sort(key=lambda row: row.value, reverse=not scenario.less_is_better)
    return bars(scenario.title, scenario.unit, rows)


def main() -> int:
    """Publish a run that was kept."""
    if len(sys.argv) != 2:
        print("usage: python -m bench.publish RESULT.json", file=sys.stderr)
        return 2
    for file in publish(Run.read(Path(sys.argv[1]))):
        print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())

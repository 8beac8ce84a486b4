"""What a run found: kept as JSON, printed as a table."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bench.contestant import YARDSTICK, Contestant
from bench.scenarios import SCENARIOS, Sample, Scenario

SATURATED = 0.97
"""A generator that is busier than this is the limit of what was measured."""
DISTURBED = 0.15
"""If everything else used more of the processor than this, in cores, the figures are worth little."""


class Machine(msgspec.Struct, frozen=True):
    """Where a run took place."""

    processor: str
    cores: int
    kernel: str
    python: str

    @classmethod
    def this(cls) -> Machine:
        """Describe this machine."""
        return cls(_processor(), len(os.sched_getaffinity(0)), platform.release(), platform.python_version())


class Run(msgspec.Struct):
    """Everything that a run found.

    Args:
        started_at: UTC.
        rounds: how often each contestant was measured in each scenario.
        seconds: how long a measurement took.
        versions: of what took part.
        names: of the contestants, by module.
        samples: by scenario, then by contestant.
        failures: what could not be measured, in words.
    """

    started_at: datetime
    machine: Machine
    rounds: int
    seconds: float
    versions: dict[str, str]
    names: dict[str, str]
    samples: dict[str, dict[str, list[Sample]]] = {}
    failures: list[str] = []

    @classmethod
    def begin(cls, contestants: Mapping[str, Contestant], rounds: int, seconds: float) -> Run:
        """Describe a run that starts now."""
        return cls(
            started_at=datetime.now(UTC),
            machine=Machine.this(),
            rounds=rounds,
            seconds=seconds,
            versions={k: v for contestant in contestants.values() for k, v in contestant.versions().items()},
            names={key: contestant.name for key, contestant in contestants.items()},
        )

    def add(self, scenario: str, contestant: str, sample: Sample) -> None:
        """Keep a sample, and its faults."""
        self.samples.setdefault(scenario, {}).setdefault(contestant, []).append(sample)
        if sample.faults:
            self.fail(scenario, contestant, sample.faults)

    def fail(self, scenario: str, contestant: str, problem: str) -> None:
        """Keep what went wrong; the same thing in another round is kept once."""
        lines = problem.splitlines()
        problem = " ... ".join(line.strip() for line in (lines[0], *lines[1:][-1:]))
        failure = f"{scenario}, {self.names[contestant]}: {problem}"
        if failure not in self.failures:
            self.failures.append(failure)

    def ratio(self, scenario: str, contestant: str) -> float | None:
        """Return a contestant's median in relation to the yardstick's; None where there is nothing to compare."""
        samples = self.samples.get(scenario, {})
        yardstick = median(samples.get(YARDSTICK, []))
        own = median(samples.get(contestant, []))
        return own / yardstick if own is not None and yardstick else None

    def save(self, folder: Path) -> Path:
        """Write it as JSON; returns the file."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{self.started_at:%Y-%m-%dT%H-%M-%SZ}.json"
        file.write_bytes(msgspec.json.format(msgspec.json.encode(self)))
        return file


def render(run: Run) -> str:
    """Return the report as text."""
    machine = run.machine
    lines = [
        f"{machine.processor}, {machine.cores} cores, Linux {machine.kernel}, Python {machine.python}",
        ", ".join(f"{package} {version}" for package, version in run.versions.items()),
        f"medians of {run.rounds} (lowest - highest), {run.seconds:g} s each; ratio to {run.names[YARDSTICK]}",
    ]
    for key, scenario in SCENARIOS.items():
        if key in run.samples:
            lines += ["", f"{key}: {scenario.title} ({scenario.unit})", *_rows(run, key, scenario)]
    if run.failures:
        lines += ["", "What went wrong:", *(f"  {failure}" for failure in run.failures)]
    else:
        lines += ["", "Nothing was lost, repeated or out of order."]
    if (others := _others(run)) > DISTURBED:
        lines += ["", f"Something else used {others:.0%} of a core meanwhile. Repeat this on a quiet machine."]
    return "\n".join(lines)


def _others(run: Run) -> float:
    """Return the greatest share of a core that was not the server's or the generator's in a measurement."""
    samples = (sample for by_name in run.samples.values() for several in by_name.values() for sample in several)
    return max((sample.other_cpu for sample in samples if sample.other_cpu is not None), default=0)


def _rows(run: Run, key: str, scenario: Scenario) -> Iterator[str]:
    width = max(len(name) for name in run.names.values())
    for contestant, samples in run.samples[key].items():
        values = [sample.value for sample in samples]
        span = f"({figure(min(values))} - {figure(max(values))})"
        row = f"  {run.names[contestant]:{width}}  {figure(statistics.median(values)):>6}  {span:17}"
        ratio = run.ratio(key, contestant)
        row += f"  {ratio:6.2f}x" if ratio is not None else " " * 9
        yield f"{row}  {_remarks(samples)}{_verdict(scenario, contestant, ratio)}".rstrip()


def _remarks(samples: list[Sample]) -> str:
    """Say how busy both sides were: a figure is the server's only where the generator had time to spare."""
    server = [sample.server_cpu for sample in samples if sample.server_cpu is not None]
    generator = [sample.generator_cpu for sample in samples if sample.generator_cpu is not None]
    if not server or not generator:
        return ""
    busy = statistics.median(generator)
    limit = " (the limit!)" if busy > SATURATED else ""
    return f"server {statistics.median(server):4.0%}, generator {busy:4.0%}{limit}  "


def _verdict(scenario: Scenario, contestant: str, ratio: float | None) -> str:
    goal = scenario.goals.get(contestant)
    if goal is None or ratio is None:
        return ""
    met = ratio <= goal if scenario.less_is_better else ratio >= goal
    return f"goal {'<=' if scenario.less_is_better else '>='} {goal:g}x {'met' if met else 'MISSED'}"


def median(samples: list[Sample]) -> float | None:
    """Return the median of the values; None when there are none."""
    return statistics.median(sample.value for sample in samples) if samples else None


def figure(value: float) -> str:
    """Write a number with three significant digits, as in 168k or 14.6M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}" if value < 100 * size else f"{value / size:.0f}{letter}"
    return f"{value:.3g}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()

"""What a run found: by scenario and contestant, kept as JSON, and its goals judged."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bench.contestant import YARDSTICK, Contestant
from bench.machine import Machine
from bench.scenario import Figure, Goal, Sample
from bench.scenarios import SCENARIOS


class Verdict(msgspec.Struct, frozen=True):
    """Whether a goal is met.

    Args:
        goal: which.
        reached: the ratio, or the figure itself where the goal is absolute.
    """

    goal: Goal
    reached: float

    @property
    def met(self) -> bool:
        """Whether it is."""
        return self.reached <= self.goal.bound if self.goal.at_most else self.reached >= self.goal.bound


class Spread(msgspec.Struct, frozen=True):
    """What several rounds gave."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Sum up values, of which there is one at least."""
        return cls(statistics.median(values), min(values), max(values))


class Run(msgspec.Struct):
    """Everything that a run found.

    Args:
        started_at: UTC.
        machine: where.
        rounds: how often each contestant was measured in each scenario.
        seconds: how long a measurement took.
        versions: of what took part.
        names: of the contestants, by module.
        samples: by scenario, then by contestant.
        failures: what could not be measured, in words.
        absent: contestants that could not take part, and why.
    """

    started_at: datetime
    machine: Machine
    rounds: int
    seconds: float
    versions: dict[str, str]
    names: dict[str, str]
    samples: dict[str, dict[str, list[Sample]]] = {}
    failures: list[str] = []
    absent: dict[str, str] = {}

    @classmethod
    def begin(
        cls, contestants: Mapping[str, Contestant], rounds: int, seconds: float, absent: Mapping[str, str] | None = None
    ) -> Run:
        """Describe a run that starts now."""
        return cls(
            started_at=datetime.now(UTC),
            machine=Machine.this(),
            rounds=rounds,
            seconds=seconds,
            versions={k: v for contestant in contestants.values() for k, v in contestant.versions().items()},
            names={key: contestant.name for key, contestant in contestants.items()},
            absent=dict(absent or {}),
        )

    @classmethod
    def read(cls, file: Path) -> Run:
        """Read what `save` wrote."""
        return msgspec.json.decode(file.read_bytes(), type=cls)

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

    def median(self, scenario: str, contestant: str, figure: Figure = "value") -> float | None:
        """Return the median of a figure; None when it was not measured."""
        samples = self.samples.get(scenario, {}).get(contestant, [])
        return median(sample.figure(figure) for sample in samples)

    def ratio(self, scenario: str, contestant: str, to: str = YARDSTICK, figure: Figure = "value") -> float | None:
        """Return a contestant's median in relation to another one's; None where there is nothing to compare."""
        own, other = self.median(scenario, contestant, figure), self.median(scenario, to, figure)
        return own / other if own is not None and other else None

    def verdicts(self, scenario: str) -> Iterator[Verdict]:
        """Judge each goal of a scenario that can be judged by what was measured."""
        for goal in SCENARIOS[scenario].goals:
            if goal.to:
                reached = self.ratio(scenario, goal.contestant, goal.to, goal.figure)
            else:
                reached = self.median(scenario, goal.contestant, goal.figure)
            if reached is not None:
                yield Verdict(goal, reached)

    def spread(self, scenario: str, contestant: str) -> Spread:
        """Return the median, the lowest and the highest value of a contestant that was measured."""
        return Spread.of([sample.value for sample in self.samples[scenario][contestant]])

    def curve(self, scenario: str, contestant: str) -> dict[float, Spread]:
        """Return a scenario's curve; empty when it has none."""
        points: dict[float, list[float]] = {}
        for sample in self.samples.get(scenario, {}).get(contestant, []):
            for point in sample.curve:
                points.setdefault(point.x, []).append(point.y)
        return {x: Spread.of(several) for x, several in points.items()}

    def save(self, folder: Path) -> Path:
        """Write it as JSON; returns the file."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{self.started_at:%Y-%m-%dT%H-%M-%SZ}.json"
        file.write_bytes(msgspec.json.format(msgspec.json.encode(self)))
        return file


def median(figures: Iterator[float | None]) -> float | None:
    """Return the median of those that there are; None when there are none."""
    known = [figure for figure in figures if figure is not None]
    return statistics.median(known) if known else None

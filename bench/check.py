"""`python -m bench.check`: is Switchboard as fast as it was?

Figures drift with the machine, so what is compared is the ratio to the yardstick that was measured in the same run.
The baseline is committed with the code: whoever makes something faster or knowingly slower takes a new one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from bench.contestant import OWN, YARDSTICK, find_contestants
from bench.generator import BenchError, compile_generator
from bench.machine import Machine
from bench.report import remarks
from bench.rounds import measurements, take
from bench.run import Run
from bench.scenarios import SCENARIOS

BASELINE = Path(__file__).with_name("baseline.json")
CHECKED = ("f1", "f16", "f20", "r20", "echo", "rpc", "memory", "connects")
"""What is measured in a few minutes, and compared as a ratio."""
TOLERANCE = 0.2
"""So much worse may a ratio be: runs on a machine that is shared differ by this."""


class Ratio(msgspec.Struct, frozen=True):
    """What a contestant reached in a scenario, in relation to the yardstick."""

    scenario: str
    contestant: str
    ratio: float


class Baseline(msgspec.Struct, frozen=True):
    """What was reached once.

    Args:
        taken_at: UTC.
        machine: where.
        ratios: of every scenario and contestant.
    """

    taken_at: datetime
    machine: Machine
    ratios: tuple[Ratio, ...]

    @classmethod
    def of(cls, run: Run) -> Baseline:
        """Take what a run reached."""
        ratios = (
            Ratio(scenario, contestant, round(ratio, 3))
            for scenario, by_name in run.samples.items()
            for contestant in by_name
            if contestant != YARDSTICK and (ratio := run.ratio(scenario, contestant)) is not None
        )
        return cls(run.started_at, run.machine, tuple(ratios))

    @classmethod
    def read(cls, file: Path) -> Baseline:
        """Read what `write` wrote.

        Raises:
            BenchError: there is none.
        """
        if not file.exists():
            raise BenchError(f"there is no {file}: `python -m bench.check --update` takes one")
        return msgspec.json.decode(file.read_bytes(), type=cls)

    def write(self, file: Path) -> None:
        """Write it as JSON."""
        file.write_bytes(msgspec.json.format(msgspec.json.encode(self)) + b"\n")


class Comparison(msgspec.Struct, frozen=True):
    """A ratio then and now; None where there is none."""

    scenario: str
    contestant: str
    before: float | None
    now: float | None

    @property
    def change(self) -> float:
        """By how much it is better (above 0) or worse (below), as a share of what it was; 0 when it is new."""
        if self.before is None or self.now is None:
            return 0.0
        change = self.now / self.before - 1
        return -change if SCENARIOS[self.scenario].less_is_better else change

    @property
    def is_worse(self) -> bool:
        """Whether it is beyond what chance does, or could not be measured at all."""
        return self.before is not None and (self.now is None or self.change < -TOLERANCE)

    def __str__(self) -> str:
        before = "    new" if self.before is None else f"{self.before:6.2f}x"
        now = "missing" if self.now is None else f"{self.now:6.2f}x"
        word = "WORSE" if self.is_worse else "better" if self.change > TOLERANCE else "fine"
        return f"{self.scenario:9} {self.contestant:20} {before} -> {now}  {self.change:+5.0%}  {word}"


def compare(baseline: Baseline, run: Run) -> Iterator[Comparison]:
    """Compare a run with a baseline: what both have, what one has alone, in the baseline's order.

    Args:
        baseline: then.
        run: now. Scenarios that it did not include are left out.
    """
    before = {(ratio.scenario, ratio.contestant): ratio.ratio for ratio in baseline.ratios}
    now = {(ratio.scenario, ratio.contestant): ratio.ratio for ratio in Baseline.of(run).ratios}
    included = set(run.samples)
    for key in [key for key in before if key[0] in included] + [key for key in now if key not in before]:
        yield Comparison(*key, before.get(key), now.get(key))


def main() -> int:
    """Compare; returns 1 when something is worse, was lost, or could not be measured."""
    options = _parser().parse_args()
    try:
        baseline = None if options.update else Baseline.read(options.baseline)
        compile_generator()
        contestants, missing = find_contestants([])
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    judged = {key: each for key, each in contestants.items() if key == YARDSTICK or key.startswith(OWN)}
    run = Run.begin(judged, options.rounds, options.seconds, {k: v for k, v in missing.items() if k.startswith(OWN)})
    take(run, measurements(judged, options.scenario or CHECKED, everybody=False), every_round=True)
    print("\n".join(remarks(run)))
    if baseline is None:
        Baseline.of(run).write(options.baseline)
        print(f"Written to {options.baseline}; commit it with what changed the figures.")
        return 1 if run.failures else 0
    return report(baseline, run)


def report(baseline: Baseline, run: Run) -> int:
    """Print how a run compares with a baseline, and what to do; returns the exit status."""
    compared = list(compare(baseline, run))
    print(f"Ratios to {run.names[YARDSTICK]}, {baseline.taken_at:%Y-%m-%d} -> now:")
    print("\n".join(f"  {each}" for each in compared))
    if baseline.machine != run.machine:
        print(f"The baseline is of another machine ({baseline.machine}); ratios differ between processors too.")
    if any(each.is_worse for each in compared):
        print(
            f"Worse by more than {TOLERANCE:.0%}. Repeat it on a quiet machine; if it stays, find the change that did "
            "it (git bisect). If it is meant, `python -m bench.check --update` takes a new baseline."
        )
        return 1
    return 1 if run.failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.check", description="Compare Switchboard's speed with the committed baseline."
    )
    parser.add_argument("--update", action="store_true", help="take a new baseline instead")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (default: 3)")
    parser.add_argument("--seconds", type=float, default=1, help="how long a measurement takes (default: 1)")
    parser.add_argument("--scenario", action="append", choices=CHECKED, help="compare only this; may be repeated")
    parser.add_argument("--baseline", type=Path, default=BASELINE, metavar="FILE", help="where it is")
    return parser


if __name__ == "__main__":
    sys.exit(main())

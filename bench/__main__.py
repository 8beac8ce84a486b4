"""`python -m bench`: measure the contestants in turn, several times, and print what they reached."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from bench.contestant import Contestant, find_contestants
from bench.generator import BenchError, compile_generator
from bench.report import Run, figure, render
from bench.scenarios import SCENARIOS, measure
from bench.servers import cores, serve

RESULTS = Path(__file__).with_name("results")


def main() -> int:
    """Run the benchmark; returns 1 when something was lost or could not be measured."""
    options = _parser().parse_args()
    try:
        compile_generator()
        contestants, missing = find_contestants(options.contestant)
    except (BenchError, LookupError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    for name, reason in missing.items():
        print(f"bench: {name} does not take part: {reason}", file=sys.stderr)
    run = Run.begin(contestants, options.rounds, options.seconds)
    try:
        _run(run, contestants, options.scenario or list(SCENARIOS))
    except KeyboardInterrupt:
        print("\nbench: interrupted; this is what there is", file=sys.stderr)
    print(render(run))
    print(f"\nKept in {run.save(options.results)}")
    return 1 if run.failures else 0


def _run(run: Run, contestants: Mapping[str, Contestant], scenarios: list[str]) -> None:
    """Measure round by round, everybody in turn, so that a slow minute of the machine hits all alike."""
    server_core, generator_core = cores()
    for number in range(run.rounds):
        for key in scenarios:
            scenario = SCENARIOS[key]
            for name, contestant in contestants.items():
                if scenario.role not in contestant.roles:
                    continue
                progress = f"round {number + 1} of {run.rounds}, {key}, {contestant.name}"
                try:
                    with serve(contestant, scenario.role, server_core) as server:
                        sample = measure(scenario, contestant, server, run.seconds, generator_core)
                except BenchError as error:
                    run.fail(key, name, str(error))
                    print(f"{progress}: {error}", file=sys.stderr)
                else:
                    run.add(key, name, sample)
                    print(f"{progress}: {figure(sample.value)} {scenario.unit} {sample.faults}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Switchboard beside its peers.")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (default: 3)")
    parser.add_argument("--seconds", type=float, default=2, help="how long a measurement takes (default: 2)")
    parser.add_argument(
        "--scenario", action="append", choices=list(SCENARIOS), help="measure only this; may be repeated"
    )
    parser.add_argument(
        "--contestant", action="append", default=[], metavar="MODULE", help="only this one, and the yardstick"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER", help="where the JSON is kept")
    return parser


if __name__ == "__main__":
    sys.exit(main())

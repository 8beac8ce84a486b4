"""`python -m bench`: measure the contestants in turn, several times, and print what they reached."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.contestant import find_contestants
from bench.generator import BenchError, compile_generator
from bench.publish import publish
from bench.report import render
from bench.rounds import measurements, take
from bench.run import Run
from bench.scenarios import SCENARIOS

MAIN_SECONDS = 0.75
"""So that the main table takes a few minutes."""
FULL_SECONDS = 2
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
    seconds = options.seconds or (FULL_SECONDS if options.full else MAIN_SECONDS)
    run = Run.begin(contestants, options.rounds, seconds, missing)
    chosen = options.scenario or [key for key, scenario in SCENARIOS.items() if scenario.main or options.full]
    try:
        take(run, measurements(contestants, chosen, everybody=options.full or bool(options.contestant)))
    except KeyboardInterrupt:
        print("\nbench: interrupted; this is what there is", file=sys.stderr)
    print(render(run))
    print(f"\nKept in {run.save(options.results)}")
    if options.publish:
        print(f"Published in {', '.join(str(file) for file in publish(run))}")
    return 1 if run.failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Switchboard beside its peers.")
    parser.add_argument("--full", action="store_true", help="measure everything, with all peers: this takes long")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (default: 3)")
    parser.add_argument(
        "--seconds",
        type=float,
        help=f"how long a measurement takes (default: {MAIN_SECONDS}, {FULL_SECONDS} with --full)",
    )
    parser.add_argument(
        "--scenario", action="append", choices=list(SCENARIOS), help="measure only this; may be repeated"
    )
    parser.add_argument(
        "--contestant", action="append", default=[], metavar="MODULE", help="only this one, and the yardstick"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER", help="where the JSON is kept")
    parser.add_argument("--publish", action="store_true", help="put the figures and charts into docs/benchmarks.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())

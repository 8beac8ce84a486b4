"""A run as text: what each reached, how busy both sides were, and which goals are met."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from bench.contestant import YARDSTICK
from bench.run import Run, Verdict, median
from bench.scenario import FIGURES, Sample
from bench.scenarios import SCENARIOS

SATURATED = 0.97
"""A generator that is busier than this is the limit of what was measured."""
DISTURBED = 0.15
"""If everything else used more of the processor than this, in cores, the figures are worth little."""


def render(run: Run) -> str:
    """Return the report as text."""
    lines = [
        str(run.machine),
        ", ".join(f"{package} {version}" for package, version in run.versions.items()),
        f"medians of {run.rounds} (lowest - highest), {run.seconds:g} s each; ratio to {run.names[YARDSTICK]}",
    ]
    for key, scenario in SCENARIOS.items():
        if key in run.samples:
            lines += ["", f"{key}: {scenario.title} ({scenario.unit})", *_rows(run, key)]
            lines += [f"  {goal_text(run, key, verdict)}" for verdict in run.verdicts(key)]
    lines += ["", *remarks(run)]
    return "\n".join(lines)


def remarks(run: Run) -> Iterator[str]:
    """Say what went wrong, what the figures are worth, and who is missing."""
    if run.failures:
        yield "What went wrong:"
        yield from (f"  {failure}" for failure in run.failures)
    else:
        yield "Nothing was lost, repeated or out of order."
    if limited := limited_by_generator(run):
        yield f"The load generator was the limit in {', '.join(limited)}: the servers could do more there."
    if disturbed := _disturbed(run):
        yield (
            f"Something else used up to {max(disturbed.values()):.0%} of a core in {', '.join(disturbed)}. "
            "Repeat this on a quiet machine."
        )
    for contestant, reason in run.absent.items():
        yield f"{contestant} did not take part: {reason}."


def limited_by_generator(run: Run) -> list[str]:
    """Return the measurements, as scenario and name, in which the load generator had no time to spare."""
    return [
        f"{key} ({run.names[contestant]})"
        for key, by_name in run.samples.items()
        for contestant, samples in by_name.items()
        if (median(sample.generator_cpu for sample in samples) or 0) > SATURATED
    ]


def _disturbed(run: Run) -> dict[str, float]:
    """Return the scenarios in which something else used the processor, with the greatest share of a core."""
    found: dict[str, float] = {}
    for key, by_name in run.samples.items():
        for sample in (sample for several in by_name.values() for sample in several):
            if sample.other_cpu is not None and sample.other_cpu > DISTURBED:
                found[key] = max(found.get(key, 0.0), sample.other_cpu)
    return found


def _rows(run: Run, key: str) -> Iterator[str]:
    width = max(len(name) for name in run.names.values())
    for contestant, samples in run.samples[key].items():
        spread = run.spread(key, contestant)
        span = f"({figure(spread.low)} - {figure(spread.high)})"
        row = f"  {run.names[contestant]:{width}}  {figure(spread.median):>6}  {span:17}"
        ratio = run.ratio(key, contestant)
        row += f"  {ratio:6.2f}x  " if ratio is not None else " " * 11
        yield f"{row}{', '.join(beside(samples))}".rstrip()
        for x, y in run.curve(key, contestant).items():
            yield f"  {'':{width}}  {x:8,.0f}: {figure(y.median)}/s"


def beside(samples: list[Sample]) -> Iterator[str]:
    """Tell the other figures, as medians: a figure is the server's only where the generator had time to spare."""
    if (server := median(sample.server_cpu for sample in samples)) is not None:
        yield f"server {server:.0%}"
    if (generator := median(sample.generator_cpu for sample in samples)) is not None:
        yield f"generator {generator:.0%}{' (the limit!)' if generator > SATURATED else ''}"
    if (database := median(sample.database_cpu for sample in samples)) is not None:
        yield f"database {database:.0%}"
    if (cpu := median(sample.cpu for sample in samples)) is not None:
        yield f"{cpu:.3g} us each"
    if (resident := median(sample.resident for sample in samples)) is not None:
        yield f"{resident / 1e6:.1f} MB resident"
    if (growth := median(sample.growth for sample in samples)) is not None:
        yield f"{growth / 1e6:+.1f} MB meanwhile"
    if (kept := median(sample.kept for sample in samples)) is not None:
        yield f"{kept:.0%} of the rate before"
    if latencies := [sample.report.latency for sample in samples if sample.report.latency]:
        yield f"p50 {statistics.median(latency.p50 for latency in latencies):,.0f} us"
        yield f"p99.9 {statistics.median(latency.p999 for latency in latencies):,.0f} us"
        yield f"at most {max(latency.greatest for latency in latencies):,.0f} us"
    if samples[-1].remark:
        yield samples[-1].remark


def goal_text(run: Run, key: str, verdict: Verdict) -> str:
    """Say what was asked for, what was reached, and whether that is enough."""
    goal = verdict.goal
    unit = FIGURES[goal.figure] or SCENARIOS[key].unit
    sign = "<=" if goal.at_most else ">="
    of = f"{unit}, " if goal.figure != "value" or not goal.to else ""
    if goal.to:
        against = "" if goal.to == YARDSTICK else f" of {run.names.get(goal.to, goal.to)}"
        asked, reached = f"{goal.bound:g}x{against}", f"{verdict.reached:.2f}x"
    else:
        asked, reached = figure(goal.bound), figure(verdict.reached)
    word = "met" if verdict.met else "MISSED"
    return f"goal for {run.names[goal.contestant]}: {of}{sign} {asked}: {reached}, {word}"


def figure(value: float) -> str:
    """Write a number with three significant digits, as in 168k or 14.6M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}" if value < 100 * size else f"{value / size:.0f}{letter}"
    return f"{value:.3g}"

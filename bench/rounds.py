"""Rounds: everybody is measured in turn, several times."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from bench.contestant import Contestant, Role
from bench.generator import BenchError
from bench.report import figure
from bench.run import Run
from bench.scenario import Scenario
from bench.scenarios import SCENARIOS
from bench.servers import cores, pin
from bench.subject import Subject


class Measurement(msgspec.Struct, frozen=True):
    """Something to be measured in each round: who, in what."""

    key: str
    scenario: Scenario
    name: str
    contestant: Contestant
    role: Role


def measurements(
    contestants: Mapping[str, Contestant], scenarios: Iterable[str], *, everybody: bool
) -> Iterator[Measurement]:
    """List what a round consists of.

    Args:
        contestants: by module, in the order in which they take turns.
        scenarios: by key.
        everybody: whether peers take part that the main table does without.
    """
    for key in scenarios:
        scenario = SCENARIOS[key]
        for name, contestant in contestants.items():
            if role := scenario.role_of(name, contestant, everybody=everybody):
                yield Measurement(key, scenario, name, contestant, role)


def take(run: Run, wanted: Iterable[Measurement], *, every_round: bool = False) -> None:
    """Measure round by round, everybody in turn, so that a slow minute of the machine hits all alike.

    Args:
        run: keeps what is found.
        wanted: what a round consists of.
        every_round: whether to repeat what a scenario says is enough to measure once.
    """
    wanted = list(wanted)
    server_core, generator_core = cores()
    pin(generator_core)  # what this process does must not disturb the servers
    for number in range(run.rounds):
        for each in wanted:
            if each.scenario.rounds and number >= each.scenario.rounds and not every_round:
                continue
            progress = f"round {number + 1} of {run.rounds}, {each.key}, {each.contestant.name}"
            subject = Subject(each.contestant, each.role, run.seconds, server_core, generator_core)
            try:
                sample = each.scenario.how.measure(subject)
            except BenchError as error:
                run.fail(each.key, each.name, str(error))
                print(f"{progress}: {error}", file=sys.stderr)
            else:
                run.add(each.key, each.name, sample)
                print(f"{progress}: {figure(sample.value)} {each.scenario.unit} {sample.faults}", file=sys.stderr)

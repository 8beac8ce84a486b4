"""What a scenario is, what one measurement of it gives, and what Switchboard is asked for."""

from __future__ import annotations

from typing import Literal

import msgspec

from bench.contestant import OWN, YARDSTICK, Contestant, Role
from bench.generator import Report
from bench.subject import Subject

Figure = Literal["value", "cpu", "p99", "resident", "growth", "kept"]
"""What can be judged of a sample: its value, or something that it tells beside it."""

FIGURES: dict[Figure, str] = {
    "value": "",
    "cpu": "us of CPU per delivery",
    "p99": "us for 99 % of deliveries",
    "resident": "bytes resident",
    "growth": "bytes grown",
    "kept": "of the rate kept",
}
"""Each figure with its unit; a value has the scenario's."""


class Point(msgspec.Struct, frozen=True):
    """One point of a curve."""

    x: float
    y: float


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement.

    Args:
        value: the figure that the scenario is about, in its unit.
        report: what the generator counted.
        server_cpu: the server's use of its core, 0 to 1; None where it does not apply.
        generator_cpu: the generator's; near 1 the figure is the generator's limit, not the server's.
        database_cpu: the database's, where it is a process of its own; it shares the generator's core.
        other_cpu: what everything else on the machine used, in cores.
        resident: memory of all processes of the server, in bytes.
        growth: by how much it grew at most, in bytes.
        kept: share of the undisturbed rate, 0 to 1.
        curve: values for growing sizes.
        remark: what else is to be said.
        problem: what went wrong beside what the report counts.
    """

    value: float
    report: Report
    server_cpu: float | None = None
    generator_cpu: float | None = None
    database_cpu: float | None = None
    other_cpu: float | None = None
    resident: int | None = None
    growth: int | None = None
    kept: float | None = None
    curve: tuple[Point, ...] = ()
    remark: str = ""
    problem: str = ""

    @property
    def cpu(self) -> float | None:
        """The server's processor time per delivery, in microseconds."""
        if self.server_cpu is None or not self.report.received:
            return None
        return 1e6 * self.server_cpu * self.report.seconds / self.report.received

    @property
    def p99(self) -> float | None:
        """What 99 % of deliveries did not exceed, in microseconds."""
        return self.report.latency.p99 if self.report.latency else None

    @property
    def faults(self) -> str:
        """What went wrong, in words; empty when nothing did."""
        return ", ".join(text for text in (self.report.faults, self.problem) if text)

    def figure(self, name: Figure) -> float | None:
        """Return a figure by its name; None when this sample does not have it."""
        found: float | None = getattr(self, name)
        return found


class Goal(msgspec.Struct, frozen=True):
    """What Switchboard is asked for.

    Args:
        contestant: who is judged, by its module.
        bound: the least that is enough, or the most that is allowed.
        at_most: which of the two.
        to: the contestant that it is a ratio to; empty when the bound is absolute.
        figure: which one.
    """

    contestant: str
    bound: float
    at_most: bool = False
    to: str = YARDSTICK
    figure: Figure = "value"


def at_least(contestant: str, bound: float, *, to: str = YARDSTICK, figure: Figure = "value") -> Goal:
    """Ask for a ratio, or with `to=""` for an absolute figure, that is not lower."""
    return Goal(contestant, bound, at_most=False, to=to, figure=figure)


def at_most(contestant: str, bound: float, *, to: str = YARDSTICK, figure: Figure = "value") -> Goal:
    """Ask for a ratio, or with `to=""` for an absolute figure, that is not higher."""
    return Goal(contestant, bound, at_most=True, to=to, figure=figure)


class Method(msgspec.Struct, frozen=True, kw_only=True):
    """How something is measured."""

    def measure(self, subject: Subject) -> Sample:
        """Start the subject's server, take one sample from it, and end it.

        Raises:
            BenchError: it cannot be measured.
        """
        raise NotImplementedError


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is measured.

    Args:
        title: what happens.
        unit: of the value.
        role: what the servers do.
        how: it is measured.
        goals: what Switchboard is asked for.
        roles: by contestant, where one does something else.
        main: whether it belongs to the main table, or to the full run only.
        rounds: measured so often at most, where repeating tells nothing new; 0 for as often as the others.
        peers: those that take part in the main table; all in the full run.
        yardstick: whether the yardstick and the other peers take part at all.
        less_is_better: whether the value is a cost.
    """

    title: str
    unit: str
    role: Role
    how: Method
    goals: tuple[Goal, ...] = ()
    roles: dict[str, Role] = {}
    main: bool = True
    rounds: int = 0
    peers: tuple[str, ...] = ()
    yardstick: bool = True
    less_is_better: bool = False

    def role_of(self, key: str, contestant: Contestant, *, everybody: bool) -> Role | None:
        """Return what a contestant does here; None when it does not take part.

        Args:
            key: its module.
            contestant: itself.
            everybody: whether peers take part that the main table does without.
        """
        role = self.roles.get(key, self.role)
        if role not in contestant.roles:
            return None
        if key.startswith(OWN):
            return role
        taking_part = self.yardstick and (key == YARDSTICK or everybody or key in self.peers)
        return role if taking_part else None

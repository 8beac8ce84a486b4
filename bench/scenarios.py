"""The scenarios: what is measured, how, and what Switchboard is to reach."""

from __future__ import annotations

from typing import Literal

import msgspec

from bench.contestant import Contestant, Load, Role, Task
from bench.generator import BenchError, Generator, Report, generator
from bench.servers import Server, machine_cpu_seconds, pin

Mode = Literal["fanout", "echo", "idle", "connect"]

FIRST_CLIENTS = 500
"""Clients that are there already when memory is looked at first: what is loaded or freed once is not counted."""


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the report.

    Args:
        title: what happens.
        unit: of the figure.
        role: what the server does.
        mode: of the generator.
        clients: how many, publishers included.
        publishers: how many of them send.
        outstanding: messages of a publisher that may be on their way; it waits for its own to come back.
        rooms: how many rooms the clients spread over, where a contestant has rooms.
        goals: by contestant, the least ratio to the yardstick that is asked for; for memory, the greatest.
    """

    title: str
    unit: str
    role: Role
    mode: Mode
    clients: int
    publishers: int = 1
    outstanding: int = 1
    rooms: int = 1
    goals: dict[str, float] = {}

    @property
    def less_is_better(self) -> bool:
        """Whether the figure is a cost."""
        return self.mode == "idle"


class Sample(msgspec.Struct, frozen=True):
    """One measurement.

    Args:
        value: the figure, in the scenario's unit.
        server_cpu: the server's use of its core, 0 to 1; None where it does not apply.
        generator_cpu: the generator's; near 1 the figure is the generator's limit, not the server's.
        other_cpu: what everything else on the machine used, in cores.
        report: what the generator counted.
    """

    value: float
    report: Report
    server_cpu: float | None = None
    generator_cpu: float | None = None
    other_cpu: float | None = None

    @property
    def faults(self) -> str:
        """What went wrong, in words; empty when nothing did."""
        counts = {
            "lost": self.report.lost,
            "out of order": self.report.disordered,
            "refused": self.report.refused,
            "clients closed": self.report.closed,
        }
        return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)


def _fanout(title: str, clients: int, publishers: int, outstanding: int, goals: dict[str, float]) -> Scenario:
    return Scenario(
        title=title,
        unit="deliveries/s",
        role="topic",
        mode="fanout",
        clients=clients,
        publishers=publishers,
        outstanding=outstanding,
        goals=goals,
    )


SCENARIOS = {
    "f1": _fanout(
        "fan-out to 1,000, one message outstanding", 1000, 1, 1, {"switchboard_raw": 1.3, "switchboard_chat": 1.0}
    ),
    "f16": _fanout(
        "fan-out to 1,000, sixteen outstanding", 1000, 1, 16, {"switchboard_raw": 15, "switchboard_chat": 11}
    ),
    "f20": _fanout(
        "fan-out to 1,000, 20 publishers with 4 outstanding each",
        1000,
        20,
        4,
        {"switchboard_raw": 60, "switchboard_chat": 30},
    ),
    "r20": _fanout(
        "fan-out in a room of 100, 20 publishers with 4 outstanding each", 100, 20, 4, {"switchboard_raw": 60}
    ),
    "echo": Scenario(
        title="echo, 100 clients with one message outstanding each",
        unit="messages/s",
        role="echo",
        mode="echo",
        clients=100,
        goals={"switchboard_raw": 3},
    ),
    "memory": Scenario(
        title="memory per idle client, of 2,000; a chat's in rooms of 100",
        unit="bytes",
        role="topic",
        mode="idle",
        clients=2000,
        rooms=20,
        goals={"switchboard_raw": 0.45, "switchboard_chat": 0.55},
    ),
    "connects": Scenario(
        title="2,000 clients connect, 64 at a time; a chat's join rooms of 100",
        unit="connects/s",
        role="topic",
        mode="connect",
        clients=2000,
        rooms=20,
        goals={"switchboard_raw": 1.4, "switchboard_chat": 1.0},
    ),
}


def measure(scenario: Scenario, contestant: Contestant, server: Server, seconds: float, core: int | None) -> Sample:
    """Take one sample from a server that has just been started.

    Args:
        scenario: what to measure.
        contestant: whose server it is.
        server: the server.
        seconds: how long to measure, where the scenario does not say.
        core: for the generator.

    Raises:
        BenchError: the generator gave up.
    """
    load = contestant.load(Task(scenario.role, server.port, scenario.clients, scenario.rooms))
    if scenario.mode == "idle":
        return _measure_memory(scenario, load, server, core)
    options: dict[str, object] = {
        "mode": scenario.mode,
        "clients": scenario.clients,
        "publishers": scenario.publishers,
        "outstanding": scenario.outstanding,
        "rooms": scenario.rooms,
        "seconds": seconds,
    }
    used: dict[str, tuple[float, float]] = {}
    with generator(options, load, server.port, lambda: pin(core)) as running:
        for report in running:
            used[report.event] = server.cpu_seconds(), machine_cpu_seconds()
            if report.event == "result":
                return _sample(scenario, report, used)
    raise BenchError("the generator ended without a result")


def _sample(scenario: Scenario, report: Report, used: dict[str, tuple[float, float]]) -> Sample:
    """Make a sample of what the generator counted and of the processor time used when it reported what."""
    if scenario.mode == "connect":
        return Sample(report.clients / report.seconds, report)
    server, machine = ((end - begin) / report.seconds for begin, end in zip(used["begin"], used["end"], strict=True))
    others = max(0.0, machine - server - report.cpu)
    return Sample(report.received / report.seconds, report, server, report.cpu, others)


def _measure_memory(scenario: Scenario, load: Load, server: Server, core: int | None) -> Sample:
    """Look at the memory with some clients, and again with many more."""
    options: dict[str, object] = {"mode": "idle", "clients": FIRST_CLIENTS, "rooms": scenario.rooms}
    with generator(options, load, server.port, lambda: pin(core)) as first:
        _wait_ready(first)
        before = server.resident_bytes()
        options["clients"] = scenario.clients
        with generator(options, load, server.port, lambda: pin(core)) as more:
            _wait_ready(more)
            after = server.resident_bytes()
            return Sample((after - before) / scenario.clients, _result(more))


def _wait_ready(running: Generator) -> None:
    """Wait until every client is in."""
    for report in running:
        if report.event == "ready":
            return
    raise BenchError("the generator ended before its clients were in")


def _result(running: Generator) -> Report:
    """Let idle clients go; returns what the generator counted."""
    running.release()
    for report in running:
        if report.event == "result":
            return report
    raise BenchError("the generator ended without a result")

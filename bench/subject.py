"""Who is measured, on which cores, and how a load is put on it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

import msgspec

from bench.contestant import Contestant, Load, Role, Task
from bench.generator import Generator, Report, generator
from bench.servers import Server, machine_cpu_seconds, pin, serve


class Subject(msgspec.Struct, frozen=True):
    """A contestant in a role.

    Args:
        contestant: who.
        role: what its server does.
        seconds: how long to measure, where the method does not say.
        server_core: for the server; None for any.
        generator_core: for the load generator, the benchmark itself and databases; None for any.
    """

    contestant: Contestant
    role: Role
    seconds: float
    server_core: int | None
    generator_core: int | None

    def serve(self, settings: Mapping[str, object] | None = None) -> AbstractContextManager[Server]:
        """Run its server until the block ends, with Switchboard's settings changed where they are given."""
        return serve(self.contestant, self.role, self.server_core, settings)

    def load(self, server: Server, clients: int, rooms: int = 1, behind: int = 0) -> Load:
        """Prepare its server for so many clients; returns what they say."""
        return self.contestant.load(Task(self.role, server.port, clients, rooms, behind))

    def generate(self, options: dict[str, object], load: Load, server: Server) -> AbstractContextManager[Generator]:
        """Run a generator until the block ends.

        Args:
            options: as `load/main.c` names them; `seconds` is the subject's unless it is there.
            load: what its clients say.
            server: whom they connect to.
        """
        return generator({"seconds": self.seconds, **options}, load, server.port, lambda: pin(self.generator_core))


class Busy(msgspec.Struct, frozen=True):
    """Who was how busy during a measurement, in cores.

    Args:
        server: all processes of the server.
        database: its database, where that is a process of its own.
        other: everything else.
        first: the server's first process.
        rest: each of its other processes, such as its workers.
    """

    server: float
    database: float
    other: float
    first: float = 0
    rest: tuple[float, ...] = ()

    @property
    def busiest(self) -> float:
        """The busiest process of the server."""
        return max(self.first, *self.rest) if self.rest else self.first


class Measured(msgspec.Struct, frozen=True):
    """What a measurement of traffic gave."""

    report: Report
    busy: Busy


def watch(running: Generator, server: Server) -> Measured:
    """Follow a generator to its end.

    Args:
        running: it measures from `begin` to `end`.
        server: whose use of the processor is looked at meanwhile.

    Raises:
        BenchError: the generator gave up.
    """
    running.wait("begin")
    began, each_began = _times(server), server.process_cpu_seconds()
    running.wait("end")
    ended, each_ended = _times(server), server.process_cpu_seconds()
    report = running.wait("result")
    used = [(end - begin) / report.seconds for begin, end in zip(began, ended, strict=True)]
    machine, mine, database = used
    first, *rest = ((each_ended.get(pid, began) - began) / report.seconds for pid, began in each_began.items())
    other = max(0.0, machine - mine - database - report.cpu)
    return Measured(report, Busy(mine, database, other, first, tuple(rest)))


def _times(server: Server) -> tuple[float, float, float]:
    return machine_cpu_seconds(), server.cpu_seconds(), server.database_cpu_seconds()

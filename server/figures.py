"""Figures: what a process has counted and measured, and how those of several processes add up.

Every process fills in a `Figures`. The main process asks its workers for theirs, and `merge` makes one of all. A total
never goes backwards: what a process that ended has counted stays in `Past`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from operator import add
from typing import Protocol, Self, TypeVar

import msgspec


class _Adding(Protocol):
    """What adds up with its kind."""

    def __add__(self, other: Self, /) -> Self: ...


V = TypeVar("V", bound=_Adding)

NOTHING_SHED: Mapping[str, int] = {"cache": 0, "slow": 0, "connections": 0}
"""What may be given up for memory, in this order, and how often it was."""


class ServiceFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A service, in one process or in several.

    Args:
        running: whether it runs.
        connections: open WebSockets.
        incidents: failures so far.
        stalls: how often it blocked the event loop.
        stall_seconds: for how long, all in all.
        last_stall_seconds: for how long the last time; of several processes, the longest of these.
    """

    running: bool = False
    connections: int = 0
    incidents: int = 0
    stalls: int = 0
    stall_seconds: float = 0.0
    last_stall_seconds: float = 0.0

    def __add__(self, other: ServiceFigures) -> ServiceFigures:
        return ServiceFigures(
            running=self.running or other.running,
            connections=self.connections + other.connections,
            incidents=self.incidents + other.incidents,
            stalls=self.stalls + other.stalls,
            stall_seconds=self.stall_seconds + other.stall_seconds,
            last_stall_seconds=max(self.last_stall_seconds, other.last_stall_seconds),
        )

    def counted(self) -> ServiceFigures:
        """Return what stays when the process ends."""
        return ServiceFigures(incidents=self.incidents, stalls=self.stalls, stall_seconds=self.stall_seconds)


class ProcessFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What a process takes of the machine.

    Args:
        resident_bytes: memory, what it shares with other processes included.
        cpu_seconds: of all its threads, since it started.
        descriptors: open files and sockets.
    """

    resident_bytes: int = 0
    cpu_seconds: float = 0.0
    descriptors: int = 0

    def __add__(self, other: ProcessFigures) -> ProcessFigures:
        return ProcessFigures(
            resident_bytes=self.resident_bytes + other.resident_bytes,
            cpu_seconds=self.cpu_seconds + other.cpu_seconds,
            descriptors=self.descriptors + other.descriptors,
        )


class Histogram(msgspec.Struct, frozen=True):
    """How often something took how long.

    Args:
        bounds: seconds, ascending; the same in all processes.
        counts: how often it took up to each bound and longer than the one before; one more at the end for the rest.
        seconds: how long, all in all.
    """

    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    seconds: float = 0.0

    def __add__(self, other: Histogram) -> Histogram:
        if not self.bounds or not other.bounds:
            return self if self.bounds else other
        if self.bounds != other.bounds:
            raise ValueError("histograms of different bounds do not add up")
        return Histogram(self.bounds, tuple(map(add, self.counts, other.counts)), self.seconds + other.seconds)

    @property
    def total(self) -> int:
        """How often it happened."""
        return sum(self.counts)


class PoolFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Connections to the database.

    Args:
        size: how many there are.
        in_use: those that are busy.
        waiting: what waits for one.
    """

    size: int = 0
    in_use: int = 0
    waiting: int = 0

    def __add__(self, other: PoolFigures) -> PoolFigures:
        return PoolFigures(
            size=self.size + other.size, in_use=self.in_use + other.in_use, waiting=self.waiting + other.waiting
        )


class BrokerFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What carries publications between processes.

    Args:
        connected: whether publications reach the other processes; of several processes, whether all theirs do.
        gaps: how often publications may have been lost.
        carried: publications that went to other processes.
    """

    connected: bool = True
    gaps: int = 0
    carried: int = 0

    def __add__(self, other: BrokerFigures) -> BrokerFigures:
        return BrokerFigures(
            connected=self.connected and other.connected,
            gaps=self.gaps + other.gaps,
            carried=self.carried + other.carried,
        )

    def counted(self) -> BrokerFigures:
        """Return what stays when the process ends."""
        return BrokerFigures(gaps=self.gaps, carried=self.carried)


class MemoryFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The memory budget.

    Args:
        budget_bytes: of all processes of this machine together; 0 when there is none.
        pressure: the part of its share that a process takes, 1.0 is all of it; of several processes, the largest.
        shed: how often something was given up for it, by what that was.
    """

    budget_bytes: int = 0
    pressure: float = 0.0
    shed: Mapping[str, int] = {}

    def __add__(self, other: MemoryFigures) -> MemoryFigures:
        return MemoryFigures(
            budget_bytes=max(self.budget_bytes, other.budget_bytes),
            pressure=max(self.pressure, other.pressure),
            shed=_added(self.shed, other.shed),
        )

    def counted(self) -> MemoryFigures:
        """Return what stays when the process ends."""
        return MemoryFigures(shed=self.shed)


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What one process, or several together, have counted and measured.

    Args:
        services: those that it runs, and knows of, by name.
        processes: by name; of one process, itself alone.
        deliveries: messages to subscribers: one for each message and each of its subscribers.
        publications: messages that were published.
        queue_bytes: what waits for clients to take it.
        handovers: clients whose socket was handed to another process.
        commits: transactions that wrote something, from their beginning to their commit.
        commit_rows: rows that these wrote.
        pool: connections to the database.
        broker: what carries publications between processes.
        memory: the memory budget.
    """

    services: Mapping[str, ServiceFigures] = {}
    processes: Mapping[str, ProcessFigures] = {}
    deliveries: int = 0
    publications: int = 0
    queue_bytes: int = 0
    handovers: int = 0
    commits: Histogram = Histogram()
    commit_rows: int = 0
    pool: PoolFigures = PoolFigures()
    broker: BrokerFigures = BrokerFigures()
    memory: MemoryFigures = MemoryFigures()

    def __add__(self, other: Figures) -> Figures:
        return Figures(
            services=_added(self.services, other.services),
            processes=_added(self.processes, other.processes),
            deliveries=self.deliveries + other.deliveries,
            publications=self.publications + other.publications,
            queue_bytes=self.queue_bytes + other.queue_bytes,
            handovers=self.handovers + other.handovers,
            commits=self.commits + other.commits,
            commit_rows=self.commit_rows + other.commit_rows,
            pool=self.pool + other.pool,
            broker=self.broker + other.broker,
            memory=self.memory + other.memory,
        )

    def counted(self) -> Figures:
        """Return what stays when the process ends: what it has counted, and not what it was like."""
        return Figures(
            services={name: service.counted() for name, service in self.services.items()},
            deliveries=self.deliveries,
            publications=self.publications,
            handovers=self.handovers,
            commits=self.commits,
            commit_rows=self.commit_rows,
            broker=self.broker.counted(),
            memory=self.memory.counted(),
        )


def merge(figures: Iterable[Figures]) -> Figures:
    """Make one of the figures of several processes."""
    return reduce(add, figures, Figures())


class Past:
    """What processes that ended have counted, so that totals never go backwards.

    Attributes:
        total: of all that ended.
    """

    def __init__(self) -> None:
        self.total = Figures()
        self._last: dict[str, Figures] = {}

    def seen(self, process: str, figures: Figures) -> None:
        """Keep what a process said last; it is counted when the process has ended.

        Args:
            process: a name that no other process has while this one lives.
            figures: what it said.
        """
        self._last[process] = figures

    def last(self, process: str) -> Figures:
        """Return what a process said last: it stands for one that does not answer in time."""
        return self._last.get(process, Figures())

    def ended(self, process: str) -> None:
        """Add what a process has counted to the past. Idempotent."""
        self.total += self._last.pop(process, Figures()).counted()


def _added(one: Mapping[str, V], other: Mapping[str, V]) -> dict[str, V]:
    """Add up what has the same name."""
    return {**one, **{name: one[name] + value if name in one else value for name, value in other.items()}}

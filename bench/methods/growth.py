"""Growth: what more subscribers, and more rooms, change."""

from __future__ import annotations

from bench.methods.traffic import Traffic, sample_of
from bench.scenario import Method, Point, Sample
from bench.subject import Measured, Subject

IN_FLIGHT = 100
"""Messages on their way at any time, however many rooms there are."""


class Subscribers(Method, frozen=True, kw_only=True):
    """One publisher with sixteen outstanding, and more and more that hear it.

    Args:
        sizes: numbers of subscribers.
        judged_from: smaller ones are shown, and not judged: the price of a message itself is spread over too few.
    """

    sizes: tuple[int, ...]
    judged_from: int

    def measure(self, subject: Subject) -> Sample:
        """Measure deliveries per second at each size; the value is the lowest in relation to the first judged one."""
        found = []
        for size in self.sizes:
            traffic = Traffic(clients=size, outstanding=16)
            with subject.serve() as server:
                found.append(traffic.run(subject, server, subject.load(server, size)))
        curve = _curve(self.sizes, found)
        judged = [point.y for point in curve if point.x >= self.judged_from]
        return _sample(min(judged) / judged[0], found, curve)


class Rooms(Method, frozen=True, kw_only=True):
    """The same number of messages on their way, each in a room that one client is in, in more and more rooms.

    Args:
        sizes: numbers of rooms. Up to 100, each has a client of its own; from there, clients are in several.
    """

    sizes: tuple[int, ...]

    def measure(self, subject: Subject) -> Sample:
        """Measure messages per second at each size; the value is the lowest in relation to that with 100 rooms."""
        found = []
        for size in self.sizes:
            clients = min(size, IN_FLIGHT)
            traffic = Traffic(
                mode="echo", clients=clients, outstanding=IN_FLIGHT // clients, rooms=size, joins=size // clients
            )
            with subject.serve() as server:
                found.append(traffic.run(subject, server, subject.load(server, clients, size)))
        curve = _curve(self.sizes, found)
        judged = [point.y for point in curve if point.x >= IN_FLIGHT]
        return _sample(min(judged) / judged[0], found, curve)


def _curve(sizes: tuple[int, ...], found: list[Measured]) -> tuple[Point, ...]:
    rates = [measured.report.received / measured.report.seconds for measured in found]
    return tuple(Point(size, rate) for size, rate in zip(sizes, rates, strict=True))


def _sample(value: float, found: list[Measured], curve: tuple[Point, ...]) -> Sample:
    """Make a sample of the last and largest measurement, with the faults of all."""
    last = sample_of(found[-1])
    faults = ", ".join(measured.report.faults for measured in found[:-1] if measured.report.faults)
    return Sample(
        value=value,
        report=last.report,
        server_cpu=last.server_cpu,
        generator_cpu=max(measured.report.cpu for measured in found),
        other_cpu=last.other_cpu,
        curve=curve,
        problem=faults,
    )

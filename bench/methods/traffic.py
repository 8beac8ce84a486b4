"""Messages: as fast as they come back, or on a schedule that waits for nothing."""

from __future__ import annotations

from typing import Literal

from bench.contestant import Load
from bench.scenario import Method, Sample
from bench.servers import Server
from bench.subject import Measured, Subject, watch


class Traffic(Method, frozen=True, kw_only=True):
    """Clients that talk.

    Args:
        mode: `fanout`, everybody hears the publishers; `echo`, everybody publishes, and hears oneself.
        clients: how many, publishers included.
        publishers: how many of them send.
        outstanding: messages of a publisher that may be on their way; it waits for its own to come back.
        rate: messages a second by all publishers, whatever comes back; 0 to keep `outstanding` on their way.
        rooms: how many rooms the clients spread over, where a contestant has rooms.
        joins: how many of these each client is in, and talks in by turns.
        compress: whether the clients insist on compression.
        seconds: how long to measure at least; 0 for as long as everything else.
    """

    mode: Literal["fanout", "echo"] = "fanout"
    clients: int
    publishers: int = 1
    outstanding: int = 1
    rate: float = 0
    rooms: int = 1
    joins: int = 1
    compress: bool = False
    seconds: float = 0

    def measure(self, subject: Subject) -> Sample:
        """Measure messages received per second; on a schedule, how long 99 % of them took, in microseconds."""
        with subject.serve() as server:
            return sample_of(self.run(subject, server, subject.load(server, self.clients, self.rooms)))

    def options(self) -> dict[str, object]:
        """Return the generator's options."""
        return {
            "mode": self.mode,
            "clients": self.clients,
            "publishers": self.publishers,
            "outstanding": self.outstanding,
            "rate": self.rate,
            "rooms": self.rooms,
            "joins": self.joins,
            "compress": int(self.compress),
        }

    def run(self, subject: Subject, server: Server, load: Load, **more: object) -> Measured:
        """Let the clients talk to a server that runs already.

        Args:
            subject: whose server.
            server: itself.
            load: what the clients say.
            more: options of the generator beside those that stand here.
        """
        options = {"seconds": max(self.seconds, subject.seconds), **self.options(), **more}
        with subject.generate(options, load, server) as running:
            return watch(running, server)


def sample_of(measured: Measured) -> Sample:
    """Make a sample: its value is what came in per second, or on a schedule, the 99th percentile."""
    report, busy = measured.report, measured.busy
    latency = report.latency
    return Sample(
        value=latency.p99 if latency else report.received / report.seconds,
        report=report,
        server_cpu=busy.server,
        generator_cpu=report.cpu,
        database_cpu=busy.database or None,
        other_cpu=busy.other,
    )

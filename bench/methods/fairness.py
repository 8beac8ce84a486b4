"""What one does to others: a reader that does not read, a flood next door."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from bench.contestant import Load
from bench.methods.traffic import Traffic, sample_of
from bench.scenario import Method, Sample
from bench.servers import Server
from bench.subject import Subject, watch

LOOK_SECONDS = 0.05
NO_WORD = 1006
"""The close code of a connection that ended without one (RFC 6455, section 7.1.5)."""
READ_SECONDS = 5
"""So long it may read at the end without coming to last words: then there are none."""
WARM_SECONDS = 2
"""Long enough to look at the memory first."""


class Slow(Method, frozen=True, kw_only=True):
    """One reader of ten does not read for a while, at full load.

    Args:
        seconds: how long.
        told: whether that is short enough for the server's last words to be read, so that they have to be right.
    """

    seconds: float
    told: bool

    def measure(self, subject: Subject) -> Sample:
        """Measure the rate of the others meanwhile; beside it, by how much memory grew and what the rate was before."""
        traffic = Traffic(clients=10, outstanding=16)
        with subject.serve() as server:
            load = subject.load(server, traffic.clients)
            before = traffic.run(subject, server, load).report
            options = {
                **traffic.options(),
                "stall": 1,
                "warm": WARM_SECONDS,
                "seconds": self.seconds,
                "drain": READ_SECONDS,
            }
            with subject.generate(options, load, server) as running:
                running.wait("ready")
                with highest_resident(server) as memory:
                    measured = watch(running, server)
        sample = sample_of(measured)
        # Nine of ten receive.
        kept = (sample.value / 9) / (before.received / before.seconds / 10)
        code = measured.report.stalled_code
        return msgspec.structs.replace(
            sample,
            problem=self.problem(subject.contestant.too_slow, code),
            growth=memory.highest - memory.first,
            kept=kept,
            remark=f"closed with {code}" if code else "never closed",
        )

    def problem(self, promised: int, code: int) -> str:
        """Say whether a promise is broken; one that reads again much later finds no last words any more."""
        if not promised or code == promised or (code == NO_WORD and not self.told):
            return ""
        return f"not closed with {promised}"


class Watched:
    """The resident memory of a server, looked at again and again."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.first = self.highest = server.resident_bytes()

    def look(self) -> None:
        """Look once more."""
        self.highest = max(self.highest, self._server.resident_bytes_now())


@contextmanager
def highest_resident(server: Server) -> Iterator[Watched]:
    """Look at a server's memory until the block ends."""
    watched, done = Watched(server), threading.Event()

    def look() -> None:
        while not done.wait(LOOK_SECONDS):
            watched.look()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield watched
    finally:
        done.set()
        thread.join()
        watched.look()


class Flood(Method, frozen=True, kw_only=True):
    """A quiet topic beside one that is flooded.

    Args:
        quiet: what happens in the quiet one.
        flood: what happens beside it.
    """

    quiet: Traffic
    flood: Traffic

    def measure(self, subject: Subject) -> Sample:
        """Measure the 99th percentile of the quiet one's latency beside the flood; without it, as a remark."""
        quiet, flood = Load(path="/quiet"), Load(path="/bench")
        with subject.serve() as server:
            alone = self.quiet.run(subject, server, quiet).report
            longer = subject.seconds + 2.0  # so that the flood is there from beginning to end
            with subject.generate({**self.flood.options(), "seconds": longer}, flood, server) as flooding:
                flooding.wait("begin")
                beside = self.quiet.run(subject, server, quiet)
                flooded = flooding.wait("result")
        sample = sample_of(beside)
        undisturbed = alone.latency.p99 if alone.latency else 0.0
        return msgspec.structs.replace(
            sample,
            server_cpu=None,  # it is the flood's
            generator_cpu=flooded.cpu,
            other_cpu=None,  # the other generator is no disturbance
            problem=flooded.faults,
            remark=f"p99 {undisturbed:,.0f} us without the flood of {flooded.received / flooded.seconds:,.0f}/s",
        )

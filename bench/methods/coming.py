"""Coming and going: connecting, catching up, memory, churn, starting."""

from __future__ import annotations

import socket
import time

import msgspec

from bench.contestant import Load
from bench.generator import BenchError, Report
from bench.methods.traffic import Traffic
from bench.scenario import Method, Sample
from bench.servers import Server
from bench.subject import Subject, watch

FIRST_CLIENTS = 2000
"""Clients that are there already when memory is looked at first: what is loaded, grown or freed once, such as the
young generation of a garbage collector, is not counted."""
FIRST_CLIENT_SECONDS = 10


class Connects(Method, frozen=True, kw_only=True):
    """Clients connect, 64 at a time, and join their rooms.

    Args:
        clients: how many.
        rooms: how many rooms they spread over, where a contestant has rooms.
    """

    clients: int
    rooms: int = 1

    def measure(self, subject: Subject) -> Sample:
        """Measure clients per second, from the first to the last that is in."""
        with subject.serve() as server:
            load = subject.load(server, self.clients, self.rooms)
            options: dict[str, object] = {"mode": "connect", "clients": self.clients, "rooms": self.rooms}
            with subject.generate(options, load, server) as running:
                report = running.wait("result")
        return Sample(value=report.clients / report.seconds, report=report)


class Resume(Method, frozen=True, kw_only=True):
    """Everybody comes back at once, and has missed something.

    Args:
        clients: how many.
        rooms: how many rooms they spread over.
        behind: messages that each has missed.
    """

    clients: int
    rooms: int
    behind: int

    def measure(self, subject: Subject) -> Sample:
        """Measure clients per second, from the first connecting to the last complete answer."""
        with subject.serve() as server:
            load = subject.load(server, self.clients, self.rooms, self.behind)
            options = {"mode": "idle", "clients": self.clients, "rooms": self.rooms, "each": self.behind}
            with subject.generate(options, load, server) as running:
                opened = running.wait("opened")
                running.wait("ready")
                resident = server.resident_bytes()
                running.release()
                report = running.wait("result")
        if load.item and report.items != self.clients * self.behind:
            raise BenchError(f"{report.items:,} messages were caught up with, of {self.clients * self.behind:,}")
        return Sample(value=opened.clients / opened.seconds, report=report, resident=resident)


class Memory(Method, frozen=True, kw_only=True):
    """Clients that are there and say nothing.

    Args:
        clients: how many.
        rooms: how many rooms they spread over, where a contestant has rooms.
        total: whether the value is all resident memory, or what one client adds.
    """

    clients: int
    rooms: int = 1
    total: bool = False

    def measure(self, subject: Subject) -> Sample:
        """Measure memory per client, or altogether, in bytes."""
        with subject.serve() as server:
            if self.total:
                report, resident = self._sit(subject, server, self.clients)
                return Sample(value=resident, report=report, resident=resident)
            return self._one_by_one(subject, server)

    def _one_by_one(self, subject: Subject, server: Server) -> Sample:
        """Look at the memory with some clients, and again with many more."""
        load = subject.load(server, self.clients, self.rooms)
        with subject.generate(self._options(FIRST_CLIENTS), load, server) as first:
            first.wait("ready")
            before = server.resident_bytes()
            report, resident = self._sit(subject, server, self.clients, load)
        return Sample(value=(resident - before) / self.clients, report=report, resident=resident)

    def _sit(self, subject: Subject, server: Server, clients: int, load: Load | None = None) -> tuple[Report, int]:
        load = load or subject.load(server, clients, self.rooms)
        with subject.generate(self._options(clients), load, server) as running:
            running.wait("ready")
            resident = server.resident_bytes()
            running.release()
            return running.wait("result"), resident

    def _options(self, clients: int) -> dict[str, object]:
        return {"mode": "idle", "clients": clients, "rooms": self.rooms}


class Churn(Method, frozen=True, kw_only=True):
    """Some come, join, leave and go, over and over, among many that stay and talk now and then.

    Args:
        clients: those that stay.
        churners: those that do not.
        rooms: how many rooms both spread over.
        rate: messages a second by those that stay; none may be lost.
    """

    clients: int
    churners: int
    rooms: int
    rate: float

    def measure(self, subject: Subject) -> Sample:
        """Measure how often somebody came and went, per second."""
        staying = Traffic(clients=self.clients, publishers=self.rooms, rooms=self.rooms, rate=self.rate)
        with subject.serve() as server:
            load = subject.load(server, self.clients + self.churners, self.rooms)
            # Those that churn have the identities behind those of the others.
            theirs = msgspec.structs.replace(load, headers=load.headers[self.clients :])
            options: dict[str, object] = {"mode": "churn", "clients": self.churners, "rooms": self.rooms}
            longer = subject.seconds + 2.0  # so that messages are on their way from beginning to end
            with subject.generate({**staying.options(), "seconds": longer}, load, server) as talking:
                talking.wait("begin")
                with subject.generate(options, theirs, server) as running:
                    churned = watch(running, server)
                stayed = talking.wait("result")
        return Sample(
            value=churned.report.cycles / churned.report.seconds,
            report=_both(stayed, churned.report),
            server_cpu=churned.busy.server,
            generator_cpu=churned.report.cpu,
            remark=f"those that stay: p99 {stayed.latency.p99:,.0f} us" if stayed.latency else "",
        )


class Start(Method, frozen=True, kw_only=True):
    """A server starts, in an empty folder."""

    def measure(self, subject: Subject) -> Sample:
        """Measure the seconds from starting the process to the first client that is let in."""
        with subject.serve() as server:
            load = subject.load(server, 0, 0)
            _first_client(server.port, load.path)
            seconds = time.monotonic() - server.started
            resident = server.resident_bytes()
        return Sample(value=seconds, report=Report("result", clients=1, seconds=seconds), resident=resident)


def _both(one: Report, other: Report) -> Report:
    """Return the second report with the faults of both."""
    return msgspec.structs.replace(
        other,
        lost=one.lost + other.lost,
        disordered=one.disordered + other.disordered,
        refused=one.refused + other.refused,
        closed=one.closed + other.closed,
    )


def _first_client(port: int, path: str) -> None:
    """Let a client in.

    Raises:
        BenchError: it is not let in.
    """
    request = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), FIRST_CLIENT_SECONDS) as client:
        client.sendall(request.encode())
        answer = client.recv(65536)
    if not answer.startswith(b"HTTP/1.1 101"):
        raise BenchError(f"the first client was turned away: {answer[:100]!r}")

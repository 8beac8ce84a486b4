"""Services in processes of their own: what more of them can do, what the main process has to do, who disturbs whom."""

from __future__ import annotations

import time

import msgspec
from websockets.sync.client import connect

from bench.generator import BenchError, Report
from bench.methods.traffic import Traffic, sample_of
from bench.scenario import Method, Point, Sample
from bench.servers import Server
from bench.subject import Measured, Subject

REST_SECONDS = 5.0
"""So long nobody says anything while the main process is looked at."""
TICK_SECONDS = 0.01
"""Of the clock that counts a process's time."""
COMPUTE_SECONDS = 5.0
PATIENCE_SECONDS = 30.0


class Workers(Method, frozen=True, kw_only=True):
    """More and more workers of one service, and a load for each number of them.

    All processes of the server share one core, so that what they use is what it costs, and not what two cores here
    allow. The processor time of the busiest process for each delivery says what each core can do where there are
    enough of them: the one that has most to do is full first.

    Args:
        service: whose workers.
        loads: what the clients do, by the number of workers.
    """

    service: str
    loads: dict[int, Traffic]

    def measure(self, subject: Subject) -> Sample:
        """Measure what the busiest process can deliver in a second of its time; the value is the last to the first."""
        found = [self._with(subject, count, traffic) for count, traffic in self.loads.items()]
        capacities = [able(measured) for measured in found]
        return msgspec.structs.replace(
            sample_of(found[-1]),
            value=capacities[-1] / capacities[0],
            curve=tuple(Point(count, each) for count, each in zip(self.loads, capacities, strict=True)),
            problem=", ".join(measured.report.faults for measured in found[:-1] if measured.report.faults),
            remark="; ".join(map(_spent, self.loads, found)),
        )

    def _with(self, subject: Subject, count: int, traffic: Traffic) -> Measured:
        with subject.serve({f"services.{self.service}.workers": count}) as server:
            return traffic.run(subject, server, subject.load(server, traffic.clients, traffic.rooms))


class HandOffs(Method, frozen=True, kw_only=True):
    """Clients connect, 64 at a time, to a service in a worker.

    Args:
        service: which.
        clients: how many.
    """

    service: str
    clients: int

    def measure(self, subject: Subject) -> Sample:
        """Measure clients per second; beside it, what each costs the main process, with a worker and without."""
        without = self._with(subject, 0)
        sample = self._with(subject, 1)
        return msgspec.structs.replace(sample, remark=f"{sample.remark}; in the main process alone: {without.remark}")

    def _with(self, subject: Subject, count: int) -> Sample:
        with subject.serve({f"services.{self.service}.workers": count}) as server:
            load = subject.load(server, self.clients)
            before = server.process_cpu_seconds()
            with subject.generate({"mode": "idle", "clients": self.clients}, load, server) as running:
                opened = running.wait("opened")
                after = server.process_cpu_seconds()
                running.release()
                report = running.wait("result")
        each = [1e6 * (after[pid] - cpu) / self.clients for pid, cpu in before.items() if pid in after]
        rate = opened.clients / opened.seconds
        parts = f"main process {each[0]:.0f} us, worker {each[1]:.0f} us each" if each[1:] else f"{each[0]:.0f} us each"
        return Sample(value=rate, report=report, remark=f"{rate:,.0f}/s, {parts}")


class MainAtRest(Method, frozen=True, kw_only=True):
    """Clients in workers, and a main process that has nothing to do with what they say.

    Args:
        service: whose workers.
        count: of workers.
        traffic: what the clients do after a while of silence.
    """

    service: str
    count: int
    traffic: Traffic

    def measure(self, subject: Subject) -> Sample:
        """Measure the main process's memory for each client, and what it uses of a core in silence and in traffic."""
        clients = self.traffic.clients
        with subject.serve({f"services.{self.service}.workers": self.count}) as server:
            load = subject.load(server, clients, self.traffic.rooms)
            before = server.first_resident_bytes()
            idle: dict[str, object] = {"mode": "idle", "clients": clients, "rooms": self.traffic.rooms}
            with subject.generate(idle, load, server) as running:
                running.wait("ready")
                resident = server.first_resident_bytes()
                silent = _first_cpu(server)
                running.release()
                running.wait("result")
            talking = self.traffic.run(subject, server, load)
            grown = server.first_resident_bytes()
        busy, report = talking.busy, talking.report
        rate = report.received / report.seconds
        return msgspec.structs.replace(
            sample_of(talking),
            value=busy.first,
            resident=resident,
            growth=grown - before,
            remark=f"main process: {(resident - before) / clients:,.0f} bytes a client, {silent:.2%} of a core "
            f"in silence, {busy.first:.2%} at {rate:,.0f} deliveries/s; "
            f"workers {', '.join(f'{each:.0%}' for each in busy.rest)}",
        )


class Compute(Method, frozen=True, kw_only=True):
    """A topic in the main process, beside a service that computes without a pause.

    No process is pinned, and the worker has a core only while nobody else wants it: with two cores for three who are
    busy, what is measured is whether processes wait for each other, not whether they wait for a core.

    Args:
        traffic: what the topic's clients do, on a schedule.
    """

    traffic: Traffic

    def measure(self, subject: Subject) -> Sample:
        """Measure the topic's 99th percentile beside a worker that computes; the same elsewhere, as a remark."""
        subject = msgspec.structs.replace(subject, server_core=None)
        alone = self._with(subject, workers=1, seconds=0)
        inside = self._with(subject, workers=0, seconds=COMPUTE_SECONDS)
        beside = self._with(subject, workers=1, seconds=COMPUTE_SECONDS)
        return Sample(
            value=_p99(beside),
            report=beside,
            generator_cpu=beside.cpu,
            problem=", ".join(report.faults for report in (alone, inside) if report.faults),
            remark=f"p99 {_p99(alone):,.0f} us when nobody computes, {_p99(inside):,.0f} us when the main process does",
        )

    def _with(self, subject: Subject, *, workers: int, seconds: float) -> Report:
        options = {**self.traffic.options(), "seconds": COMPUTE_SECONDS}
        with subject.serve({"services.compute.workers": workers}) as server:
            load = subject.load(server, self.traffic.clients)
            server.yield_to_others()
            with connect(f"ws://127.0.0.1:{server.port}/compute", open_timeout=PATIENCE_SECONDS) as client:
                with subject.generate(options, load, server) as running:
                    running.wait("begin")
                    client.send(str(seconds))
                    report = running.wait("result")
                if client.recv(PATIENCE_SECONDS) != "done":
                    raise BenchError("nothing was computed")
        return report


def able(measured: Measured) -> float:
    """Return the deliveries that the busiest process makes possible in a second of its time."""
    report = measured.report
    return report.received / max(report.seconds * measured.busy.busiest, TICK_SECONDS)


def _spent(count: int, measured: Measured) -> str:
    """Tell how fast it was here, and what the processes used for each delivery."""
    report, busy = measured.report, measured.busy
    rate = report.received / report.seconds
    each = ", ".join(f"{1e6 * cpu / rate:.3g}" for cpu in (busy.first, *busy.rest))
    return f"{count}: {rate:,.0f}/s here, {each} us of main process and workers"


def _first_cpu(server: Server) -> float:
    """Return how much of a core the first process uses."""
    began, used = time.monotonic(), next(iter(server.process_cpu_seconds().values()))
    time.sleep(REST_SECONDS)
    passed = time.monotonic() - began
    return (next(iter(server.process_cpu_seconds().values())) - used) / passed


def _p99(report: Report) -> float:
    return report.latency.p99 if report.latency else 0.0

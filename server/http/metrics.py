"""/metrics: figures in Prometheus' text format, gathered from the processes when they are asked for."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.figures import Figures, Histogram, merge
from server.service.host import ServiceHost
from server.version import __version__

Gather = Callable[[], Awaitable[Sequence[Figures]]]
"""Returns the figures of each process, and of those that ended; it waits for a bounded time."""


class FiguresCollector(Collector):
    """Figures as metrics.

    Args:
        figures: of all processes together.
    """

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        yield _gauge("info", "Version of the server.", "version", {__version__: 1})
        yield from self._services()
        yield from self._traffic()
        yield from self._database()
        yield from self._machine()

    def _services(self) -> Iterator[Metric]:
        services = self._figures.services
        each = services.items()
        yield _gauge("connections", "Open WebSockets.", "service", {name: s.connections for name, s in each})
        yield _gauge("service_running", "1 while the service runs.", "service", {name: s.running for name, s in each})
        yield _counter("incidents", "Failures of services.", "service", {name: s.incidents for name, s in each})
        yield _counter("stalls", "Times that the event loop was blocked.", "service", {n: s.stalls for n, s in each})
        yield _counter(
            "stall_seconds", "Time that the event loop was blocked.", "service", {n: s.stall_seconds for n, s in each}
        )
        yield _gauge(
            "last_stall_seconds",
            "The last time the service blocked the event loop.",
            "service",
            {name: s.last_stall_seconds for name, s in each},
        )

    def _traffic(self) -> Iterator[Metric]:
        figures = self._figures
        yield _one_counter("deliveries", "Messages of topics to subscribers.", figures.deliveries)
        yield _one_counter("publications", "Messages published to topics.", figures.publications)
        yield _one_gauge("queue_bytes", "What waits for clients to take it.", figures.queue_bytes)
        yield _one_counter("handovers", "Sockets handed to another process.", figures.handovers)
        broker = figures.broker
        yield _one_gauge("broker_connected", "1 while publications reach the other processes.", broker.connected)
        yield _one_counter("broker_gaps", "Times that publications may have been lost.", broker.gaps)
        yield _one_counter("broker_carried", "Publications that went to other processes.", broker.carried)

    def _database(self) -> Iterator[Metric]:
        figures, pool = self._figures, self._figures.pool
        yield _one_counter("commits", "Transactions that wrote something.", figures.commits.total)
        yield _one_counter("commit_rows", "Rows written by these.", figures.commit_rows)
        yield _histogram("commit_seconds", "From the beginning of a transaction to its commit.", figures.commits)
        states = {"size": pool.size, "in_use": pool.in_use, "waiting": pool.waiting}
        yield _gauge("database_pool", "Connections to the database, and what waits for one.", "state", states)

    def _machine(self) -> Iterator[Metric]:
        each = self._figures.processes.items()
        memory = self._figures.memory
        yield _gauge(
            "process_resident_bytes",
            "Memory, what is shared with others included.",
            "process",
            {name: p.resident_bytes for name, p in each},
        )
        yield _counter(
            "process_cpu_seconds", "CPU time of all threads.", "process", {name: p.cpu_seconds for name, p in each}
        )
        yield _gauge(
            "process_descriptors", "Open files and sockets.", "process", {name: p.descriptors for name, p in each}
        )
        yield _one_gauge("memory_budget_bytes", "server.memory; 0 when it is not set.", memory.budget_bytes)
        yield _one_gauge("memory_pressure", "Part of the budget that is taken, 1 is all of it.", memory.pressure)
        yield _counter("shed", "Times that something was given up for memory.", "what", memory.shed)


def metrics_route(host: ServiceHost, gather: Gather | None = None) -> Route:
    """Return the route of /metrics.

    Args:
        host: the services of this process.
        gather: asks every process; without it, the figures are those that `host` has.
    """
    process = ProcessCollector(registry=None)

    async def metrics(request: Request) -> Response:  # noqa: ARG001 Starlette's signature
        figures = [Figures(services=host.figures())] if gather is None else await gather()
        registry = CollectorRegistry()
        registry.register(process)
        registry.register(FiguresCollector(merge(figures)))
        return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return Route("/metrics", metrics)


def _gauge(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    gauge = GaugeMetricFamily(f"switchboard_{name}", text, labels=[label])
    for key, value in values.items():
        gauge.add_metric([key], float(value))
    return gauge


def _counter(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    counter = CounterMetricFamily(f"switchboard_{name}", text, labels=[label])
    for key, value in values.items():
        counter.add_metric([key], float(value))
    return counter


def _one_gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"switchboard_{name}", text, float(value))


def _one_counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"switchboard_{name}", text, float(value))


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    bounds = [*map(str, histogram.bounds), "+Inf"]
    counts = itertools.accumulate(histogram.counts or (0,))
    return HistogramMetricFamily(
        f"switchboard_{name}", text, buckets=list(zip(bounds, counts, strict=True)), sum_value=histogram.seconds
    )

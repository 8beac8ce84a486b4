"""/metrics: figures in Prometheus' text format, read from the parts when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.service.host import ServiceHost, State
from server.version import __version__


class ServiceCollector(Collector):
    """What the services' statuses say, as metrics."""

    def __init__(self, host: ServiceHost) -> None:
        self._host = host

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        statuses = self._host.statuses()
        info = GaugeMetricFamily("switchboard_info", "Version of the server.", labels=["version"])
        info.add_metric([__version__], 1)
        connections = GaugeMetricFamily("switchboard_connections", "Open WebSockets.", labels=["service"])
        running = GaugeMetricFamily("switchboard_service_running", "1 while the service runs.", labels=["service"])
        incidents = CounterMetricFamily("switchboard_incidents", "Failures of services.", labels=["service"])
        stalls = GaugeMetricFamily(
            "switchboard_last_stall_seconds", "The last time the service blocked the event loop.", labels=["service"]
        )
        for name, status in statuses.items():
            connections.add_metric([name], status.clients)
            running.add_metric([name], status.state is State.RUNNING)
            incidents.add_metric([name], status.incidents)
            stalls.add_metric([name], status.stall_seconds)
        yield from (info, connections, running, incidents, stalls)


def metrics_route(host: ServiceHost) -> Route:
    """Return the route of /metrics."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(ServiceCollector(host))

    async def metrics(request: Request) -> Response:  # noqa: ARG001 Starlette's signature
        return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return Route("/metrics", metrics)

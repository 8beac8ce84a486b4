"""/metrics: exactly the promised names, as Prometheus reads them, merged over all processes."""

from __future__ import annotations

from collections.abc import Sequence

import httpx
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from server.figures import BrokerFigures, Figures, Histogram, MemoryFigures, PoolFigures, ProcessFigures, ServiceFigures
from server.http.metrics import Gather, metrics_route
from server.version import __version__
from tests.server.http.conftest import Site

Samples = dict[tuple[str, tuple[str, ...]], float]

WORKER = Figures(
    services={"chat": ServiceFigures(running=True, connections=3, incidents=1, stalls=2, stall_seconds=1.5)},
    processes={"chat-1": ProcessFigures(resident_bytes=100, cpu_seconds=2.5, descriptors=9)},
    deliveries=10,
    publications=2,
    queue_bytes=7,
    commits=Histogram((0.001, 1.0), (1, 2, 3), 40.0),
    commit_rows=60,
    pool=PoolFigures(size=4, in_use=3, waiting=2),
    broker=BrokerFigures(connected=False, gaps=1, carried=5),
    memory=MemoryFigures(budget_bytes=256, pressure=0.5, shed={"cache": 1}),
)
MAIN = Figures(
    services={"chat": ServiceFigures(running=True), "echo": ServiceFigures(connections=1)},
    processes={"main": ProcessFigures(resident_bytes=50)},
    handovers=8,
    commits=Histogram((0.001, 1.0), (4, 0, 0), 0.25),
    memory=MemoryFigures(budget_bytes=256, pressure=0.25, shed={"cache": 1, "slow": 2}),
)


async def scrape(site: Site, figures: Sequence[Figures]) -> Samples:
    """Return what Prometheus would read, by name and labels."""

    async def gather() -> Sequence[Figures]:
        return figures

    return await read(site, gather)


async def read(site: Site, gather: Gather | None) -> Samples:
    application = Starlette(routes=[metrics_route(site.host, gather)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://test") as http:
        response = await http.get("/metrics")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain")
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
        if sample.name.startswith("switchboard_") and not sample.name.endswith("_created")
    }


async def test_every_figure(site: Site) -> None:
    """The names are those that dashboards know, and the processes are added up."""
    samples = await scrape(site, [MAIN, WORKER])
    assert samples == {
        ("switchboard_info", (__version__,)): 1,
        ("switchboard_connections", ("chat",)): 3,
        ("switchboard_connections", ("echo",)): 1,
        ("switchboard_service_running", ("chat",)): 1,
        ("switchboard_service_running", ("echo",)): 0,
        ("switchboard_incidents_total", ("chat",)): 1,
        ("switchboard_incidents_total", ("echo",)): 0,
        ("switchboard_stalls_total", ("chat",)): 2,
        ("switchboard_stalls_total", ("echo",)): 0,
        ("switchboard_stall_seconds_total", ("chat",)): 1.5,
        ("switchboard_stall_seconds_total", ("echo",)): 0,
        ("switchboard_last_stall_seconds", ("chat",)): 0,
        ("switchboard_last_stall_seconds", ("echo",)): 0,
        ("switchboard_deliveries_total", ()): 10,
        ("switchboard_publications_total", ()): 2,
        ("switchboard_queue_bytes", ()): 7,
        ("switchboard_handovers_total", ()): 8,
        ("switchboard_commits_total", ()): 10,
        ("switchboard_commit_rows_total", ()): 60,
        ("switchboard_commit_seconds_bucket", ("0.001",)): 5,
        ("switchboard_commit_seconds_bucket", ("1.0",)): 7,
        ("switchboard_commit_seconds_bucket", ("+Inf",)): 10,
        ("switchboard_commit_seconds_count", ()): 10,
        ("switchboard_commit_seconds_sum", ()): 40.25,
        ("switchboard_database_pool", ("size",)): 4,
        ("switchboard_database_pool", ("in_use",)): 3,
        ("switchboard_database_pool", ("waiting",)): 2,
        ("switchboard_broker_connected", ()): 0,
        ("switchboard_broker_gaps_total", ()): 1,
        ("switchboard_broker_carried_total", ()): 5,
        ("switchboard_process_resident_bytes", ("main",)): 50,
        ("switchboard_process_resident_bytes", ("chat-1",)): 100,
        ("switchboard_process_cpu_seconds_total", ("main",)): 0,
        ("switchboard_process_cpu_seconds_total", ("chat-1",)): 2.5,
        ("switchboard_process_descriptors", ("main",)): 0,
        ("switchboard_process_descriptors", ("chat-1",)): 9,
        ("switchboard_memory_budget_bytes", ()): 256,
        ("switchboard_memory_pressure", ()): 0.5,
        ("switchboard_shed_total", ("cache",)): 2,
        ("switchboard_shed_total", ("slow",)): 2,
    }


async def test_one_process_alone(site: Site) -> None:
    """Without anybody to ask, the services of this process are told of."""
    samples = await read(site, None)
    assert samples["switchboard_service_running", ("echo",)] == 1
    assert samples["switchboard_connections", ("dice",)] == 0


async def test_the_main_process_has_the_usual_names(site: Site) -> None:
    """What every Prometheus exporter says of its process is there too, scrape after scrape."""
    for _ in range(2):
        text = (await site.http.get("/metrics")).text
        assert "\nprocess_resident_memory_bytes " in text
        assert text.count("# TYPE switchboard_info gauge") == 1

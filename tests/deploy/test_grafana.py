"""The dashboard: what it asks for is there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from server.db.counting import COMMIT_SECONDS
from server.figures import Figures, Histogram, MemoryFigures, ProcessFigures, ServiceFigures
from server.http.metrics import FiguresCollector
from tests.deploy.support import DEPLOY


def expressions(dashboard: dict[str, Any]) -> Iterator[str]:
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel.get("targets", []))
    yield from (variable.get("definition", "") for variable in dashboard["templating"]["list"])


def test_every_metric_of_the_dashboard_exists() -> None:
    """Each metric and each label that the dashboard asks for is one that /metrics has."""
    figures = Figures(
        services={"chat": ServiceFigures()},
        processes={"main": ProcessFigures()},
        commits=Histogram(COMMIT_SECONDS, (0,) * (len(COMMIT_SECONDS) + 1)),
        memory=MemoryFigures(shed={"cache": 1}),
    )
    registry = CollectorRegistry()
    registry.register(FiguresCollector(figures))
    text = generate_latest(registry).decode()
    metrics = set(re.findall(r"^(switchboard_\w+)[ {]", text, re.MULTILINE))
    labels = set(re.findall(r"[{,](\w+)=\"", text)) | {"job", "instance"}  # Prometheus adds these two
    dashboard = json.loads((DEPLOY / "grafana.json").read_text())
    asked = "\n".join(expressions(dashboard))
    assert set(re.findall(r"switchboard_\w+", asked)) - metrics == set()
    used = set(re.findall(r"(\w+)=~?\"", asked)) | set(", ".join(re.findall(r"by \(([^)]*)\)", asked)).split(", "))
    assert used - labels == set()


def test_every_panel_says_what_it_shows() -> None:
    """Each panel has its number, a description, and the data source that the reader chose."""
    panels = json.loads((DEPLOY / "grafana.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        if panel["type"] != "row":
            assert panel["description"].endswith(".")
            assert panel["datasource"]["uid"] == "${datasource}"

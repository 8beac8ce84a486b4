"""What a server says of itself at a moment: /health, and the figures of /metrics."""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from server.http.health import Health
from server.operating.asking import Address, Unreachable, get

Labels = tuple[str, ...]


class Sample(msgspec.Struct, frozen=True):
    """A moment of a server.

    Args:
        at: when it was, in seconds of a clock that only goes forward.
        health: what /health said.
        figures: what /metrics said: values by name, and by their labels' values; nothing where it may not be asked.
    """

    at: float
    health: Health
    figures: Mapping[str, Mapping[Labels, float]]

    def figure(self, name: str, *labels: str) -> float | None:
        """Return a figure, summed over all labels where none is given; None where it is not known.

        Args:
            name: without `switchboard_`.
            labels: values of its labels.
        """
        values = self.figures.get(f"switchboard_{name}")
        if not values:
            return None
        return values.get(labels) if labels else sum(values.values())

    def rate(self, name: str, before: Sample | None) -> float | None:
        """Return by how much a figure has grown in a second since another moment; None where that is not known."""
        if before is None or self.at <= before.at:
            return None
        now, then = self.figure(name), before.figure(name)
        if now is None or then is None:
            return None
        return max(0.0, now - then) / (self.at - before.at)


def take(address: Address) -> Sample:
    """Ask a server. It blocks.

    Raises:
        Unreachable: it does not answer, or it is no Switchboard of this version.
    """
    health = read_health(get(address, "/health").body)
    metrics = get(address, "/metrics")
    text = metrics.body.decode("utf-8", "replace") if metrics.status == 200 else ""
    return Sample(time.monotonic(), health, read_figures(text))


def read_health(body: bytes) -> Health:
    """Read what /health answers.

    Raises:
        Unreachable: it is something else.
    """
    try:
        return msgspec.json.decode(body, type=Health)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Unreachable("what answers there is no Switchboard, or one of another version") from None


def read_figures(text: str) -> dict[str, dict[Labels, float]]:
    """Read Prometheus' text format; what is none of it is nothing."""
    figures: dict[str, dict[Labels, float]] = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                figures.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    except (ValueError, KeyError, IndexError):
        return {}
    return figures

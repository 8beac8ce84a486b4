"""Figures: those of several processes add up, and a total never goes backwards."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.figures import (
    BrokerFigures,
    Figures,
    Histogram,
    MemoryFigures,
    Past,
    PoolFigures,
    ProcessFigures,
    ServiceFigures,
    merge,
)

BOUNDS = (0.001, 1.0)
counts = st.integers(0, 10**6)
seconds = counts.map(float)  # whole numbers, so that sums are exact in any order

services = st.builds(
    ServiceFigures,
    running=st.booleans(),
    connections=counts,
    incidents=counts,
    stalls=counts,
    stall_seconds=seconds,
    last_stall_seconds=seconds,
)
processes = st.builds(ProcessFigures, resident_bytes=counts, cpu_seconds=seconds, descriptors=counts)
histograms = st.just(Histogram()) | st.builds(Histogram, st.just(BOUNDS), st.tuples(counts, counts, counts), seconds)
figures = st.builds(
    Figures,
    services=st.dictionaries(st.sampled_from(["chat", "dice"]), services),
    processes=st.dictionaries(st.sampled_from(["main", "chat-1"]), processes),
    deliveries=counts,
    publications=counts,
    queue_bytes=counts,
    handovers=counts,
    commits=histograms,
    commit_rows=counts,
    pool=st.builds(PoolFigures, size=counts, in_use=counts, waiting=counts),
    broker=st.builds(BrokerFigures, connected=st.booleans(), gaps=counts, carried=counts),
    memory=st.builds(
        MemoryFigures,
        budget_bytes=counts,
        pressure=seconds,
        shed=st.dictionaries(st.sampled_from(["cache", "slow"]), counts),
    ),
)


def totals(figure: Figures) -> list[float]:
    """Return everything that may never go backwards."""
    return [
        figure.deliveries,
        figure.publications,
        figure.handovers,
        figure.commits.total,
        figure.commits.seconds,
        figure.commit_rows,
        figure.broker.gaps,
        figure.broker.carried,
        *(figure.memory.shed.get(what, 0) for what in ("cache", "slow")),
        *(
            total
            for name in ("chat", "dice")
            for service in [figure.services.get(name, ServiceFigures())]
            for total in (service.incidents, service.stalls, service.stall_seconds)
        ),
    ]


@given(figures, figures, figures)
def test_the_order_is_all_the_same(one: Figures, two: Figures, three: Figures) -> None:
    """Figures may be merged in any order and in any grouping, and nothing is the neutral element."""
    assert merge([one, two, three]) == merge([three, merge([two, one])])
    assert merge([one]) == one
    assert merge([]) == Figures()


@given(figures, figures)
def test_totals_survive_a_process(main: Figures, worker: Figures) -> None:
    """When a process ends, no total changes; what the process was like is gone."""
    past = Past()
    past.seen("worker", worker)
    before = merge([main, past.total, past.last("worker")])
    past.ended("worker")
    past.ended("worker")
    after = merge([main, past.total, past.last("worker")])
    assert totals(after) == totals(before)
    assert after.processes == main.processes
    assert after.queue_bytes == main.queue_bytes
    assert after.pool == main.pool
    assert after.broker.connected == main.broker.connected
    assert sum(s.connections for s in after.services.values()) == sum(s.connections for s in main.services.values())


@given(figures)
def test_figures_travel(one: Figures) -> None:
    """What a worker says arrives as it was."""
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(one), type=Figures) == one


def test_a_broker_is_connected_when_all_are() -> None:
    """One process that reaches nobody is enough to say so; a service runs where any process runs it."""
    away = Figures(broker=BrokerFigures(connected=False), services={"chat": ServiceFigures(running=False)})
    assert not merge([Figures(), away]).broker.connected
    assert merge([away, Figures(services={"chat": ServiceFigures(running=True)})]).services["chat"].running


def test_histograms_of_other_bounds() -> None:
    """What cannot be added is not added silently."""
    with pytest.raises(ValueError, match="bounds"):
        _ = Histogram((1.0,), (1, 1), 1.0) + Histogram((2.0,), (1, 1), 1.0)

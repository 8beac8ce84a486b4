"""What is measured of services in processes of their own, in small, on real servers with real workers."""

from __future__ import annotations

import pytest

from bench.contestants import switchboard_chat, switchboard_raw
from bench.generator import Report
from bench.methods.processes import Compute, HandOffs, MainAtRest, Workers, able
from bench.methods.traffic import Traffic
from bench.scenario import Method, Sample
from bench.subject import Busy, Measured, Subject
from tests.bench.test_generator import program  # noqa: F401 an autouse fixture: the same compiler is needed here

CHAT = Subject(switchboard_chat.CONTESTANT, "chat", 0.1, None, None)


def measure(how: Method, subject: Subject) -> Sample:
    """Take a sample; whatever is wrong with it fails the test."""
    sample = how.measure(subject)
    assert sample.faults == ""
    return sample


def test_two_workers_are_compared_with_one() -> None:
    """Members of a room are in both workers, nobody misses anything, and each process's part is told."""
    talk = Traffic(clients=6, publishers=2, outstanding=4, rooms=1, seconds=0.5)
    sample = measure(Workers(service="chat", loads={1: talk, 2: talk}), CHAT)
    assert [point.x for point in sample.curve] == [1, 2]
    assert sample.value == pytest.approx(sample.curve[1].y / sample.curve[0].y)
    one, two = sample.remark.split("; ")
    assert one.count(", ") + 1 == two.count(", ")  # a worker more


def test_clients_are_handed_to_a_worker() -> None:
    """What the main process has to do for each is told beside what the worker has, and beside how it is without one."""
    subject = Subject(switchboard_raw.CONTESTANT, "echo", 0.1, None, None)
    sample = measure(HandOffs(service="echo", clients=20), subject)
    assert sample.report.clients == 20
    assert "worker" in sample.remark.partition("; in the main process alone: ")[0]


def test_the_main_process_beside_its_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory and its time are looked at alone, in silence and in traffic."""
    monkeypatch.setattr("bench.methods.processes.REST_SECONDS", 0.1)
    how = MainAtRest(service="chat", count=1, traffic=Traffic(clients=4, rate=100, rooms=2))
    sample = measure(how, CHAT)
    assert sample.resident is not None
    assert sample.server_cpu is not None
    assert 0 <= sample.value <= sample.server_cpu


def test_who_computes_is_in_nobodys_way_from_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The topic is measured three times: alone, with the main process computing, and with a worker computing."""
    monkeypatch.setattr("bench.methods.processes.COMPUTE_SECONDS", 0.2)
    subject = Subject(switchboard_raw.CONTESTANT, "compute", 0.1, None, None)
    sample = measure(Compute(traffic=Traffic(clients=3, rate=100)), subject)
    assert sample.value == sample.p99
    assert sample.value > 0
    assert "when the main process does" in sample.remark


def test_the_busiest_process_is_one_of_all() -> None:
    """A server without workers has its first process only."""
    assert Busy(0.5, 0.0, 0.0, first=0.5).busiest == 0.5
    assert Busy(0.9, 0.0, 0.0, first=0.1, rest=(0.5, 0.3)).busiest == 0.5


def test_a_capacity_needs_no_clock_tick() -> None:
    """A process that used less than a tick of its clock is taken to have used one: there is no division by nothing."""
    report = Report("result", seconds=0.5, received=10)
    assert able(Measured(report, Busy(0.0, 0.0, 0.0))) == pytest.approx(1000)

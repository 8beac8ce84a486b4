"""Each method in small, on real servers: it measures something, nothing is lost, and the server is ended."""

from __future__ import annotations

import msgspec
import pytest

from bench.contestant import Contestant, Role
from bench.contestants import switchboard_chat, switchboard_raw, websockets_broadcast
from bench.generator import Report
from bench.methods.coming import Churn, Connects, Memory, Resume, Start
from bench.methods.fairness import Flood, Slow
from bench.methods.growth import Rooms, Subscribers
from bench.methods.traffic import Traffic
from bench.scenario import Method, Sample
from bench.subject import Subject
from tests.bench.test_generator import program  # noqa: F401 an autouse fixture: the same compiler is needed here

YARDSTICK, RAW, CHAT = websockets_broadcast.CONTESTANT, switchboard_raw.CONTESTANT, switchboard_chat.CONTESTANT


def measure(how: Method, contestant: Contestant, role: Role) -> Sample:
    """Take a sample; whatever is wrong with it fails the test."""
    sample = how.measure(Subject(contestant, role, 0.1, None, None))
    assert sample.faults == ""
    return sample


def test_traffic_on_a_schedule() -> None:
    """The value is the 99th percentile of the latency."""
    sample = measure(Traffic(clients=5, rate=100), YARDSTICK, "topic")
    assert sample.report.latency is not None
    assert sample.value == sample.p99 == sample.report.latency.p99 > 0


def test_memory_and_connects() -> None:
    """Clients are counted, and all processes' memory is looked at."""
    sample = measure(Memory(clients=3, total=True), YARDSTICK, "topic")
    assert sample.value == sample.resident
    assert sample.value > 1_000_000
    assert measure(Connects(clients=3), YARDSTICK, "topic").report.clients == 3


def test_start() -> None:
    """The first client is let in, and the memory is looked at before anybody else comes."""
    sample = measure(Start(), CHAT, "topic")
    assert sample.value > 0
    assert sample.resident is not None


def test_chat_commits_what_it_acknowledges() -> None:
    """In rooms of their own, senders hear themselves alone, and each message is acknowledged."""
    sample = measure(Traffic(mode="echo", clients=3, rooms=3, outstanding=2), CHAT, "chat")
    assert sample.report.received_total == sample.report.sent_total > 0


def test_resume_gives_each_client_what_it_missed() -> None:
    """Everybody gets as many messages as were written while it was away, no matter what was there before."""
    sample = measure(Resume(clients=4, rooms=2, behind=7), CHAT, "chat")
    assert sample.report.items == 4 * 7


def test_churn_disturbs_nobody() -> None:
    """Those that stay miss nothing of their room while others come and go in it."""
    sample = measure(Churn(clients=6, churners=2, rooms=2, rate=50), CHAT, "chat")
    assert sample.report.cycles > 0


def test_growth_has_a_point_for_each_size() -> None:
    """Curves are measured size by size; the value is a share of the first that is judged."""
    sample = measure(Subscribers(sizes=(2, 4), judged_from=2), RAW, "topic")
    assert [point.x for point in sample.curve] == [2, 4]
    assert sample.value <= 1
    sample = measure(Rooms(sizes=(1, 200)), CHAT, "chat")
    assert [point.x for point in sample.curve] == [1, 200]


def test_a_client_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of nine others nobody loses anything; the memory is watched meanwhile."""
    monkeypatch.setattr("bench.methods.fairness.READ_SECONDS", 1)
    monkeypatch.setattr("bench.methods.fairness.WARM_SECONDS", 0.1)
    how = Slow(seconds=0.1, told=False)
    sample = how.measure(Subject(msgspec.structs.replace(RAW, too_slow=0), "topic", 0.1, None, None))
    assert sample.faults == ""
    assert sample.growth is not None
    assert sample.kept is not None


@pytest.mark.parametrize(("code", "told", "broken"), [
    (4008, True, False), (4008, False, False), (1006, False, False), (1006, True, True), (0, False, True),
])  # fmt: skip
def test_a_promised_code_is_checked(code: int, told: bool, broken: bool) -> None:
    """Who reads in time has to be told why it was closed; who does not read at all has to be closed all the same."""
    assert bool(Slow(seconds=1, told=told).problem(4008, code)) is broken
    assert Slow(seconds=1, told=told).problem(0, code) == ""


def test_a_flood_next_door() -> None:
    """Both topics are measured; what the quiet one was like by itself stands beside it."""
    sample = measure(Flood(quiet=Traffic(clients=2, rate=50), flood=Traffic(clients=10)), RAW, "fair")
    assert sample.value > 0
    assert "without the flood" in sample.remark
    assert isinstance(sample.report, Report)

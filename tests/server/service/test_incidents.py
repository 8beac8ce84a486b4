"""Incidents: every failure has an id that the log knows, and a service that fails all the time is named."""

from __future__ import annotations

import re

import pytest

from server.log import Log
from server.service.incidents import LOGGED_PER_MINUTE, OFTEN, OFTEN_SECONDS, Incidents


class Clock:
    """Seconds under the test's control."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def fail(kind: type[Exception] = ValueError) -> Exception:
    """Return an error with a traceback, always of the same line."""
    try:
        raise kind("it")  # noqa: TRY301 a traceback is what is wanted
    except kind as error:
        return error


def ids(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.__dict__["fields"]["incident"] for record in caplog.records if record.getMessage() == "service failed"
    ]


def test_an_incident_is_found_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """The id that the client gets stands in the log, beside the traceback and what else helps."""
    incidents = Incidents(Log("service.x"))
    error = fail()
    incident = incidents.record(error, method="roll")
    assert re.fullmatch("[0-9a-f]{8}", incident)
    (record,) = caplog.records
    assert record.__dict__["fields"] == {"incident": incident, "method": "roll"}
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    assert incidents.count == 1
    assert incidents.problem == ""


def test_the_same_failure_again_and_again(caplog: pytest.LogCaptureFixture) -> None:
    """A line that raises on every message does not fill the log, and every id it hands out is in the log."""
    clock = Clock()
    incidents = Incidents(Log("service.x"), clock)
    given = [incidents.record(fail()) for _ in range(1000)]
    logged = ids(caplog)
    assert len(logged) <= LOGGED_PER_MINUTE
    assert set(given) == set(logged)
    assert incidents.count == 1000
    other = incidents.record(fail(KeyError))
    assert ids(caplog)[-1] == other
    clock.now += 60
    assert incidents.record(fail()) not in given


def test_an_error_without_a_traceback() -> None:
    """An error that was never raised can be an incident too."""
    assert Incidents(Log("service.x")).record(ValueError())


def test_raising_often_is_named_and_passes(caplog: pytest.LogCaptureFixture) -> None:
    """A service that raises often has a problem that names the latest incident, until it has been quiet."""
    clock = Clock()
    incidents = Incidents(Log("service.x"), clock)
    for _ in range(OFTEN - 1):
        incidents.record(fail())
    assert incidents.problem == ""
    last = incidents.record(fail(KeyError))
    assert "raises often" in incidents.problem
    assert f"KeyError, incident {last}" in incidents.problem
    incidents.record(fail())
    assert caplog.messages.count("service raises often") == 1
    clock.now += OFTEN_SECONDS + 1
    assert incidents.problem == ""
    incidents.record(fail())
    assert incidents.problem == ""

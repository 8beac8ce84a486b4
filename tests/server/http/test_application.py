"""Routes, and what is said when there is none or when one fails."""

from __future__ import annotations

import json
from http import HTTPStatus

import pytest

from server.db import Unavailable
from server.http.responses import Problem, problem_response
from tests.server.http.conftest import Serve, Site


async def test_unknown_addresses_and_methods(site: Site) -> None:
    """404 and 405 are JSON with a sentence; 405 says what would do."""
    missing = await site.http.get("/nowhere")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    wrong = await site.http.get("/auth/guest")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert (await site.http.post("/health")).status_code == 405


async def test_documents_of_services(site: Site) -> None:
    """An RPC service has its OpenRPC document; a raw one has none."""
    document = (await site.http.get("/dice/openrpc.json")).json()
    assert document["openrpc"].startswith("1.3")
    assert "roll" in [method["name"] for method in document["methods"]]
    assert (await site.http.get("/echo/openrpc.json")).status_code == 404


async def test_a_services_own_routes(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """They are served below its path; one that fails is 500 with an incident, and the traceback stays in the log."""
    assert (await site.http.get("/members/fine")).text == "fine"
    failed = await site.http.get("/members/failing")
    assert failed.status_code == 500
    body = failed.json()["error"]
    assert "secret detail" not in failed.text
    assert any(getattr(record, "fields", {}).get("incident") == body["incident"] for record in caplog.records)


async def test_a_service_that_does_not_run(serve: Serve) -> None:
    """Its addresses are 503, not 404: it may come back."""
    async with serve({"echo": {}, "broken": {}}) as site:
        assert (await site.http.get("/broken/openrpc.json")).status_code == 503


async def test_a_database_that_is_away(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 with Retry-After, and a sentence."""

    async def away(statement: object) -> None:
        raise Unavailable("gone")

    monkeypatch.setattr(site.db, "execute", away)
    response = await site.http.post("/auth/guest", json={"name": "ann"})
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert "gone" not in response.text


async def test_health(site: Site) -> None:
    """All is well: 200, and every part by name."""
    response = await site.http.get("/health")
    assert response.status_code == 200
    health = response.json()
    assert health["status"] == "ok"
    assert health["database"]["connected"] is True
    assert health["broker"]["connected"] is True
    assert {name: part["state"] for name, part in health["services"].items()} == {
        "echo": "running", "dice": "running", "members": "running",
    }  # fmt: skip


async def test_health_with_a_broken_service(serve: Serve) -> None:
    """One of several services: degraded and 200. All of them, or the database: failing and 503."""
    async with serve({"echo": {}, "broken": {}}) as site:
        response = await site.http.get("/health")
        assert (response.status_code, response.json()["status"]) == (200, "degraded")
        assert response.json()["services"]["broken"]["problem"]
    async with serve({"broken": {}}) as site:
        response = await site.http.get("/health")
        assert (response.status_code, response.json()["status"]) == (503, "failing")


async def test_health_without_a_database(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that does not answer is failing, and says why."""

    async def away() -> None:
        raise Unavailable("no answer")

    monkeypatch.setattr(site.db, "ping", away)
    response = await site.http.get("/health")
    assert (response.status_code, response.json()["database"]) == (503, {"connected": False, "problem": "no answer"})


async def test_metrics(site: Site) -> None:
    """Prometheus' text: one line a figure, each service by name."""
    text = (await site.http.get("/metrics")).text
    assert 'switchboard_connections{service="echo"} 0.0' in text
    assert 'switchboard_service_running{service="dice"} 1.0' in text
    assert "process_resident_memory_bytes" in text


def test_json_is_json() -> None:
    """Error bodies have the documented shape."""
    response = problem_response(Problem(HTTPStatus.CONFLICT, "Taken.", field="name"))
    assert json.loads(bytes(response.body)) == {"error": {"code": "conflict", "message": "Taken.", "field": "name"}}

"""A worker whose database takes its time while the worker starts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx

from tests.support.cluster import until
from tests.support.mariadb import MariaDb
from tests.support.server import Server

SOON_SECONDS = 20


async def test_a_worker_that_waits_for_its_database_is_asked_how_it_is(mariadb: MariaDb, tmp_path: Path) -> None:
    """Neither the supervisor's pings nor /metrics harm a worker that cannot answer yet: it serves when it can."""
    url = mariadb.url(mariadb.new_database(), connect_seconds=60)
    settings = {"database.url": url, "services.chat.workers": 1}
    async with Server(tmp_path, settings, config="[services.chat]\n") as server, httpx.AsyncClient() as http:

        async def worker() -> dict[str, Any]:
            said = await http.get(f"{server.url}/health", timeout=SOON_SECONDS)
            process: dict[str, Any] = said.json()["services"]["chat"]["processes"][0]
            return process

        async def waits() -> bool:
            now = await worker()
            return now["pid"] not in (0, first["pid"])

        async def serves() -> bool:
            now = await worker()
            return (now["pid"], now["state"]) == (second["pid"], "running")

        first = await worker()
        mariadb.freeze()
        try:
            os.kill(first["pid"], 9)
            await until("another worker waits for the database", waits, SOON_SECONDS)
            second = await worker()
            # /health waits for the database too, for longer than it is between two pings.
            metrics = await http.get(f"{server.url}/metrics", timeout=SOON_SECONDS)
            assert metrics.status_code == 200
        finally:
            mariadb.thaw()
        await until("it serves", serves, SOON_SECONDS)
        assert "Traceback" not in server.log

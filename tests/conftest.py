"""What every test shares: the event loop of production, and databases of each kind."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import uvloop

from server.db import Database, Statement
from tests.support.mariadb import MariaDb, private_mariadb

MYSQL_URL = os.environ.get("SWITCHBOARD_TEST_MYSQL_URL")
"""A MySQL to test against too, of a user who may create databases."""


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the tests on uvloop, as the server does."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDb]:
    """A MariaDB of the tests' own, for all of them."""
    with private_mariadb() as server:
        yield server


@pytest.fixture(params=("sqlite", "mariadb", "mysql") if MYSQL_URL else ("sqlite", "mariadb"))
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.db'}"
    elif request.param == "mariadb":
        server: MariaDb = request.getfixturevalue("mariadb")
        name = server.new_database()
        yield server.url(name)
        server.execute(f"DROP DATABASE {name}")
    else:
        assert MYSQL_URL is not None
        name = f"test_{uuid.uuid4().hex}"
        asyncio.run(_execute(MYSQL_URL, f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin"))
        yield urlsplit(MYSQL_URL)._replace(path=f"/{name}").geturl()
        asyncio.run(_execute(MYSQL_URL, f"DROP DATABASE {name}"))


async def _execute(url: str, sql: str) -> None:
    async with await Database.open(url) as database:
        await database.execute(Statement(sql))

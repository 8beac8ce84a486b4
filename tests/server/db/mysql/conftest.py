"""A MariaDB for all tests of this folder, which some of them kill, and a database of its own for each."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Protocol
from urllib.parse import urlsplit

import pytest

from server.db.backends import Result, Statement
from server.db.mysql.backend import MySQLBackend
from tests.support.mariadb import MariaDb, private_mariadb

SERVER_URL = os.environ.get("SWITCHBOARD_TEST_MYSQL_URL")
"""A server to test against instead, of a user who may create databases; a few tests want their own all the same."""


EVENTUALLY_SECONDS = 60


class OpenBackend(Protocol):
    """Opens a backend on the test's database; it is closed after the test."""

    def __call__(self, **options: str | float) -> Awaitable[MySQLBackend]: ...


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDb]:
    """A server that may be killed: none of the other tests uses it."""
    with private_mariadb() as server:
        yield server


@pytest.fixture(scope="session")
def server_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database that is always there."""
    if SERVER_URL is not None:
        return SERVER_URL
    server: MariaDb = request.getfixturevalue("mariadb")
    return server.url("mysql")


@pytest.fixture
async def url(server_url: str) -> AsyncIterator[str]:
    """The URL of an empty database, without options."""
    name = f"test_{uuid.uuid4().hex}"
    server = await MySQLBackend.open(server_url)
    await server.write([Statement(f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE {collation(server)}")])
    yield urlsplit(server_url)._replace(path=f"/{name}", query="").geturl()
    await server.write([Statement(f"DROP DATABASE {name}")])
    await server.close()


@pytest.fixture
async def open_backend(url: str) -> AsyncIterator[OpenBackend]:
    """What opens backends."""
    async with AsyncExitStack() as stack:

        async def open_backend(**options: str | float) -> MySQLBackend:
            query = "&".join(f"{name}={value}" for name, value in options.items())
            backend = await MySQLBackend.open(f"{url}?{query}")
            stack.push_async_callback(backend.close)
            return backend

        yield open_backend


@pytest.fixture
async def backend(open_backend: OpenBackend) -> MySQLBackend:
    """A backend on an empty database."""
    return await open_backend()


@pytest.fixture
async def people(backend: MySQLBackend) -> MySQLBackend:
    """A backend on a database with a table."""
    await run(backend, "CREATE TABLE people (id BIGINT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(100) UNIQUE)")
    return backend


def collation(backend: MySQLBackend) -> str:
    """Return the collation that its dialect wants."""
    name = getattr(backend.dialect, "collation", None)
    assert isinstance(name, str)
    return name


async def run(backend: MySQLBackend, sql: str, *arguments: object) -> Result:
    """Run a statement that writes."""
    [result] = await backend.write([Statement(sql, arguments)])
    return result


async def select(backend: MySQLBackend, sql: str, *arguments: object) -> list[tuple[object, ...]]:
    """Return the rows of a SELECT."""
    return (await backend.read(Statement(sql, arguments, writes=False))).rows


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is so that becomes so by itself; where it does not, the test fails and does not hang."""
    async with asyncio.timeout(EVENTUALLY_SECONDS):
        while not await condition():  # noqa: ASYNC110  # it is the server that changes
            await asyncio.sleep(0.01)

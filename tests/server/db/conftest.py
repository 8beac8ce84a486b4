"""A database for each test. The suite is the same for SQLite, for MariaDB and, where one is given, for MySQL."""

from __future__ import annotations

import asyncio
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from server.db import Database, Statement
from tests.server.db.tables import TABLES, create_all
from tests.support.mariadb import MariaDb

MYSQL_URL = os.environ.get("SWITCHBOARD_TEST_MYSQL_URL")
"""A MySQL to test against too, of a user who may create databases."""
SERVERS = ("mariadb", "mysql") if MYSQL_URL else ("mariadb",)
on_servers = pytest.mark.parametrize("database_url", SERVERS, indirect=True)
"""For tests of what only a database server has."""


def faulty_on(kind: str, reason: str) -> pytest.MarkDecorator:
    """Mark a test that a fault which is known makes fail on one kind of database; it has to pass on the others."""
    xfail = pytest.mark.xfail(strict=True, reason=reason)
    kinds = [pytest.param(name, marks=xfail) if name == kind else name for name in ("sqlite", *SERVERS)]
    return pytest.mark.parametrize("database_url", kinds, indirect=True)


@pytest.fixture(scope="session")
def mariadb_url(mariadb: MariaDb) -> str:
    """The URL of a database with the tests' tables, which each test finds empty."""
    url = mariadb.url(mariadb.new_database())
    asyncio.run(_prepare(url))
    return url


@pytest.fixture(scope="session")
def mysql_url() -> Iterator[str]:
    """The same on the MySQL that was given."""
    assert MYSQL_URL is not None
    name = f"test_{uuid.uuid4().hex}"
    asyncio.run(_run(MYSQL_URL, f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin"))
    url = urlsplit(MYSQL_URL)._replace(path=f"/{name}").geturl()
    asyncio.run(_prepare(url))
    yield url
    asyncio.run(_run(MYSQL_URL, f"DROP DATABASE {name}"))


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the tests' tables, to be copied: that is faster than to make them."""
    file = tmp_path_factory.mktemp("sqlite") / "template.db"
    asyncio.run(_prepare(f"sqlite:///{file}"))
    return file


@pytest.fixture(params=("sqlite", *SERVERS))
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database with the tests' tables, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{request.getfixturevalue('sqlite_file')}"
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """An open database of each kind, with the tests' tables, empty."""
    async with await Database.open(database_url) as database:
        if database.dialect.name != "sqlite":
            await empty(database)
        yield database


@pytest.fixture
def sqlite_file(tmp_path: Path, sqlite_template: Path) -> Path:
    """The file of `sqlite_db`."""
    file = tmp_path / "test.db"
    shutil.copy(sqlite_template, file)
    return file


@pytest.fixture
async def sqlite_db(sqlite_file: Path) -> AsyncIterator[Database]:
    """The same on SQLite, for tests of what only SQLite has."""
    async with await Database.open(f"sqlite:///{sqlite_file}") as database:
        yield database


async def empty(database: Database) -> None:
    """Remove what an earlier test has left: rows, counters of keys, and tables of its own."""
    found = await database.execute(Statement("SHOW TABLES", (), writes=False))
    own = {table.dbo_tablename for table in TABLES}
    async with database.transaction(60.0, schema=True) as tx:
        for (name,) in found.rows:
            await tx.execute(Statement(f"{'TRUNCATE' if name in own else 'DROP'} TABLE {tx.dialect.quote(name)}"))


async def _prepare(url: str) -> None:
    async with await Database.open(url) as database:
        await create_all(database)


async def _run(url: str, sql: str) -> None:
    async with await Database.open(url) as database:
        await database.execute(Statement(sql))

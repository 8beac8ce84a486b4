"""A database for each test. The suite is the same for every backend."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.db import Database, Statement
from server.db.schema import create_index, create_table
from tests.server.db.tables import TABLES


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    """An open database with the test's tables."""
    async with await Database.open(f"sqlite:///{tmp_path / 'test.db'}") as database:
        await create_all(database)
        yield database


async def create_all(database: Database) -> None:
    """Make the tables of the tests."""
    async with database.transaction() as tx:
        for table in TABLES:
            columns = {column.name: column for column in table.dbo_columns}
            for sql in create_table(database.dialect, table.dbo_tablename, columns):
                await tx.execute(Statement(sql))
            for declared in table.dbo_indexes:
                await tx.execute(Statement(create_index(database.dialect, table.dbo_tablename, declared)))

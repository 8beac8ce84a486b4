"""A database with users in it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from server.auth.accounts import MIGRATIONS
from server.db import Database


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """A database of each kind, with the tables of accounts."""
    async with await Database.open(database_url) as database:
        await database.migrate("auth", MIGRATIONS)
        yield database

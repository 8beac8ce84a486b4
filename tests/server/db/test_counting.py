"""Commits are counted: what wrote and was committed, once, with the rows and the time that it took."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from server.db import Database, UniqueViolation
from server.db.counting import COMMIT_SECONDS, Commits
from tests.server.db.tables import Author


def named(*names: str) -> Any:
    """Return an insert for a unit."""
    return Author.insert_many(None, [{Author.name: name} for name in names])


def counted(db: Database) -> tuple[int, int]:
    """Return how many commits there were, and how many rows they wrote."""
    return sum(db.commits.counts), db.commits.rows


async def test_units(db: Database) -> None:
    """A unit is one commit with all its rows; one that fails, and a read, are none."""
    before = counted(db)
    await db.atomic([named("a", "b"), named("c")])
    await Author.select(db)
    with pytest.raises(UniqueViolation):
        await db.atomic([named("d"), named("a")])
    with pytest.raises(UniqueViolation):
        await Author(name="a").insert(db)
    assert counted(db) == (before[0] + 1, before[1] + 3)
    await Author(name="e").insert(db)
    assert counted(db) == (before[0] + 2, before[1] + 4)
    assert db.commits.seconds > 0


async def test_transactions(db: Database) -> None:
    """A transaction counts when it is committed and has written."""
    before = counted(db)
    async with db.transaction() as tx:
        await Author(name="a").insert(tx)
        assert counted(db) == before
        await tx.run(named("b", "c"))
    assert counted(db) == (before[0] + 1, before[1] + 3)
    with contextlib.suppress(ZeroDivisionError):
        async with db.transaction() as tx:
            await Author(name="d").insert(tx)
            _ = 1 / 0
    async with db.transaction() as tx:
        await tx.run(Author.select(db))
    assert counted(db) == (before[0] + 1, before[1] + 3)


async def test_a_shared_commit_counts_once(sqlite_db: Database) -> None:
    """Units that arrive together share a commit, and the figures show it: rows a commit is what grouping gives."""
    before = counted(sqlite_db)
    async with sqlite_db.transaction():  # who comes meanwhile waits for the writer
        units = asyncio.gather(*(sqlite_db.atomic([named(f"n{number}")]) for number in range(50)))
        await asyncio.sleep(0)  # so that each has handed in its unit
        pool = sqlite_db.pool
        assert (pool.size, pool.waiting) == (3, 50)
    await units
    assert counted(sqlite_db) == (before[0] + 1, before[1] + 50)
    assert (sqlite_db.pool.in_use, sqlite_db.pool.waiting) == (0, 0)


def test_buckets() -> None:
    """A duration counts under the first bound that it does not exceed; a longer one under none."""
    commits = Commits()
    for seconds in (0.0, 0.001, 0.0011, 10.0, 11.0):
        commits.add(seconds, 2)
    assert commits.counts == [2, 1, *[0] * (len(COMMIT_SECONDS) - 3), 1, 1]
    assert commits.rows == 10
    assert commits.seconds == pytest.approx(21.0021)

"""Passwords: hashed off the loop, a few at a time, with the same work whatever is wrong."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import argon2
import pytest

from server.auth import passwords
from server.auth.passwords import CHEAPEST, PRODUCTION, Passwords
from server.errors import InvalidField, Unavailable


class Counting(argon2.PasswordHasher):
    """Counts what is verified, and notes on which threads."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.verified = 0
        self.threads: set[str] = set()

    def verify(self, hash: str | bytes, password: str | bytes) -> bool:  # type: ignore[override]  # noqa: A002 theirs
        self.verified += 1
        self.threads.add(threading.current_thread().name)
        return bool(super().verify(hash, password))


@pytest.fixture
def hashing() -> Iterator[Passwords]:
    kept = Passwords(CHEAPEST)
    yield kept
    kept.close()


async def test_hash_and_verify(hashing: Passwords) -> None:
    """The right password is right, another is not, and the hash tells neither."""
    kept = await hashing.hash("correct horse")
    assert kept.startswith("$argon2id$")
    assert "correct" not in kept
    assert await hashing.verify(kept, "correct horse")
    assert not await hashing.verify(kept, "correct horsf")
    assert not await hashing.verify("no hash at all", "correct horse")
    assert kept != await hashing.hash("correct horse")


async def test_nobody_costs_as_much_as_somebody() -> None:
    """FAULTS 26: without a user the same work is done, off the event loop, and the answer is no."""
    hasher = Counting()
    kept = Passwords(hasher)
    stored = await kept.hash("long enough")
    assert not await kept.verify(stored, "wrong password")
    assert hasher.verified == 1
    assert not await kept.verify(None, "wrong password")
    assert not await kept.verify(None, "decoy")
    assert hasher.verified == 3
    assert all(name.startswith("argon2") for name in hasher.threads)
    kept.close()


@pytest.mark.parametrize("password", ["", "short", "x" * 7, "x" * 1025, "half \ud800 pair"])
async def test_bad_passwords(hashing: Passwords, password: str) -> None:
    """Too short, too long and broken ones are refused by a sentence; verifying them is just no."""
    with pytest.raises(InvalidField) as refused:
        await hashing.hash(password)
    assert refused.value.field == "password"
    assert not await hashing.verify(await hashing.hash("long enough"), password)


async def test_too_many_at_once(hashing: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line is bounded: beyond it one is told to come back, and afterwards there is room again."""
    monkeypatch.setattr(passwords, "MAX_WAITING", 4)
    results = await asyncio.gather(*(hashing.hash("long enough") for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(result, Unavailable) for result in results) == 6
    assert (await hashing.hash("long enough")).startswith("$argon2id$")


def test_production_parameters() -> None:
    """In production a hash costs what OWASP asks for: 19 MiB, two passes."""
    assert (PRODUCTION.memory_cost, PRODUCTION.time_cost, PRODUCTION.parallelism) == (19 * 1024, 2, 1)
    assert PRODUCTION.type is argon2.Type.ID


async def test_old_hashes_are_noticed(hashing: Passwords) -> None:
    """A hash made with weaker parameters than today's is to be made anew."""
    weak = await hashing.hash("long enough")
    today = Passwords(PRODUCTION)
    assert today.needs_rehash(weak)
    assert not hashing.needs_rehash(weak)
    today.close()

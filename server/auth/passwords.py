"""Passwords: argon2id, off the event loop, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

from server.errors import InvalidField, Unavailable

T = TypeVar("T")

MIN_CHARACTERS = 8
MAX_CHARACTERS = 1024
"""Long enough for any phrase; hashing more would be work for an attacker's benefit."""

AT_ONCE = 2
"""Hashes at the same time: each takes 19 MiB and a core for some 30 ms."""
MAX_WAITING = 64
"""Beyond this many that wait, the rest is told to come back."""

# OWASP's first choice for argon2id where memory is scarce (Password Storage Cheat Sheet, 2024).
PRODUCTION = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
CHEAPEST = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""For tests."""


class Passwords:
    """Hashes and verifies passwords.

    Args:
        hasher: the parameters.
    """

    def __init__(self, hasher: argon2.PasswordHasher = PRODUCTION) -> None:
        self._hasher = hasher
        self._executor = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="argon2")
        self._waiting = 0
        self._decoy: str | None = None

    async def hash(self, password: str) -> str:
        """Return the hash to keep.

        Raises:
            InvalidField: the password is too short or too long.
            Unavailable: too many passwords wait already.
        """
        if len(password) < MIN_CHARACTERS:
            raise InvalidField("password", f"A password has at least {MIN_CHARACTERS} characters.")
        if len(password) > MAX_CHARACTERS:
            raise InvalidField("password", f"A password has at most {MAX_CHARACTERS} characters.")
        if not password.isascii() and any("\ud800" <= c <= "\udfff" for c in password):
            raise InvalidField("password", "A password is made of whole characters.")
        return await self._off_loop(lambda: self._hasher.hash(password))

    async def verify(self, kept: str | None, password: str) -> bool:
        """Compare a password with the hash that is kept.

        Without a hash (there is no such user) the same work is done, so that the time tells nothing.

        Raises:
            Unavailable: too many passwords wait already.
        """
        return await self._off_loop(lambda: self._verify(kept, password))

    def needs_rehash(self, kept: str) -> bool:
        """Tell whether a hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(kept)

    def close(self) -> None:
        """End the threads."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _verify(self, kept: str | None, password: str) -> bool:
        if self._decoy is None:
            self._decoy = self._hasher.hash("decoy")
        try:
            same = self._hasher.verify(kept or self._decoy, password[:MAX_CHARACTERS])
        except (VerificationError, InvalidHashError, UnicodeEncodeError):
            return False
        return same and kept is not None

    async def _off_loop(self, work: Callable[[], T]) -> T:
        if self._waiting >= MAX_WAITING:
            raise Unavailable("The server is busy. Try again in a moment.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        finally:
            self._waiting -= 1

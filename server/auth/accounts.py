"""Accounts: how somebody becomes a user, and how a token tells who it is."""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Literal, cast

import msgspec

from server.auth.models import Session, User
from server.auth.names import clean_name, name_key
from server.auth.passwords import Passwords
from server.config import AuthSettings
from server.db import Database, UniqueViolation, now
from server.errors import NameTaken, RegistrationClosed, TooManyRequests, WrongCredentials
from server.net.identity import Identity
from server.net.limits import RateLimiter

MIGRATIONS = Path(__file__).parent / "migrations"

TOKEN_BYTES = 32
MAX_CACHED = 16384
"""Sessions whose identity is remembered, so that a thousand sockets that come back at once cost no query each."""
CACHE_SECONDS = 60.0
FAILURES_PER_MINUTE = 10
"""Wrong passwords for one name, from wherever."""
USED_STEP = dt.timedelta(hours=12)
"""A session's last use is written at most this often."""

Revoked = Callable[[int], None]


class Login(msgspec.Struct, frozen=True):
    """What somebody gets who came in.

    Args:
        identity: who they are.
        token: the secret that says so from now on.
    """

    identity: Identity
    token: str


class Accounts:
    """The users of one Switchboard.

    Args:
        db: the database; `MIGRATIONS` have to be applied.
        settings: the `[auth]` table.
        passwords: hashes them.
    """

    def __init__(self, db: Database, settings: AuthSettings, passwords: Passwords | None = None) -> None:
        self._db = db
        self.settings = settings
        self._passwords = passwords or Passwords()
        self._cache: OrderedDict[bytes, tuple[float, Identity]] = OrderedDict()
        self._failures = RateLimiter(FAILURES_PER_MINUTE if settings.attempts_per_minute else 0, FAILURES_PER_MINUTE)
        self._revoked: list[Revoked] = []

    def on_revoked(self, callback: Revoked) -> None:
        """Call `callback` with the session's id whenever one ends."""
        self._revoked.append(callback)

    def close(self) -> None:
        """End the threads that hash."""
        self._passwords.close()

    # Coming in.

    async def guest(self, name: str) -> Login:
        """Let somebody in with nothing but a name. Guests may share one; nobody gets a member's.

        Raises:
            RegistrationClosed: there are no guests here.
            InvalidField: the name is not acceptable.
            NameTaken: a member has it.
        """
        if not self.settings.guests:
            raise RegistrationClosed("This server takes no guests. Log in, or register.")
        name = clean_name(name)
        if await User.select(self._db).where(User.member_key == name_key(name)).exists():
            raise NameTaken("A member has this name. Choose another, or log in.")
        return await self._log_in(await User(name=name, role="guest").insert(self._db))

    async def register(self, name: str, password: str, current: Identity | None = None) -> Login:
        """Make an account. A guest who registers stays the same user and keeps what they said.

        Args:
            name: the name.
            password: the password.
            current: who asks, when they have an identity; that session ends.

        Raises:
            RegistrationClosed: there is no registration here, or by invitation only.
            InvalidField: the name or the password is not acceptable.
            NameTaken: a member has the name.
        """
        if self.settings.registration != "open":
            by_invite = self.settings.registration == "invite"
            raise RegistrationClosed(
                "You need an invitation to register here." if by_invite else "This server takes no registrations."
            )
        name = clean_name(name)
        key = name_key(name)
        hashed = await self._passwords.hash(password)
        user = await User.get(self._db, current.id) if current is not None and current.role == "guest" else None
        if user is None:
            user = User()
        user.name, user.member_key, user.role, user.password_hash = name, key, "member", hashed
        try:
            await user.save(self._db)
        except UniqueViolation:
            raise NameTaken("Somebody has this name. Choose another, or log in.") from None
        if current is not None:
            await self.log_out(current)
        return await self._log_in(user)

    async def log_in(self, name: str, password: str, current: Identity | None = None) -> Login:
        """Let a member in.

        Args:
            name: the name, in any case.
            password: the password.
            current: who asks, when they have an identity; that session ends.

        Raises:
            WrongCredentials: one text and one duration, whatever was wrong.
            TooManyRequests: too many wrong passwords for this name.
        """
        key = name_key(name.strip())[:128]
        wait = self._failures.peek(key)
        if wait:
            raise TooManyRequests("Too many attempts. Wait a minute.", retry_after=wait)
        user = await User.select(self._db).where(User.member_key == key).first() if _storable(key) else None
        if not await self._passwords.verify(user.password_hash if user else None, password) or user is None:
            self._failures.take(key)
            raise WrongCredentials("The name or the password is wrong.")
        if user.password_hash is not None and self._passwords.needs_rehash(user.password_hash):
            user.password_hash = await self._passwords.hash(password)
            await user.save(self._db)
        if current is not None:
            await self.log_out(current)
        return await self._log_in(user)

    async def log_out(self, identity: Identity) -> None:
        """End the session that brought an identity; its sockets close."""
        session = identity.session
        if session is None:
            return
        await Session.delete_from(self._db).where(Session.id == session)
        self._forget(identity.id)
        for callback in self._revoked:
            callback(session)

    async def _log_in(self, user: User) -> Login:
        """Start a session under a fresh token: whoever fixed an old one beforehand has nothing."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        session = await Session(user=user.id, token_hash=_hashed(token)).insert(self._db)
        identity = _identity(user.id, user.name, user.role, session.id)
        self._remember(_hashed(token), identity)
        return Login(identity, token)

    # Being known.

    async def identify(self, token: str) -> Identity | None:
        """Return who has a token; None when nobody does, any more."""
        token_hash = _hashed(token)
        cached = self._cache.get(token_hash)
        if cached is not None and cached[0] > time.monotonic():
            return cached[1]
        u = User.prefix("u")
        row = (
            await Session.select(self._db, Session.id, Session.used_at, u.id, u.name, u.role)
            .join(u, Session.user == u.id)
            .where(Session.token_hash == token_hash, Session.used_at > now() - self._lifetime)
            .first()
        )
        if row is None:
            self._cache.pop(token_hash, None)
            return None
        session, used_at, user, name, role = row
        if now() - used_at > USED_STEP:
            await Session.update(self._db).set(Session.used_at, now()).where(Session.id == session)
        identity = _identity(user, name, role, session)
        self._remember(token_hash, identity)
        return identity

    async def sweep(self) -> int:
        """Delete the sessions that are over; returns how many."""
        return await Session.delete_from(self._db).where(Session.used_at <= now() - self._lifetime)

    @property
    def _lifetime(self) -> dt.timedelta:
        return dt.timedelta(days=self.settings.session_days)

    def _forget(self, user: int) -> None:
        """Look a user's sessions up again: something about them changed."""
        for token_hash in [h for h, (_, identity) in self._cache.items() if identity.id == user]:
            del self._cache[token_hash]

    def _remember(self, token_hash: bytes, identity: Identity) -> None:
        self._cache[token_hash] = (time.monotonic() + CACHE_SECONDS, identity)
        self._cache.move_to_end(token_hash)
        if len(self._cache) > MAX_CACHED:
            self._cache.popitem(last=False)


def _hashed(token: str) -> bytes:
    """Hash a token. It is random, so a plain hash is enough."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def _identity(user: int, name: str, role: str, session: int) -> Identity:
    return Identity(user, name, cast('Literal["guest", "member", "admin"]', role), session)


def _storable(key: str) -> bool:
    """Tell whether a name could be in the database at all."""
    return "\0" not in key and not any("\ud800" <= c <= "\udfff" for c in key)

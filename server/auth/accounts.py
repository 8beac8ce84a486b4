"""Accounts: how somebody becomes a user, and how a token tells who it is."""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Literal, cast

import msgspec

from server.auth.identities import Identities
from server.auth.models import USED_STEP, Session, User
from server.auth.names import clean_name, name_key
from server.auth.passwords import Passwords
from server.auth.revocations import BANNED, OnRevoked, Revocations, Revoked, parts
from server.config import AuthSettings
from server.db import Database, UniqueViolation, now
from server.errors import NameTaken, RegistrationClosed, TooManyRequests, WrongCredentials
from server.net.identity import Identity
from server.net.limits import RateLimiter
from server.pubsub.peers import Peers
from server.pubsub.sharing import Limiter, SharedLimit

MIGRATIONS = Path(__file__).parent / "migrations"

TOKEN_BYTES = 32
WRONG = "The name or the password is wrong."
FAILURES_PER_MINUTE = 10
"""Wrong passwords for one name, from wherever."""


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
        peers: the main processes of other machines; None where there are none.
    """

    def __init__(
        self,
        db: Database,
        settings: AuthSettings,
        passwords: Passwords | None = None,
        peers: Peers | None = None,
    ) -> None:
        self._db = db
        self.settings = settings
        self._passwords = passwords or Passwords()
        self._peers = peers
        self._identities = Identities()
        self._revocations = Revocations(db, self._identities, peers)
        self._shared: list[SharedLimit] = []
        self._failures = RateLimiter(FAILURES_PER_MINUTE if settings.attempts_per_minute else 0, FAILURES_PER_MINUTE)
        self.share(self._failures, "failures")

    def start(self, sessions: Callable[[], Collection[int]]) -> None:
        """Begin to look for sessions that ended on another machine unheard. Without other machines there are none.

        Args:
            sessions: returns the sessions that brought the clients of this machine, in all its processes.
        """
        self._revocations.sessions = sessions
        self._revocations.start()

    async def stop(self) -> None:
        """Say the last to the other machines, and hear them no more; end what `start` began."""
        while self._shared:
            self._shared.pop().close()
        await self._revocations.stop()

    def close(self) -> None:
        """End the threads that hash."""
        self._passwords.close()

    def on_revoked(self, callback: OnRevoked) -> None:
        """Call `callback(session, code, reason)` whenever a session ends, on whichever machine.

        Args:
            callback: closes the session's sockets with that close code and reason.
        """
        self._revocations.listen(callback)

    def share(self, limiter: Limiter, name: str) -> None:
        """Let a limit on what strangers try hold over all machines.

        Args:
            limiter: its keys are integers or text.
            name: what the machines know it by.
        """
        if self._peers is not None:
            self._shared.append(SharedLimit(limiter, self._peers.channel(f"@auth/limit/{name}")))

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
        if user is None or user.banned_at is not None:
            user = User()
        user.name, user.member_key, user.role, user.password_hash = name, key, "member", hashed
        try:
            await user.save(self._db)
        except UniqueViolation:
            raise NameTaken("Somebody has this name. Choose another, or log in.") from None
        if current is not None:
            await self.log_out(current)
        return await self._log_in_checked(user)

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
        if not _storable(key):
            key = ""  # nobody's name either
        wait = self._failures.peek(key)
        if wait:
            raise TooManyRequests("Too many attempts. Wait a minute.", retry_after=wait)
        user = await User.select(self._db).where(User.member_key == key).first()
        known = user.password_hash if user is not None else None
        if not await self._passwords.verify(known, password) or user is None or user.banned_at is not None:
            self._failures.take(key)
            raise WrongCredentials(WRONG)
        if known is not None and self._passwords.needs_rehash(known):
            user.password_hash = await self._passwords.hash(password)
            mine = (User.id == user.id) & (User.password_hash == known)
            await User.update(self._db).set(User.password_hash, user.password_hash).where(mine)
        if current is not None:
            await self.log_out(current)
        return await self._log_in_checked(user)

    async def log_out(self, identity: Identity) -> None:
        """End the session that brought an identity; its sockets close."""
        session = identity.session
        if session is None:
            return
        await Session.delete_from(self._db).where(Session.id == session)
        self._revocations.tell(Revoked(identity.id, [session]))

    async def _log_in(self, user: User) -> Login:
        """Start a session under a fresh token: whoever fixed an old one beforehand has nothing."""
        token, mark = secrets.token_urlsafe(TOKEN_BYTES), self._identities.mark
        session = await Session(user=user.id, token_hash=_hashed(token)).insert(self._db)
        identity = _identity(user.id, user.name, user.role, session.id)
        self._identities.remember(_hashed(token), identity, mark)
        return Login(identity, token)

    async def _log_in_checked(self, user: User) -> Login:
        """Start a session, unless the user was banned, or given another password, since that was checked.

        Whoever does that ends the sessions afterwards. So a new session is either seen there, or sees it here.
        """
        login = await self._log_in(user)
        same = (User.id == user.id) & (User.password_hash == user.password_hash) & User.banned_at.is_null()
        if not await User.select(self._db).where(same).exists():
            await self.log_out(login.identity)
            raise WrongCredentials(WRONG)
        return login

    # Being put out.

    async def set_password(self, user: int, password: str) -> bool:
        """Give a member another password; every session of theirs ends, everywhere.

        Args:
            user: the member's id.
            password: the new password.

        Returns:
            False when there is no such member.

        Raises:
            InvalidField: the password is not acceptable.
        """
        hashed = await self._passwords.hash(password)
        member = (User.id == user) & User.member_key.is_not_null()
        if not await User.update(self._db).set(User.password_hash, hashed).where(member):
            return False
        await self._end_sessions(user, Revoked(user, [], reason="password changed"))
        return True

    async def ban(self, user: int) -> bool:
        """Keep a user out: their sockets close everywhere, and nobody gets in as them any more.

        Their sessions stay in the database, so that a machine that was not told finds out what happened to them.

        Returns:
            False when there is no such user.
        """
        await User.update(self._db).set(User.banned_at, now()).where(User.id == user, User.banned_at.is_null())
        if not await User.select(self._db).where(User.id == user).exists():
            return False
        sessions = await Session.select(self._db, Session.id).where(Session.user == user).scalars()
        self._revocations.tell(Revoked(user, sessions, BANNED, "banned"))
        return True

    async def unban(self, user: int) -> bool:
        """Let a user in again, with a new session.

        Returns:
            False when there is no such user, or they were not banned.
        """
        banned = (User.id == user) & User.banned_at.is_not_null()
        if not await User.select(self._db).where(banned).exists():
            return False
        await self._end_sessions(user, Revoked(user, [], BANNED, "banned"))
        return bool(await User.update(self._db).set(User.banned_at, None).where(banned))

    async def _end_sessions(self, user: int, revoked: Revoked) -> None:
        """Delete a user's sessions, and tell everybody."""
        sessions = await Session.select(self._db, Session.id).where(Session.user == user).scalars()
        for part in parts(sessions):
            await Session.delete_from(self._db).where(Session.id.in_(part))
        self._revocations.tell(msgspec.structs.replace(revoked, sessions=sessions))

    # Being known.

    async def identify(self, token: str) -> Identity | None:
        """Return who has a token; None when nobody does, any more."""
        token_hash = _hashed(token)
        identity = self._identities.get(token_hash)
        while identity is None:
            mark = self._identities.mark
            identity = await self._look_up(token_hash)
            if identity is None:
                return None
            if not self._identities.remember(token_hash, identity, mark):
                identity = None  # something about them changed while the database was asked
        return identity

    async def _look_up(self, token_hash: bytes) -> Identity | None:
        """Ask the database who has a token."""
        u = User.prefix("u")
        row = (
            await Session.select(self._db, Session.id, Session.used_at, u.id, u.name, u.role)
            .join(u, Session.user == u.id)
            .where(Session.token_hash == token_hash, Session.used_at > now() - self._lifetime, u.banned_at.is_null())
            .first()
        )
        if row is None:
            return None
        session, used_at, user, name, role = row
        if now() - used_at > USED_STEP:
            await Session.update(self._db).set(Session.used_at, now()).where(Session.id == session)
        return _identity(user, name, role, session)

    async def sweep(self) -> int:
        """Delete the sessions that are over; returns how many."""
        return await Session.delete_from(self._db).where(Session.used_at <= now() - self._lifetime)

    @property
    def _lifetime(self) -> dt.timedelta:
        return dt.timedelta(days=self.settings.session_days)


def _hashed(token: str) -> bytes:
    """Hash a token. It is random, so a plain hash is enough."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def _identity(user: int, name: str, role: str, session: int) -> Identity:
    return Identity(user, name, cast('Literal["guest", "member", "admin"]', role), session)


def _storable(key: str) -> bool:
    """Tell whether a name could be in the database at all."""
    return "\0" not in key and not any("\ud800" <= c <= "\udfff" for c in key)

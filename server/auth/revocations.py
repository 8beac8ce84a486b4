"""Sessions that end: everybody who has to know is told, on every machine, and what nobody heard of is found."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress

import msgspec

from server.auth.identities import Identities
from server.auth.models import USED_STEP, Session, User
from server.db import Database, DatabaseError, now
from server.log import Log
from server.pubsub.peers import Peers

NOT_LOGGED_IN = 4401
BANNED = 4403

LOOK_SECONDS = 0.5
"""How often is looked whether other machines can be heard; while they cannot, the sessions are checked as often."""
CHECK_SECONDS = 60.0
"""How often sessions are checked while all seems well: a message may be lost without a sign."""
PART = 1000
"""Sessions of one query, and of one message."""

CHANNEL = "@auth"

OnRevoked = Callable[[int, int, str], None]
"""Takes the id of a session that ended, and the close code and the reason for its sockets."""

log = Log("auth")


class Revoked(msgspec.Struct, frozen=True):
    """Sessions of a user ended.

    Args:
        user: whose they were.
        sessions: which; the user is looked up again even where there are none.
        code: close code for their sockets.
        reason: the reason given with it.
    """

    user: int
    sessions: list[int]
    code: int = NOT_LOGGED_IN
    reason: str = "logged out"


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Revoked)


class Revocations:
    """The sessions that ended, as one process hears of them.

    Args:
        db: the database, which knows best.
        identities: what is remembered from it, and is to be forgotten.
        peers: the other processes; None where there are none.

    Attributes:
        sessions: returns the sessions that brought the clients of this machine.
    """

    def __init__(self, db: Database, identities: Identities, peers: Peers | None) -> None:
        self._db = db
        self._identities = identities
        self._peers = peers
        self._channel = peers.channel(CHANNEL) if peers is not None else None
        self._end: Callable[[], None] | None = self._channel.listen(self._hear) if self._channel is not None else None
        self._callbacks: list[OnRevoked] = []
        self._gap = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None
        self.sessions: Callable[[], Collection[int]] = tuple

    def listen(self, callback: OnRevoked) -> None:
        """Call `callback` with every session that ends, here or elsewhere."""
        self._callbacks.append(callback)

    def tell(self, revoked: Revoked) -> None:
        """Tell this process and the others; the database has it already."""
        self._take(revoked)
        if self._channel is not None and self._channel.heard:
            for part in parts(revoked.sessions) or [[]]:
                self._channel.send(_encode(msgspec.structs.replace(revoked, sessions=part)))

    async def recheck(self, sessions: Collection[int]) -> None:
        """Find out which sessions ended without anybody having said so here, and end them here.

        Those that are not over are in use, and are written down as such.

        Raises:
            DatabaseError: the database cannot be asked.
        """
        for part in parts(sessions):
            u = User.prefix("u")
            rows = await (
                Session.select(self._db, Session.id, Session.used_at, u.banned_at)
                .join(u, Session.user == u.id)
                .where(Session.id.in_(part))
            )
            banned = {session for session, _, banned_at in rows if banned_at is not None}
            over = set(part) - {session for session, _, _ in rows}
            for session in part:
                if session in banned:
                    self._call(session, BANNED, "banned")
                elif session in over:
                    self._call(session, NOT_LOGGED_IN, "not logged in any more")
            old = now() - USED_STEP
            rested = [session for session, used_at, banned_at in rows if banned_at is None and used_at < old]
            if rested:
                await Session.update(self._db).set(Session.used_at, now()).where(Session.id.in_(rested))

    # Several machines.

    def start(self) -> None:
        """Begin to look for what was not heard of. Needed with several machines, and only there."""
        if self._peers is not None and self._watcher is None:
            self._peers.on_gap(self._take_gap)
            self._watcher = asyncio.get_running_loop().create_task(self._watch(self._peers))

    async def stop(self) -> None:
        """End what `start` began, and hear nothing more."""
        if self._end is not None:
            self._end()
            self._end = None
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
            self._watcher = None

    async def _watch(self, peers: Peers) -> None:
        due = time.monotonic() + CHECK_SECONDS
        owed = False  # a check that has to be, and failed
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._gap.wait()
            alone = not peers.broker.health().connected
            if alone:
                self._identities.forget_all()  # who is remembered may be logged out elsewhere
            if self._gap.is_set() or owed or alone or time.monotonic() >= due:
                self._gap.clear()
                owed = not await self._check(known=owed)
                due = time.monotonic() + CHECK_SECONDS

    async def _check(self, *, known: bool) -> bool:
        """Check the sessions of this machine; tells whether that could be done.

        Args:
            known: it could not the last time either.
        """
        try:
            await self.recheck(self.sessions())
        except DatabaseError as error:
            if not known:
                log.warning("whether sessions are over cannot be found out", problem=str(error))
            return False
        return True

    def _take_gap(self) -> None:
        self._identities.forget_all()
        self._gap.set()

    def _hear(self, process: str, message: bytes) -> None:
        try:
            revoked = _decoder.decode(message)
        except msgspec.MsgspecError:  # another version's, perhaps; the next check finds out
            log.warning("a process tells of ended sessions in a way that is not understood", process=process)
            self._take_gap()
            return
        self._take(revoked)

    def _take(self, revoked: Revoked) -> None:
        self._identities.forget(revoked.user)
        for session in revoked.sessions:
            self._call(session, revoked.code, revoked.reason)

    def _call(self, session: int, code: int, reason: str) -> None:
        for callback in tuple(self._callbacks):
            callback(session, code, reason)


def parts(sessions: Iterable[int]) -> list[list[int]]:
    """Cut sessions into parts that one query or message takes."""
    listed = list(sessions)
    return [listed[begin : begin + PART] for begin in range(0, len(listed), PART)]

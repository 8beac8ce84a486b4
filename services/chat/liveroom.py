"""A room while people are in it: numbers its messages, commits them in groups, and tells everybody.

Everything that is sent while a commit runs goes into the next one. A sender's answer and the publication follow the
commit: what was acknowledged is durable, and nobody sees what is not. `published_rev` is the number of the last event
that subscribers here were given; whatever the database has beyond it is read and published before anything newer is.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager
from typing import Any

from server import Delivery, Presence, Topic, Unavailable, notification
from server.db import DatabaseError, UniqueViolation
from services.chat import wire
from services.chat.membership import Members
from services.chat.models import Room
from services.chat.recent import Budget, Recent
from services.chat.shared import Shared
from services.chat.store import Draft, Store

MAX_BATCH = 200
"""Messages of one commit."""
MAX_QUEUED = 2000
"""Messages of one room that wait for a commit; beyond it senders are told to try again."""
REMEMBERED = 64
"""Messages that are read when the first client comes to a room: a page of the usual size, and a bit."""
COMMIT_SECONDS = 10.0
"""A commit, or a query that it needs, is given up on after this: senders try again, and the nonce settles the rest."""
CATCH_UP_PAGE = 500

Spawn = Callable[[Coroutine[Any, Any, Any]], object]
Warn = Callable[..., None]
Limit = Callable[[float], AbstractContextManager[None]]


class Pending:
    """A message on its way, and who waits for it: more than one when a client tries again meanwhile."""

    __slots__ = ("draft", "waiting")

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.waiting: list[asyncio.Future[wire.Sent]] = []

    def settle(self, sent: wire.Sent) -> None:
        """Answer everybody who waits."""
        for future in self.waiting:
            if not future.done():
                future.set_result(sent)

    def fail(self, error: Exception) -> None:
        """Tell everybody who waits that it did not go."""
        for future in self.waiting:
            if not future.done():
                future.set_exception(error)


class LiveRoom:
    """One room in this process.

    Args:
        row: the room as the database has it.
        store: the chat's queries.
        topic: where its events go.
        presence: who is in it.
        members: who belongs to it.
        budget: what all rooms may keep in memory.
        spawn: runs the coroutine that commits.
        limit: gives up, with TimeoutError, on what takes longer than so many seconds.
        warn: logs what an operator should know.
        changed: called when people or events came, so that others learn of it some time.

    Attributes:
        members: who belongs to it.
        recent: its newest messages; the last of them is the last that subscribers here were given.
        unsure: whether the database may have events that were not published here.
    """

    def __init__(
        self,
        row: Room,
        store: Store,
        topic: Topic,
        presence: Presence,
        *,
        members: Members,
        budget: Budget,
        spawn: Spawn,
        limit: Limit,
        warn: Warn,
        changed: Callable[[LiveRoom], None],
    ) -> None:
        self.row = row
        self.topic = topic
        self.presence = presence
        self.members = members
        self.recent = Recent(budget, row.last_rev)
        self.used_at = time.monotonic()
        self._store = store
        self._spawn = spawn
        self._limit = limit
        self._warn = warn
        self._changed = changed
        self._remembering: Shared[str, None] = Shared()
        self._queue: deque[Pending] = deque()
        self._pending: dict[tuple[int, str], Pending] = {}
        self._committing = False
        self.unsure = False
        self._forget_presence = presence.on_change(self._presence_changed)

    @property
    def name(self) -> str:
        """The room's short name."""
        return self.row.name

    @property
    def published_rev(self) -> int:
        """The number of the last event that subscribers here were given."""
        return self.recent.last

    @property
    def idle(self) -> bool:
        """Whether nobody is here and nothing is under way."""
        return not (self.topic.subscribers or self.presence.count or self._pending or self.unsure)

    def close(self) -> None:
        """Let go of what it shares with others."""
        self._forget_presence()
        self.recent.close()

    # Sending.

    def queue(self, draft: Draft) -> asyncio.Future[wire.Sent]:
        """Queue a message; what is returned is done when the message is durable.

        Cancelling that does not take the message back. It fails with Unavailable when the message could not be
        committed, or may not have been: the same nonce settles it.

        Raises:
            Unavailable: too many messages wait already.
        """
        key = (draft.user.id, draft.nonce)
        pending = self._pending.get(key)
        if pending is None:
            if len(self._queue) >= MAX_QUEUED:
                raise Unavailable("This room is very busy. Try again.")
            pending = self._pending[key] = Pending(draft)
            self._queue.append(pending)
            self.work()
        future: asyncio.Future[wire.Sent] = asyncio.get_running_loop().create_future()
        pending.waiting.append(future)
        return future

    def work(self) -> None:
        """Commit what is queued and publish what is missing, unless that is under way."""
        if not self._committing and (self._queue or self.unsure):
            self._committing = True
            self._spawn(self._work())

    async def _work(self) -> None:
        """The only coroutine that commits and publishes: that is what keeps the order."""
        try:
            if self.unsure:
                await self._publish_missing()
            while self._queue:
                await self._commit([self._queue.popleft() for _ in range(min(len(self._queue), MAX_BATCH))])
        finally:
            self._committing = False

    async def _commit(self, batch: Sequence[Pending]) -> None:
        try:
            with self._limit(COMMIT_SECONDS):
                last = await self._store.append(self.row.id, [pending.draft for pending in batch])
        except UniqueViolation:
            await self._settle_by_nonce(batch)
        except (DatabaseError, TimeoutError) as error:
            self._give_up(batch, error)
        except BaseException as error:
            self._give_up(batch, error)  # nobody may wait for ever, whatever it was
            raise
        else:
            await self._committed(batch, last - len(batch) + 1)

    async def _committed(self, batch: Sequence[Pending], first: int) -> None:
        """Answer the senders and tell everybody: the events are `first` and the numbers after it."""
        if first != self.published_rev + 1:
            self.unsure = True  # another process was between, or a commit that was given up on went through
        for rev, pending in enumerate(batch, start=first):
            draft = pending.draft
            del self._pending[draft.user.id, draft.nonce]
            pending.settle(wire.Sent(rev, rev, draft.sent_at))
            if not self.unsure:
                message = wire.Message(
                    self.name, rev, rev, draft.user, draft.text, draft.sent_at, reply_to=draft.reply_to
                )
                self._publish(wire.entry(message))
        self._changed(self)
        if self.unsure:
            await self._publish_missing()

    async def _settle_by_nonce(self, batch: Sequence[Pending]) -> None:
        """Some of these were sent before: answer them with the first result, and commit the rest."""
        try:
            with self._limit(COMMIT_SECONDS):
                sent = await self._store.sent([pending.draft for pending in batch])
        except (DatabaseError, TimeoutError) as error:
            self._give_up(batch, error)
            return
        except BaseException as error:
            self._give_up(batch, error)  # as in _commit
            raise
        rest = []
        for pending in batch:
            key = (pending.draft.user.id, pending.draft.nonce)
            if key in sent:
                del self._pending[key]
                pending.settle(sent[key])
            else:
                rest.append(pending)
        self.unsure = True  # what was sent before may have been committed after we gave up on it
        if len(rest) == len(batch):
            self._give_up(batch, UniqueViolation("not by a nonce"))
        elif rest:
            await self._commit(rest)

    def _give_up(self, batch: Sequence[Pending], error: BaseException) -> None:
        self.unsure = True
        self._warn("messages not committed", room=self.name, messages=len(batch), problem=repr(error))
        for pending in batch:
            del self._pending[pending.draft.user.id, pending.draft.nonce]
            pending.fail(Unavailable())

    # Publishing.

    def _publish(self, entry: wire.Entry) -> None:
        self.recent.add(entry)
        self.topic.publish(notification("message", wire.message_event(self.name, entry)))

    async def _publish_missing(self) -> None:
        """Publish what the database has beyond `published_rev`, in order; when it is away, `work` tries again."""
        try:
            while True:
                with self._limit(COMMIT_SECONDS):
                    missing = await self._store.changed(self.row, self.published_rev, wire.EVERYTHING, CATCH_UP_PAGE)
                for entry in missing:
                    self._publish(entry)
                if len(missing) < CATCH_UP_PAGE:
                    break
        except (DatabaseError, TimeoutError) as error:
            self._warn("events not published yet", room=self.name, problem=repr(error))
        else:
            self.unsure = False

    async def remember(self) -> None:
        """Read the newest messages into memory, where they are not there: once for all who ask meanwhile."""
        await self._remembering.get(self.name, self._remember)

    async def _remember(self) -> None:
        floor = self.recent.floor
        if floor and len(self.recent) < REMEMBERED:
            start = max(0, floor - REMEMBERED)
            self.recent.fill(await self._store.changed(self.row, start, floor, REMEMBERED), start, floor)

    def _presence_changed(self, joined: list[wire.User], left: list[wire.User], present: int) -> None:
        event = wire.PresenceEvent(self.name, joined, left, present)
        self.topic.publish(notification("presence", event), Delivery.LATEST, "presence")
        self._changed(self)

    # Describing.

    def seen_by(self, user: int) -> wire.Room:
        """Return the room as a user sees it."""
        member = self.members.known(user)
        row = self.row
        return wire.Room(
            row.name,
            row.title,
            row.topic,
            row.visibility,
            self.presence.count,
            self.published_rev,
            member.read_seq if member else 0,
            member.role if member else None,
        )

    def activity(self) -> wire.RoomActivity:
        """Return the room as everybody sees it."""
        row = self.row
        return wire.RoomActivity(
            row.name, row.title, row.topic, row.visibility, self.presence.count, self.published_rev
        )

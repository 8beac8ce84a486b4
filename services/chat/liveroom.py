"""A room while people are in it: numbers its messages, commits them in groups, and tells everybody.

Everything that is sent while a commit runs goes into the next one. A sender's answer and the publication follow the
commit: what was acknowledged is durable, and nobody sees what is not.

Events are committed here and in other processes, which send theirs on the room's channel. From wherever they come,
each process gives them to its own subscribers, in the order of their numbers. `published_rev` is the number of the last
one that it gave; what comes ahead of its turn waits for those between, and if they do not come they are read from the
database. Publishing never waits for a commit, nor a commit for publishing.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import msgspec

from server import Channel, Delivery, Presence, Topic, Unavailable, notification
from server.db import DatabaseError, UniqueViolation
from services.chat import between, wire
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
GAP_SECONDS = 0.02
"""How long an event that is ahead of its turn waits for those between, which are on their way as a rule."""
MAX_AHEAD = 500
"""Events that wait for their turn; when there are more, all of them are read from the database."""

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
Warn = Callable[..., None]
Limit = Callable[[float], AbstractContextManager[None]]


class Changed(Protocol):
    """Takes a room in which people or events came."""

    def __call__(self, live: LiveRoom, *, here: bool) -> None:
        """Take it.

        Args:
            live: the room.
            here: whether this process is where it happened, and not another that tells of it too.
        """


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
        topic: where its events go, for this process's subscribers.
        channel: where its events go to the other processes, and come from.
        presence: who is in it.
        members: who belongs to it.
        budget: what all rooms may keep in memory.
        spawn: runs the coroutines that commit and read.
        limit: gives up, with TimeoutError, on what takes longer than so many seconds.
        warn: logs what an operator should know.
        changed: called when people or events came, so that others learn of it some time.

    Attributes:
        members: who belongs to it.
        recent: its newest messages; the last of them is the last that subscribers here were given.
    """

    def __init__(
        self,
        row: Room,
        store: Store,
        topic: Topic,
        channel: Channel,
        presence: Presence,
        *,
        members: Members,
        budget: Budget,
        spawn: Spawn,
        limit: Limit,
        warn: Warn,
        changed: Changed,
    ) -> None:
        self.row = row
        self.topic = topic
        self.presence = presence
        self.members = members
        self.recent = Recent(budget, row.last_rev)
        self.used_at = time.monotonic()
        self._people = (presence.count, presence.changes_here)
        self._store = store
        self._channel = channel
        self._spawn = spawn
        self._limit = limit
        self._warn = warn
        self._changed = changed
        self._remembering: Shared[str, None] = Shared()
        self._queue: deque[Pending] = deque()
        self._pending: dict[tuple[int, str], Pending] = {}
        self._committing = False
        self._ahead: dict[int, wire.Entry] = {}  # by number: events that are not the next one
        self._gap: asyncio.TimerHandle | None = None
        self._doubts = 0  # reasons, since it was read last, for which the database may have more
        self._reader: asyncio.Task[None] | None = None
        self._stop_listening = channel.listen(self.hear)
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
    def unsure(self) -> bool:
        """Whether the database may have events that were not published here."""
        return self._doubts > 0 or bool(self._ahead)

    @property
    def idle(self) -> bool:
        """Whether nobody is connected here and nothing is under way."""
        return not (self.topic.subscribers or self._pending or self.unsure)

    @property
    def committing(self) -> bool:
        """Whether a commit is under way here; its end shows whether anything is missing."""
        return self._committing

    def close(self) -> None:
        """Let go of what it shares with others."""
        if self._gap is not None:
            self._gap.cancel()
            self._gap = None
        self._stop_listening()
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
        """Commit what is queued and read what is missing, unless that is under way."""
        if self._queue and not self._committing:
            self._committing = True
            self._spawn(self._commit_queued())
        if self._doubts and (self._reader is None or self._reader.done()):
            self._reader = self._spawn(self._read_missing())

    async def _commit_queued(self) -> None:
        """The only coroutine that commits: that is what keeps the order in which messages were sent."""
        try:
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
            self._committed(batch, last - len(batch) + 1)

    def _committed(self, batch: Sequence[Pending], first: int) -> None:
        """Answer the senders and tell everybody: the events are `first` and the numbers after it."""
        entries = []
        for rev, pending in enumerate(batch, start=first):
            draft = pending.draft
            del self._pending[draft.user.id, draft.nonce]
            pending.settle(wire.Sent(rev, rev, draft.sent_at))
            message = wire.Message(self.name, rev, rev, draft.user, draft.text, draft.sent_at, reply_to=draft.reply_to)
            entries.append(wire.entry(message))
        self._take(entries)
        if self._channel.heard:
            for message_between in between.pack_entries(entries):
                self._channel.send(message_between)
        self._changed(self, here=True)
        self.work()  # the database answers: time to read what is in doubt

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
        self.doubt()  # what was sent before may have been committed after we gave up on it
        if len(rest) == len(batch):
            self._give_up(batch, UniqueViolation("not by a nonce"))
        elif rest:
            await self._commit(rest)

    def _give_up(self, batch: Sequence[Pending], error: BaseException) -> None:
        self._doubts += 1  # it may have gone through; `work`, which runs now and then, finds out
        self._warn("messages not committed", room=self.name, messages=len(batch), problem=repr(error))
        for pending in batch:
            del self._pending[pending.draft.user.id, pending.draft.nonce]
            pending.fail(Unavailable())

    # Publishing.

    def hear(self, _process: str, message: bytes) -> None:
        """Take events that another process has committed."""
        try:
            entries = between.unpack_entries(message)
        except msgspec.MsgspecError:
            self.doubt()  # another version of the program speaks differently, and the database is the same
            return
        before = self.published_rev
        self._take(entries)
        if self.published_rev != before:
            self._changed(self, here=False)

    def doubt(self) -> None:
        """Read what the database has: something may be missing here."""
        self._doubts += 1
        self.work()

    async def catch_up(self) -> None:
        """Read what the database has, and return when that is over, whatever came of it."""
        self.doubt()
        if self._reader is not None:
            await asyncio.wait([self._reader])

    def _take(self, entries: Sequence[wire.Entry]) -> None:
        """Publish events whose turn it is, pass over those that were published, and keep what is ahead."""
        for entry in entries:
            if entry.rev == self.recent.last + 1:
                self._publish(entry)
            elif entry.rev > self.recent.last:
                self._ahead[entry.rev] = entry
        if self._ahead:
            self._go_on()

    def _go_on(self) -> None:
        """Publish what was ahead and has its turn now; see to it that what is between does not stay away."""
        while (entry := self._ahead.pop(self.published_rev + 1, None)) is not None:
            self._publish(entry)
        self._ahead = {rev: entry for rev, entry in self._ahead.items() if rev > self.published_rev}
        if len(self._ahead) > MAX_AHEAD:
            self._ahead.clear()
            self.doubt()
        elif self._ahead and self._gap is None:
            if self._channel.heard:
                self._gap = asyncio.get_running_loop().call_later(GAP_SECONDS, self._gap_stays)
            else:
                self.doubt()  # a commit that was given up on went through: nobody will tell of it

    def _gap_stays(self) -> None:
        self._gap = None
        if self._ahead:
            self.doubt()

    def _publish(self, entry: wire.Entry) -> None:
        self.recent.add(entry)
        self.topic.publish(notification("message", wire.message_event(self.name, entry)), here=True)

    async def _read_missing(self) -> None:
        """Publish what the database has beyond `published_rev`, in order; when it is away, `work` tries again."""
        before = self.published_rev
        try:
            while self._doubts:
                doubts, upto = self._doubts, max(self._ahead, default=0)
                with self._limit(COMMIT_SECONDS):
                    missing = await self._store.changed(self.row, self.published_rev, wire.EVERYTHING, CATCH_UP_PAGE)
                for entry in missing:
                    if entry.rev > self.published_rev:  # else it was heard meanwhile
                        self._publish(entry)
                if len(missing) == CATCH_UP_PAGE:
                    continue
                # What the database did not have, although it was ahead before, is not: nobody waits for it for ever.
                self._ahead = {rev: entry for rev, entry in self._ahead.items() if rev > upto}
                if self._doubts == doubts:
                    self._doubts = 0
                self._go_on()
        except (DatabaseError, TimeoutError) as error:
            self._warn("events not published yet", room=self.name, problem=repr(error))
        finally:
            if self.published_rev != before:
                self._changed(self, here=False)

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
        self.topic.publish(notification("presence", event), Delivery.LATEST, "presence", here=True)

    def people_moved(self) -> tuple[bool, bool]:
        """Tell whether there are more or fewer people than the last time, and whether some came or left here.

        Changes that took each other back are no presence event, and somebody may have been told what was between.
        """
        before, self._people = self._people, (self.presence.count, self.presence.changes_here)
        return before[0] != self._people[0], before[1] != self._people[1]

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

"""The chat service: what clients may call."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from server import (
    Caller,
    Conflict,
    Delivery,
    Frame,
    InvalidParams,
    NotAllowed,
    NotFound,
    Presence,
    RateLimiter,
    RpcService,
    Subscription,
    TooManyRequests,
    method,
    notification,
)
from server.db import DatabaseError, now
from services.chat import wire
from services.chat.liveroom import LiveRoom
from services.chat.membership import Memberships
from services.chat.models import Room
from services.chat.recent import Answer, Budget
from services.chat.rooms import Rooms
from services.chat.shared import Shared
from services.chat.store import Draft, Store

PAGE_MOST = 200
"""Messages of one answer."""
SNAPSHOT_TRIES = 5
RECENT_BYTES = 8 * 2**20
"""What the newest messages of all rooms may take in memory."""
TICK_SECONDS = 1.0
"""How often read marks are written and other people's rooms are told of activity."""
TYPING_SECONDS = 1.0


class ChatSettings(msgspec.Struct, frozen=True):
    """`[services.chat]`: 0 switches a limit off.

    Args:
        messages_per_minute: of one user.
        message_chars: characters of one message.
        rooms_per_user: rooms that one user may own.
        default_rooms: rooms that are made at the first start.
    """

    messages_per_minute: Annotated[int, Meta(ge=0)] = 120
    message_chars: Annotated[int, Meta(ge=0)] = 4000
    rooms_per_user: Annotated[int, Meta(ge=0)] = 50
    default_rooms: tuple[wire.RoomName, ...] = ("lobby",)


class Here:
    """A connection's part in a room: it receives, and its user is present."""

    __slots__ = ("entry", "room", "subscription", "typed_at")

    def __init__(self, room: LiveRoom, subscription: Subscription, entry: Any) -> None:
        self.room = room
        self.subscription = subscription
        self.entry = entry
        self.typed_at = 0.0

    def leave(self) -> None:
        """Receive nothing more, and be gone."""
        self.subscription.close()
        self.entry.leave()


class Client:
    """What the chat keeps for a connection.

    Attributes:
        rooms: the rooms that it joined, by name.
        order: held while a message is on its way into a room's queue, so that messages queue in the order sent.
    """

    __slots__ = ("order", "rooms", "subscriptions", "user")

    def __init__(self, user: wire.User) -> None:
        self.user = user
        self.rooms: dict[str, Here] = {}
        self.order = asyncio.Lock()
        self.subscriptions: tuple[Subscription, ...] = ()


class Chat(RpcService):
    """Rooms where people talk, and a history that forgets nothing.

    Every durable event of a room has a number, `rev`: 1, 2, 3 and so on. Join a room with `after` to get what
    changed since.
    """

    login = "guest"
    Settings = ChatSettings
    settings: ChatSettings
    events: ClassVar[dict[str, type[msgspec.Struct]]] = {
        "message": wire.MessageEvent,
        "presence": wire.PresenceEvent,
        "typing": wire.TypingEvent,
        "room": wire.Room,
        "read": wire.ReadEvent,
    }

    # Life.

    async def start(self) -> None:
        self._store = Store(self.db)
        self._rooms = Rooms(self._store, self._make_live)
        self._memberships = Memberships(self._store, self.spawn)
        self._recent = Budget(RECENT_BYTES)
        self._reads: Shared[tuple[int, int | None, int, int], tuple[list[wire.Entry], bool]] = Shared()
        self._pages: Shared[tuple[int, int, int, int], Answer] = Shared()
        self._everybody = self.topic("everybody")
        self._clients: dict[int, set[Caller]] = {}
        self._rate = RateLimiter(self.settings.messages_per_minute)
        self._active: set[LiveRoom] = set()
        self._read_marks: dict[tuple[int, int], int] = {}
        self._writing = asyncio.Lock()
        for name in self.settings.default_rooms:
            await self._store.create_room(Room(name=name, title=name.replace("-", " ").capitalize()), None)
        self.spawn(self._tick())

    async def stop(self) -> None:
        await self._write_read_marks()

    def limits(self) -> dict[str, int]:
        return {
            "message_chars": self.settings.message_chars,
            "messages_per_minute": self.settings.messages_per_minute,
        }

    def joined(self, caller: Caller) -> None:
        user = caller.user
        caller.state = Client(wire.User(user.id, user.name))
        self._everybody.subscribe(caller.connection, silent=True)
        self._clients.setdefault(user.id, set()).add(caller)

    def left(self, caller: Caller) -> None:
        callers = self._clients[caller.user.id]
        callers.discard(caller)
        if not callers:
            del self._clients[caller.user.id]

    # Rooms.

    @method(name="rooms.list")
    async def rooms_list(self, caller: Caller) -> wire.Rooms:
        """List the public rooms and one's own."""
        user = caller.user.id
        rooms = []
        for row, role, read_seq in await self._store.rooms_of(user):
            live = self._rooms.get(row.name)
            member = live.members.known(user) if live else None
            present = live.presence.count if live else 0
            last_rev = live.published_rev if live else row.last_rev
            read = max(read_seq, member.read_seq) if member else read_seq  # marks are written a moment later
            rooms.append(wire.Room(row.name, row.title, row.topic, row.visibility, present, last_rev, read, role))
        return wire.Rooms(rooms)

    @method(name="rooms.create")
    async def rooms_create(
        self,
        caller: Caller,
        room: wire.RoomName,
        title: wire.Title = "",
        topic: wire.TopicText = "",
        visibility: wire.Visibility = "public",
    ) -> wire.Room:
        """Make a room and own it. Join it to receive its events."""
        user = caller.user.id
        most = self.settings.rooms_per_user
        if most and await self._store.count_rooms_owned(user) >= most:
            raise NotAllowed(f"You own {most} rooms already, as many as this server lets you.")
        row = await self._store.create_room(
            Room(name=room, title=title.strip() or room, topic=topic.strip(), visibility=visibility), user
        )
        if row is None:
            raise Conflict("There is a room of this name. Choose another.")
        live = await self._open(room)
        await live.members.look(user)
        if visibility == "public":
            self._everybody.publish(notification("room", live.seen_by(0)), Delivery.LATEST, room)
            await self._everybody.delivered()  # what the room is to its owner comes behind what it is to anybody
        self._tell_devices(live, caller)
        return live.seen_by(user)

    @method(name="rooms.join")
    async def rooms_join(
        self, caller: Caller, room: wire.RoomName, after: wire.Sequence | None = None, limit: wire.Limit = 50
    ) -> wire.Joined:
        """Become a member of a public room, receive its events from now on, and get what happened before.

        Without `after`: the newest messages. With it: the messages that changed since that event, in the order of
        the changes; `complete` is false when there were more than `limit`, and then they are the newest page.
        """
        client: Client = caller.state
        live = await self._open_for(caller, room)
        # Only members get this far into a private room; a join would bring back who leaves it at this moment.
        if live.row.visibility == "public" and await live.members.join(client.user.id):
            self._tell_devices(live, caller)
        snapshot = await self._snapshot(live, after, min(limit, PAGE_MOST))
        # Nothing is awaited from here on: what follows the answer is exactly what the answer does not have.
        if live.members.known(client.user.id) is None:
            raise Conflict("You left this room meanwhile.")  # on another device, while the snapshot was read
        previous = client.rooms.pop(room, None)
        if previous is not None:
            previous.subscription.close()
        subscription = live.topic.subscribe(caller.connection)
        entry = previous.entry if previous else live.presence.enter(client.user.id, client.user, caller.connection)
        client.rooms[room] = Here(live, subscription, entry)
        present = live.presence.members(client.user.id)
        return wire.joined(
            live.seen_by(client.user.id), present, snapshot.messages, live.published_rev, complete=snapshot.whole
        )

    @method(name="rooms.leave")
    async def rooms_leave(self, caller: Caller, room: wire.RoomName) -> wire.Empty:
        """Be no member any more, on all of one's devices."""
        user = caller.user.id
        live = await self._open_for(caller, room)
        await live.members.leave(user)
        self._read_marks.pop((live.row.id, user), None)
        for other in self._clients.get(user, ()):
            here = other.state.rooms.pop(room, None)
            if here is not None:
                here.leave()
        self._tell_devices(live, caller)
        return wire.Empty()

    # Messages.

    @method(name="messages.send")
    async def messages_send(
        self, caller: Caller, room: wire.RoomName, text: str, nonce: wire.Nonce, reply_to: int | None = None
    ) -> wire.Sent:
        """Say something. The answer comes when it is durable; the same nonce again gives the same answer."""
        client: Client = caller.state
        self._check_text(text)
        wait = self._rate.take(client.user.id)
        if wait:
            raise TooManyRequests("You write faster than this server allows.", retry_after=round(wait, 3))
        async with client.order:
            live = await self._open_for(caller, room)
            if await live.members.look(client.user.id) is None:
                raise NotAllowed("Join the room first.")
            if reply_to is not None and not 1 <= reply_to <= live.published_rev:
                raise InvalidParams("There is no such message to reply to.", path="reply_to")
            sending = live.queue(Draft(client.user, nonce, text, now(), reply_to))
        return await sending

    @method(name="messages.history")
    async def messages_history(
        self, caller: Caller, room: wire.RoomName, before: wire.Sequence | None = None, limit: wire.Limit = 50
    ) -> wire.History:
        """Get older messages, the oldest first: those before the message `before`, or the newest."""
        live = await self._open_for(caller, room)
        limit = min(limit, PAGE_MOST)
        before = wire.EVERYTHING if before is None else before
        if live.unsure:  # what was acknowledged may be in the database only
            page = await self._page(live, before, limit)
        elif (known := live.recent.page(before, limit)) is not None:
            page = known
        else:
            question = (live.row.id, before, limit, live.published_rev)
            page = await self._pages.get(question, partial(self._page, live, before, limit))
        return wire.history(page.messages, more=not page.whole)

    @method
    async def read(self, caller: Caller, room: wire.RoomName, seq: wire.Sequence) -> wire.Empty:
        """Remember that everything up to a message was read; other devices are told."""
        user = caller.user.id
        live = await self._open_for(caller, room)
        member = await live.members.look(user)
        if member is None:
            raise NotAllowed("Join the room first.")
        seq = min(seq, live.published_rev)
        if seq > member.read_seq:
            member.read_seq = seq
            self._read_marks[live.row.id, user] = seq
            self._tell_others(caller, notification("read", wire.ReadEvent(room, seq)))
        return wire.Empty()

    @method
    async def typing(self, caller: Caller, room: wire.RoomName) -> None:
        """Tell the others in the room that one is writing (a notification)."""
        client: Client = caller.state
        here = client.rooms.get(room)
        if here is None:
            raise NotAllowed("Join the room first.")
        moment = time.monotonic()
        if moment - here.typed_at >= TYPING_SECONDS:
            here.typed_at = moment
            here.room.topic.publish(notification("typing", wire.TypingEvent(room, client.user)), Delivery.DROPPABLE)

    # What the methods share.

    async def _open(self, name: str) -> LiveRoom:
        live = await self._rooms.open(name)
        if live is None:
            raise NotFound("There is no such room.")
        return live

    async def _open_for(self, caller: Caller, name: str) -> LiveRoom:
        """Return a room that the caller may know of."""
        live = await self._open(name)
        if live.row.visibility != "public" and await live.members.look(caller.user.id) is None:
            raise NotFound("There is no such room.")
        return live

    async def _snapshot(self, live: LiveRoom, after: int | None, limit: int) -> Answer:
        """Return the messages for a join, as of `published_rev` at the moment of the return, and whether all."""
        snapshot = live.recent.snapshot(after, limit)
        if snapshot is None:
            await live.remember()
            snapshot = live.recent.snapshot(after, limit)
        for _ in range(SNAPSHOT_TRIES):
            if snapshot is not None:
                return snapshot
            upto = live.published_rev
            entries, whole = await self._reads.get(
                (live.row.id, after, upto, limit), partial(self._read_snapshot, live, after, upto, limit)
            )
            missed = live.recent.since(upto)
            if missed is not None:
                return Answer(wire.array(_merged(entries, missed, by_rev=after is not None and whole)), whole)
            snapshot = live.recent.snapshot(after, limit)
        raise Conflict("This room is too busy to join. Try again.")

    async def _read_snapshot(
        self, live: LiveRoom, after: int | None, upto: int, limit: int
    ) -> tuple[list[wire.Entry], bool]:
        if after is not None and after <= upto:
            changed = await self._store.changed(live.row, after, upto, limit + 1)
            if len(changed) <= limit:
                return changed, True
        page = await self._store.page(live.row, upto + 1, limit + 1)
        more = len(page) > limit
        return (page[1:] if more else page), after is None and not more

    async def _page(self, live: LiveRoom, before: int, limit: int) -> Answer:
        page = await self._store.page(live.row, before, limit + 1)
        more = len(page) > limit
        return Answer(wire.array(page[1:] if more else page), not more)

    def _check_text(self, text: str) -> None:
        most = self.settings.message_chars
        if most and len(text) > most:
            raise InvalidParams(f"A message has at most {most} characters.", path="text")
        if not text.strip():
            raise InvalidParams("Write something first.", path="text")

    def _tell_devices(self, live: LiveRoom, caller: Caller) -> None:
        """Tell the caller's other devices what a room is to the user now."""
        devices = self._clients.get(caller.user.id, ())
        if len(devices) > 1:
            self._tell_others(caller, notification("room", live.seen_by(caller.user.id)))

    def _tell_others(self, caller: Caller, event: Frame) -> None:
        for other in self._clients.get(caller.user.id, ()):
            if other is not caller:
                other.connection.write(event)

    def _make_live(self, row: Room) -> LiveRoom:
        presence: Presence = self.presence(f"room/{row.name}")
        return LiveRoom(
            row,
            self._store,
            self.topic(f"room/{row.name}"),
            presence,
            members=self._memberships.of(row.id),
            budget=self._recent,
            spawn=self.spawn,
            limit=self.limit,
            warn=self.log.warning,
            changed=lambda live: self._active.add(live),  # the set is another one each second
        )

    # What happens by itself.

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self._rooms.tidy()
            self._tell_activity()
            await self._write_read_marks()

    def _tell_activity(self) -> None:
        """Tell everybody which rooms have more people or messages than a second ago."""
        active, self._active = self._active, set()
        for live in active:
            if live.row.visibility == "public":
                self._everybody.publish(notification("room", live.activity()), Delivery.LATEST, live.name)

    async def _write_read_marks(self) -> None:
        async with self._writing:  # the end waits for a write that the tick began, and does again what failed
            marks, self._read_marks = self._read_marks, {}
            if not marks:
                return
            try:
                await self._store.mark_read([(room, user, seq) for (room, user), seq in marks.items()])
            except DatabaseError as error:
                self.log.warning("read marks not written yet", problem=str(error))
                self._read_marks = {**marks, **self._read_marks}


def _merged(entries: list[wire.Entry], missed: list[wire.Entry], *, by_rev: bool) -> list[wire.Entry]:
    """Lay newer states of messages over older ones; in the order of changes, or of the room."""
    if not missed:
        return entries
    merged = {entry.seq: entry for entry in (*entries, *missed)}
    return sorted(merged.values(), key=(lambda entry: entry.rev) if by_rev else (lambda entry: entry.seq))

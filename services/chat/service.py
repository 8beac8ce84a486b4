"""The chat service: what clients may call."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from server import (
    Caller,
    Channel,
    Conflict,
    Delivery,
    InvalidParams,
    NotAllowed,
    NotFound,
    RateLimiter,
    RpcService,
    TooManyRequests,
    method,
    notification,
)
from server.db import now
from services.chat import wire
from services.chat.activity import Activity
from services.chat.between import Created, Device, Look
from services.chat.checks import Checks
from services.chat.clients import Client, Clients, Here
from services.chat.heads import Heads
from services.chat.liveroom import LiveRoom
from services.chat.membership import Memberships
from services.chat.models import Room
from services.chat.others import Others
from services.chat.pages import Pages
from services.chat.readmarks import ReadMarks
from services.chat.recent import Budget
from services.chat.rooms import Rooms
from services.chat.store import Draft, Store

PAGE_MOST = 200
"""Messages of one answer."""
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
        self._clients = Clients()
        self._memberships = Memberships(self._store, self.spawn)
        self._recent = Budget(self.context.server.cache_bytes)
        self._pages = Pages(self._store)
        self._marks = ReadMarks(self._store, self.log.warning)
        self._everybody = self.topic("everybody")
        self._rate = RateLimiter(self.settings.messages_per_minute)
        self._rooms = Rooms(self._store, lambda name: self.channel(f"room/{name}"), self.peers.settled, self._make_live)
        self._activity = Activity(self._everybody, self._rooms)
        self._others = Others(
            self.peers,
            self.channel("news"),
            rooms=self._rooms,
            clients=self._clients,
            everybody=self._everybody,
            activity=self._activity,
            heads=Heads(self._store, self._rooms, self.spawn, self.limit),
            checks=Checks(self._clients, self.spawn),
            warn=self.log.warning,
        )
        for name in self.settings.default_rooms:
            await self._store.create_room(Room(name=name, title=name.replace("-", " ").capitalize()), None)
        self.share(self._rate, "messages")
        self._others.start()
        self.spawn(self._tick())

    async def stop(self) -> None:
        self._others.stop()
        self._rooms.close()
        await self._marks.write()

    def shrink(self) -> int:
        return self._recent.shrink()

    def limits(self) -> dict[str, int]:
        return {
            "message_chars": self.settings.message_chars,
            "messages_per_minute": self.settings.messages_per_minute,
        }

    def joined(self, caller: Caller) -> None:
        self._clients.enter(caller)
        self._everybody.subscribe(caller.connection, silent=True)

    def left(self, caller: Caller) -> None:
        self._clients.leave(caller)

    # Rooms.

    @method(name="rooms.list")
    async def rooms_list(self, caller: Caller) -> wire.Rooms:
        """List the public rooms and one's own."""
        user = caller.user.id
        rooms = []
        for row, role, read_seq in await self._store.rooms_of(user):
            live = self._rooms.get(row.name)
            member = live.members.known(user) if live else None
            present = live.presence.count if live else self._activity.present(row.name)
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
            self._everybody.publish(notification("room", live.seen_by(0)), Delivery.LATEST, room, here=True)
            self._others.tell(Created(live.seen_by(0)))
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
        if live.row.visibility == "public" and await live.members.join(client.user.id, anew=self._others.heard):
            self._tell_devices(live, caller)
        if after is not None and after > live.published_rev:
            await live.catch_up()  # it comes from another process, which was ahead
        snapshot = await self._pages.snapshot(live, after, min(limit, PAGE_MOST))
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
        try:
            await live.members.leave(user)
        finally:
            self._others.tell(Look(room, user))  # where it failed the database may have done it all the same
        self._marks.drop(live.row.id, user)
        self._clients.take_out(user, room)
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
        page = await self._pages.page(live, before, limit)
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
            self._marks.note(live.row.id, user, seq)
            if len(self._clients.of(user)) > 1:
                self._clients.tell(user, notification("read", wire.ReadEvent(room, seq)), but=caller)
            self._others.read(user, room, seq)
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

    def _check_text(self, text: str) -> None:
        most = self.settings.message_chars
        if most and len(text) > most:
            raise InvalidParams(f"A message has at most {most} characters.", path="text")
        if not text.strip():
            raise InvalidParams("Write something first.", path="text")

    def _tell_devices(self, live: LiveRoom, caller: Caller) -> None:
        """Tell the caller's other devices what a room is to the user now."""
        user = caller.user.id
        if len(self._clients.of(user)) > 1:
            self._clients.tell(user, notification("room", live.seen_by(user)), but=caller)
        if self._others.heard:
            self._others.tell(Device(user, live.seen_by(user)))

    def _make_live(self, row: Room, channel: Channel) -> LiveRoom:
        return LiveRoom(
            row,
            self._store,
            self.topic(f"room/{row.name}"),
            channel,
            self.presence(f"room/{row.name}", wire.User),
            members=self._memberships.of(row.id),
            budget=self._recent,
            spawn=self.spawn,
            limit=self.limit,
            warn=self.log.warning,
            changed=self._activity.note,
        )

    async def _tick(self) -> None:
        """Do what happens by itself."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self._rooms.tidy()
            self._others.tick()
            await self._marks.write()

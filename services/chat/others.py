"""The other processes of the chat: tells them what happens here, and takes in what they tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec

from server import Channel, Delivery, Peers, Topic, notification
from services.chat import wire
from services.chat.activity import Activity
from services.chat.between import Active, Ask, Created, Device, Look, News, Read, pack, unpack
from services.chat.checks import Checks
from services.chat.clients import Clients
from services.chat.heads import Heads
from services.chat.rooms import Rooms

COMPARE_SECONDS = 5.0
"""How often rooms are compared with the database while other processes are heard."""


class Others:
    """What the chat's processes tell each other, but for the events of rooms.

    Alone, it costs nothing: nobody hears, so nothing is made to be told.

    Args:
        peers: the other processes.
        channel: where they hear this one, and this one them.
        rooms: the rooms that are live here.
        clients: who is connected here.
        everybody: the topic of all who are connected here.
        activity: how lively rooms are.
        heads: compares rooms with the database.
        checks: looks who is a member still.
        warn: logs what an operator should know.
    """

    def __init__(
        self,
        peers: Peers,
        channel: Channel,
        *,
        rooms: Rooms,
        clients: Clients,
        everybody: Topic,
        activity: Activity,
        heads: Heads,
        checks: Checks,
        warn: Callable[..., None],
    ) -> None:
        self._peers = peers
        self._channel = channel
        self._rooms = rooms
        self._clients = clients
        self._everybody = everybody
        self._activity = activity
        self._heads = heads
        self._checks = checks
        self._warn = warn
        self._reads: dict[tuple[int, str], int] = {}
        self._asking = True
        self._gap = False
        self._misunderstood = False
        self._compare_at = 0.0
        self._check_at = 0.0
        self._stop_listening: Callable[[], None] | None = None

    def start(self) -> None:
        """Begin to listen."""
        self._stop_listening = self._channel.listen(self._hear)
        self._compare_at = time.monotonic() + COMPARE_SECONDS
        self._peers.on_gap(self._missed)
        self._peers.on_gone(self._gone)

    def stop(self) -> None:
        """Listen no longer."""
        if self._stop_listening is not None:
            self._stop_listening()
            self._stop_listening = None

    @property
    def heard(self) -> bool:
        """Whether anybody may hear what is told."""
        return self._channel.heard

    def tell(self, *news: News) -> None:
        """Tell the others. Never waits."""
        if self._channel.heard:
            self._send(news)

    def read(self, user: int, room: str, seq: int) -> None:
        """Tell the others, with the next tick, what somebody has read."""
        if self._channel.heard:
            self._reads[user, room] = seq

    def tick(self) -> None:
        """Do what is done each second."""
        moment = time.monotonic()
        heard, away = self._channel.heard, not self._peers.broker.health().connected
        if self._gap:
            self._gap = False
            self._asking = True
            self._activity.doubt()
            self._check_everybody()
        self._activity.tell_here()
        active = self._activity.for_others()
        if heard:
            reads, self._reads = self._reads, {}
            news: list[News] = [Read(user, room, seq) for (user, room), seq in reads.items()]
            if self._asking:
                news.append(Ask())
            self._asking = False
            self._send([*news, *active])
        if away or (heard and moment >= self._compare_at):
            self._compare_at = moment + COMPARE_SECONDS
            self._heads.compare()
        if away and moment >= self._check_at:
            self._check_at = moment + COMPARE_SECONDS
            self._check_everybody()
        self._checks.work()

    def _send(self, news: Sequence[News]) -> None:
        for message in pack(news):
            self._channel.send(message)

    def _missed(self) -> None:
        """Something may have been lost: events are looked for at once, and the rest with the next tick."""
        if self._stop_listening is not None:
            self._gap = True
            self._heads.compare()

    def _gone(self, process: str) -> None:
        if self._stop_listening is not None:
            self._activity.gone(process)

    def _check_everybody(self) -> None:
        """Believe nothing of what is known of memberships."""
        self._checks.suspect(self._clients.places())
        for live in self._rooms:
            self._checks.suspect((live, user) for user in live.members.doubt(self._clients))

    # What they tell.

    def _hear(self, process: str, message: bytes) -> None:
        try:
            told = unpack(message)
        except msgspec.MsgspecError as error:
            if not self._misunderstood:  # another version of the program, as a rule: it would be told again and again
                self._misunderstood = True
                self._warn("another process is not understood", process=process, problem=str(error))
            return
        for news in told:
            self._take(process, news)

    def _take(self, process: str, news: News) -> None:
        match news:
            case Active():
                self._activity.hear(process, news)
            case Ask():
                self._activity.note_all()
            case Created(room=room):
                self._everybody.publish(notification("room", room), Delivery.LATEST, room.room, here=True)
            case Read(user=user, room=name, seq=seq):
                self._take_read(user, name, seq)
            case Device(user=user, room=room):
                event = notification("room", room)
                # What the room is to everybody may be on its way to the same devices, and comes first.
                self._everybody.delivered().add_done_callback(lambda _: self._clients.tell(user, event))
            case Look(room=name, user=user):
                live = self._rooms.get(name)
                if live is not None:
                    self._checks.suspect([(live, user)])

    def _take_read(self, user: int, name: str, seq: int) -> None:
        live = self._rooms.get(name)
        member = live.members.known(user) if live else None
        if member is not None:
            if seq <= member.read_seq:
                return
            member.read_seq = seq
        self._clients.tell(user, notification("read", wire.ReadEvent(name, seq)))

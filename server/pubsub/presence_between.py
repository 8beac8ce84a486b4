"""Presence between processes: each tells the others who is at a place here, and asks them who is there.

For each place (a `Presence`) that is in use, a process has a version of its own members, and what it knows of the
members of each other process, with that process's version. Changes are told as differences between two versions. On one
channel for all places each process says which versions it has (`Have`): when a place is used for the first time, when a
difference does not fit, after a gap, and for every place once in `BEATS` beats. Who has another version of its own
answers with all its members. So whatever a broker loses, repeats or reorders is right again after that time, and nobody
has to notice that something is missing, nor to answer where nothing is.

Version 0 is having no members; of other versions a process gives each number once, for whatever place.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from server.log import Log
from server.pubsub.peers import Channel, Peers, Scheduler, Timer
from server.pubsub.presence_replica import Delta, Part, Place, Replica

BEAT_SECONDS = 3.0
BEATS = 4
"""Each place is asked about once in so many beats: within 15 s it is right, whatever happened."""
ROUND_SECONDS = 0.05
"""Between two rounds of asking and answering, while there is more to ask and answer."""
MOST_ASKED = 250
"""Places that one round asks about: in 12 s those are 60,000."""
MOST_TOLD = 5000
"""Members that the answers of one round have, about."""

log = Log("pubsub")


class Have(msgspec.Struct, frozen=True, array_like=True):
    """Which versions a process has of places that it uses. Who has another one of its own tells its members.

    Args:
        processes: whose versions.
        places: the places; for each the versions that are not 0, by the process's index in `processes`.
    """

    processes: list[str]
    places: list[tuple[str, dict[int, int]]]


_encode = msgspec.msgpack.Encoder().encode
_have: msgspec.msgpack.Decoder[Have] = msgspec.msgpack.Decoder(Have)


class Between:
    """Shares the presences of one process with the others. It does nothing while there are no others.

    Args:
        places: the presences in use, by name.
        peers: the other processes.
        scheduler: what runs the timers.
    """

    def __init__(self, places: Mapping[str, Place], peers: Peers, scheduler: Scheduler) -> None:
        self._places = places
        self._peers = peers
        self._scheduler = scheduler
        self._versions = itertools.count(1)
        self._decoders: dict[Any, msgspec.msgpack.Decoder[Any]] = {}
        self._replicas: dict[str, Replica] = {}
        self._changed: dict[Replica, Place] = {}  # what has changed is in use until that is told
        self._to_ask: dict[str, None] = {}
        self._to_answer: dict[str, None] = {}
        self._beat_timer: Timer | None = None  # runs while there are others
        self._turn_timer: Timer | None = None  # runs while there is something to say
        self._beats = 0
        self._puzzled = False
        self._stopped = False
        self._channel = peers.channel("@presence")
        self._end = self._channel.listen(self._hear)
        peers.on_gone(self._gone)
        peers.on_gap(self._ask_all)
        peers.on_came(self._came)

    # What presences call.

    def used(self, name: str) -> None:
        """A place is in use from now on. Where that is over before the tick is, it is not shared."""
        if self._beat_timer is not None:
            self._ask(name)
        elif self._channel.heard:
            self._begin()

    def changed(self, place: Place, member: Any) -> None:
        """The first connection of a member came to a place here, or its last one left."""
        replica = self._replicas.get(place.name)
        if replica is not None and replica.place() is place:
            replica.changed[member] = None
            self._changed[replica] = place
            self._soon()

    def stop(self) -> None:
        """Say nothing more, and listen no more."""
        self._stopped = True
        self._end()
        self._rest()

    # Others are there, or are not.

    def _begin(self) -> None:
        """There are others: share what is in use."""
        if self._beat_timer is None and not self._stopped:
            self._beat_timer = self._scheduler(BEAT_SECONDS, self._beat)
            self._to_ask.update(dict.fromkeys(self._places))
            self._soon()

    def _rest(self) -> None:
        """There is nobody else: share nothing."""
        for timer in (self._beat_timer, self._turn_timer):
            if timer is not None:
                timer.cancel()
        self._beat_timer = self._turn_timer = None
        replicas, self._replicas = self._replicas, {}
        for replica in replicas.values():
            replica.end()
            if not self._stopped:
                replica.forget_all()
        for waiting in (self._changed, self._to_ask, self._to_answer):
            waiting.clear()

    def _beat(self) -> None:
        self._beat_timer = None
        if not self._channel.heard:
            self._rest()
            return
        self._beat_timer = self._scheduler(BEAT_SECONDS, self._beat)
        self._beats += 1
        for name, replica in tuple(self._replicas.items()):
            if replica.place() is None:  # nobody uses it any more, so nobody is there either
                replica.end()
                del self._replicas[name]
            elif (hash(name) + self._beats) % BEATS == 0:
                self._ask(name)

    def _came(self, _process: str) -> None:
        self._begin()
        self._ask_all()

    def _gone(self, process: str) -> None:
        for replica in tuple(self._replicas.values()):
            replica.forget(process)

    def _ask_all(self) -> None:
        if self._beat_timer is not None:
            self._to_ask.update(dict.fromkeys(self._replicas))
            self._soon()

    # Saying.

    def _ask(self, name: str) -> None:
        self._to_ask[name] = None
        self._soon()

    def _soon(self) -> None:
        """Let something be said at the end of the tick, or with the next round."""
        if self._turn_timer is None and not self._stopped:
            self._turn_timer = self._scheduler(0.0, self._turn)

    def _turn(self) -> None:
        self._turn_timer = None
        self._tell_changes()
        self._ask_some()  # first, for it may share a place whose members are to be told then
        self._answer_some()
        if self._to_ask or self._to_answer or self._changed:
            self._turn_timer = self._scheduler(ROUND_SECONDS, self._turn)

    def _tell_changes(self) -> None:
        changed, self._changed = self._changed, {}
        for replica, place in changed.items():
            for delta in replica.deltas(place, self._versions):
                self._send(replica.channel, delta)

    def _ask_some(self) -> None:
        processes: dict[str, int] = {}
        places: list[tuple[str, dict[int, int]]] = []
        while self._to_ask and len(places) < MOST_ASKED:
            name = next(iter(self._to_ask))
            place = self._places.get(name)
            if place is not None:
                versions = self._share(place).versions()
                places.append((name, {processes.setdefault(p, len(processes)): v for p, v in versions}))
            del self._to_ask[name]
        if places:
            self._send(self._channel, Have(list(processes), places))

    def _answer_some(self) -> None:
        told = 0
        while self._to_answer and told < MOST_TOLD:
            name = next(iter(self._to_answer))
            told += self._answer(name)
            del self._to_answer[name]

    def _answer(self, name: str) -> int:
        """Tell all members of a place here; returns how many they are, about."""
        place = self._places.get(name)
        if place is None:  # nobody uses it here, so nobody is there
            self._send(self._peers.channel(_channel(name)), Part[Any](0, 0, True, []))
            return 1
        replica = self._share(place)
        for part in replica.parts(place):
            self._send(replica.channel, part)
        return 1 + place.count_here()

    def _send(self, channel: Channel, message: Delta[Any] | Part[Any] | Have) -> None:
        """Send a message where it is heard; what cannot be encoded is the service's mistake, and is logged."""
        if not channel.heard:
            return
        try:
            encoded = _encode(message)
        except Exception as error:
            log.error("the members of a presence cannot be told to other processes", channel=channel.name, error=error)
            return
        channel.send(encoded)

    # Hearing.

    def _hear(self, process: str, message: bytes) -> None:
        try:
            have = _have.decode(message)
        except msgspec.MsgspecError as error:
            self._not_understood(process, error)
            return
        self._begin()
        me = self._peers.me
        index = have.processes.index(me) if me in have.processes else -1
        for name, versions in have.places:
            place = self._places.get(name)
            version = self._share(place).version if place is not None else 0
            if versions.get(index, 0) != version:
                self._to_answer[name] = None
                self._soon()

    def _hear_of(self, replica: Replica, process: str, message: bytes) -> None:
        """Take what a process says about the members of a place."""
        place = replica.place()
        if place is None:
            return
        decoder = self._decoders.get(place.info_type)
        if decoder is None:
            decoder = self._decoders[place.info_type] = _decoder(place.info_type)
        try:
            said: Delta[Any] | Part[Any] = decoder.decode(message)
        except msgspec.MsgspecError as error:
            self._not_understood(process, error)
            return
        self._peers.notice(process)  # that what it has here is over when it is
        if not replica.take(place, process, said):
            self._ask(place.name)

    def _not_understood(self, process: str, error: msgspec.MsgspecError) -> None:
        if not self._puzzled:  # once, or it would be once a message: another version's, perhaps
            self._puzzled = True
            log.warning("a process tells of presences what is not understood", process=process, problem=str(error))

    # Sharing.

    def _share(self, place: Place) -> Replica:
        """Listen to what others say about a place, ask them, and tell who is there already."""
        name = place.name
        replica = self._replicas.get(name)
        if replica is not None and replica.place() is place:
            return replica
        if replica is not None:
            replica.end()
        replica = self._replicas[name] = Replica(place, self._peers.channel(_channel(name)))
        replica.end = replica.channel.listen(partial(self._hear_of, replica))
        self._ask(name)
        if place.count_here():
            replica.version = next(self._versions)
            self._to_answer[name] = None
        return replica


def _decoder(info_type: Any) -> msgspec.msgpack.Decoder[Any]:
    """Return what reads the messages about a place, of whose members something of that type is known."""
    return msgspec.msgpack.Decoder(Delta[info_type] | Part[info_type])


def _channel(name: str) -> str:
    """Return the name of the channel on which the members of a place are told."""
    return f"@presence/{name}"

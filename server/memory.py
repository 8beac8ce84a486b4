"""The memory budget: what follows from `server.memory`, and what is given up when it runs short.

The budget is for all processes of this machine together. Each has a share: what it takes at the start, and an even
part of the rest. Every process watches its own share, and gives up, in this order:

1. at 85 %, what can be read again: the services' caches are halved, again and again while that lasts;
2. at 92 %, clients that are behind: they are closed with 4008 and resume later, whoever has most waiting first;
3. at 97 %, new clients: they are told to try again (HTTP 503), and those that are being closed are cut, for what waits
   for them takes memory until they are gone. Whoever keeps up stays.

It is a matter of what goes first, not a wall: a wall is the system's to build, somewhat above the budget.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from server.config import ServerSettings, Settings
from server.errors import ConfigError
from server.figures import NOTHING_SHED, MemoryFigures
from server.log import Log
from server.net.connection import TOO_SLOW, Connection
from server.service.host import ServiceHost
from server.usage import resident_bytes

if TYPE_CHECKING:
    import ctypes

KIB, MIB = 2**10, 2**20

MAIN_BYTES = 64 * MIB
"""The main process without clients: 46 MiB as it starts, 12 MiB for SQLite's pages, and some air (measured)."""
WORKER_BYTES = 52 * MIB
"""A worker without clients: 38 MiB as it starts, and the same."""
LEAST_REST_BYTES = 16 * MIB
"""What a process needs beyond that, to be of use to anybody; a password takes 19 MiB for a moment."""
CLIENT_BYTES = 8 * KIB
"""A client that is logged in and in a room: 4.6 KiB (`bench`, memory), and as much again for what it does."""
CLIENTS_PART, CACHE_PART, QUEUE_PART = 1 / 2, 1 / 8, 1 / 4
"""Of the rest. What is left over is for passwords, requests that run, and what the allocator cannot give back."""
SLOW_AT_ONCE = 64
"""So many clients may be at their `outgoing_bytes` in each process before somebody has to go."""
LEAST_OUTGOING_BYTES = 256 * KIB
"""A client that is behind by an answer or two is not slow yet."""
MOST_CACHE_BYTES = 64 * MIB
"""More than that spares the database nothing."""

LOOK_SECONDS = 0.25
"""How often a process looks at itself: it costs 10 us."""
CACHES_AT, SLOW_AT, CONNECTIONS_AT = 0.85, 0.92, 0.97
EASE = 0.02
"""A step ends when the pressure is so much below the mark where it begins."""
DIRECT_BYTES = 512 * KIB
"""What is larger goes back to the system as soon as it is free: long queues, and what passwords are hashed in."""
_M_MMAP_THRESHOLD = -3  # malloc.h

log = Log("memory")


def derive(settings: Settings) -> Settings:
    """Return the settings with what follows from `server.memory`; what is configured otherwise stays as it is.

    Raises:
        ConfigError: the budget is less than the processes need.
    """
    server = settings.server
    if not server.memory:
        return settings
    processes = _processes(settings)
    least = -(-(_fixed_bytes(settings) + processes * LEAST_REST_BYTES) // MIB)
    if server.memory < least:
        several = f"{processes} processes need" if processes > 1 else "the server needs"
        raise ConfigError([f"server.memory: {server.memory} MiB is too little; {several} at least {least}"])
    rest = _rest_bytes(settings)
    queue = int(rest * QUEUE_PART) // processes // SLOW_AT_ONCE
    default = ServerSettings()
    derived = {
        "connections": int(rest * CLIENTS_PART) // CLIENT_BYTES,
        "outgoing_bytes": min(max(queue, LEAST_OUTGOING_BYTES), default.outgoing_bytes),
        "cache_bytes": min(int(rest * CACHE_PART) // processes, MOST_CACHE_BYTES),
    }
    changes = {key: value for key, value in derived.items() if getattr(server, key) == getattr(default, key)}
    return msgspec.structs.replace(settings, server=msgspec.structs.replace(server, **changes))


def share_bytes(settings: Settings, *, worker: bool) -> int:
    """Return what one process may take; 0 when there is no budget.

    Args:
        settings: the whole configuration.
        worker: whether it is a worker; else it is the main process.
    """
    if not settings.server.memory:
        return 0
    return (WORKER_BYTES if worker else MAIN_BYTES) + _rest_bytes(settings) // _processes(settings)


def _processes(settings: Settings) -> int:
    return 1 + sum(service.workers for service in settings.services.values())


def _fixed_bytes(settings: Settings) -> int:
    return MAIN_BYTES + (_processes(settings) - 1) * WORKER_BYTES


def _rest_bytes(settings: Settings) -> int:
    return settings.server.memory * MIB - _fixed_bytes(settings)


class Monitor:
    """Watches what this process takes of its share, and gives up what it must.

    Args:
        host: its services, and their clients.
        budget_bytes: of all processes together.
        share_bytes: of this one.
        read: returns what this process takes.
    """

    def __init__(
        self, host: ServiceHost, budget_bytes: int, share_bytes: int, read: Callable[[], int] = resident_bytes
    ) -> None:
        self._host = host
        self._budget = budget_bytes
        self._share = share_bytes
        self._read = read
        self._allocator = _allocator()
        self._caches = _Step(CACHES_AT, "memory is short: caches give way")
        self._slow = _Step(SLOW_AT, "memory is short: clients that are behind are closed")
        self._connections = _Step(CONNECTIONS_AT, "memory is short: no more clients are let in")
        self._leaving: set[Connection] = set()
        self._pressure = 0.0
        self._shed = dict(NOTHING_SHED)
        self._timer: asyncio.TimerHandle | None = None

    @property
    def figures(self) -> MemoryFigures:
        """What is measured and counted."""
        shed = {**self._shed, "connections": self._host.refused}
        return MemoryFigures(budget_bytes=self._budget, pressure=self._pressure, shed=shed)

    def start(self) -> None:
        """Begin to watch."""
        if self._allocator is not None:
            self._allocator.mallopt(_M_MMAP_THRESHOLD, DIRECT_BYTES)
        self._tick()

    def stop(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._tick)
        self.look()

    def look(self) -> None:
        """Look once, and do what is to be done."""
        self._measure()
        if self._pressure >= CACHES_AT:
            self._give_back()
        if self._caches.holds(self._pressure):
            self._halve_caches()
        if self._slow.holds(self._pressure):
            self._close_slow()
        full = self._connections.holds(self._pressure)
        if full:
            self._cut()
        # Without clients there is nobody whose leaving would make room: to refuse others would be for ever.
        self._host.full = full and next(self._host.connections(), None) is not None

    def _measure(self) -> int:
        resident = self._read()
        self._pressure = resident / self._share
        return resident

    def _give_back(self) -> None:
        """Give back to the system what is free inside of this process: it may be enough."""
        if self._allocator is not None:
            self._allocator.malloc_trim(0)
            self._measure()

    def _halve_caches(self) -> None:
        if self._pressure >= CACHES_AT and self._host.shrink():
            self._shed["cache"] += 1
            self._give_back()

    def _close_slow(self) -> None:
        """Close as many clients as have waiting what is too much; those on their way out count already."""
        self._leaving = {connection for connection in self._leaving if connection.closed is None}
        surplus = self._measure() - SLOW_AT * self._share
        surplus -= sum(connection.held_bytes for connection in self._leaving)
        behind = [connection for connection in self._host.connections() if connection.behind]
        behind.sort(key=_held_bytes)
        while surplus > 0 and behind:
            connection = behind.pop()
            surplus -= connection.held_bytes
            connection.start_close(TOO_SLOW, "too slow: reconnect and resume")
            self._leaving.add(connection)
            self._shed["slow"] += 1

    def _cut(self) -> None:
        """Wait no longer for those who are on their way out."""
        for connection in self._leaving:
            if connection.closed is None:
                connection.abort()


class _Step:
    """Something that is done under pressure; its beginning and its end are logged.

    Args:
        at: the pressure at which it begins.
        text: what the log says.
    """

    def __init__(self, at: float, text: str) -> None:
        self._at = at
        self._text = text
        self._holds = False

    def holds(self, pressure: float) -> bool:
        """Tell whether it is to be done."""
        if not self._holds and pressure >= self._at:
            self._holds = True
            log.warning(self._text, pressure=round(pressure, 3))
        elif self._holds and pressure < self._at - EASE:
            self._holds = False
            log.info(f"over: {self._text}", pressure=round(pressure, 3))
        return self._holds


def _held_bytes(connection: Connection) -> int:
    return connection.held_bytes


def _allocator() -> ctypes.CDLL | None:
    """Return glibc, whose allocator can be told to give back what is free; other C libraries do so by themselves."""
    import ctypes  # only who has a budget needs it

    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "malloc_trim") else None

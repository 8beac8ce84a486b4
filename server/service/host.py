"""The host of the services: loads, starts, admits, contains and stops them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Iterator, Mapping
from http import HTTPStatus
from typing import Protocol

from server.config import Settings
from server.db import Database
from server.figures import ServiceFigures
from server.log import Log
from server.net.connection import Connection
from server.net.handshake import Admission, Decision, HandOver, Refusal
from server.net.identity import Identity
from server.pubsub.peers import Peers
from server.pubsub.presence import Presences
from server.pubsub.topics import Topics
from server.service.base import Service
from server.service.mounted import Mounted, ServiceStatus, State
from server.service.watchdog import Stall, Watchdog

__all__ = ["ServiceHost", "ServiceStatus", "State"]

PATIENCE_SECONDS = 5.0
"""How long the server waits for its services; who is not ready then comes later, and holds up nobody else."""

STOP_SECONDS = 1.0
"""How long a service's clients, and then the service itself, may take to stop."""

NOT_LOGGED_IN = 4401

log = Log("service")


DRAIN_STEPS = 20
LEAST_TOGETHER = 50
"""Clients are let go in so many steps, but never fewer than that at once: a few need no time."""


class Elsewhere(Protocol):
    """A service that runs in processes of its own."""

    @property
    def path(self) -> str:
        """Where it is mounted."""

    @property
    def status(self) -> ServiceStatus:
        """How it is now."""

    def admit(self, identity: Identity | None) -> HandOver | Refusal:
        """Decide about a client. What the answer says is true until the next `await`."""

    def close_session(self, session: int, code: int, reason: str) -> None:
        """Close the sockets that a session brought."""


class ServiceHost:
    """All services of one process, and the way to those that run elsewhere.

    Args:
        settings: the whole configuration.
        db: the database.
        topics: this process's topics.
        presences: this process's presences.
        peers: the other processes.
        elsewhere: the services that run in processes of their own.

    Attributes:
        full: whether there is no room for more clients in this process at the moment.
        refused: how many were sent away for that.
    """

    def __init__(
        self,
        settings: Settings,
        db: Database,
        topics: Topics,
        presences: Presences,
        peers: Peers,
        elsewhere: Collection[Elsewhere] = (),
    ) -> None:
        self._base = settings.base
        self._elsewhere = {service.path: service for service in elsewhere}
        self._mounted = {
            service.name: Mounted(service, settings.server, db, topics, presences, peers)
            for service in settings.services.values()
            if service.path not in self._elsewhere
        }
        self._by_path = {mounted.settings.path: mounted for mounted in self._mounted.values()}
        self._order = tuple(settings.services)
        self.full = False
        self.refused = 0
        self._starting: list[asyncio.Task[None]] = []
        self._watchdog: Watchdog | None = None

    # Life.

    async def start(self) -> None:
        """Load and start every service; one that fails is named, and where that can help, tried again.

        Raises:
            UnusableDatabase: the database was made by a newer version of a service.
        """
        for mounted in self._mounted.values():
            mounted.load(self._base)
        self._watchdog = Watchdog({m.name: m.found.home for m in self._mounted.values() if m.found}, self._stalled)
        self._watchdog.start()
        loop = asyncio.get_running_loop()
        self._starting = [loop.create_task(mounted.run()) for mounted in self._mounted.values()]
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.gather(*(mounted.tried.wait() for mounted in self._mounted.values()))
        except TimeoutError:
            slow = ", ".join(mounted.name for mounted in self._mounted.values() if not mounted.tried.is_set())
            log.warning("services are not ready yet", services=slow)
        for mounted in self._mounted.values():
            if mounted.unusable is not None:
                raise mounted.unusable

    async def drain(self, seconds: float) -> None:
        """Let every client go, spread over so many seconds, so that they do not all come back at once.

        Requests that run are answered first, for a bounded time.
        """
        clients = [(mounted, client) for mounted in self._mounted.values() for client in mounted.connections]
        random.shuffle(clients)
        together = max(LEAST_TOGETHER, -(-len(clients) // DRAIN_STEPS))
        going: list[asyncio.Task[None]] = []
        for begin in range(0, len(clients), together):
            if begin:
                await asyncio.sleep(seconds / DRAIN_STEPS)
            going += [
                asyncio.create_task(mounted.let_go(client))
                for mounted, client in clients[begin : begin + together]
                if client.closed is None
            ]
        await asyncio.gather(*going)

    async def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Stop every service. Their clients should be gone already; those that are not are told to reconnect.

        Args:
            seconds: how long a service's clients, and then the service itself, may take.
        """
        for task in self._starting:
            task.cancel()
        await asyncio.gather(*self._starting, return_exceptions=True)
        await asyncio.gather(*(mounted.stop(seconds) for mounted in self._mounted.values()))
        if self._watchdog is not None:
            await self._watchdog.stop()

    def _stalled(self, stall: Stall) -> None:
        log.warning("the event loop was blocked", service=stall.service, seconds=stall.seconds, place=stall.place)
        if stall.service is not None:
            self._mounted[stall.service].stalled(stall.seconds)

    # Clients.

    def knows(self, path: str) -> bool:
        """Tell whether a service is mounted at a path."""
        return path in self._by_path or path in self._elsewhere

    def admit(self, path: str, identity: Identity | None) -> Decision:
        """Decide about a client. What the answer says is true until the next `await`.

        Args:
            path: where it wants to go.
            identity: who it is; None when it is not logged in.
        """
        elsewhere = self._elsewhere.get(path)
        if elsewhere is not None:
            return elsewhere.admit(identity)
        mounted = self._by_path.get(path)
        if mounted is None:
            return Refusal(HTTPStatus.NOT_FOUND, "There is no such service.")
        if mounted.service is None or mounted.state is not State.RUNNING:
            return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "This service does not run at the moment. Try again.")
        if self.full:
            self.refused += 1
            return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "The server is full at the moment. Try again later.")
        missing = _missing_login(mounted.service, identity)
        return Admission(
            mounted.attach,
            identity,
            subprotocols=mounted.service.protocols,
            close=(NOT_LOGGED_IN, missing) if missing else None,
        )

    def close_session(self, session: int, code: int = NOT_LOGGED_IN, reason: str = "logged out") -> None:
        """Close the sockets that a session brought: it ended.

        Args:
            session: its id.
            code: close code.
            reason: the reason given with it.
        """
        for connection in self.connections():
            if connection.identity is not None and connection.identity.session == session:
                connection.start_close(code, reason)
        for service in self._elsewhere.values():
            service.close_session(session, code, reason)

    def sessions(self) -> set[int]:
        """Return the sessions that brought the clients of this process."""
        identities = (connection.identity for connection in self.connections())
        return {identity.session for identity in identities if identity and identity.session is not None}

    def connections(self) -> Iterator[Connection]:
        """Yield the clients of this process."""
        for mounted in self._mounted.values():
            yield from tuple(mounted.connections)

    def shrink(self) -> int:
        """Let the services forget what can be read again: memory is short. Returns about how many bytes that frees."""
        return sum([mounted.shrink() for mounted in self._mounted.values()])

    # Looking.

    def statuses(self) -> Mapping[str, ServiceStatus]:
        """Return how every service is, by its name."""
        statuses = {mounted.name: mounted.status for mounted in self._mounted.values()}
        statuses |= {status.name: status for status in (service.status for service in self._elsewhere.values())}
        return {name: statuses[name] for name in self._order}

    def figures(self) -> dict[str, ServiceFigures]:
        """Return what was counted of each service in this process; of one elsewhere, only whether it runs."""
        elsewhere = (service.status for service in self._elsewhere.values())
        figures = {mounted.name: mounted.figures for mounted in self._mounted.values()}
        figures |= {status.name: ServiceFigures(running=status.state is State.RUNNING) for status in elsewhere}
        return {name: figures[name] for name in self._order}

    def running(self) -> Iterator[tuple[str, Service]]:
        """Yield path and service of those that run."""
        for mounted in self._mounted.values():
            if mounted.service is not None and mounted.state is State.RUNNING:
                yield mounted.settings.path, mounted.service


def _missing_login(service: Service, identity: Identity | None) -> str:
    """Return what the service wants and the client lacks, in words; nothing when it may come in."""
    if service.login == "none" or (service.login == "guest" and identity is not None):
        return ""
    if identity is None:
        return "not logged in"
    return "members only" if identity.role == "guest" else ""

"""The host of the services: loads, starts, admits, contains and stops them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from http import HTTPStatus

from server.config import Settings
from server.db import Database
from server.log import Log
from server.net.connection import Connection
from server.net.handshake import Admission, Refusal
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


class ServiceHost:
    """All services of one process.

    Args:
        settings: the whole configuration.
        db: the database.
        topics: this process's topics.
        presences: this process's presences.
        peers: the other processes.
    """

    def __init__(self, settings: Settings, db: Database, topics: Topics, presences: Presences, peers: Peers) -> None:
        self._base = settings.base
        self._mounted = {
            service.name: Mounted(service, settings.server, db, topics, presences, peers)
            for service in settings.services.values()
        }
        self._by_path = {mounted.settings.path: mounted for mounted in self._mounted.values()}
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
            if mounted.settings.workers:
                log.warning("workers are not supported yet; runs in the main process", service=mounted.name)
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
            self._mounted[stall.service].stall_seconds = stall.seconds

    # Clients.

    def knows(self, path: str) -> bool:
        """Tell whether a service is mounted at a path."""
        return path in self._by_path

    def admit(self, path: str, identity: Identity | None) -> Admission | Refusal:
        """Decide about a client. What the answer says is true until the next `await`.

        Args:
            path: where it wants to go.
            identity: who it is; None when it is not logged in.
        """
        mounted = self._by_path.get(path)
        if mounted is None:
            return Refusal(HTTPStatus.NOT_FOUND, "There is no such service.")
        if mounted.service is None or mounted.state is not State.RUNNING:
            return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "This service does not run at the moment. Try again.")
        missing = _missing_login(mounted.service, identity)
        return Admission(
            mounted.attach,
            identity,
            subprotocols=mounted.service.protocols,
            close=(NOT_LOGGED_IN, missing) if missing else None,
        )

    def close_session(self, session: int) -> None:
        """Close the sockets that a session brought: it ended."""
        for connection in self._connections():
            if connection.identity is not None and connection.identity.session == session:
                connection.start_close(NOT_LOGGED_IN, "logged out")

    def _connections(self) -> Iterator[Connection]:
        for mounted in self._mounted.values():
            yield from tuple(mounted.connections)

    # Looking.

    def statuses(self) -> Mapping[str, ServiceStatus]:
        """Return how every service is, by its name."""
        return {mounted.name: mounted.status for mounted in self._mounted.values()}

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

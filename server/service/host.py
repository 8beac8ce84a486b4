"""The host of the services: loads, starts, admits, contains and stops them."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator, Mapping
from enum import Enum
from http import HTTPStatus
from pathlib import Path

import msgspec

from server.config import ServiceSettings, Settings
from server.db import Database
from server.errors import ServiceError
from server.log import Log
from server.net.connection import Connection
from server.net.handshake import Admission, Refusal
from server.net.identity import Identity
from server.pubsub.presence import Presences
from server.pubsub.topics import Topics
from server.service.base import Service, ServiceContext
from server.service.discovery import Found, decode_settings, find
from server.service.incidents import Incidents
from server.service.watchdog import Watchdog

START_SECONDS = 30.0
"""How long `start` may take, migrations included."""
STOP_SECONDS = 3.0
BACKOFF_SECONDS = (1.0, 60.0)
"""A service that fails to start is tried again after the first, then twice as long each time, at most the second."""

NOT_LOGGED_IN = 4401

log = Log("service")


class State(Enum):
    """What a service does."""

    STARTING = "starting"
    RUNNING = "running"
    BACKOFF = "backoff"
    FAILED = "failed"
    STOPPED = "stopped"


class ServiceStatus(msgspec.Struct):
    """How a service is, for the log and for /health.

    Args:
        state: what it does; `failed` is for good, until the server is started again; `backoff` is tried again.
        path: where it is mounted.
        clients: connections now.
        incidents: failures since the start.
        problem: why it does not run, or the last failure's incident id.
        stall_seconds: how long it blocked the event loop, the last time it did.
    """

    path: str
    state: State = State.STARTING
    clients: int = 0
    incidents: int = 0
    problem: str = ""
    stall_seconds: float = 0.0


class Mounted:
    """A service of the configuration: its status, and the service itself where it could be loaded."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        self.status = ServiceStatus(settings.path)
        self.found: Found | None = None
        self.service: Service | None = None
        self.connections: set[Connection] = set()

    def failed(self, _error: BaseException, incident: str) -> None:
        """Count a failure of the running service."""
        self.status.incidents += 1
        self.status.problem = f"incident {incident}"

    def attach(self, connection: Connection) -> None:
        """Bring a connection to the service."""
        self.connections.add(connection)
        connection.add_close_callback(self.connections.discard)
        assert self.service is not None
        try:
            self.service.attach(connection)
        except Exception as error:
            connection.start_close(1011, f"incident {self.service.incident(error)}")


class ServiceHost:
    """All services of one process.

    Args:
        settings: the whole configuration.
        db: the database.
        topics: this process's topics.
        presences: this process's presences.
    """

    def __init__(self, settings: Settings, db: Database, topics: Topics, presences: Presences) -> None:
        self._settings = settings
        self._db = db
        self._topics = topics
        self._presences = presences
        self._mounted = [Mounted(service) for service in settings.services.values()]
        self._by_path = {mounted.settings.path: mounted for mounted in self._mounted}
        self._retries: set[asyncio.Task[None]] = set()
        self._watchdog: Watchdog | None = None

    # Life.

    async def start(self) -> None:
        """Load and start every service; one that fails is named and, where that can help, tried again."""
        for mounted in self._mounted:
            self._load(mounted)
        await asyncio.gather(*(self._start(mounted) for mounted in self._mounted if mounted.found))
        places = [(m.settings.name, _home(m.found)) for m in self._mounted if m.found]
        self._watchdog = Watchdog(places, self._stalled)
        self._watchdog.start()

    async def stop(self) -> None:
        """Stop every service; their clients are gone already."""
        for task in self._retries:
            task.cancel()
        await asyncio.gather(*self._retries, return_exceptions=True)
        if self._watchdog is not None:
            await self._watchdog.stop()
        await asyncio.gather(*(self._stop(mounted) for mounted in self._mounted))

    def _load(self, mounted: Mounted) -> None:
        settings = mounted.settings
        try:
            mounted.found = find(settings, self._settings.base)
        except ServiceError as error:
            self._give_up(mounted, error.problem)
            return
        if settings.workers:
            log.warning("workers are not supported yet; runs in the main process", service=settings.name)

    async def _start(self, mounted: Mounted) -> None:
        problem = await self._try_start(mounted)
        if problem:
            mounted.status.state = State.BACKOFF
            task = asyncio.get_running_loop().create_task(self._retry(mounted))
            self._retries.add(task)
            task.add_done_callback(self._retries.discard)

    async def _retry(self, mounted: Mounted) -> None:
        seconds, most = BACKOFF_SECONDS
        while mounted.status.state is State.BACKOFF:
            await asyncio.sleep(seconds)
            seconds = min(2 * seconds, most)
            await self._try_start(mounted)

    async def _try_start(self, mounted: Mounted) -> str:
        """Start a service; returns why it does not run, or nothing."""
        assert mounted.found is not None
        name, cls = mounted.settings.name, mounted.found.cls
        own, problems = decode_settings(mounted.settings, cls)
        if problems:
            self._give_up(mounted, "; ".join(problems))
            return ""
        context = ServiceContext(
            name, own, self._settings.server, self._db, self._topics, self._presences, Incidents(Log(f"service.{name}"))
        )
        try:
            async with asyncio.timeout(START_SECONDS):
                if mounted.found.migrations is not None:
                    await self._db.migrate(name, mounted.found.migrations)
                service = cls(context)
                await service.start()
        except Exception as error:
            mounted.status.problem = f"{type(error).__name__}: {error}"
            log.error("service does not start", service=name, error=error)
            return mounted.status.problem
        mounted.service = service
        mounted.status.state = State.RUNNING
        mounted.status.problem = ""
        log.info("service runs", service=name, path=mounted.settings.path)
        return ""

    async def _stop(self, mounted: Mounted) -> None:
        service, mounted.service = mounted.service, None
        mounted.status.state = State.STOPPED
        if service is None:
            return
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await service.end_clients(1)
                await service.stop()
                await service.end_spawned()
        except Exception as error:
            log.error("service does not stop well", service=mounted.settings.name, error=error)

    def _give_up(self, mounted: Mounted, problem: str) -> None:
        mounted.status.state = State.FAILED
        mounted.status.problem = problem
        log.error("service cannot be served", service=mounted.settings.name, problem=problem)

    def _stalled(self, name: str | None, seconds: float, place: str) -> None:
        log.warning("the event loop was blocked", service=name, seconds=round(seconds, 3), place=place)
        for mounted in self._mounted:
            if mounted.settings.name == name:
                mounted.status.stall_seconds = round(seconds, 3)

    # Clients.

    def knows(self, path: str) -> bool:
        """Tell whether a service is mounted at a path."""
        return path in self._by_path

    def admit(self, path: str, identity: Identity | None) -> Admission | Refusal:
        """Decide about a client.

        Args:
            path: where it wants to go.
            identity: who it is; None when it is not logged in.
        """
        mounted = self._by_path.get(path)
        if mounted is None:
            return Refusal(HTTPStatus.NOT_FOUND, "There is no such service.")
        service = mounted.service
        if service is None:
            return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "This service does not run at the moment. Try again.")
        missing = _missing_login(service, identity)
        return Admission(
            mounted.attach,
            identity,
            subprotocols=service.protocols,
            close=(NOT_LOGGED_IN, missing) if missing else None,
        )

    def close_session(self, session: int) -> None:
        """Close the sockets that a session brought: it ended."""
        for mounted in self._mounted:
            for connection in tuple(mounted.connections):
                if connection.identity is not None and connection.identity.session == session:
                    connection.start_close(NOT_LOGGED_IN, "logged out")

    # Looking.

    def statuses(self) -> Mapping[str, ServiceStatus]:
        """Return how every service is, by its name."""
        for mounted in self._mounted:
            mounted.status.clients = len(mounted.connections)
        return {mounted.settings.name: mounted.status for mounted in self._mounted}

    def running(self) -> Iterator[tuple[str, Service]]:
        """Yield path and service of those that run."""
        for mounted in self._mounted:
            if mounted.service is not None:
                yield mounted.settings.path, mounted.service


def _missing_login(service: Service, identity: Identity | None) -> str:
    """Return what the service wants and the client lacks, in words; nothing when it may come in."""
    if service.login == "none" or (service.login == "guest" and identity is not None):
        return ""
    if identity is None:
        return "not logged in"
    return "members only" if identity.role == "guest" else ""


def _home(found: Found) -> Path:
    """Return the folder of a package, or the file of a module."""
    return found.folder if found.package else Path(inspect.getfile(found.cls))

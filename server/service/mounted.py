"""One service of the configuration: its state, its clients, and what is done when it fails."""

from __future__ import annotations

import asyncio
from enum import Enum
from pathlib import Path

import msgspec

from server.config import ServerSettings, ServiceSettings
from server.db import Database, UnusableDatabase
from server.errors import ServiceError
from server.figures import ServiceFigures
from server.log import Log
from server.net.connection import Connection
from server.pubsub.peers import Peers
from server.pubsub.presence import Presences
from server.pubsub.topics import Topics
from server.service.base import INTERNAL_ERROR, Service, ServiceContext
from server.service.discovery import Found, decode_settings, explain, find
from server.service.incidents import Incidents

START_SECONDS = 10.0
"""How long `start` of a service may take."""

BACKOFF_SECONDS = (1.0, 60.0)
"""A service that fails to start is tried again after the first, then twice as long each time, at most the second."""

RESTART = 1012

log = Log("service")


class State(Enum):
    """What a service does."""

    STARTING = "starting"
    RUNNING = "running"
    BACKOFF = "backoff"
    """It failed to start, and is tried again."""
    FAILED = "failed"
    """It cannot be served until somebody mends it and starts the server again."""
    STOPPED = "stopped"


class ProcessStatus(msgspec.Struct, frozen=True):
    """How a process is that a service runs in, for /health.

    Args:
        name: the service's name and a number.
        pid: its id for the system; 0 while there is none.
        state: what it does: as a service, or `draining`: it lets its clients go.
        clients: connections now.
        restarts: how often it ended by itself and was started again.
        problem: for the operator: why it does not run.
        stall_seconds: how long its event loop was blocked, the last time it was.
    """

    name: str
    pid: int
    state: str
    clients: int
    restarts: int
    problem: str
    stall_seconds: float


class ServiceStatus(msgspec.Struct, frozen=True):
    """How a service is, for the log and for /health.

    Args:
        name: its name in the configuration.
        path: where it is mounted.
        state: what it does.
        clients: connections now.
        incidents: failures since the server's start.
        problem: for the operator: why it does not run, or that it raises often.
        stall_seconds: how long it blocked the event loop, the last time it did.
        processes: those of its own that it runs in; none where it runs in the main process.
    """

    name: str
    path: str
    state: State
    clients: int
    incidents: int
    problem: str
    stall_seconds: float
    processes: tuple[ProcessStatus, ...] = ()


class Mounted:
    """A service of the configuration.

    Args:
        settings: its table.
        server: the network's settings.
        db: the database.
        topics: this process's topics.
        presences: this process's presences.
        peers: the other processes.

    Attributes:
        state: what it does.
        service: the service, once it could be made.
        found: its class and its files, once they could be loaded.
        connections: its clients.
        stall_seconds: how long it blocked the event loop, the last time it did.
        stalls: how often it did.
        stalled_seconds: how long it did, all in all.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        server: ServerSettings,
        db: Database,
        topics: Topics,
        presences: Presences,
        peers: Peers,
    ) -> None:
        self.settings = settings
        self.state = State.STARTING
        self.service: Service | None = None
        self.found: Found | None = None
        self.connections: set[Connection] = set()
        self.stall_seconds = 0.0
        self.stalls = 0
        self.stalled_seconds = 0.0
        self.tried = asyncio.Event()  # set when the first start is over, whatever came of it
        self.unusable: UnusableDatabase | None = None
        self._server = server
        self._db = db
        self._topics = topics
        self._presences = presences
        self._peers = peers
        self._problem = ""
        self._incidents = Incidents(Log(f"service.{settings.name}"))

    @property
    def name(self) -> str:
        """Its name in the configuration."""
        return self.settings.name

    @property
    def status(self) -> ServiceStatus:
        """How it is now."""
        return ServiceStatus(
            name=self.name,
            path=self.settings.path,
            state=self.state,
            clients=len(self.connections),
            incidents=self._incidents.count,
            problem=self._problem or self._incidents.problem,
            stall_seconds=self.stall_seconds,
        )

    @property
    def figures(self) -> ServiceFigures:
        """What was counted of it."""
        return ServiceFigures(
            running=self.state is State.RUNNING,
            connections=len(self.connections),
            incidents=self._incidents.count,
            stalls=self.stalls,
            stall_seconds=self.stalled_seconds,
            last_stall_seconds=self.stall_seconds,
        )

    def stalled(self, seconds: float) -> None:
        """Note that it blocked the event loop."""
        self.stall_seconds = seconds
        self.stalls += 1
        self.stalled_seconds += seconds

    def shrink(self) -> int:
        """Let it forget what can be read again; returns about how many bytes that frees."""
        if self.service is None or self.state is not State.RUNNING:
            return 0
        try:
            return self.service.shrink()
        except Exception as error:
            self.service.incident(error, hook="shrink")
            return 0

    # Life.

    def load(self, base: Path) -> None:
        """Find and make the service; what is wrong with its code is its problem alone."""
        try:
            self.found = find(self.settings, base)
            self.service = self._make(self.found)
        except ServiceError as error:
            self._give_up(error.problem)

    async def run(self) -> None:
        """Start it, and try again while that fails. Without effect when it could not be loaded."""
        wait, most = BACKOFF_SECONDS
        while self.service is not None and self.state in (State.STARTING, State.BACKOFF):
            if await self._try_start(self.service):
                break
            await asyncio.sleep(wait)
            wait = min(2 * wait, most)
        self.tried.set()

    async def stop(self, seconds: float) -> None:
        """Stop it: clients first, then the service, then what it spawned.

        Args:
            seconds: how long its clients, and then the service itself, may take before they are cancelled.
        """
        started = self.state is State.RUNNING
        if self.state is not State.FAILED:
            self.state = State.STOPPED
        if self.service is None:
            return
        for connection in tuple(self.connections):
            connection.start_close(RESTART, "restart")
        await self.service.end_clients(seconds)
        try:
            if started:
                async with asyncio.timeout(seconds):
                    await self.service.stop()
        except (Exception, SystemExit) as error:
            log.error("service does not stop well", service=self.name, error=error)
        finally:
            await self.service.end_spawned()

    def _make(self, found: Found) -> Service:
        own, problems = decode_settings(self.settings, found.cls)
        if problems:
            raise ServiceError(self.name, "; ".join(problems))
        context = ServiceContext(
            self.name, own, self._server, self._db, self._topics, self._presences, self._peers, self._incidents
        )
        try:
            return found.cls(context)
        except (Exception, SystemExit) as error:
            raise explain(self.name, error, found.home) from error

    async def _try_start(self, service: Service) -> bool:
        """Start the service once; tells whether there is nothing left to try."""
        try:
            if self.found is not None and self.found.migrations is not None:
                await self._db.migrate(self.name, self.found.migrations)
            async with asyncio.timeout(START_SECONDS):
                await service.start()
        except UnusableDatabase as error:
            self.unusable = error
            self._give_up(str(error))
            return True
        except (Exception, SystemExit) as error:
            await service.end_spawned()
            self._postpone(error)
            return False
        self.state = State.RUNNING
        self._problem = ""
        log.info("service runs", service=self.name, path=self.settings.path)
        return True

    def _postpone(self, error: BaseException) -> None:
        """Say why the service does not start; the same reason again and again has one traceback."""
        problem = _start_problem(error)
        if problem == self._problem:
            log.warning("service still does not start", service=self.name, problem=problem)
        else:
            log.error("service does not start", service=self.name, error=error)
        self.state = State.BACKOFF
        self._problem = problem
        self.tried.set()

    def _give_up(self, problem: str) -> None:
        self.state = State.FAILED
        self._problem = problem
        self.service = None
        self.tried.set()
        log.error("service cannot be served", service=self.name, problem=problem)

    # Clients.

    async def let_go(self, connection: Connection) -> None:
        """Close a client's connection after what it has asked for is answered: it shall connect again."""
        connection.pause_reading()  # no more requests
        try:
            if self.service is not None:
                await self.service.finish(connection)
            connection.start_close(RESTART, "restart")
        finally:
            connection.resume_reading()  # but the client's part of the closing handshake

    def attach(self, connection: Connection) -> None:
        """Bring a connection to the service."""
        if self.service is None or self.state is not State.RUNNING:
            connection.start_close(RESTART, "the service does not run at the moment")
            return
        self.connections.add(connection)
        connection.add_close_callback(self.connections.discard)
        try:
            self.service.attach(connection)
        except (Exception, SystemExit) as error:
            connection.start_close(INTERNAL_ERROR, f"incident {self.service.incident(error)}")


def _start_problem(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"did not start within {START_SECONDS:.0f} seconds"
    return f"does not start: {type(error).__name__}: {error}"

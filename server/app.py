"""The main process of Switchboard: the only module that imports all wings and puts them together.

It listens, knows the users, runs services, and has the way to those that run in processes of their own.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from server.auth.accounts import MIGRATIONS, Accounts
from server.config import Settings
from server.db import DatabaseError
from server.engine import Engine
from server.figures import Figures
from server.http.application import create_application
from server.http.gate import Gate
from server.log import Log
from server.memory import share_bytes
from server.net.listener import Listener
from server.pubsub.broker import Broker
from server.pubsub.local import LocalBroker
from server.pubsub.peers import Peers
from server.service.host import PATIENCE_SECONDS, Elsewhere

SWEEP_SECONDS = 6 * 3600.0
"""How often sessions that are over are deleted."""

LOCAL = "local"
"""The broker of a single machine."""

MAIN = "main"
"""What the main process is called in /metrics."""

log = Log("app")


class Workers(Protocol):
    """The processes of those services that have some."""

    @property
    def pools(self) -> Sequence[Elsewhere]:
        """The services."""

    @property
    def applications(self) -> Mapping[str, Any]:
        """What answers HTTP for them, by their path."""

    @property
    def handovers(self) -> int:
        """How many clients were brought to them."""

    async def start(self, seconds: float) -> None:
        """Start them, and wait until they serve; for so many seconds, then they come later."""

    async def stop(self, seconds: float) -> None:
        """End them; their clients are let go, spread over so many seconds."""

    async def figures(self) -> list[Figures]:
        """Return what they have counted and measured."""

    def sessions(self) -> set[int]:
        """Return the sessions that brought their clients."""


class NoWorkers:
    """All services run in the main process."""

    pools = ()
    applications: Mapping[str, Any] = {}
    handovers = 0

    async def start(self, seconds: float) -> None:
        """Nothing to start."""

    async def stop(self, seconds: float) -> None:
        """Nothing to end."""

    async def figures(self) -> list[Figures]:
        """Nobody has figures."""
        return []

    def sessions(self) -> set[int]:
        """Nobody has clients."""
        return set()


class Switchboard:
    """The main process.

    Args:
        settings: the whole configuration.
        make_workers: makes the processes of those services that have some.
        inherited: a socket that listens already, instead of an own one.
    """

    def __init__(
        self,
        settings: Settings,
        make_workers: Callable[[Settings, Broker, Peers], Workers],
        inherited: socket.socket | None = None,
    ) -> None:
        self._settings = settings
        self._inherited = inherited
        self.engine = Engine(settings, _broker(settings), share_bytes=share_bytes(settings, worker=False))
        self.workers = make_workers(settings, self.engine.broker, self.engine.peers)
        self._accounts: Accounts | None = None
        self._listener: Listener | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Start everything; returns the URL.

        Raises:
            ListenError: the address cannot be had.
            DatabaseError: the database cannot be used.
        """
        settings, engine, workers = self._settings, self.engine, self.workers
        await engine.open(workers.pools)
        await engine.db.migrate("auth", MIGRATIONS)
        peers = engine.peers if settings.broker.url != LOCAL else None  # nobody else lets users in on this machine
        accounts = self._accounts = Accounts(engine.db, settings.auth, peers=peers)
        accounts.on_revoked(engine.host.close_session)
        application = create_application(
            settings, accounts, engine.host, engine.db, engine.broker, self.figures, workers.applications
        )
        listener = self._listener = Listener(
            settings, application, Gate(engine.host, accounts, settings.server.origins), self._inherited
        )
        listener.bind()
        await asyncio.gather(engine.host.start(), workers.start(PATIENCE_SECONDS))
        await listener.start()
        accounts.start(lambda: engine.host.sessions() | workers.sessions())
        self._sweeper = asyncio.get_running_loop().create_task(_sweep(accounts))
        return listener.url

    async def stop(self) -> None:
        """Stop everything, in the order in which nobody is left waiting: clients, services, database."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        server = self._settings.server
        if self._listener is not None:
            self._listener.stop_accepting()
        # Half of the time is for letting them go, the other half for what does not want to.
        seconds = min(server.drain_seconds, server.stop_seconds / 2)
        await asyncio.gather(self._let_go(seconds), self.workers.stop(seconds))
        if self._accounts is not None:
            await self._accounts.stop()
        await self.engine.stop()
        if self._accounts is not None:
            self._accounts.close()

    async def figures(self) -> list[Figures]:
        """Return what all processes have counted and measured."""
        connections = self._listener.connections if self._listener is not None else ()
        own = self.engine.figures(MAIN, connections, self.workers.handovers)
        return [own, *await self.workers.figures()]

    async def _let_go(self, seconds: float) -> None:
        if self._listener is None:
            return
        try:
            async with asyncio.timeout(self._settings.server.stop_seconds):
                await self.engine.host.drain(seconds)
                await self._listener.stop()
        except TimeoutError:
            log.warning("clients did not close in time", clients=len(self._listener.connections))


def _broker(settings: Settings) -> Broker:
    if settings.broker.url == LOCAL:
        return LocalBroker()
    # Only who has a NATS needs its library.
    from server.pubsub.nats import NatsBroker

    return NatsBroker(settings.broker, settings.base)


async def _sweep(accounts: Accounts) -> None:
    """Delete old sessions, now and then."""
    while True:
        try:
            await accounts.sweep()
        except DatabaseError as error:
            log.warning("old sessions cannot be deleted", problem=str(error))
        await asyncio.sleep(SWEEP_SECONDS)

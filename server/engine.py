"""What every process of Switchboard runs, the main one and workers alike."""

from __future__ import annotations

import gc
import resource
from collections.abc import Collection

from server.config import Settings
from server.db import Database
from server.figures import Figures
from server.measuring import NO_BUDGET, measure
from server.memory import MIB, Monitor
from server.net.connection import Connection
from server.net.deflate import compressor
from server.net.frames import encode
from server.pubsub.broker import Broker
from server.pubsub.peers import Peers
from server.pubsub.presence import Presences
from server.pubsub.topics import Topics
from server.service.host import Elsewhere, ServiceHost

EXIT_FINE = 0
EXIT_FAILURE = 1
EXIT_DATA = 65
"""EX_DATAERR of sysexits.h: the database is damaged or too new; starting again will not help."""
EXIT_CONFIG = 78
"""EX_CONFIG of sysexits.h."""

YOUNG_OBJECTS = 10_000
"""So many new objects, and the collector looks for circles among them. There are hardly any, for connections and
requests leave none behind, and Python's own 700 is a sixth slower while thousands connect (`bench`, connects)."""


class Engine:
    """What every process runs: the database, topics and presence, and services.

    Args:
        settings: the configuration, with the services of this process.
        broker: what carries publications between processes.
        me: what this process is called among them.
        share_bytes: memory that this process may take; 0 is no bound.

    Attributes:
        settings: as said.
        peers: the other processes.
        host: the services, once the engine is open.
        db: the database, once the engine is open.
    """

    host: ServiceHost
    db: Database

    def __init__(self, settings: Settings, broker: Broker, me: str | None = None, share_bytes: int = 0) -> None:
        self.settings = settings
        self.broker = broker
        self.peers = Peers(broker, me)
        least = settings.server.compress_bytes
        self._topics = Topics(encode, broker, compress=compressor(least) if least else None)
        self._presences = Presences(peers=self.peers)
        self._share_bytes = share_bytes
        self._monitor: Monitor | None = None
        self._opened = False

    async def open(self, elsewhere: Collection[Elsewhere] = ()) -> None:
        """Open the database, and begin to hear the other processes.

        Args:
            elsewhere: the services that run in processes of their own.

        Raises:
            DatabaseError: the database cannot be used.
        """
        settings = self.settings
        self.db = await Database.open(settings.database_url, slow_seconds=settings.database.slow_seconds)
        self._opened = True
        await self.broker.start()
        self.peers.start()
        self.host = ServiceHost(settings, self.db, self._topics, self._presences, self.peers, elsewhere)
        if self._share_bytes:
            self._monitor = Monitor(self.host, settings.server.memory * MIB, self._share_bytes)
            self._monitor.start()

    async def stop(self) -> None:
        """Stop everything, in the order in which nobody is left waiting. Clients should be gone."""
        if not self._opened:
            return
        if self._monitor is not None:
            self._monitor.stop()
        await self.host.stop()
        self._presences.stop()
        self.peers.stop()
        self._topics.stop()
        await self.broker.stop()
        await self.db.close()

    def figures(self, process: str, connections: Collection[Connection], handovers: int = 0) -> Figures:
        """Return what this process has counted and measured.

        Args:
            process: what it is called in /metrics.
            connections: its clients.
            handovers: clients that it has brought to other processes.
        """
        memory = self._monitor.figures if self._monitor is not None else NO_BUDGET
        return measure(
            process, self.host, self._topics, self.db, self.broker, connections, handovers=handovers, memory=memory
        )


def prepare_process() -> None:
    """Set what holds for a whole process: as many descriptors as the system grants, for each client needs one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def settle_memory() -> None:
    """What is here now stays: the collector need not look at it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)

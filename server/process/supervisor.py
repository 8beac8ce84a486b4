"""The supervisor: the workers of all services that have processes of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial

import msgspec
from starlette.types import ASGIApp

from server.config import Settings
from server.figures import Figures, Past
from server.log import Log
from server.process.forwarding import Forwarding
from server.process.handle import WorkerHandle
from server.process.pool import WorkerPool
from server.pubsub.broker import Broker
from server.pubsub.peers import Peers

COUNT_SECONDS = 2.0
"""How long the figures of a worker are waited for; then those of before are taken."""

log = Log("process")


class Supervisor:
    """The workers of all services that have some.

    Args:
        settings: the whole configuration.
        broker: what carries publications between processes.
        peers: the other processes, who are told when a worker is gone.
    """

    def __init__(self, settings: Settings, broker: Broker, peers: Peers) -> None:
        self._settings = settings
        self._broker = broker
        self._peers = peers
        self._past = Past()
        peered = settings.broker.url != "local"
        self.pools = [
            WorkerPool(service.name, settings, partial(self._make, service.name), self._ended, peered=peered)
            for service in settings.services.values()
            if service.workers
        ]
        broker.on_gap(self._gap)

    @property
    def applications(self) -> Mapping[str, ASGIApp]:
        """What answers HTTP for these services, by their path."""
        body_bytes = self._settings.server.body_bytes
        return {pool.path: Forwarding(pool.request, body_bytes) for pool in self.pools}

    # Life.

    async def start(self, seconds: float) -> None:
        """Start all workers, and wait until they serve; for so many seconds, then they come later."""
        crowded = [pool.name for pool in self.pools if self._settings.services[pool.name].workers > 1]
        if crowded and self._settings.database_url.startswith("sqlite://"):
            log.info("processes that share a SQLite file take turns at writing", services=", ".join(crowded))
        await asyncio.gather(*(pool.start(seconds) for pool in self.pools))

    async def stop(self, seconds: float) -> None:
        """End all workers; their clients are let go, spread over so many seconds."""
        await asyncio.gather(*(pool.stop(seconds) for pool in self.pools))

    async def replace(self, settings: Settings) -> bool:
        """Replace all workers, one after the other; tells whether all were replaced.

        Args:
            settings: what the new ones are to go by, as far as that does not need a restart.
        """
        settings = for_workers(self._settings, settings)
        replaced = True
        for pool in self.pools:
            replaced = await pool.replace(settings) and replaced
        return replaced

    # Looking.

    async def figures(self) -> list[Figures]:
        """Return the figures of all workers, and of those that are over."""
        workers = [worker for pool in self.pools for worker in pool.live if worker.status is not None]
        counted = await asyncio.gather(*(self._count(worker) for worker in workers))
        return [self._past.total, *counted]

    async def _count(self, worker: WorkerHandle) -> Figures:
        figures = await worker.count(COUNT_SECONDS)
        if figures is not None:
            self._past.seen(worker.peer, figures)
        return self._past.last(worker.peer)

    @property
    def healthy(self) -> bool:
        """Whether all workers are looked after."""
        return all(pool.healthy for pool in self.pools)

    @property
    def handovers(self) -> int:
        """How many clients were brought to workers."""
        return sum(pool.handovers for pool in self.pools)

    def sessions(self) -> set[int]:
        """Return the sessions that brought the clients of all workers."""
        return set().union(*(pool.sessions() for pool in self.pools))

    # Workers.

    def _make(self, service: str, name: str) -> WorkerHandle:
        return WorkerHandle(name, service, self._broker, self._gap)

    def _ended(self, worker: WorkerHandle) -> None:
        self._peers.gone(worker.peer)
        self._past.ended(worker.peer)

    def _gap(self) -> None:
        """Somebody may have missed publications: every worker is to read the database."""
        for pool in self.pools:
            for worker in pool.live:
                worker.relay.gap()


def for_workers(old: Settings, new: Settings) -> Settings:
    """Return the settings that workers can have beside a main process that goes on with those of its start.

    What all processes have to agree on stays as it is: the database, the broker, where a service is, and whether it has
    workers at all.

    Args:
        old: those of the start.
        new: those that were read again.
    """
    services = {}
    for name, before in old.services.items():
        after = new.services.get(name, before)
        fits = after.path == before.path and bool(after.workers) == bool(before.workers)
        services[name] = after if fits else before
    server = msgspec.structs.replace(new.server, data=old.server.data)
    return msgspec.structs.replace(new, server=server, database=old.database, broker=old.broker, services=services)

"""The workers of one service: as many as configured, started again when they end, replaced one after the other."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from server.config import Settings
from server.errors import Unavailable
from server.log import Log
from server.net.handover import Passenger
from server.net.handshake import HandOver, Refusal
from server.net.identity import Identity
from server.process.handle import LATE_SECONDS, PING_SECONDS, Phase, WorkerHandle
from server.process.messages import HttpAnswer, HttpRequest
from server.service.mounted import BACKOFF_SECONDS, ProcessStatus, ServiceStatus, State

READY_SECONDS = 30.0
"""How long a worker that replaces another may take until it serves; then the other one stays."""
GOOD_SECONDS = 10.0
"""A worker that has served for so long did not crash at its start."""
CRASH_LOOP = 3
"""So many ends in a row, each soon after the start, are a crash loop, and are named so."""
HUNG_SECONDS = 60.0
"""A worker that does not answer for so long is ended, and another one started."""
END_SECONDS = 10.0
"""What a worker may take to end beyond the time in which it lets its clients go."""
NOT_AGAIN = (2, 65, 78)
"""Exit statuses after which the same would happen again: wrong usage, unusable data, bad configuration or code."""

log = Log("process")


class _Slot:
    """The place of one worker: who serves there, and how often somebody crashed there."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.worker: WorkerHandle | None = None
        self.tried = asyncio.Event()  # set when the first worker serves, or does not
        self.hurry = asyncio.Event()  # set to end the wait for the next try
        self.restarts = 0
        self.crashes = 0  # in a row, each soon after the start
        self.problem = ""
        self.failed = False

    @property
    def status(self) -> ProcessStatus:
        """How it is now."""
        worker = self.worker
        if worker is None:
            return ProcessStatus(
                self.name, 0, "failed" if self.failed else "backoff", 0, self.restarts, self.problem, 0.0
            )
        said = worker.status
        doing = said.state.value if said and worker.phase is Phase.STARTING else worker.phase.value
        problem = (said.problem if said else "") or self.problem
        stalled = said.stall_seconds if said else 0.0
        if worker.late > LATE_SECONDS:
            problem = f"has not answered for {worker.late:.0f} seconds"
        return ProcessStatus(self.name, worker.pid, doing, worker.clients, self.restarts, problem, stalled)


class WorkerPool:
    """The workers of one service.

    Args:
        name: the service's name.
        settings: the whole configuration.
        make: makes the handle of a worker of a name.
        ended: called with each worker that is over.
        peered: whether there are processes elsewhere that share the service's topics.

    Attributes:
        handovers: clients that were brought to workers.
        healthy: whether the workers are looked after; one that does not serve is no illness of the pool.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        make: Callable[[str], WorkerHandle],
        ended: Callable[[WorkerHandle], None],
        *,
        peered: bool,
    ) -> None:
        self.name = name
        self.path = settings.services[name].path
        self.handovers = 0
        self.healthy = True
        self._settings = settings
        self._make = make
        self._ended = ended
        self._peered = peered
        self._slots: list[_Slot] = []
        self._live: set[WorkerHandle] = set()
        self._pinging: asyncio.Task[None] | None = None
        self._beside: set[asyncio.Task[None]] = set()
        self._replacing = asyncio.Lock()
        self._stopping = False
        self._incidents = 0  # of workers that are over

    # Life.

    async def start(self, seconds: float) -> None:
        """Start the workers, and wait until they serve; for so many seconds, then they come later."""
        for _ in range(self._settings.services[self.name].workers):
            self._add_slot()
        self._pinging = self._own(self._ping())
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                for slot in self._slots:
                    await slot.tried.wait()

    async def stop(self, seconds: float) -> None:
        """End every worker: its clients are let go, spread over so many seconds."""
        self._stopping = True
        if self._pinging is not None:
            self._pinging.cancel()
        for slot in self._slots:
            slot.hurry.set()
        for worker in tuple(self._live):
            self._drain(worker, seconds)
        await asyncio.gather(*(self._end(worker, seconds) for worker in tuple(self._live)))
        await asyncio.gather(*self._beside, *filter(None, [self._pinging]), return_exceptions=True)

    async def replace(self, settings: Settings) -> bool:
        """Replace the workers one after the other: the new one serves, then the old one lets its clients go.

        Args:
            settings: what the new ones are to go by.

        Returns:
            Whether all were replaced. Where a new one does not serve, the old ones stay.
        """
        async with self._replacing:
            for slot in tuple(self._slots):
                if slot.worker is not None and not await self._replace(slot, settings):
                    return False
            self._settings = settings
            self._fit()
            return True

    def _fit(self) -> None:
        """Have as many slots as are configured, each with somebody who keeps it."""
        wanted = self._settings.services[self.name].workers
        for slot in self._slots:
            slot.hurry.set()
            if slot.failed:  # with other settings it may serve
                slot.failed, slot.crashes = False, 0
                self._aside(self._keep(slot))
        while len(self._slots) < wanted:
            self._add_slot()
        for slot in self._slots[wanted:]:
            if slot.worker is not None:
                self._aside(self._retire(slot.worker, self._settings.server.drain_seconds))
        del self._slots[wanted:]

    async def _replace(self, slot: _Slot, settings: Settings) -> bool:
        new = await self._spawn(slot.name, settings)
        if new is None or not await self._serves(new):
            log.error("a new worker does not serve; the old ones stay", worker=slot.name)
            if new is not None:
                new.kill()
                await new.ended()
                self._over(new)
            return False
        old, slot.worker = slot.worker, new
        if old is not None:
            seconds = settings.server.drain_seconds
            await self._retire(old, seconds)
        return True

    async def _retire(self, worker: WorkerHandle, seconds: float) -> None:
        """Let a worker end that has no slot any more."""
        self._drain(worker, seconds)
        await self._end(worker, seconds)
        self._over(worker)

    def _drain(self, worker: WorkerHandle, seconds: float) -> None:
        """Let a worker end, and others have the clients that were on their way to it."""
        for passenger in worker.drain(seconds):
            self._take(passenger)

    async def _serves(self, worker: WorkerHandle) -> bool:
        """Wait until a worker serves; False when it ends before, or takes too long."""
        waiting = [asyncio.create_task(worker.ready.wait()), asyncio.create_task(worker.ended())]
        try:
            await asyncio.wait(waiting, timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        return worker.ready.is_set()

    async def _end(self, worker: WorkerHandle, seconds: float) -> None:
        """Wait until a worker that is told to end has; end it where that takes too long."""
        try:
            async with asyncio.timeout(seconds + END_SECONDS):
                await worker.ended()
        except TimeoutError:
            log.error("a worker does not end", worker=worker.name, pid=worker.pid)
            worker.kill()
            await worker.ended()

    # Keeping the slots.

    def _add_slot(self) -> None:
        taken = {slot.name for slot in self._slots}
        number = next(n for n in range(1, len(taken) + 2) if f"{self.name}-{n}" not in taken)
        slot = _Slot(f"{self.name}-{number}")
        self._slots.append(slot)
        self._aside(self._keep(slot))

    async def _keep(self, slot: _Slot) -> None:
        """Have a worker in a slot."""
        while not self._stopping and not slot.failed and slot in self._slots:
            if slot.worker is None:
                slot.worker = await self._spawn(slot.name, self._settings)
            worker = slot.worker
            if worker is None:
                await self._back_off(slot, "the system has no room for another process")
                continue
            served = await self._serves(worker)
            slot.tried.set()
            if served:
                slot.problem = ""
                log.info("worker serves", worker=slot.name, pid=worker.pid)
            status = await worker.ended()
            self._over(worker)
            if slot.worker is worker and slot in self._slots and not self._stopping:
                slot.worker = None
                await self._crashed(slot, worker, status)

    async def _crashed(self, slot: _Slot, worker: WorkerHandle, status: int) -> None:
        """A worker ended that nobody had told to."""
        problem = (worker.status.problem if worker.status else "") or _how(status)
        if status in NOT_AGAIN:
            slot.failed, slot.problem = True, problem
            slot.tried.set()
            log.error("a worker cannot serve, and is not started again", worker=slot.name, problem=problem)
            return
        slot.restarts += 1
        if worker.served_seconds >= GOOD_SECONDS:
            slot.crashes, slot.problem = 0, ""
            log.error("worker ended", worker=slot.name, pid=worker.pid, problem=problem)
            return
        await self._back_off(slot, problem)

    async def _back_off(self, slot: _Slot, problem: str) -> None:
        slot.crashes += 1
        first, most = BACKOFF_SECONDS
        wait = min(most, first * 2 ** (slot.crashes - 1))
        loop = f"crash loop, {slot.crashes} in a row: " if slot.crashes >= CRASH_LOOP else ""
        slot.problem = f"{loop}{problem}; next try after {wait:.0f} s"
        log.error("worker ended", worker=slot.name, problem=slot.problem)
        slot.tried.set()
        slot.hurry.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await slot.hurry.wait()

    async def _spawn(self, name: str, settings: Settings) -> WorkerHandle | None:
        """Start a worker; None where the system has no room for it."""
        worker = self._make(name)
        crowd = self._peered or settings.services[self.name].workers > 1 or bool(self._live)
        if crowd:  # before it can hear or say anything, the others listen
            await asyncio.gather(*(other.relay.peer(True) for other in self._live))
        try:
            await worker.spawn(settings)
        except OSError as error:
            log.error("a worker cannot be started", worker=name, problem=error.strerror)
            worker.clean_up()
            return None
        self._live.add(worker)
        if self._stopping:
            worker.kill()
        if crowd:
            await worker.relay.peer(True)
        return worker

    def _over(self, worker: WorkerHandle) -> None:
        """Put in order what a worker that is over left behind."""
        if worker not in self._live:
            return
        self._live.discard(worker)
        self._incidents += worker.status.incidents if worker.status else 0
        for passenger in worker.clean_up():
            self._take(passenger)
        self._ended(worker)
        if len(self._live) == 1 and not self._peered and len(self._slots) == 1:
            # After a replacement there is nobody left to talk to.
            self._aside(next(iter(self._live)).relay.peer(False))

    def _own(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine; where it fails, `healthy` says so."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._failed_perhaps)
        return task

    def _aside(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine that ends by itself; `stop` waits for it."""
        task = self._own(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    def _failed_perhaps(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.healthy = False
            log.error("the supervisor failed", service=self.name, error=error)

    async def _ping(self) -> None:
        """Ask the workers how they are, and end those that do not answer any more."""
        while True:
            for worker in self._live:
                worker.ping()
                worker.relay.look()
                if worker.late > HUNG_SECONDS:
                    log.error("a worker hangs, and is ended", worker=worker.name, pid=worker.pid)
                    worker.kill()
            await asyncio.sleep(PING_SECONDS)

    # Clients.

    def admit(self, identity: Identity | None) -> HandOver | Refusal:
        """Decide about a client."""
        if not any(worker.takes_clients for worker in self._workers()):
            return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "This service does not run at the moment. Try again.")
        return HandOver(self._take, identity)

    def _take(self, passenger: Passenger) -> None:
        """Bring a client to the least loaded worker."""
        for worker in self._by_load():
            if worker.hand_over(passenger):
                self.handovers += 1
                return
        passenger.refuse(HTTPStatus.SERVICE_UNAVAILABLE, "This service does not run at the moment. Try again.")

    def _by_load(self) -> list[WorkerHandle]:
        able = [worker for worker in self._workers() if worker.takes_clients]
        return sorted(able, key=lambda worker: (worker.full, worker.late > LATE_SECONDS, worker.clients))

    def _workers(self) -> Iterator[WorkerHandle]:
        """Yield those that have a slot; who is replaced has none any more."""
        return (slot.worker for slot in self._slots if slot.worker is not None)

    def close_session(self, session: int, code: int, reason: str) -> None:
        """Close the sockets that a session brought."""
        for worker in self._live:
            worker.close_session(session, code, reason)

    def sessions(self) -> set[int]:
        """Return the sessions that brought the clients."""
        return set().union(*(worker.sessions() for worker in self._live))

    async def request(self, request: HttpRequest, seconds: float) -> HttpAnswer:
        """Let a worker answer an HTTP request.

        Raises:
            TimeoutError: none did within so many seconds.
            Unavailable: none serves.
        """
        for worker in self._by_load():
            return await worker.request(request, seconds)
        raise Unavailable

    # Looking.

    @property
    def live(self) -> tuple[WorkerHandle, ...]:
        """Every worker whose process is there."""
        return tuple(self._live)

    @property
    def status(self) -> ServiceStatus:
        """How the service is, over all its workers."""
        processes = [slot.status for slot in self._slots]
        leaving = [worker for worker in self._live if worker.phase is Phase.DRAINING]
        processes += [
            ProcessStatus(worker.name, worker.pid, "draining", worker.clients, 0, "", 0.0) for worker in leaving
        ]
        said = [worker.status for worker in self._live if worker.status is not None]
        return ServiceStatus(
            name=self.name,
            path=self.path,
            state=self._state(),
            clients=sum(process.clients for process in processes),
            incidents=self._incidents + sum(status.incidents for status in said),
            problem="; ".join(dict.fromkeys(process.problem for process in processes if process.problem)),
            stall_seconds=max((status.stall_seconds for status in said), default=0.0),
            processes=tuple(processes),
        )

    def _state(self) -> State:
        if self._stopping:
            return State.STOPPED
        if any(worker.takes_clients for worker in self._workers()):
            return State.RUNNING
        if self._slots and all(slot.failed for slot in self._slots):
            return State.FAILED
        tried = all(slot.tried.is_set() for slot in self._slots)
        said = [worker.status.state for worker in self._workers() if worker.status is not None]
        return State.BACKOFF if tried or State.BACKOFF in said else State.STARTING


def _how(status: int) -> str:
    """Say how a process ended."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"

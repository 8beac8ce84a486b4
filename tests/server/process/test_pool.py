"""The pool's decisions, with workers that are made of nothing: who gets a client, who is started again, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from server.config import ServiceSettings, Settings
from server.net.handover import Passenger, Ticket
from server.net.handshake import HandOver, Refusal
from server.process import pool as pool_module
from server.process.handle import Phase, WorkerHandle
from server.process.pool import WorkerPool
from server.service.mounted import ServiceStatus, State


class FakeRelay:
    """Remembers whether the worker has peers."""

    def __init__(self) -> None:
        self.peered = False

    async def peer(self, peered: bool) -> None:
        self.peered = peered

    def look(self) -> None:
        """Nothing to look at."""


class FakeWorker:
    """A worker without a process: the test says when it serves and how it ends."""

    def __init__(self, name: str, plan: Callable[[FakeWorker], None]) -> None:
        self.name = name
        self.peer = f"{name}-x"
        self.pid = 1
        self.phase = Phase.STARTING
        self.status: ServiceStatus | None = None
        self.ready = asyncio.Event()
        self.relay = FakeRelay()
        self.late = 0.0
        self.full = False
        self.served_seconds = 0.0
        self.passengers: list[Passenger] = []
        self.waiting: list[Passenger] = []
        self.killed = False
        self.settings: Settings | None = None
        self._plan = plan
        self._over: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def clients(self) -> int:
        return len(self.passengers)

    @property
    def takes_clients(self) -> bool:
        return self.phase is Phase.RUNNING

    async def spawn(self, settings: Settings) -> None:
        self.settings = settings
        self._plan(self)

    def serve(self) -> None:
        self.phase = Phase.RUNNING
        self.status = ServiceStatus("who", "/who", State.RUNNING, 0, 0, "", 0.0)
        self.ready.set()

    def end(self, status: int) -> None:
        if not self._over.done():
            self._over.set_result(status)

    async def ended(self) -> int:
        return await asyncio.shield(self._over)

    def drain(self, seconds: float) -> list[Passenger]:
        self.phase = Phase.DRAINING
        self.end(0)
        waiting, self.waiting = self.waiting, []
        return waiting

    def clean_up(self) -> list[Passenger]:
        self.phase = Phase.ENDED
        waiting, self.waiting = self.waiting, []
        return waiting

    def kill(self) -> None:
        self.killed = True
        self.end(-9)

    def ping(self) -> None:
        """It answers by itself, or not."""

    def hand_over(self, passenger: Passenger) -> bool:
        self.passengers.append(passenger)
        return True


def serves(worker: FakeWorker) -> None:
    worker.serve()


def crashes(worker: FakeWorker) -> None:
    worker.end(1)


def settings(workers: int = 1, word: str = "") -> Settings:
    service = ServiceSettings(name="who", path="/who", workers=workers, options={"word": word})
    return Settings(services={"who": service}, base=Path())


class Scene:
    """A pool, and everybody who was ever made for it."""

    def __init__(self, workers: int = 1, plan: Callable[[FakeWorker], None] = serves, *, peered: bool = False) -> None:
        self.plan = plan
        self.made: list[FakeWorker] = []
        self.over: list[str] = []
        self.refused: list[int] = []
        self.pool = WorkerPool(
            "who",
            settings(workers),
            cast("Callable[[str], WorkerHandle]", self.make),
            lambda worker: self.over.append(worker.name),
            peered=peered,
        )

    def make(self, name: str) -> FakeWorker:
        worker = FakeWorker(name, lambda worker: self.plan(worker))
        self.made.append(worker)
        return worker

    def bring(self) -> FakePassenger:
        """Let a client in; returns it."""
        admitted = self.pool.admit(None)
        assert isinstance(admitted, HandOver)
        passenger = FakePassenger()
        admitted.take(passenger)
        return passenger

    async def until(self, true: Callable[[], Any]) -> None:
        async with asyncio.timeout(10):
            while not true():  # noqa: ASYNC110 the pool tells nobody
                await asyncio.sleep(0)


class FakePassenger(Passenger):
    """A client without a socket, that remembers whether it was refused."""

    def __init__(self) -> None:
        ticket = Ticket("/who", (), "GET", "HTTP/1.1", "192.0.2.1", False, None, b"")
        super().__init__(ticket, -1, "key", lambda _: None)
        self.refusal = 0

    def refuse(self, status: int, text: str) -> None:
        self.refusal = status

    def close(self) -> None:
        """There is nothing to close."""

    __slots__ = ("refusal",)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "BACKOFF_SECONDS", (0.001, 0.004))
    monkeypatch.setattr(pool_module, "PING_SECONDS", 0.001)
    monkeypatch.setattr(pool_module, "END_SECONDS", 0.05)


async def test_the_least_loaded_worker_gets_the_client() -> None:
    """Clients go where there are fewest; not to who is late or full, while others are not."""
    scene = Scene(3)
    await scene.pool.start(5)
    for _ in range(9):
        scene.bring()
    assert [worker.clients for worker in scene.made] == [3, 3, 3]
    scene.made[0].late, scene.made[1].full = 5.0, True
    for _ in range(4):
        scene.bring()
    assert [worker.clients for worker in scene.made] == [3, 3, 7]
    scene.made[2].phase = Phase.DRAINING
    scene.bring()
    assert [worker.clients for worker in scene.made] == [4, 3, 7]
    assert scene.pool.handovers == 14
    await scene.pool.stop(0)


async def test_without_a_worker_clients_are_refused() -> None:
    """503 while none serves; and for one that was let in a moment before the last one ended."""
    scene = Scene(1)
    await scene.pool.start(5)
    admitted = scene.pool.admit(None)
    assert isinstance(admitted, HandOver)
    scene.made[0].phase = Phase.DRAINING
    passenger = FakePassenger()
    admitted.take(passenger)
    assert passenger.refusal == 503
    refusal = scene.pool.admit(None)
    assert isinstance(refusal, Refusal)
    assert refusal.status == 503
    await scene.pool.stop(0)


async def test_who_never_reached_a_worker_goes_to_another() -> None:
    """Clients that still waited when a worker ended, or was told to end, are brought to another one."""
    scene = Scene(2)
    await scene.pool.start(5)
    first, second = scene.made
    first.waiting = [FakePassenger(), FakePassenger()]
    first.end(-9)
    await scene.until(lambda: second.clients == 2)
    await scene.pool.stop(0)


async def test_a_crash_at_the_start_is_backed_off_and_named() -> None:
    """Each time the wait doubles, up to a bound; from the third time it is a crash loop; then it heals."""
    scene = Scene(1, crashes)
    await scene.pool.start(5)
    await scene.until(lambda: len(scene.made) >= 4)
    status = scene.pool.status
    assert status.state is State.BACKOFF
    assert "crash loop" in status.problem
    assert "ended with status 1" in status.problem
    assert status.processes[0].restarts >= 3
    scene.plan = serves
    await scene.until(lambda: scene.pool.status.state is State.RUNNING and not scene.pool.status.problem)
    await scene.pool.stop(0)


async def test_who_has_served_for_long_is_started_again_at_once() -> None:
    """An end after a good while is no crash at the start: no wait, and no loop."""
    scene = Scene(1)
    await scene.pool.start(5)
    for number in range(1, 6):
        await scene.until(lambda number=number: len(scene.made) == number and scene.made[-1].ready.is_set())  # type: ignore[misc]  # a default
        scene.made[-1].served_seconds = 100.0
        scene.made[-1].end(-11)
    await scene.until(lambda: scene.pool.status.state is State.RUNNING and len(scene.made) == 6)
    [process] = scene.pool.status.processes
    assert (process.restarts, process.problem) == (5, "")
    await scene.pool.stop(0)


@pytest.mark.parametrize("status", [2, 65, 78])
async def test_an_end_that_would_happen_again_is_the_last(status: int) -> None:
    """Some exit statuses say that another start does not help: the service has failed, until a reload."""
    scene = Scene(1, lambda worker: worker.end(status))
    await scene.pool.start(5)
    await scene.until(lambda: scene.pool.status.state is State.FAILED)
    assert len(scene.made) == 1
    scene.plan = serves
    assert await scene.pool.replace(settings(1))
    await scene.until(lambda: scene.pool.status.state is State.RUNNING)
    await scene.pool.stop(0)


async def test_a_replacement_serves_before_the_old_one_goes() -> None:
    """One after the other; at no moment is there nobody who takes clients."""
    scene = Scene(2)
    await scene.pool.start(5)
    old = list(scene.made)

    def plan(worker: FakeWorker) -> None:
        able = [w for w in scene.made if w.takes_clients]
        assert len(able) == 2
        worker.serve()

    scene.plan = plan
    assert await scene.pool.replace(settings(2, "new"))
    new = scene.made[2:]
    assert [worker.phase for worker in old] == [Phase.ENDED, Phase.ENDED]
    assert [worker.settings == settings(2, "new") for worker in new] == [True, True]
    assert [process.name for process in scene.pool.status.processes] == ["who-1", "who-2"]
    await scene.pool.stop(0)


@pytest.mark.parametrize("plan", [crashes, lambda worker: None])
async def test_a_replacement_that_does_not_serve_changes_nothing(
    plan: Callable[[FakeWorker], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new worker that ends, or is not ready in time, is put away; the old ones serve on, with the old settings."""
    monkeypatch.setattr(pool_module, "READY_SECONDS", 0.02)
    scene = Scene(1)
    await scene.pool.start(5)
    scene.plan = plan
    assert not await scene.pool.replace(settings(1, "bad"))
    assert scene.made[0].takes_clients
    assert scene.made[1].killed
    scene.plan = serves
    scene.made[0].end(1)
    await scene.until(lambda: len(scene.made) == 3)
    assert scene.made[2].settings == settings(1)
    await scene.pool.stop(0)


async def test_more_and_fewer() -> None:
    """After a replacement there are as many as are configured now."""
    scene = Scene(1)
    await scene.pool.start(5)
    for number in (4, 2, 3):
        await scene.pool.replace(settings(number))
        await scene.until(lambda number=number: len([w for w in scene.pool.live if w.takes_clients]) == number)  # type: ignore[misc]  # a default
        await scene.until(lambda number=number: len(scene.pool.live) == number)  # type: ignore[misc]  # a default
    await scene.pool.stop(0)
    assert len(scene.over) == len(scene.made)


async def test_peers_know_of_each_other_before_anybody_speaks() -> None:
    """Alone, a worker has nobody to talk to; a second one serves when both listen; later it is alone again."""
    scene = Scene(1)
    await scene.pool.start(5)
    [alone] = scene.made
    assert not alone.relay.peered

    def plan(worker: FakeWorker) -> None:
        assert alone.relay.peered
        worker.serve()

    scene.plan = plan
    await scene.pool.replace(settings(1))
    await scene.until(lambda: not scene.made[1].relay.peered)
    await scene.pool.stop(0)


async def test_a_worker_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has not answered for too long is killed, and another one started."""
    monkeypatch.setattr(pool_module, "HUNG_SECONDS", 5.0)
    scene = Scene(1)
    await scene.pool.start(5)
    scene.made[0].late = 4.0
    await asyncio.sleep(0.01)
    assert not scene.made[0].killed
    scene.made[0].late = 6.0
    await scene.until(lambda: scene.made[0].killed and len(scene.made) == 2)
    await scene.pool.stop(0)


@pytest.mark.parametrize("plan", [serves, crashes, lambda worker: None])
async def test_a_stop_ends_everything_in_every_state(plan: Callable[[FakeWorker], None]) -> None:
    """Serving, starting or backed off: after a stop nobody is left, and every end was told."""
    scene = Scene(2, plan)
    await scene.pool.start(0.01)
    async with asyncio.timeout(5):
        await scene.pool.stop(0)
    assert scene.pool.live == ()
    assert sorted(scene.over) == sorted(worker.name for worker in scene.made)
    assert scene.pool.healthy


async def test_a_failure_of_the_pool_itself_is_told() -> None:
    """Where its own code fails the pool is not healthy, so that systemd starts everything anew."""
    scene = Scene(1)
    await scene.pool.start(5)

    def fails() -> None:
        raise RuntimeError("a bug")

    scene.made[0].ping = fails  # type: ignore[method-assign]  # as a bug would
    await scene.until(lambda: not scene.pool.healthy)
    await scene.pool.stop(0)

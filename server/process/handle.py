"""One worker, as the main process sees it: spawned, spoken to, given clients, awaited."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import socket
import sys
import time
from collections.abc import Callable, Hashable
from contextlib import ExitStack, suppress
from enum import Enum
from http import HTTPStatus

import msgspec

from server.config import Settings
from server.errors import Unavailable
from server.figures import Figures
from server.log import Log
from server.net.handover import Passenger
from server.process import handoff
from server.process.link import Link
from server.process.messages import (
    CloseSession,
    Count,
    Counted,
    Drain,
    HttpAnswer,
    HttpRequest,
    Left,
    Ping,
    Start,
    Status,
    ToMain,
    to_main,
)
from server.pubsub.broker import Broker
from server.pubsub.relay import Relay
from server.service.mounted import ServiceStatus, State

PING_SECONDS = 1.0
"""How often a worker is asked how it is."""
LATE_SECONDS = 3.0
"""A worker that does not answer for so long gets no new clients while others do."""

log = Log("process")


class Phase(Enum):
    """What a worker does."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    ENDED = "ended"


class WorkerHandle:
    """A worker process.

    Args:
        name: what it is called in the log and in /health.
        service: the service that it runs.
        broker: where its publications go, and come from.
        lost: called when it may have lost publications of its own, so that others must read the database.

    Attributes:
        name: as said.
        peer: what it is called among the processes that share topics.
        phase: what it does.
        pid: its id for the system.
        status: how its service is, as it said last; None before it said anything.
        full: whether it has no memory for more clients.
        ready: set when its service runs.
    """

    def __init__(self, name: str, service: str, broker: Broker, lost: Callable[[], None]) -> None:
        self.name = name
        self.peer = f"{name}-{secrets.token_hex(6)}"
        self.phase = Phase.STARTING
        self.pid = 0
        self.status: ServiceStatus | None = None
        self.full = False
        self.ready = asyncio.Event()
        self._pinged = False
        self._owed_pings = 0
        self._ready_at: float | None = None
        self._service = service
        self._link: Link[ToMain] = Link(to_main, self._heard, self._link_lost)
        self.relay = Relay(broker, self._link.send, self._link.buffered, lost)
        self._process: asyncio.subprocess.Process | None = None
        self._sender: handoff.Sender | None = None
        self._numbers = itertools.count(1)
        self._clients: dict[int, tuple[Hashable, int | None]] = {}  # what each is counted under, and its session
        self._release: Callable[[Hashable], None] | None = None
        self._asked: dict[int, asyncio.Future[Counted | HttpAnswer]] = {}

    @property
    def clients(self) -> int:
        """How many clients it has."""
        return len(self._clients)

    @property
    def late(self) -> float:
        """For how many seconds it owes an answer, as this process has lived them: it may have stood still itself."""
        return self._owed_pings * PING_SECONDS

    @property
    def served_seconds(self) -> float:
        """For how long its service has run."""
        return 0.0 if self._ready_at is None else time.monotonic() - self._ready_at

    @property
    def takes_clients(self) -> bool:
        """Whether clients may be brought to it."""
        return self.phase is Phase.RUNNING and self.status is not None and self.status.state is State.RUNNING

    # Life.

    async def spawn(self, settings: Settings) -> None:
        """Start the process.

        Raises:
            OSError: the system has no room for another one.
        """
        ours, theirs = socket.socketpair()
        with ExitStack() as undo, theirs:
            undo.enter_context(ours)
            our_way, their_way = handoff.pair()
            undo.enter_context(our_way)
            with their_way:
                ours.setblocking(False)
                descriptors = (theirs.fileno(), their_way.fileno())
                # What is run is this interpreter and our own module; the descriptors are numbers.
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "server.process.worker",
                    self.name,
                    *map(str, descriptors),
                    pass_fds=descriptors,
                    stdin=asyncio.subprocess.DEVNULL,
                )
            undo.pop_all()
        self.pid = self._process.pid
        self._sender = handoff.Sender(our_way, self._not_sent)
        await self._link.open(ours)
        self._link.send(Start(settings, self._service, self.name, self.peer))

    async def ended(self) -> int:
        """Wait until the process is over; returns its exit status, negative for a signal."""
        assert self._process is not None
        return await self._process.wait()

    def clean_up(self) -> list[Passenger]:
        """Put in order what the process left behind; returns the clients that never reached it."""
        self.phase = Phase.ENDED
        self.relay.close()
        self._link.close()
        waiting = self._take_back()
        self._left(list(self._clients))
        for future in self._asked.values():
            if not future.done():
                future.set_exception(Unavailable())
        self._asked.clear()
        return waiting

    def drain(self, seconds: float) -> list[Passenger]:
        """Let it send its clients away, spread over so many seconds, and end; returns those that never reached it."""
        self.phase = Phase.DRAINING
        self._link.send(Drain(seconds))
        return self._take_back()

    def _take_back(self) -> list[Passenger]:
        sender, self._sender = self._sender, None
        waiting = sender.close() if sender is not None else []
        for number, _ in waiting:
            self._clients.pop(number, None)
        return [passenger for _, passenger in waiting]

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()

    # Clients.

    def hand_over(self, passenger: Passenger) -> bool:
        """Bring a client; False where that is not possible, and then it is still the caller's."""
        if self._sender is None or self.phase is not Phase.RUNNING:
            return False
        number = next(self._numbers)
        self._release = passenger.left
        identity = passenger.ticket.identity
        self._clients[number] = (passenger.key, identity.session if identity is not None else None)
        if not self._sender.send(number, passenger):
            del self._clients[number]
            return False
        return True

    def close_session(self, session: int, code: int, reason: str) -> None:
        """Close the sockets that a session brought."""
        self._link.send(CloseSession(session, code, reason))

    def sessions(self) -> set[int]:
        """Return the sessions that brought its clients."""
        return {session for _, session in self._clients.values() if session is not None}

    def _not_sent(self, number: int, passenger: Passenger) -> None:
        self._clients.pop(number, None)
        passenger.refuse(HTTPStatus.SERVICE_UNAVAILABLE, "The server is busy. Try again.")

    def _left(self, numbers: list[int]) -> None:
        for number in numbers:
            if number in self._clients and self._release is not None:
                key, _ = self._clients.pop(number)
                self._release(key)

    # Questions.

    def ping(self) -> None:
        """Ask how it is; the answer is `status`. To be called every `PING_SECONDS`."""
        if self._pinged:
            self._owed_pings += 1
        elif self.phase in (Phase.RUNNING, Phase.STARTING):
            self._pinged = True
            self._link.send(Ping())

    async def count(self, seconds: float) -> Figures | None:
        """Return its figures; None when it does not answer within so many seconds."""
        try:
            answer = await self._ask(Count, seconds)
        except (TimeoutError, Unavailable):
            return None
        assert isinstance(answer, Counted)
        return answer.figures

    async def request(self, request: HttpRequest, seconds: float) -> HttpAnswer:
        """Let it answer an HTTP request.

        Raises:
            TimeoutError: it did not within so many seconds.
            Unavailable: it ended.
        """
        answer = await self._ask(lambda number: msgspec.structs.replace(request, number=number), seconds)
        assert isinstance(answer, HttpAnswer)
        return answer

    async def _ask(self, question: Callable[[int], Count | HttpRequest], seconds: float) -> Counted | HttpAnswer:
        number = next(self._numbers)
        future: asyncio.Future[Counted | HttpAnswer] = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        try:
            self._link.send(question(number))
            async with asyncio.timeout(seconds):
                return await future
        finally:
            self._asked.pop(number, None)

    # What it says.

    def _heard(self, message: ToMain) -> None:
        if isinstance(message, Left):
            self._left(message.numbers)
        elif isinstance(message, Status):
            self.full = message.full
            self._take_status(message.status)
        elif isinstance(message, Counted | HttpAnswer):
            future = self._asked.get(message.number)
            if future is not None and not future.done():
                future.set_result(message)
        else:
            self.relay.take(message)

    def _take_status(self, status: ServiceStatus) -> None:
        self.status = status
        self._pinged, self._owed_pings = False, 0
        if self.phase is Phase.STARTING and status.state is State.RUNNING:
            self.phase = Phase.RUNNING
            self._ready_at = time.monotonic()
            self.ready.set()

    def _link_lost(self) -> None:
        """It closed its end: it is ending, and `ended` tells when."""
        if self.phase is not Phase.ENDED:
            self.phase = Phase.DRAINING

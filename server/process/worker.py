"""The program of a worker: one service, in a process of its own. Started by the main process, and by nobody else.

Exit status: 0 ended as told, 1 failure at run time, 65 unusable database, 78 the service cannot be served as it is. The
main process starts another worker after 0 and 1 only.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Coroutine
from typing import Any

import msgspec
import uvloop

from server.config import Settings
from server.db import DatabaseError, MigrationFailed, UnusableDatabase
from server.eager import start
from server.engine import EXIT_CONFIG, EXIT_DATA, EXIT_FAILURE, EXIT_FINE, Engine, prepare_process, settle_memory
from server.errors import new_incident
from server.figures import Figures
from server.log import Log, configure
from server.memory import share_bytes
from server.net.adopting import AdoptingFront
from server.net.handover import Ticket
from server.net.handshake import Admission, Decision, Handshake
from server.process import messages
from server.process.handoff import Receiver
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
    ToWorker,
)
from server.pubsub.relay import RelayBroker
from server.service.mounted import State

START_SECONDS = 10.0
"""How long the main process may take to say what is to be served."""
REVOKED_MOST = 4096
"""Sessions that ended lately and whose clients may still be on their way here."""

log = Log("process")


class Worker:
    """One service, in a process of its own.

    Args:
        link: the way to the main process.
        way: where clients come from.
    """

    def __init__(self, link: socket.socket, way: socket.socket) -> None:
        self._link: Link[ToWorker] = Link(messages.to_worker, self._heard, self._lost)
        self._link_socket = link
        self._receiver = Receiver(way, self._arrived, self._left)
        self._broker = RelayBroker(self._link.send, self._link.buffered)
        self._start: asyncio.Future[Start] = asyncio.get_running_loop().create_future()
        self._drain: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._engine: Engine | None = None
        self._front: AdoptingFront | None = None
        self._name = self._service = ""
        self._ending = False
        self._numbers_left: list[int] = []
        self._revoked: dict[int, tuple[int, str]] = {}
        self._adopting: set[asyncio.Task[None]] = set()
        self._answering: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Serve until the main process says that it is enough, or is gone; returns the exit status."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._end, None)
        for number in (signal.SIGINT, signal.SIGHUP):  # a terminal sends them to all; the main process decides
            loop.add_signal_handler(number, lambda: None)
        await self._link.open(self._link_socket)
        async with asyncio.timeout(START_SECONDS):
            begin = await self._start
        settings = begin.settings
        self._name, self._service = begin.name, begin.service
        configure(settings.log.level, settings.log.format, process=begin.name)
        share = share_bytes(settings, worker=True)
        engine = Engine(_only(settings, begin.service), self._broker, begin.peer, share)
        self._front = AdoptingFront(settings.server, self._left)
        try:
            await engine.open()
            self._engine = engine  # from now on there is something to tell of
            await engine.host.start()
            if engine.host.statuses()[begin.service].state is State.FAILED:
                self._report()
                return EXIT_CONFIG
            self._front.heartbeat.start()
            self._receiver.start()
            self._report()
            settle_memory()
            seconds = await self._drain
            await engine.host.drain(seconds)
        finally:
            self._receiver.stop()
            await self._stop(engine)
        return EXIT_FINE

    async def _stop(self, engine: Engine) -> None:
        for task in (*self._adopting, *self._answering):
            task.cancel()
        await asyncio.gather(*self._adopting, *self._answering, return_exceptions=True)
        assert self._front is not None
        for connection in tuple(self._front.connections):
            connection.start_close(1012, "restart")
        await asyncio.gather(*(connection.wait_closed() for connection in tuple(self._front.connections)))
        self._front.heartbeat.stop()
        await engine.stop()
        self._tell_left()
        self._ending = True
        self._link.close()

    # What the main process says.

    def _heard(self, message: ToWorker) -> None:
        if isinstance(message, Ping):
            self._report()
        elif isinstance(message, CloseSession):
            self._close_session(message)
        elif isinstance(message, Count):
            self._link.send(Counted(message.number, self._figures()))
        elif isinstance(message, HttpRequest):
            self._own(self._answering, self._answer(message))
        elif isinstance(message, Drain):
            self._end(message.seconds)
        elif isinstance(message, Start):
            self._start.set_result(message)
        else:
            self._broker.take(message)

    def _lost(self) -> None:
        """The link is closed. If not by this process, nobody brings clients any more; those here can go elsewhere."""
        if not self._ending:
            log.warning("the main process is gone")
            self._end(None)

    def _end(self, seconds: float | None) -> None:
        if not self._drain.done():
            most = self._engine.settings.server.drain_seconds if self._engine is not None else 0.0
            self._drain.set_result(most if seconds is None else seconds)
        if not self._start.done():
            self._start.cancel()

    def _report(self) -> None:
        if self._engine is not None:
            status = self._engine.host.statuses().get(self._service)
            if status is not None:
                self._link.send(Status(status, self._engine.host.full))

    def _figures(self) -> Figures:
        assert self._engine is not None
        assert self._front is not None
        return self._engine.figures(self._name, self._front.connections)

    def _close_session(self, message: CloseSession) -> None:
        self._revoked[message.session] = (message.code, message.reason)
        if len(self._revoked) > REVOKED_MOST:
            del self._revoked[next(iter(self._revoked))]
        if self._engine is not None:
            self._engine.host.close_session(message.session, message.code, message.reason)

    async def _answer(self, request: HttpRequest) -> None:
        # Only who has such requests needs what reads them.
        from server.http.application import create_service_application
        from server.process.forwarding import answer

        assert self._engine is not None
        path = self._engine.settings.services[self._service].path
        try:
            self._link.send(await answer(request, create_service_application(path, self._engine.host)))
        except Exception as error:
            incident = new_incident()
            log.error("request failed", error=error, incident=incident, path=request.path)
            body = msgspec.json.encode({"error": {"code": "internal_server_error", "incident": incident}})
            self._link.send(HttpAnswer(request.number, 500, ((b"content-type", b"application/json"),), body))

    # Clients.

    def _arrived(self, number: int, descriptor: int, ticket: Ticket) -> None:
        assert self._front is not None
        self._own(self._adopting, self._front.adopt(number, descriptor, ticket, self._decide))

    def _decide(self, ticket: Ticket, handshake: Handshake) -> Decision:
        assert self._engine is not None
        decision = self._engine.host.admit(handshake.path, ticket.identity)
        session = ticket.identity.session if ticket.identity is not None else None
        if session in self._revoked and isinstance(decision, Admission):  # it ended while the client was on its way
            return msgspec.structs.replace(decision, close=self._revoked[session])
        return decision

    def _left(self, number: int) -> None:
        if not self._numbers_left:
            asyncio.get_running_loop().call_soon(self._tell_left)
        self._numbers_left.append(number)

    def _tell_left(self) -> None:
        if self._numbers_left:
            self._link.send(Left(self._numbers_left))
            self._numbers_left = []

    def _own(self, tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
        task = start(work)
        if task is not None:
            tasks.add(task)
            task.add_done_callback(tasks.discard)


def _only(settings: Settings, service: str) -> Settings:
    """Return settings with that service alone."""
    return msgspec.structs.replace(settings, services={service: settings.services[service]})


async def _run(link: int, way: int) -> int:
    sockets = [socket.socket(fileno=descriptor) for descriptor in (link, way)]
    for sock in sockets:
        sock.setblocking(False)
        sock.set_inheritable(False)
    return await Worker(*sockets).run()


def main(arguments: list[str]) -> int:
    """Run a worker.

    Args:
        arguments: its name, and the descriptors of the link and of the way that clients come.
    """
    _, link, way = arguments
    prepare_process()
    try:
        return uvloop.run(_run(int(link), int(way)))
    except (UnusableDatabase, MigrationFailed) as error:
        log.error("the database cannot be used", problem=str(error))
        return EXIT_DATA
    except (DatabaseError, OSError, TimeoutError, asyncio.CancelledError) as error:
        log.error("the worker cannot start", problem=str(error) or type(error).__name__)
        return EXIT_FAILURE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

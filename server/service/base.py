"""`Service`: what a plugin subclasses, and what it works with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ClassVar, Literal

import msgspec
from starlette.routing import BaseRoute

from server.config import ServerSettings
from server.db import Database
from server.errors import ConnectionClosed, new_incident
from server.log import Log
from server.net.connection import Connection
from server.pubsub.presence import Presence, Presences
from server.pubsub.topics import Topic, Topics

Login = Literal["none", "guest", "member"]

LEAVE_SECONDS = 5.0
"""How long `serve` may go on after its client is gone, before it is cancelled."""


class NoSettings(msgspec.Struct, frozen=True):
    """A service without keys of its own in config.toml."""


class ServiceContext(msgspec.Struct, frozen=True):
    """What the engine gives to a service.

    Args:
        name: its name in config.toml; topics and presences are kept apart by it.
        settings: its own table, decoded into its `Settings`.
        server: the network's settings.
        db: the database.
        topics: this process's topics.
        presences: this process's presences.
        failed: told of every failure that is not the client's: the error and its incident id.
    """

    name: str
    settings: Any
    server: ServerSettings
    db: Database
    topics: Topics
    presences: Presences
    failed: Callable[[BaseException, str], None]


class Service:
    """Serves clients, one coroutine each. Subclass it and write `serve`.

    Attributes:
        login: who may connect: anybody, whoever has an identity (guests too), or members only.
        protocols: WebSocket subprotocols that it speaks, best first.
        Settings: a msgspec Struct for the service's own keys in config.toml.
        name: its name in config.toml.
        settings: its own keys, decoded.
        db: the database.
        log: a logger; no message text, password, cookie or token goes into it.
    """

    login: ClassVar[Login] = "none"
    protocols: ClassVar[tuple[str, ...]] = ()
    Settings: ClassVar[type[msgspec.Struct]] = NoSettings

    def __init__(self, context: ServiceContext) -> None:
        self.context = context
        self.name = context.name
        self.settings: Any = context.settings
        self.db = context.db
        self.log = Log(f"service.{context.name}")
        self._tasks: set[asyncio.Task[Any]] = set()

    # What a service may write.

    async def start(self) -> None:
        """Get ready; clients are let in when it returns. An exception keeps the service out, and is retried."""

    async def stop(self) -> None:
        """Put things in order; the clients are gone already."""

    async def serve(self, connection: Connection) -> None:
        """Serve one client. The connection closes with 1000 when this returns, with 1011 when it raises."""
        raise NotImplementedError(f"{type(self).__name__} has no `async def serve(self, connection)`")

    def routes(self) -> Sequence[BaseRoute]:
        """Return HTTP routes (Starlette's) that are served below the service's path."""
        return ()

    # What it works with.

    def topic(self, name: str) -> Topic:
        """Return the topic of this name; other services' topics of the same name are others."""
        return self.context.topics.topic(f"{self.name}/{name}")

    def presence(self, name: str) -> Presence:
        """Return the presence of this name."""
        return self.context.presences.presence(f"{self.name}/{name}")

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine beside the clients. It is cancelled when the service stops; a failure is an incident."""
        return self._own(self._contain(work))

    # What the engine calls.

    def attach(self, connection: Connection) -> None:
        """Take an open connection."""
        task = self._own(self._serve(connection))
        connection.add_close_callback(lambda _: _cancel_later(task))

    async def end_tasks(self) -> None:
        """Cancel what still runs, and wait for it."""
        for task in self._tasks:
            task.cancel()
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    def incident(self, error: BaseException) -> str:
        """Log a failure of the service and return the id under which the log has it."""
        incident = new_incident()
        self.log.error("service failed", error=error, incident=incident)
        self.context.failed(error, incident)
        return incident

    async def _serve(self, connection: Connection) -> None:
        try:
            await self.serve(connection)
        except ConnectionClosed:
            pass  # it sent to a client that is gone; that is how most clients leave
        except Exception as error:
            connection.start_close(1011, f"incident {self.incident(error)}")
            return
        connection.start_close(1000)

    async def _contain(self, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await work
        except Exception as error:
            self.incident(error)

    def _own(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _cancel_later(task: asyncio.Task[Any]) -> None:
    """Give a coroutine whose client is gone a while to leave by itself."""
    if not task.done():
        timer = asyncio.get_running_loop().call_later(LEAVE_SECONDS, task.cancel)
        task.add_done_callback(lambda _: timer.cancel())

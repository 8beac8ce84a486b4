"""`Service`: what a plugin subclasses, and what it works with."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, ClassVar, Literal, TypeVar

import msgspec
from starlette.routing import BaseRoute

from server.config import ServerSettings
from server.db import Database
from server.deadlines import Deadlines, Limit
from server.errors import ConnectionClosed
from server.log import Log
from server.net.connection import Connection
from server.pubsub.peers import Channel, Peers
from server.pubsub.presence import Presence, Presences
from server.pubsub.sharing import Limiter, SharedLimit
from server.pubsub.topics import Topic, Topics
from server.service.incidents import Incidents

Login = Literal["none", "guest", "member"]
T = TypeVar("T")

CANCEL_SECONDS = 0.5
"""How long cancelled work may take to end; what is still there then is named in the log and left behind."""

NORMAL = 1000
GOING_AWAY = 1001
INTERNAL_ERROR = 1011


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
        peers: the other processes.
        incidents: where its failures are written down.
    """

    name: str
    settings: Any
    server: ServerSettings
    db: Database
    topics: Topics
    presences: Presences
    peers: Peers
    incidents: Incidents


class Service:
    """Serves clients, one coroutine each. Subclass it and write `serve`.

    Attributes:
        login: who may connect: anybody, whoever has an identity (guests too), or members only.
        protocols: WebSocket subprotocols that it speaks, best first.
        Settings: a msgspec Struct for the service's own keys in config.toml.
        leave_seconds: how long work for a client may go on after the client is gone, before it is cancelled.
        name: its name in config.toml.
        settings: its own keys, decoded; annotate it with your `Settings` where types are checked.
        db: the database.
        log: a logger; no message text, password, cookie or token goes into it.
    """

    login: ClassVar[Login] = "none"
    protocols: ClassVar[tuple[str, ...]] = ()
    Settings: ClassVar[type[msgspec.Struct]] = NoSettings
    leave_seconds: ClassVar[float] = 5.0

    name: str
    settings: Any
    db: Database
    log: Log

    def __init__(self, context: ServiceContext) -> None:
        self.context = context
        self.name = context.name
        self.settings = context.settings
        self.db = context.db
        self.log = Log(f"service.{context.name}")
        self._deadlines = Deadlines()
        self._serving: set[asyncio.Task[Any]] = set()
        self._spawned: set[asyncio.Task[Any]] = set()
        self._shared: list[SharedLimit] = []

    # What a service may write.

    async def start(self) -> None:
        """Get ready; clients are let in when it returns.

        An exception keeps the service out. It is called again after a while, so it has to bear that.
        """

    async def stop(self) -> None:
        """Put things in order. The clients are gone already; what `spawn` began still runs."""

    async def serve(self, connection: Connection) -> None:
        """Serve one client. The connection closes with 1000 when this returns, with 1011 when it raises.

        When the client is gone, the iteration over `connection` ends and `send` raises `ConnectionClosed`, which
        may escape from here. What still runs `leave_seconds` later is cancelled.
        """
        raise NotImplementedError(f"{type(self).__name__} has no `async def serve(self, connection)`")

    def shrink(self) -> int:
        """Forget half of what is kept in memory and can be read again: memory is short.

        Returns:
            About how many bytes that frees; 0 when there is nothing to forget.
        """
        return 0

    def routes(self) -> Sequence[BaseRoute]:
        """Return HTTP routes (Starlette's) that are served below the service's path."""
        return ()

    # What it works with.

    def topic(self, name: str) -> Topic:
        """Return the topic of this name; a topic of the same name of another service is another one."""
        return self.context.topics.topic(f"{self.name}/{name}")

    def presence(self, name: str, info_type: Any = Any) -> Presence:
        """Return the presence of this name; a presence of the same name of another service is another one.

        Args:
            name: the same in every process that runs this service: they share it.
            info_type: the type of what is known of its members, as msgspec takes it; for those of other processes.
        """
        return self.context.presences.presence(f"{self.name}/{name}", info_type)

    def channel(self, name: str) -> Channel:
        """Return the channel of this name to the other processes, here and on other machines, that run this service."""
        return self.context.peers.channel(f"{self.name}/{name}")

    def share(self, limiter: Limiter, name: str) -> None:
        """Let a limit hold over all processes that run this service, until it stops; to be called in `start`.

        Args:
            limiter: such as a `RateLimiter`; its keys are integers or text.
            name: what the processes know it by.
        """
        self._shared.append(SharedLimit(limiter, self.context.peers.channel(f"{self.name}/limit/{name}")))

    @property
    def peers(self) -> Peers:
        """The other processes: whether one is gone, and whether something of theirs may have been missed."""
        return self.context.peers

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run a coroutine beside the clients; it is cancelled, and awaited, when the service has stopped.

        What it raises is an incident, and is raised again where the task is awaited.
        """
        task = asyncio.get_running_loop().create_task(_contained(work))
        self._spawned.add(task)
        task.add_done_callback(self._spawned_done)
        return task

    def limit(self, seconds: float) -> Limit:
        """Return a context that gives up after so many seconds, with TimeoutError: `asyncio.timeout`, for many waits.

        with self.limit(10):
            await self.db.atomic(queries)
        """
        return self._deadlines.limit(seconds)

    # What the engine calls.

    def attach(self, connection: Connection) -> None:
        """Take an open connection."""
        task = self._for_client(self._serve(connection))
        connection.add_close_callback(lambda _: _cancel_later(task, self.leave_seconds))

    async def finish(self, connection: Connection) -> None:
        """Get done what a client has asked for, for a bounded time; nothing more is read, and then it is closed."""

    async def end_clients(self, seconds: float) -> None:
        """Wait until no client is served any more; cancel what still runs after `seconds`."""
        await end(self._serving, seconds, self.log)

    async def end_spawned(self) -> None:
        """Cancel what `spawn` began, and wait for it; end what `share` began."""
        while self._shared:
            self._shared.pop().close()
        await end(self._spawned, 0, self.log)

    def incident(self, error: BaseException, **fields: object) -> str:
        """Log a failure of the service; returns the id under which the log has it."""
        return self.context.incidents.record(error, **fields)

    async def _serve(self, connection: Connection) -> None:
        """Serve one client and close its connection, however that ends."""
        try:
            await self.serve(connection)
        except asyncio.CancelledError as error:
            if being_cancelled():
                connection.start_close(GOING_AWAY)
                raise
            self._fail(connection, error)
        except (Exception, SystemExit) as error:
            # It sent to its client, which is gone: that is how most clients leave. Another's is a failure.
            if connection.closed is None or not _is_departure(error):
                self._fail(connection, error)
        else:
            connection.start_close(NORMAL)

    def _fail(self, connection: Connection, error: BaseException) -> None:
        connection.start_close(INTERNAL_ERROR, f"incident {self.incident(error)}")

    def _for_client(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine for a client; it is awaited at the end at the latest."""
        task = asyncio.get_running_loop().create_task(work)
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        return task

    def _spawned_done(self, task: asyncio.Task[Any]) -> None:
        self._spawned.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.incident(error)


async def end(tasks: Iterable[asyncio.Task[Any]], seconds: float, log: Log) -> None:
    """Wait for tasks; after `seconds`, cancel what is left, and wait for that for a bounded time too."""
    if pending := set(tasks):
        _, pending = await asyncio.wait(pending, timeout=seconds)
    for task in pending:
        task.cancel()
    if pending:
        _, pending = await asyncio.wait(pending, timeout=CANCEL_SECONDS)
    for task in pending:
        log.error("a task cannot be cancelled", task=repr(task.get_coro()))


def being_cancelled() -> bool:
    """Tell whether somebody cancels the running task, in contrast to a `CancelledError` out of the blue."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _contained(work: Coroutine[Any, Any, T]) -> T:
    """Keep `sys.exit()` in a service from ending the server: asyncio would let it through to the loop."""
    try:
        return await work
    except SystemExit as error:
        raise RuntimeError("a service called sys.exit()") from error


def _is_departure(error: BaseException) -> bool:
    """Tell whether an error says nothing but that a client left, from within a `TaskGroup` too."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(ConnectionClosed)[1] is None
    return isinstance(error, ConnectionClosed)


def _cancel_later(task: asyncio.Task[None], seconds: float) -> None:
    """Give a coroutine whose client is gone a while to leave by itself."""
    if not task.done():
        timer = asyncio.get_running_loop().call_later(seconds, task.cancel)
        task.add_done_callback(lambda _: timer.cancel())

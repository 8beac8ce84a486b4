"""What the author of a service tests it with: the real service, database, topics and presence, and no network.

async def test_roll() -> None:
    async with ServiceHarness(Dice) as dice:
        roll = await dice.call("roll", sides=6, count=2)
        assert len(roll["faces"]) == 2
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from server.auth.accounts import MIGRATIONS
from server.auth.models import User
from server.config import ServerSettings, decode_options
from server.db import Database
from server.errors import ConfigError, ConnectionClosed, InternalError
from server.log import Log
from server.net.connection import Closed, Connection
from server.net.frames import encode
from server.net.identity import Identity, Role
from server.pubsub.broker import Broker
from server.pubsub.local import LocalBroker
from server.pubsub.peers import Peers
from server.pubsub.presence import Presences
from server.pubsub.topics import Topics
from server.service.base import Service, ServiceContext
from server.service.incidents import Incidents
from server.service.jsonrpc import rpc_error
from server.service.memory import MemoryLink
from server.service.rpc import RpcService

S = TypeVar("S", bound=Service)

WAIT_SECONDS = 10.0
"""How long a test waits for what has to come, before it fails."""

PRESENCE_SECONDS = 0.01
"""The window of presence changes, shorter than in production so that tests do not wait for it."""


class ServiceHarness(Generic[S]):
    """Runs one service for a test; use it with `async with`.

    Args:
        service: the class.
        options: its keys in config.toml.
        name: its name in config.toml; by default the class's, in lower case.
        server: the network's settings.
        database: URL of the database; by default a fresh one in memory.
        broker: harnesses that share one behave as several processes do, where they share a database too.

    Attributes:
        service: the service, started.
        db: its database; the tables of users and, where a folder `migrations` lies beside it, its own are there.
    """

    service: S
    db: Database

    def __init__(
        self,
        service: type[S],
        options: Mapping[str, Any] | None = None,
        *,
        name: str = "",
        server: ServerSettings | None = None,
        database: str = "sqlite://:memory:",
        broker: Broker | None = None,
    ) -> None:
        self.name = name or service.__name__.lower()
        self._cls = service
        self._options = options or {}
        self._server = server or ServerSettings()
        self._database = database
        self._broker = broker or LocalBroker()
        self._topics = Topics(encode, self._broker)
        self._peers = Peers(self._broker)
        self._presences = Presences(window_seconds=PRESENCE_SECONDS, peers=self._peers)
        self._incidents = _Recorded(Log(f"service.{self.name}"))
        self._clients: list[Client] = []
        self._first: Client | None = None

    @property
    def incidents(self) -> list[BaseException]:
        """What the service failed with so far, each an incident in the log."""
        return list(self._incidents.errors.values())

    async def __aenter__(self) -> Self:
        settings, problems = decode_options(f"services.{self.name}", self._options, self._cls.Settings)
        if problems:
            raise ConfigError(problems)
        self.db = await Database.open(self._database)
        try:
            await self.db.migrate("auth", MIGRATIONS)
            migrations = Path(inspect.getfile(self._cls)).parent / "migrations"
            if migrations.is_dir():
                await self.db.migrate(self.name, migrations)
            self.service = self._cls(
                ServiceContext(
                    self.name,
                    settings,
                    self._server,
                    self.db,
                    self._topics,
                    self._presences,
                    self._peers,
                    self._incidents,
                )
            )
            self._peers.start()
            await self.service.start()
        except BaseException:
            await self.db.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            for client in self._clients:
                client.connection.start_close(1012, "restart")
            await asyncio.gather(*(client.connection.wait_closed() for client in self._clients))
            await self.service.end_clients(WAIT_SECONDS)
            await self.service.stop()
        finally:
            await self.service.end_spawned()
            self._presences.stop()
            self._peers.stop()
            self._topics.stop()
            await self.db.close()

    async def user(self, name: str, role: Role = "member") -> Identity:
        """Make a user, as registration would."""
        key = None if role == "guest" else name.casefold()
        row = await User(name=name, member_key=key, role=role).insert(self.db)
        return Identity(row.id, row.name, role)

    async def connect(self, user: Identity | str | None = None, *, subprotocol: str | None = None) -> Client:
        """Let a client in, whatever the service's `login` says.

        Args:
            user: who it is; for a name, a member of that name is made; None is somebody who is not logged in.
            subprotocol: the one that was agreed on.
        """
        identity = await self.user(user) if isinstance(user, str) else user
        client = Client(self.service, identity, subprotocol, self._server.outgoing_bytes, self._incidents.errors)
        self._clients.append(client)
        return client

    async def call(self, method: str, /, *args: Any, **params: Any) -> Any:
        """Call a method of an RPC service as the harness's own client: a member where the service wants a login."""
        if self._first is None:
            self._first = await self.connect(None if self._cls.login == "none" else "harness")
        return await self._first.call(method, *args, **params)


class Client:
    """A client of the service under test, made by `ServiceHarness.connect`.

    Attributes:
        connection: the server's end.
    """

    def __init__(
        self,
        service: Service,
        identity: Identity | None,
        subprotocol: str | None,
        outgoing_bytes: int,
        errors: Mapping[str, BaseException],
    ) -> None:
        self._service = service
        self._link = MemoryLink(self._received)
        self._errors = errors
        self._messages: deque[str | bytes] = deque()
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._last_id = 0
        self._news = asyncio.Event()
        self.connection = Connection(
            self._link,
            remote_address="127.0.0.1",
            path=f"/{service.name}",
            identity=identity,
            subprotocol=subprotocol,
            outgoing_bytes=outgoing_bytes,
        )
        self._link.connection = self.connection
        self.connection.add_close_callback(self._closed)
        service.attach(self.connection)

    @property
    def user(self) -> Identity | None:
        """Who it is."""
        return self.connection.identity

    # Messages, of any service.

    def send(self, message: str | bytes) -> None:
        """Send a message to the service."""
        self._link.client_sends(message)

    async def receive(self) -> str | bytes:
        """Wait for the next message that is not the answer to a `call`.

        Raises:
            ConnectionClosed: the connection is closed, and there is no more message.
            TimeoutError: none came.
        """
        async with asyncio.timeout(WAIT_SECONDS):
            while not self._messages:
                await self._something()
        return self._messages.popleft()

    async def leave(self, code: int = 1001) -> None:
        """Close the connection as a client does; 1006 cuts it."""
        self._link.client_leaves(code)
        await self.connection.wait_closed()

    async def closed(self) -> Closed:
        """Wait until the service closes the connection.

        Raises:
            TimeoutError: it does not.
        """
        async with asyncio.timeout(WAIT_SECONDS):
            return await self.connection.wait_closed()

    def stop_reading(self) -> None:
        """Read nothing more, as a client on a bad network does; the service's messages pile up."""
        self._link.stall()

    def go_on_reading(self) -> None:
        """Read what has piled up, and go on."""
        self._link.go_on()

    # JSON-RPC.

    async def call(self, method: str, /, *args: Any, **params: Any) -> Any:
        """Call a method, by position or by name, and return its result as plain JSON values.

        Raises:
            RpcError: as the service raised it; for an `InternalError`, what failed is its cause.
            ConnectionClosed: the connection closed before the answer.
        """
        self._last_id += 1
        answer = self._answers[self._last_id] = asyncio.get_running_loop().create_future()
        self.send(_request(method, args, params, self._last_id))
        async with asyncio.timeout(WAIT_SECONDS):
            message = await answer
        if "error" not in message:
            return message["result"]
        error = rpc_error(message["error"]["code"], message["error"]["message"], message["error"].get("data"))
        raise error from self._errors.get(error.incident) if isinstance(error, InternalError) else None

    def notify(self, method: str, /, *args: Any, **params: Any) -> None:
        """Call a method without wanting an answer."""
        self.send(_request(method, args, params, None))

    async def event(self, name: str) -> Any:
        """Wait for the next notification of that name and return its params; others stay where they are.

        Raises:
            ConnectionClosed: the connection is closed, and there is no such notification.
            TimeoutError: none came.
        """
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                for message in tuple(self._messages):
                    notification = json.loads(message)
                    if notification["method"] == name:
                        self._messages.remove(message)
                        return notification["params"]
                await self._something()

    def _received(self, message: str | bytes) -> None:
        if isinstance(self._service, RpcService):
            answer = json.loads(message)
            waiting = self._answers.pop(answer["id"], None) if "method" not in answer else None
            if waiting is not None:
                if not waiting.done():
                    waiting.set_result(answer)
                return
        self._messages.append(message)
        self._news.set()

    def _closed(self, connection: Connection) -> None:
        assert connection.closed is not None
        for waiting in self._answers.values():
            if not waiting.done():
                waiting.set_exception(ConnectionClosed(connection.closed.code, connection.closed.reason))
        self._answers.clear()
        self._news.set()

    async def _something(self) -> None:
        if self.connection.closed is not None:
            raise ConnectionClosed(self.connection.closed.code, self.connection.closed.reason)
        self._news.clear()
        await self._news.wait()


class _Recorded(Incidents):
    """Keeps the errors, so that a failing test shows them."""

    def __init__(self, log: Log) -> None:
        super().__init__(log)
        self.errors: dict[str, BaseException] = {}

    def record(self, error: BaseException, **fields: object) -> str:
        incident = super().record(error, **fields)
        self.errors[incident] = error
        return incident


def _request(method: str, args: tuple[Any, ...], params: dict[str, Any], request_id: int | None) -> str:
    if args and params:
        raise TypeError("params go by position or by name, not both")
    request: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": list(args) if args else params}
    if request_id is not None:
        request["id"] = request_id
    return json.dumps(request)

"""A host of services behind a real listener, and clients that are not ours."""

from __future__ import annotations

import asyncio
import json
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from server.config import ServerSettings, Settings, decode
from server.db import Database
from server.log import Log
from server.net.frames import encode
from server.net.handshake import Decision, Handshake
from server.net.identity import Identity
from server.net.listener import Listener
from server.pubsub.local import LocalBroker
from server.pubsub.peers import Peers
from server.pubsub.presence import Presences
from server.pubsub.topics import Topics
from server.service.base import ServiceContext
from server.service.host import ServiceHost
from server.service.incidents import Incidents
from tests.support.net import hello
from tests.support.server import SCALE

WAIT_SECONDS = 10 * SCALE
"""How long a test waits for what has to happen."""


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until a condition holds.

    Raises:
        TimeoutError: it does not within `WAIT_SECONDS`.
    """
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():  # noqa: ASYNC110 what is waited for tells nobody that it has happened
            await asyncio.sleep(0.001)


def write_service(base: Path, name: str, source: str) -> Path:
    """Write `services/NAME.py` below a folder, as its author would; returns the file."""
    file = base / "services" / f"{name}.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(textwrap.dedent(source))
    return file


def settings_for(base: Path, **tables: Mapping[str, Any]) -> Settings:
    """Return the settings of a server with these services, on a free port."""
    document: dict[str, Any] = {"server": {"port": 0, "close_seconds": 1}}
    return decode({**document, "services": {name: dict(table) for name, table in tables.items()}}, base)


@asynccontextmanager
async def hosting(settings: Settings) -> AsyncIterator[ServiceHost]:
    """Run the services of a configuration, with a database in memory."""
    topics, presences = Topics(encode, LocalBroker()), Presences(window_seconds=0.01)
    async with await Database.open("sqlite://:memory:") as db:
        host = ServiceHost(settings, db, topics, presences, Peers(LocalBroker()))
        try:
            await host.start()
            yield host
        finally:
            await host.stop()
            presences.stop()
            topics.stop()


class Site:
    """A host behind a listener.

    Attributes:
        host: the services.
        listener: the listener.
    """

    def __init__(self, host: ServiceHost, listener: Listener) -> None:
        self.host = host
        self.listener = listener

    def connect(self, path: str, user: Identity | None = None, **options: Any) -> connect:
        """Connect with a client that is not ours; it says who it is, and is believed."""
        headers = {"X-User": json.dumps([user.id, user.name, user.role, user.session])} if user else {}
        return connect(f"ws://127.0.0.1:{self.listener.port}{path}", additional_headers=headers, proxy=None, **options)


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Site]:
    """Run the services of a configuration on a free port."""
    async with hosting(settings) as host:

        async def gate(handshake: Handshake) -> Decision:
            user = handshake.header("X-User")
            return host.admit(handshake.path, Identity(*json.loads(user)) if user else None)

        listener = Listener(settings, hello, gate)
        await listener.start()
        try:
            yield Site(host, listener)
        finally:
            await listener.stop()


async def ask(client: ClientConnection, method: str, params: Any = None, request_id: Any = 1) -> Any:
    """Send a request and return the next message, decoded."""
    request = {"jsonrpc": "2.0", "method": method, "id": request_id}
    await client.send(json.dumps(request if params is None else {**request, "params": params}))
    return await hear(client)


async def hear(client: ClientConnection) -> Any:
    """Return the next message, decoded."""
    async with asyncio.timeout(WAIT_SECONDS):
        return json.loads(await client.recv())


def context(db: Any = None, **server: Any) -> ServiceContext:
    """Return what a service gets, for tests that drive it by hand."""
    return ServiceContext(
        "service",
        None,
        ServerSettings(**server),
        db,
        Topics(encode, LocalBroker()),
        Presences(),
        Peers(LocalBroker()),
        Incidents(Log("service.service")),
    )


@contextmanager
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """Collect the events that are logged meanwhile."""
    events: list[str] = []
    before = len(caplog.records)
    with caplog.at_level("DEBUG"):
        yield events
    events += [record.getMessage() for record in caplog.records[before:]]

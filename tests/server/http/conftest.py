"""The HTTP side as it is served: real sockets, a real database, small services."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.auth.accounts import MIGRATIONS, Accounts
from server.auth.passwords import CHEAPEST, Passwords
from server.config import decode
from server.db import Database
from server.http.application import create_application
from server.http.gate import Gate
from server.net.frames import encode
from server.net.listener import Listener
from server.pubsub.local import LocalBroker
from server.pubsub.peers import Peers
from server.pubsub.presence import Presences
from server.pubsub.topics import Topics
from server.service.host import ServiceHost

MEMBERS = '''
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from server import Connection, Service

async def fine(request):
    return PlainTextResponse("fine")

async def failing(request):
    raise ValueError("secret detail")

class Members(Service):
    """For whoever is logged in."""
    login = "guest"
    async def serve(self, connection: Connection) -> None:
        await connection.send(connection.identity.name)
        async for message in connection:
            await connection.send(message)
    def routes(self):
        return [Route("/fine", fine), Route("/failing", failing)]
'''


class Site:
    """A server, and an HTTP client of it."""

    def __init__(self, listener: Listener, db: Database, host: ServiceHost, http: httpx.AsyncClient) -> None:
        self.db = db
        self.host = host
        self.http = http
        self.port = listener.port

    def websocket(self, path: str) -> str:
        """Return the URL of a service."""
        return f"ws://127.0.0.1:{self.port}{path}"

    async def guest(self, name: str = "ann") -> str:
        """Become a guest; the client keeps the cookie, and the token is returned."""
        response = await self.http.post("/auth/guest", json={"name": name})
        assert response.status_code == 201
        return self.http.cookies["switchboard_session"]


Serve = Callable[..., AbstractAsyncContextManager[Site]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Serve with tables of the configuration, as in `serve(auth={"guests": False})`."""

    @asynccontextmanager
    async def serving(services: dict[str, Any] | None = None, **tables: dict[str, Any]) -> AsyncIterator[Site]:
        folder = tmp_path / "services"
        folder.mkdir(exist_ok=True)
        (folder / "members.py").write_text(MEMBERS)
        names = services if services is not None else {"echo": {}, "dice": {}, "members": {}}
        tables["server"] = {"port": 0, "close_seconds": 1, **tables.get("server", {})}
        settings = decode({**tables, "services": names}, tmp_path)
        async with await Database.open(f"sqlite:///{tmp_path / 'site.db'}") as db:
            await db.migrate("auth", MIGRATIONS)
            accounts = Accounts(db, settings.auth, Passwords(CHEAPEST))
            broker = LocalBroker()
            topics, presences = Topics(encode, broker), Presences()
            host = ServiceHost(settings, db, topics, presences, Peers(LocalBroker()))
            accounts.on_revoked(host.close_session)
            application = create_application(settings, accounts, host, db, broker)
            listener = Listener(settings, application, Gate(host, accounts, settings.server.origins))
            await host.start()
            await listener.start()
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listener.port}") as http:
                yield Site(listener, db, host, http)
            await listener.stop()
            await host.stop()
            topics.stop()
            accounts.close()

    return serving


@pytest.fixture
async def site(serve: Serve) -> AsyncIterator[Site]:
    """A server with the default settings."""
    async with serve() as running:
        yield running

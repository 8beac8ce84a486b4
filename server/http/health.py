"""/health: how the server and its parts are, for people and for what watches over it."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.db import Database, DatabaseError
from server.http.responses import json_response
from server.pubsub.broker import Broker, BrokerHealth
from server.service.host import ServiceHost, ServiceStatus, State
from server.version import __version__

PING_SECONDS = 2.0

LAME = (State.BACKOFF.value, State.FAILED.value)
"""What a process of a service does that ought to serve, and does not."""

Overall = Literal["ok", "degraded", "failing"]


class DatabaseHealth(msgspec.Struct, frozen=True):
    """Whether the database answers."""

    connected: bool
    problem: str = ""


class ClientView(msgspec.Struct, frozen=True):
    """What the server believes of who asks: `switchboard doctor` sees from it whether a proxy in front is believed.

    Args:
        address: where the client is.
        forwarded: what became of X-Forwarded-For: there was none, it was believed, or it was not.
        secure: whether the client speaks TLS.
    """

    address: str
    forwarded: Literal["none", "believed", "ignored"]
    secure: bool


class Health(msgspec.Struct, frozen=True):
    """Everything at a glance."""

    status: Overall
    version: str
    services: dict[str, ServiceStatus]
    database: DatabaseHealth
    broker: BrokerHealth
    client: ClientView | None = None


def health_route(host: ServiceHost, db: Database, broker: Broker) -> Route:
    """Return the route of /health."""

    async def health(request: Request) -> Response:
        report = msgspec.structs.replace(await look(host, db, broker), client=_client(request))
        status = HTTPStatus.SERVICE_UNAVAILABLE if report.status == "failing" else HTTPStatus.OK
        return json_response(status, report)

    return Route("/health", health)


async def look(host: ServiceHost, db: Database, broker: Broker) -> Health:
    """Ask every part how it is."""
    services = dict(host.statuses())
    database = await _database(db)
    sick = [status for status in services.values() if status.state is not State.RUNNING]
    lame = [process for status in services.values() for process in status.processes if process.state in LAME]
    overall: Overall = "ok"
    if sick or lame or not broker.health().connected:
        overall = "degraded"
    if not database.connected or (services and len(sick) == len(services)):
        overall = "failing"
    return Health(overall, __version__, services, database, broker.health())


def _client(request: Request) -> ClientView:
    """Say whom we see. A client that a believed proxy told us of has no port, see `HttpProtocol`."""
    client = request.client
    forwarded: Literal["none", "believed", "ignored"] = "none"
    if "x-forwarded-for" in request.headers:
        forwarded = "believed" if client is not None and not client.port else "ignored"
    return ClientView(client.host if client else "", forwarded, request.url.scheme == "https")


async def _database(db: Database) -> DatabaseHealth:
    try:
        async with asyncio.timeout(PING_SECONDS):
            await db.ping()
    except TimeoutError:
        return DatabaseHealth(connected=False, problem=f"no answer within {PING_SECONDS} seconds")
    except DatabaseError as error:
        return DatabaseHealth(connected=False, problem=str(error))
    return DatabaseHealth(connected=True)

"""The ASGI application: every route there is, and what is said when there is none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from server.auth.accounts import Accounts
from server.config import Settings
from server.db import Database
from server.db import Unavailable as DatabaseUnavailable
from server.errors import new_incident
from server.figures import Figures
from server.http.accounts import AccountRoutes
from server.http.client import ClientFiles
from server.http.health import health_route
from server.http.metrics import metrics_route
from server.http.responses import ErrorBody, Problem, ProblemBody, json_response, problem_response
from server.http.security import Security
from server.log import Log
from server.pubsub.broker import Broker
from server.service.host import ServiceHost
from server.service.rpc import RpcService

log = Log("http")

_SAY = {
    HTTPStatus.NOT_FOUND: "There is nothing here.",
    HTTPStatus.METHOD_NOT_ALLOWED: "This address does not take such a request.",
}


def create_application(
    settings: Settings,
    accounts: Accounts,
    host: ServiceHost,
    db: Database,
    broker: Broker,
    figures: Callable[[], Awaitable[Sequence[Figures]]] | None = None,
    elsewhere: Mapping[str, ASGIApp] | None = None,
) -> Starlette:
    """Put the routes together.

    Args:
        settings: the whole configuration.
        accounts: the users.
        host: the services; those that start later are served as soon as they run.
        db: the database, for /health.
        broker: the broker, for /health.
        figures: returns those of all processes, for /metrics; by default this one's alone.
        elsewhere: what answers for the services that run in processes of their own, by their path.
    """
    elsewhere = elsewhere or {}
    routes: list[BaseRoute] = [
        AccountRoutes(accounts, settings).mount(),
        health_route(host, db, broker),
        metrics_route(host, figures),
        *(
            Mount(service.path, app=elsewhere.get(service.path) or ServiceRoutes(host, service.path))
            for service in settings.services.values()
        ),
        Mount("/", app=ClientFiles()),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Security, origins=settings.server.origins)],
        exception_handlers=_handlers(),
    )


def create_service_application(path: str, host: ServiceHost) -> Starlette:
    """Return what answers for one service in a process of its own; what protects browsers is the main process's.

    Args:
        path: where the service is mounted.
        host: the service.
    """
    return Starlette(routes=[Mount(path, app=ServiceRoutes(host, path))], exception_handlers=_handlers())


def _handlers() -> dict[Any, Callable[[Request, Exception], Awaitable[Response]]]:
    return {
        Problem: _on_problem,
        HTTPException: _on_http_exception,
        DatabaseUnavailable: _on_database_unavailable,
        Exception: _on_failure,
    }


class ServiceRoutes:
    """What a service offers over HTTP below its path: its OpenRPC document, and its own routes.

    It asks the host at each request, because a service may start later than the server.
    """

    def __init__(self, host: ServiceHost, path: str) -> None:
        self._host = host
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = dict(self._host.running()).get(self._path)
        if service is None:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "This service does not run at the moment.")
        routes: list[BaseRoute] = [*service.routes()]
        if isinstance(service, RpcService):
            routes.append(Route("/openrpc.json", _document(service)))
        await Router(routes, redirect_slashes=False)(scope, receive, send)


def _document(service: RpcService) -> Callable[[Request], Awaitable[Response]]:
    async def document(request: Request) -> Response:  # noqa: ARG001 Starlette's signature
        return json_response(HTTPStatus.OK, service.document())

    return document


async def _on_problem(request: Request, error: Exception) -> Response:  # noqa: ARG001 Starlette's signature
    assert isinstance(error, Problem)
    return problem_response(error)


async def _on_http_exception(request: Request, error: Exception) -> Response:  # noqa: ARG001 Starlette's signature
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    headers = dict(error.headers or {})
    return problem_response(Problem(status, _SAY.get(status, status.phrase), headers=headers))


async def _on_database_unavailable(request: Request, error: Exception) -> Response:
    log.warning("database unavailable", path=request.url.path, problem=str(error))
    return problem_response(
        Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "This is unavailable for a moment. Try again.",
            headers={"Retry-After": "1"},
        )
    )


async def _on_failure(request: Request, error: Exception) -> Response:
    incident = new_incident()
    log.error("request failed", error=error, incident=incident, path=request.url.path)
    body = ProblemBody("internal_server_error", "Something went wrong. Try again later.", incident=incident)
    return json_response(HTTPStatus.INTERNAL_SERVER_ERROR, ErrorBody(body))

"""/auth: becoming a user, and knowing who one is."""

from __future__ import annotations

from http import HTTPStatus

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from server.auth.accounts import Accounts, Login
from server.config import Settings
from server.errors import (
    AccountError,
    InvalidField,
    NameTaken,
    RegistrationClosed,
    TooManyRequests,
    Unavailable,
    WrongCredentials,
)
from server.http.identity import SESSION_COOKIE, token_of
from server.http.responses import Problem, json_response, read_json
from server.net.addresses import address_key
from server.net.identity import Identity
from server.net.limits import RateLimiter

_STATUS: dict[type[AccountError], HTTPStatus] = {
    InvalidField: HTTPStatus.UNPROCESSABLE_ENTITY,
    NameTaken: HTTPStatus.CONFLICT,
    RegistrationClosed: HTTPStatus.FORBIDDEN,
    WrongCredentials: HTTPStatus.UNAUTHORIZED,
}


class GuestRequest(msgspec.Struct):
    """`POST /auth/guest`."""

    name: str


class RegisterRequest(msgspec.Struct):
    """`POST /auth/register`."""

    name: str
    password: str
    invite: str | None = None


class LoginRequest(msgspec.Struct):
    """`POST /auth/login`."""

    name: str
    password: str


class UserBody(msgspec.Struct, frozen=True):
    """A user, as the account's owner sees them."""

    id: int
    name: str
    role: str


class UserAnswer(msgspec.Struct, frozen=True):
    """The answer of everything that says who one is."""

    user: UserBody


class AccountRoutes:
    """The handlers of /auth.

    Args:
        accounts: the users.
        settings: the whole configuration.
    """

    def __init__(self, accounts: Accounts, settings: Settings) -> None:
        self._accounts = accounts
        self._body_bytes = settings.server.body_bytes
        self._session_seconds = settings.auth.session_days * 86400
        self._attempts = RateLimiter(settings.auth.attempts_per_minute, settings.auth.attempts_per_minute or None)
        accounts.share(self._attempts, "attempts")

    def mount(self) -> Mount:
        """Return the routes; a mount of their own, so that a wrong method is 405 and not a file that is missing."""
        return Mount(
            "/auth",
            routes=[
                Route("/guest", self.guest, methods=["POST"]),
                Route("/register", self.register, methods=["POST"]),
                Route("/login", self.log_in, methods=["POST"]),
                Route("/logout", self.log_out, methods=["POST"]),
                Route("/me", self.me),
            ],
        )

    async def guest(self, request: Request) -> Response:
        """Let somebody in with a name."""
        asked = await read_json(request, GuestRequest, self._body_bytes)
        self._count_attempt(request)
        try:
            login = await self._accounts.guest(asked.name)
        except (AccountError, Unavailable) as error:
            raise _problem(error) from None
        return self._logged_in(request, HTTPStatus.CREATED, login)

    async def register(self, request: Request) -> Response:
        """Make an account."""
        asked = await read_json(request, RegisterRequest, self._body_bytes)
        self._count_attempt(request)
        try:
            login = await self._accounts.register(asked.name, asked.password, await self._identity(request))
        except (AccountError, Unavailable) as error:
            raise _problem(error) from None
        return self._logged_in(request, HTTPStatus.CREATED, login)

    async def log_in(self, request: Request) -> Response:
        """Let a member in."""
        asked = await read_json(request, LoginRequest, self._body_bytes)
        self._count_attempt(request)
        try:
            login = await self._accounts.log_in(asked.name, asked.password, await self._identity(request))
        except (AccountError, Unavailable, TooManyRequests) as error:
            raise _problem(error) from None
        return self._logged_in(request, HTTPStatus.OK, login)

    async def log_out(self, request: Request) -> Response:
        """End the session; without one there is nothing to end, and that is fine."""
        identity = await self._identity(request)
        if identity is not None:
            await self._accounts.log_out(identity)
        response = Response(status_code=HTTPStatus.NO_CONTENT, headers={"Cache-Control": "no-store"})
        response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="lax", secure=_secure(request))
        return response

    async def me(self, request: Request) -> Response:
        """Say who one is."""
        identity = await self._identity(request)
        if identity is None:
            raise Problem(HTTPStatus.UNAUTHORIZED, "You are not logged in.")
        return json_response(HTTPStatus.OK, _answer(identity))

    async def _identity(self, request: Request) -> Identity | None:
        token = token_of(request.headers.get("authorization"), request.cookies.get(SESSION_COOKIE))
        return None if token is None else await self._accounts.identify(token)

    def _count_attempt(self, request: Request) -> None:
        wait = self._attempts.take(address_key(request.client.host if request.client else ""))
        if wait:
            raise _too_many(wait)

    def _logged_in(self, request: Request, status: HTTPStatus, login: Login) -> Response:
        response = json_response(status, _answer(login.identity))
        response.set_cookie(
            SESSION_COOKIE,
            login.token,
            max_age=self._session_seconds,
            httponly=True,
            samesite="lax",
            secure=_secure(request),
        )
        return response


def _answer(identity: Identity) -> UserAnswer:
    return UserAnswer(UserBody(identity.id, identity.name, identity.role))


def _secure(request: Request) -> bool:
    """Tell whether the client speaks TLS, to us or to a proxy that we believe."""
    return bool(request.scope["scheme"] == "https")


def _problem(error: AccountError | Unavailable | TooManyRequests) -> Problem:
    if isinstance(error, TooManyRequests):
        return _too_many(error.retry_after)
    if isinstance(error, Unavailable):
        return Problem(HTTPStatus.SERVICE_UNAVAILABLE, error.message, headers={"Retry-After": "1"})
    field = error.field if isinstance(error, InvalidField) else "name" if isinstance(error, NameTaken) else None
    return Problem(_STATUS[type(error)], str(error), field=field)


def _too_many(wait: float) -> Problem:
    seconds = max(1, round(wait + 0.5))
    return Problem(
        HTTPStatus.TOO_MANY_REQUESTS,
        f"Too many attempts. Try again in {seconds} seconds.",
        headers={"Retry-After": str(seconds)},
    )

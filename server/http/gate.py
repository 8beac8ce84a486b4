"""The gate: decides which WebSocket handshake reaches which service, and as whom."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from server.auth.accounts import Accounts
from server.http.identity import SESSION_COOKIE, token_of
from server.net.handshake import Decision, Handshake, Refusal
from server.net.origins import origin_allowed
from server.service.host import ServiceHost


class Gate:
    """Checks origin, path and identity, in this order; call it with a handshake.

    Args:
        host: the services.
        accounts: the users.
        origins: further origins whose pages may connect.
    """

    def __init__(self, host: ServiceHost, accounts: Accounts, origins: Sequence[str]) -> None:
        self._host = host
        self._accounts = accounts
        self._origins = origins

    async def __call__(self, handshake: Handshake) -> Decision:
        secure = handshake.secure
        if not origin_allowed(handshake.origin, handshake.host, secure=secure, allowed=self._origins):
            return Refusal(HTTPStatus.FORBIDDEN, "Pages of other sites may not connect.")
        path = handshake.path
        if not self._host.knows(path):
            return Refusal(HTTPStatus.NOT_FOUND, "There is no such service.")
        token = token_of(handshake.header("Authorization"), handshake.cookie(SESSION_COOKIE))
        identity = None if token is None else await self._accounts.identify(token)
        return self._host.admit(path, identity)

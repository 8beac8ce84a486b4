"""What can go wrong, as one tree.

    SwitchboardError
    ├── ConfigError                 the configuration is wrong; carries every problem, exit status 78
    ├── ListenError                 the address cannot be listened on, exit status 1
    ├── ConnectionClosed            the client is gone; carries the close code and the reason
    ├── ServiceError                a service cannot be loaded or started; names it
    ├── AccountError                an account request is refused; carries what to do next
    │   ├── InvalidField            a field is not acceptable (HTTP 422)
    │   ├── NameTaken               somebody has that name (HTTP 409)
    │   ├── RegistrationClosed      no registration, or no guests, on this server (HTTP 403)
    │   └── WrongCredentials        one text whatever was wrong (HTTP 401)
    └── RpcError                    an answer to a JSON-RPC request, one class for each code
        ├── ParseError              -32700
        ├── InvalidRequest          -32600
        ├── MethodNotFound          -32601
        ├── InvalidParams           -32602   data.path names the field
        ├── InternalError           -32603   data.incident is found in the log
        ├── NotLoggedIn             -32001
        ├── NotAllowed              -32003
        ├── NotFound                -32004
        ├── Conflict                -32009
        ├── TooManyRequests         -32029   data.retry_after, in seconds
        └── Unavailable             -32050   try again

DbObject can be lifted out of the project, so it brings its own root: `server.db.errors.DatabaseError`.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, ClassVar


class SwitchboardError(Exception):
    """Root of everything that Switchboard raises on purpose."""


class ConfigError(SwitchboardError):
    """The configuration is not usable.

    Args:
        problems: every problem found, each one a sentence that names the key and says what to do.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class ListenError(SwitchboardError):
    """The listening socket cannot be had; the text is one sentence for the operator."""


class ConnectionClosed(SwitchboardError):
    """The client's connection is closed.

    Args:
        code: close code, RFC 6455 section 7.4; 1006 when the connection was cut without a close frame.
        reason: the reason given with it, often empty.
    """

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"{code} {reason}".rstrip())
        self.code = code
        self.reason = reason


class ServiceError(SwitchboardError):
    """A service cannot be loaded, configured or started.

    Args:
        service: its name in the configuration.
        problem: what is wrong, for the operator.
    """

    def __init__(self, service: str, problem: str) -> None:
        super().__init__(f"service {service}: {problem}")
        self.service = service
        self.problem = problem


class AccountError(SwitchboardError):
    """A request about an account is refused; the text says what to do next."""


class InvalidField(AccountError):
    """One field of an account request is not acceptable.

    Args:
        field: its name in the request.
        problem: what is wrong with it, for the person who typed it.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(problem)
        self.field = field


class NameTaken(AccountError):
    """Somebody has that name."""


class RegistrationClosed(AccountError):
    """This server does not let the caller register, or does not take guests."""


class WrongCredentials(AccountError):
    """Login failed: the same text whether the name or the password was wrong."""


class RpcError(SwitchboardError):
    """An error answer to a JSON-RPC request; a service raises a subclass, the caller receives it.

    Args:
        message: for the person at the other end: what happened and what to do next.
        data: the `data` member of the error object; its fields are part of the contract.
    """

    code: ClassVar[int] = -32603

    def __init__(self, message: str, *, data: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data


class ParseError(RpcError):
    """The message is not JSON."""

    code = -32700


class InvalidRequest(RpcError):
    """The message is JSON, but not a JSON-RPC 2.0 request (a batch is not one either)."""

    code = -32600


class MethodNotFound(RpcError):
    """The service has no such method."""

    code = -32601


class InvalidParams(RpcError):
    """A parameter is missing, unknown or not acceptable.

    Args:
        path: the field, as in `text` or `items[2].name`; empty when it is the params as a whole.
    """

    code = -32602

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message, data={"path": path})
        self.path = path


class InternalError(RpcError):
    """The service failed; the traceback stands in the log beside the same incident id."""

    code = -32603

    def __init__(self, incident: str) -> None:
        super().__init__("Something went wrong on the server. Try again later.", data={"incident": incident})
        self.incident = incident


class NotLoggedIn(RpcError):
    """The method needs somebody who is logged in."""

    code = -32001


class NotAllowed(RpcError):
    """The caller may not do that."""

    code = -32003


class NotFound(RpcError):
    """There is no such thing, or the caller may not know of it."""

    code = -32004


class Conflict(RpcError):
    """It exists already, or it changed meanwhile."""

    code = -32009


class TooManyRequests(RpcError):
    """The caller is over a limit.

    Args:
        retry_after: seconds until a retry can succeed.
    """

    code = -32029

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message, data={"retry_after": retry_after})
        self.retry_after = retry_after


class Unavailable(RpcError):
    """Something the method needs is away for the moment; a retry with the same nonce is safe."""

    code = -32050

    def __init__(self, message: str = "This is unavailable for a moment. Try again.") -> None:
        super().__init__(message)


def new_incident() -> str:
    """Return a fresh incident id: short enough to read out, unique enough to find in a log."""
    return secrets.token_hex(4)

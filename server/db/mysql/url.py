"""Where the database is and how to reach it: one URL, read once, with all mistakes named."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from server.db.errors import QueryError

SCHEMES = ("mysql", "mariadb")
PORT = 3306
MOST_CONNECTIONS = 1000
_ENCODE = "percent-encode special characters in all its parts"

_CREDENTIALS = re.compile(r"://([^:/?#@]*):.*@", re.DOTALL)
_SECRET_OPTION = re.compile(r"(?i)([?&][^=&]*pass[^=&]*=)[^&]*")

Count = Annotated[int, msgspec.Meta(ge=1, le=MOST_CONNECTIONS)]
WholeSeconds = Annotated[int, msgspec.Meta(ge=1, le=3600)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=1e6)]


class MySQLOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a URL says.

    Args:
        host: name or address; unused when there is a socket.
        port: of the server.
        user: who logs in.
        password: never shown.
        database: the one that is used.
        socket: path of the server's Unix socket; empty for TCP.
        pool: the most connections.
        connect_seconds: how long opening a connection may take.
        query_seconds: how long a statement may take, on the server too.
        wait_seconds: how long a query waits for a connection of the pool.
        idle_seconds: a connection that was idle for longer is tried before it is used.
        age_seconds: a connection that is older is not used again.
        lock_seconds: how long a statement waits for locks of other transactions.
        tls: `off`; `on` verifies the server's certificate and name; `unverified` only encrypts.
        tls_ca: path of a PEM file with the certificates to trust; empty for the system's.
    """

    host: str
    port: int
    user: str
    password: str
    database: str
    socket: str = ""
    pool: Count = 10
    connect_seconds: Seconds = 5
    query_seconds: Seconds = 30
    wait_seconds: Seconds = 5
    idle_seconds: Seconds = 30
    age_seconds: Seconds = 3600
    lock_seconds: WholeSeconds = 5
    tls: str = "off"
    tls_ca: str = ""

    @property
    def where(self) -> str:
        """The server, for messages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.socket or f"{host}:{self.port}"

    def __repr__(self) -> str:
        """Say which database it is; the password stays out of logs and tracebacks."""
        return f"MySQLOptions({self.user}:***@{self.where}/{self.database})"


def parse_url(url: str) -> MySQLOptions:
    """Read `mysql://user:password@host:port/database?option=value`; `mariadb://` is the same.

    All parts are percent-decoded. The options are those of `MySQLOptions` from `socket` on.

    Raises:
        QueryError: names what is wrong, and shows neither the password nor a value.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or PORT
        host = unquote(parts.hostname or "")
    except ValueError:  # its text quotes the URL
        raise QueryError(f"the database's URL has a wrong host or port; {_ENCODE}") from None
    if parts.scheme not in SCHEMES:
        raise QueryError("the database's URL does not begin with mysql:// or mariadb://")
    if parts.fragment or "@" in parts.query:  # so the rest may be the end of a password
        raise QueryError(f"the database's URL contains # or a second @; {_ENCODE}")
    options = _options(parts.query)
    named: dict[str, Any] = {
        "user": unquote(parts.username or ""),
        "database": unquote(parts.path.removeprefix("/")),
        "host": host or ("localhost" if "socket" in options else ""),
    }
    _check(named)
    password = unquote(parts.password or "")
    if options.get("tls", "off") == "off" and "tls_ca" in options:
        raise QueryError("the database's URL has tls_ca, and tls is off")
    if options.get("tls", "off") != "off" and "socket" in options:
        raise QueryError("the database's URL has tls and socket: a socket of this machine needs no encryption")
    return MySQLOptions(**named, port=port, password=password, **options)


def redacted(url: str) -> str:
    """Return a database's URL without its password, however malformed it is."""
    return _SECRET_OPTION.sub(r"\1***", _CREDENTIALS.sub(r"://\1:***@", url))


def _check(named: dict[str, Any]) -> None:
    for name, value in named.items():
        if not value or "\0" in value:
            raise QueryError(f"the database's URL names no {name}")
    if "/" in named["database"]:
        raise QueryError("the database's URL names no database: more than one / follows the host")


def _options(query: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in _READERS:
            raise QueryError(f"the database's URL has an unknown option {name}; there are {', '.join(_READERS)}")
        if name in options:
            raise QueryError(f"the database's URL has the option {name} twice")
        try:
            options[name] = _READERS[name](text)
        except (ValueError, msgspec.ValidationError) as error:
            raise QueryError(f"the option {name} of the database's URL: {error}") from None
    return options


def _number(kind: Any, wanted: str) -> Callable[[str], int | float]:
    def read(text: str) -> int | float:
        try:
            number: int | float = msgspec.convert(text, kind, strict=False)
        except msgspec.ValidationError:
            raise ValueError(f"{wanted} is wanted") from None
        return number

    return read


def _tls(text: str) -> str:
    if text not in ("off", "on", "unverified"):
        raise ValueError("off, on or unverified is wanted")
    return text


def _path(text: str) -> str:
    if not text:
        raise ValueError("a path is wanted")
    return text


_seconds = _number(Seconds, "a number of seconds above 0")
_READERS: dict[str, Callable[[str], Any]] = {
    "socket": _path,
    "pool": _number(Count, f"a whole number from 1 to {MOST_CONNECTIONS}"),
    "connect_seconds": _seconds,
    "query_seconds": _seconds,
    "wait_seconds": _seconds,
    "idle_seconds": _seconds,
    "age_seconds": _seconds,
    "lock_seconds": _number(WholeSeconds, "a whole number of seconds from 1 to 3600"),
    "tls": _tls,
    "tls_ca": _path,
}

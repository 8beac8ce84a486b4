"""Which NATS servers there are, and how to get in; without NATS's library."""

from __future__ import annotations

import importlib.util
import ssl
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from server.config import BrokerSettings

DEFAULT_PORT = 4222
SCHEMES = ("nats", "tls")


class NatsServer(msgspec.Struct, frozen=True):
    """A NATS server. Its `str()` has no secret in it.

    Args:
        host: name or address.
        port: TCP port.
        tls: nothing is said to it but through TLS.
        user: who we are; empty for nobody in particular, or for whoever has the token.
        password: the user's password, or a token.
    """

    host: str
    port: int
    tls: bool = False
    user: str = ""
    password: str = ""

    @property
    def url(self) -> str:
        """Where it is, without saying who we are."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'tls' if self.tls else 'nats'}://{host}:{self.port}"

    def __str__(self) -> str:
        return self.url

    def __repr__(self) -> str:
        return f"NatsServer({self.url})"


def servers(url: str) -> tuple[NatsServer, ...]:
    """Read the setting `broker.url`: servers in the order in which they are tried, separated by commas.

    Raises:
        ValueError: one of them is not `nats://HOST:PORT`; the text does not repeat it, for it may have a password.
    """
    return tuple(_server(part.strip(), number) for number, part in enumerate(url.split(","), start=1))


def tls_context(settings: BrokerSettings, base: Path) -> ssl.SSLContext | None:
    """Return what checks the servers' certificates; None where no setting asks for TLS.

    Raises:
        OSError: the file with the authority cannot be used.
    """
    if settings.tls_ca:
        return ssl.create_default_context(cafile=base / settings.tls_ca)
    return ssl.create_default_context() if any(server.tls for server in servers(settings.url)) else None


def check(settings: BrokerSettings, base: Path) -> list[str]:
    """Name what is wrong with the settings of a NATS; `local` has no problems.

    Args:
        settings: the `[broker]` table.
        base: the folder that relative paths start from.
    """
    if settings.url == "local":
        return []
    problems: list[str] = []
    if importlib.util.find_spec("nats") is None:
        problems.append("broker.url: NATS needs its library: pip install 'switchboard-server[nats]'")
    try:
        servers(settings.url)
    except ValueError as error:
        problems.append(f"broker.url: {error}")
    else:
        try:
            tls_context(settings, base)
        except OSError as error:
            reason = error.strerror or "no certificate is in it"
            problems.append(f"broker.tls_ca: the file {settings.tls_ca} cannot be used: {reason}")
    if settings.credentials:
        if not (base / settings.credentials).is_file():
            problems.append(f"broker.credentials: there is no file {settings.credentials}")
        if importlib.util.find_spec("nkeys") is None:
            problems.append("broker.credentials: a credentials file needs one more library: pip install nkeys")
    return problems


def _server(url: str, number: int) -> NatsServer:
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        scheme, host, port = "", None, None
    if scheme not in SCHEMES or not host or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f"server number {number} is not nats://HOST:PORT or tls://HOST:PORT")
    user, password = unquote(parts.username or ""), parts.password
    if password is None:
        user, password = "", user  # one word alone is a token
    return NatsServer(host, port or DEFAULT_PORT, scheme == "tls", user, unquote(password))

"""Asking a server over HTTP, as the operator's commands do: one request, bounded in time and size."""

from __future__ import annotations

import argparse
import http.client
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import shtab

from server.config import Settings
from server.errors import SwitchboardError

TIMEOUT_SECONDS = 10.0
"""Of connecting, and of each part of an answer."""
MOST_BYTES = 8 * 1024 * 1024

_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 compared, not listened on


class Unreachable(SwitchboardError):
    """There is no answer; the text says why."""


class Address(msgspec.Struct, frozen=True):
    """Where a server is.

    Args:
        secure: whether it speaks TLS.
        host: its name or number, an IPv6 one without brackets.
        port: its port.
    """

    secure: bool
    host: str
    port: int

    @property
    def place(self) -> str:
        """Host and port, as they stand in a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL without a slash at its end."""
        return f"{'https' if self.secure else 'http'}://{self.place}"

    @property
    def websocket_url(self) -> str:
        """The same for WebSockets."""
        return f"{'wss' if self.secure else 'ws'}://{self.place}"


class Answer(msgspec.Struct, frozen=True):
    """What a server answered.

    Args:
        status: of HTTP.
        headers: by their name in small letters.
        body: what came with it.
        seconds: how long it took.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float


def get(address: Address, path: str, context: ssl.SSLContext | None = None) -> Answer:
    """Ask for something; redirections are answers. It blocks.

    Args:
        address: the server.
        path: what is asked for, with a slash at its beginning.
        context: for TLS; by default the system's authorities are believed.

    Raises:
        Unreachable: there is no answer, or none of HTTP.
    """
    connection: http.client.HTTPConnection
    if address.secure:
        connection = http.client.HTTPSConnection(address.host, address.port, timeout=TIMEOUT_SECONDS, context=context)
    else:
        connection = http.client.HTTPConnection(address.host, address.port, timeout=TIMEOUT_SECONDS)
    began = time.monotonic()
    try:
        connection.request("GET", path, headers={"User-Agent": "switchboard"})
        response = connection.getresponse()
        body = response.read(MOST_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(reason(error)) from error
    finally:
        connection.close()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, body, time.monotonic() - began)


def reason(error: Exception) -> str:
    """Return why there is no answer, in a few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not valid: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_SECONDS:g} seconds"
    if isinstance(error, http.client.HTTPException):
        return f"what answers does not speak HTTP: {type(error).__name__}"
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def printable(text: str) -> str:
    """Return text of a server without what could steer a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def configured(settings: Settings) -> Address:
    """Return where the configuration says that the server is, as seen from this machine."""
    server = settings.server
    return Address(bool(server.tls_certificate), _EVERYWHERE.get(server.host, server.host), server.port)


def address(text: str) -> Address:
    """Read a URL, for argparse.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    secure = parts.scheme == "https"
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        raise argparse.ArgumentTypeError("a server's URL is like https://chat.example.org/")
    return Address(secure, parts.hostname, port or (443 if secure else 80))


def add_arguments(parser: Any) -> None:
    """Add what every command takes that asks a server."""
    parser.add_argument(
        "url", metavar="URL", nargs="?", type=address, help="the server; by default where the configuration says"
    )
    add_config(parser)


def add_config(parser: Any) -> None:
    """Add the configuration file."""
    file = parser.add_argument(
        "--config", metavar="FILE", type=Path, help="configuration file (default: config.toml, if it is there)"
    )
    file.complete = shtab.FILE

"""What the main process and a worker say to each other over their link."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from server.config import Settings
from server.figures import Figures
from server.pubsub.relay import RelayMessage
from server.service.mounted import ServiceStatus


class _Message(msgspec.Struct, frozen=True, array_like=True):
    """Something that is said."""


# From the main process.


class Start(_Message, frozen=True, tag="start"):
    """Begin to serve.

    Args:
        settings: the whole configuration.
        service: the service to run.
        name: what this process is called in the log and in /health.
        peer: what it is called among the processes that share topics.
    """

    settings: Settings
    service: str
    name: str
    peer: str


class Ping(_Message, frozen=True, tag="ping"):
    """Say how you are."""


class Drain(_Message, frozen=True, tag="drain"):
    """Let every client go, and end.

    Args:
        seconds: how long that may be spread.
    """

    seconds: float


class CloseSession(_Message, frozen=True, tag="close_session"):
    """Close the sockets that a session brought.

    Args:
        session: its id.
        code: close code.
        reason: the reason given with it.
    """

    session: int
    code: int
    reason: str


class Count(_Message, frozen=True, tag="count"):
    """Give your figures.

    Args:
        number: which answer belongs to which question.
    """

    number: int


class HttpRequest(_Message, frozen=True, tag="http_request"):
    """Answer an HTTP request for the service's own routes.

    Args:
        number: which answer belongs to which question.
        method: as in the request line.
        path: all of it, percent-decoded.
        query: what follows the question mark, as it came.
        headers: all of them.
        client: the client's address.
        scheme: `http` or `https`.
        body: all of it.
    """

    number: int
    method: str
    path: str
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    client: str
    scheme: str
    body: bytes


# From a worker.


class Status(_Message, frozen=True, tag="status"):
    """How the service is: sent when it has started, and after each ping.

    Args:
        status: as of a service in the main process.
        full: whether it has no memory for more clients.
    """

    status: ServiceStatus
    full: bool


class Left(_Message, frozen=True, tag="left"):
    """Clients are gone.

    Args:
        numbers: what they came under.
    """

    numbers: list[int]


class Counted(_Message, frozen=True, tag="counted"):
    """The answer to `Count`."""

    number: int
    figures: Figures


class HttpAnswer(_Message, frozen=True, tag="http_answer"):
    """The answer to `HttpRequest`."""

    number: int
    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


ToWorker = Start | Ping | Drain | CloseSession | Count | HttpRequest | RelayMessage
ToMain = Status | Left | Counted | HttpAnswer | RelayMessage


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):  # a `Frame`
        return bytes(value)
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} does not travel")


def _path(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError(f"{kind.__name__} does not travel")


encoder = msgspec.msgpack.Encoder(enc_hook=_plain)
to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker, dec_hook=_path)
to_main: msgspec.msgpack.Decoder[ToMain] = msgspec.msgpack.Decoder(ToMain, dec_hook=_path)

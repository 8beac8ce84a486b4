"""The opening handshake (RFC 6455 section 4.2): is the request one, and what is agreed on?

websockets' Sans-I/O `ServerProtocol` decides. To make one takes longer than all the rest of a handshake, and nothing of
it is needed afterwards; so one serves every handshake of a listener.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

import msgspec
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from server.net.deflate import OFFERS, usable


class Upgraded(msgspec.Struct, frozen=True, gc=False):
    """What a handshake came to.

    Args:
        response: for the client; its status is 101 where the handshake went well.
        subprotocol: the one that was agreed on, or None.
        deflate: whether messages may be compressed.
    """

    response: Response
    subprotocol: str | None = None
    deflate: bool = False

    @property
    def accepted(self) -> bool:
        """Whether it went well."""
        return self.response.status_code == HTTPStatus.SWITCHING_PROTOCOLS


class Upgrader:
    """Answers opening handshakes.

    Args:
        deflate: whether clients that offer it may get and send compressed messages.
    """

    def __init__(self, *, deflate: bool) -> None:
        self._protocol = ServerProtocol(
            extensions=[OFFERS] if deflate else None, select_subprotocol=_select_subprotocol, max_size=None
        )

    def upgrade(self, request: Request, subprotocols: Sequence[str]) -> Upgraded:
        """Decide about a request.

        Args:
            request: as it came.
            subprotocols: what the service speaks, best first.
        """
        protocol = self._protocol
        protocol.available_subprotocols = [Subprotocol(name) for name in subprotocols]
        protocol.extensions, protocol.subprotocol = [], None
        response = protocol.accept(request)
        protocol.handshake_exc = None  # it would keep the last refused request in memory
        agreed = [extension for extension in protocol.extensions if isinstance(extension, PerMessageDeflate)]
        deflate = bool(agreed) and usable(agreed[0])
        if agreed and not deflate:
            del response.headers["Sec-WebSocket-Extensions"]
        return Upgraded(response, protocol.subprotocol, deflate)


def _select_subprotocol(protocol: ServerProtocol, offered: object) -> Subprotocol | None:
    """Take the first of ours that the client offers; none in common is no reason to turn it away."""
    offers = offered if isinstance(offered, list) else []
    return next((name for name in protocol.available_subprotocols or () if name in offers), None)

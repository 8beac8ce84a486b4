"""The opening handshake (RFC 6455 section 4.2): is the request one, and what is agreed on?

websockets' Sans-I/O `ServerProtocol` decides. To make one takes twice as long as all the rest (`bench.micro`), and
nothing of it is needed afterwards; so one serves every handshake of a listener.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from websockets.exceptions import InvalidHandshake
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from server.net.deflate import OFFERS

_SWITCHING = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


class Upgraded(msgspec.Struct, frozen=True, gc=False):
    """What a handshake came to.

    Args:
        response: the answer, ready for the wire.
        accepted: whether the socket is a WebSocket now.
        subprotocol: the one that was agreed on, or None.
        deflate: whether messages may be compressed.
    """

    response: bytes
    accepted: bool
    subprotocol: str | None = None
    deflate: bool = False


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
        try:
            accept, extensions, subprotocol = protocol.process_request(request)
        except InvalidHandshake:
            refusal = protocol.accept(request)  # the same again, in words
            protocol.handshake_exc = None  # it would keep the request in memory
            return Upgraded(refusal.serialize(), accepted=False)
        lines = [_SWITCHING, f"Sec-WebSocket-Accept: {accept}\r\n"]
        if extensions is not None:
            lines.append(f"Sec-WebSocket-Extensions: {extensions}\r\n")
        if subprotocol is not None:
            lines.append(f"Sec-WebSocket-Protocol: {subprotocol}\r\n")
        lines.append("\r\n")
        return Upgraded("".join(lines).encode(), accepted=True, subprotocol=subprotocol, deflate=extensions is not None)


def _select_subprotocol(protocol: ServerProtocol, offered: object) -> Subprotocol | None:
    """Take the first of ours that the client offers; none in common is no reason to turn it away."""
    offers = offered if isinstance(offered, list) else []
    return next((name for name in protocol.available_subprotocols or () if name in offers), None)

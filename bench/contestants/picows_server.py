"""picows on uvloop: frames in Cython, callbacks instead of coroutines."""

from __future__ import annotations

import sys

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

from bench.contestant import Contestant, python_server

CONTESTANT = Contestant(
    name="picows + uvloop",
    command=python_server("picows_server"),
    packages=("picows", "aiofastnet", "uvloop"),
)
READ_BUFFER_BYTES = 2048
"""For each client at first; it grows when a message needs more. picows' own 16 KB would be held by idle clients too."""

clients: set[WSTransport] = set()


class Topic(WSListener):
    """Send every message to everybody."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Take part."""
        clients.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Leave."""
        clients.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Pass a message on."""
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close()
            transport.disconnect()
            return
        payload = frame.get_payload_as_bytes()
        for client in clients:
            client.send(WSMsgType.TEXT, payload)


class Echo(WSListener):
    """Send every message back."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Answer with the same, straight from the read buffer."""
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close()
            transport.disconnect()
            return
        transport.send(WSMsgType.TEXT, frame.get_payload_as_memoryview())


async def main(role: str, port: int) -> None:
    """Serve until killed."""
    listener = Topic if role == "topic" else Echo

    def accept(_request: WSUpgradeRequest) -> WSListener:
        return listener()

    server = await ws_create_server(accept, "127.0.0.1", port, backlog=4096, read_buffer_init_size=READ_BUFFER_BYTES)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))

"""A way to the server that can be cut: what the network does at the worst moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Proxy:
    """Passes bytes on between clients and a server.

    Args:
        host: of the server.
        port: of the server.

    Attributes:
        port: where clients connect.
        cut_at: what the client sends last: behind it, its connection ends. Empty for never.
        delivers: whether the server still gets that.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.cut_at = b""
        self.delivers = True

    @classmethod
    @asynccontextmanager
    async def to(cls, host: str, port: int) -> AsyncIterator[Proxy]:
        """Run a proxy."""
        proxy = cls(host, port)
        listener = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
        proxy.port = listener.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            listener.close()
            for task in proxy._tasks:
                task.cancel()
            await asyncio.gather(*proxy._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        server_reader, server_writer = await asyncio.open_connection(*self._server)
        back = asyncio.create_task(self._answers(server_reader, writer))
        try:
            while chunk := await reader.read(65536):
                cut = bool(self.cut_at) and self.cut_at in chunk
                if cut:
                    writer.transport.abort()
                if not cut or self.delivers:
                    server_writer.write(chunk)
                    await server_writer.drain()
                if cut:
                    break
            server_writer.close()  # what was sent still arrives
            await back
        finally:
            back.cancel()
            server_writer.close()
            writer.close()
            self._tasks.discard(task)

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            writer.write(chunk)

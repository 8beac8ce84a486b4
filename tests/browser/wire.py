"""What stands between a page and the server, and a client without a page."""

from __future__ import annotations

import asyncio
import itertools
import json
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import httpx
from playwright.async_api import Page, WebSocketRoute
from websockets.asyncio.client import ClientConnection, connect

from tests.support.browser import DEADLINE_MS
from tests.support.server import Server

TOO_SLOW = 4008
"""The close code after which a client comes back and resumes."""


class Wire:
    """The page's socket, in the test's hands: it can be cut, be mute, and lose messages.

    Attributes:
        lose: messages of the server that contain this do not arrive.
        mute: nothing from the server arrives.
    """

    def __init__(self) -> None:
        self.lose: str | None = None
        self.mute = False
        self._is_cut = False
        self._sockets: list[WebSocketRoute] = []
        self._sent: list[str] = []
        self._news = asyncio.Condition()

    @classmethod
    async def to(cls, page: Page) -> Self:
        """Stand between a page and its server; the page has to be opened afterwards."""
        wire = cls()
        await page.route_web_socket("**/chat", wire._connected)
        return wire

    async def cut(self, code: int) -> None:
        """Close the socket, and every new one, until `mend`."""
        self._is_cut = True
        for socket in self._sockets:
            await socket.close(code=code)
        self._sockets.clear()

    def mend(self) -> None:
        """Let connections through again."""
        self._is_cut = False

    def sends(self, text: str) -> int:
        """Count the page's messages that contain a text."""
        return sum(f'"text":{json.dumps(text)}' in message for message in self._sent)

    async def sent_with(self, text: str) -> None:
        """Wait until the page has sent a message with this text."""
        async with asyncio.timeout(DEADLINE_MS / 1000), self._news:
            await self._news.wait_for(lambda: self.sends(text) > 0)

    async def _connected(self, page_side: WebSocketRoute) -> None:
        if self._is_cut:
            await page_side.close(code=TOO_SLOW)
            return
        server_side = page_side.connect_to_server()
        self._sockets.append(page_side)

        async def to_server(message: str | bytes) -> None:
            server_side.send(message)
            async with self._news:
                self._sent.append(str(message))
                self._news.notify_all()

        def to_page(message: str | bytes) -> None:
            lost = self.lose is not None and self.lose in str(message)
            # A reply is no event: what is lost here are notifications.
            if not self.mute and not (lost and '"method"' in str(message)):
                page_side.send(message)

        page_side.on_message(to_server)
        server_side.on_message(to_page)


class Peer:
    """A client without a page, for what would take a person too long. Made by `come_in`.

    Args:
        server: where it goes.
        cookie: the session, as a Cookie header.
    """

    def __init__(self, server: Server, cookie: str) -> None:
        self._server = server
        self._cookie = cookie
        self._ids = itertools.count(1)
        self._socket: ClientConnection | None = None

    @classmethod
    async def come_in(cls, server: Server, name: str) -> Self:
        """Return a guest."""
        async with httpx.AsyncClient() as client:
            answer = await client.post(f"{server.url}/auth/guest", json={"name": name})
            answer.raise_for_status()
            return cls(server, "; ".join(f"{key}={value}" for key, value in answer.cookies.items()))

    async def __aenter__(self) -> Self:
        headers = {"Cookie": self._cookie}
        self._socket = await connect(self._server.websocket_url("/chat"), additional_headers=headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._socket is not None
        await self._socket.close()

    async def call(self, method: str, **params: Any) -> Any:
        """Call a method and return its result."""
        (result,) = await self.call_many(method, [params])
        return result

    async def call_many(self, method: str, each: list[dict[str, Any]]) -> list[Any]:
        """Call a method many times without waiting in between; return the results in order."""
        assert self._socket is not None
        ids = [next(self._ids) for _ in each]
        for number, params in zip(ids, each, strict=True):
            call = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            await self._socket.send(json.dumps(call))
        results: dict[int, Any] = {}
        async with asyncio.timeout(DEADLINE_MS / 1000):
            while len(results) < len(ids):
                message = json.loads(await self._socket.recv())
                if message.get("id") in ids:
                    assert "error" not in message, message
                    results[message["id"]] = message["result"]
        return [results[number] for number in ids]

    async def send_many(self, room: str, texts: list[str]) -> None:
        """Send messages, in order."""
        each = [{"room": room, "text": text, "nonce": str(uuid4())} for text in texts]
        for start in range(0, len(each), 100):
            await self.call_many("messages.send", each[start : start + 100])

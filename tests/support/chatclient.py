"""A chat client for tests, over the `websockets` package: an outbox with nonces, resume by `after`, a record of all.

It is what PROTOCOL.md asks of a client and nothing more, so that what the tests prove does not lean on ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
from collections.abc import Sequence
from typing import Any, Self

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.support.history import Journal

CALL_SECONDS = 30
RETRY_SECONDS = 0.05


class CallError(Exception):
    """The server answered with an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['code']} {error['message']}")
        self.code: int = error["code"]
        self.data: dict[str, Any] = error.get("data") or {}


async def guest_cookie(url: str, name: str) -> str:
    """Become a guest; returns the Cookie header."""
    return (await guest_cookies(url, [name]))[0]


async def guest_cookies(url: str, names: Sequence[str]) -> list[str]:
    """Become guests, one after the other; returns their Cookie headers."""
    cookies = []
    async with httpx.AsyncClient() as http:
        for name in names:
            response = await http.post(f"{url}/auth/guest", json={"name": name})
            response.raise_for_status()
            cookies.append(response.headers["set-cookie"].partition(";")[0])
            http.cookies.clear()
    return cookies


class ChatClient:
    """One person's connection.

    Args:
        server: the HTTP URL of the server, without a slash at the end.
        cookie: the session's Cookie header.

    Attributes:
        server: as said.
        welcome: the params of the first notification.
        events: notifications that came, oldest first.
    """

    def __init__(self, server: str, cookie: str) -> None:
        self.server = server
        self._cookie = cookie
        self._socket: ClientConnection | None = None
        self._reading: asyncio.Task[None] | None = None
        self._ids = itertools.count(1)
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self.welcome: dict[str, Any] = {}
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    @classmethod
    async def guest(cls, server: str, name: str) -> Self:
        """Become a guest and connect."""
        client = cls(server, await guest_cookie(server, name))
        await client.open()
        return client

    async def open(self) -> None:
        """Connect, and wait for `welcome`."""
        url = self.server.replace("http", "ws", 1) + "/chat"
        socket = await connect(url, additional_headers={"Cookie": self._cookie}, max_queue=None)
        self._socket = socket
        self.welcome = json.loads(await socket.recv())["params"]
        self._reading = asyncio.create_task(self._read(socket))

    @property
    def connected(self) -> bool:
        """Whether there is a connection, for all that is known."""
        return self._reading is not None and not self._reading.done()

    @property
    def close_code(self) -> int | None:
        """The close code that the connection ended with; None while it is there."""
        return self._socket.close_code if self._socket is not None else None

    def vanish(self) -> None:
        """Be gone without a goodbye, as a phone that loses its network and tells nobody but the system."""
        if self._socket is not None:
            self._socket.transport.abort()

    async def ended(self, seconds: float) -> bool:
        """Wait until the connection has ended, for so many seconds; tells whether it has."""
        if self._reading is not None:
            await asyncio.wait([self._reading], timeout=seconds)
        return not self.connected

    async def close(self) -> None:
        """Disconnect."""
        if self._socket is not None:
            await self._socket.close()
        if self._reading is not None:
            await self._reading

    async def call(self, method: str, **params: Any) -> Any:
        """Call a method and wait for its result.

        Raises:
            CallError: the server answered with an error.
            ConnectionError: the connection ended first.
        """
        if self._socket is None:
            raise ConnectionError("not connected")
        number = next(self._ids)
        future = self._calls[number] = asyncio.get_running_loop().create_future()
        try:
            await self._socket.send(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}))
            async with asyncio.timeout(CALL_SECONDS):
                return await future
        except ConnectionClosed:
            raise ConnectionError("the connection ended") from None
        finally:
            self._calls.pop(number, None)

    async def notify(self, method: str, **params: Any) -> None:
        """Send a notification."""
        assert self._socket is not None
        await self._socket.send(json.dumps({"jsonrpc": "2.0", "method": method, "params": params}))

    async def event(self, method: str, **wanted: Any) -> dict[str, Any]:
        """Wait for the next notification of a kind; others that come before it are dropped.

        Args:
            method: the kind.
            wanted: params that it has.
        """
        async with asyncio.timeout(CALL_SECONDS):
            while True:
                event = await self.events.get()
                params: dict[str, Any] = event["params"]
                if event["method"] == method and wanted.items() <= params.items():
                    return params

    def received(self, message: dict[str, Any]) -> None:
        """Take a notification, in the order in which it came between the answers."""
        self.events.put_nowait(message)

    def answered(self, method_result: Any) -> None:
        """Called with each result as it comes, before whoever waits for it runs."""

    async def _read(self, socket: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for text in socket:
                message = json.loads(text)
                if "method" in message:
                    self.received(message)
                    continue
                future = self._calls.get(message["id"])
                if "result" in message:
                    self.answered(message["result"])
                    if future is not None and not future.done():
                        future.set_result(message["result"])
                elif future is not None and not future.done():
                    future.set_exception(CallError(message["error"]))
        for future in self._calls.values():
            if not future.done():
                future.set_exception(ConnectionError("the connection ended"))


class Talker(ChatClient):
    """Somebody who says a number of things in one room, whatever happens to the server, and hears everything.

    Args:
        servers: the HTTP URL of the server; or of several, each of which will do.
        cookie: the session's Cookie header.
        room: the room.
        journal: where everything is noted.

    Attributes:
        seen: the number of the last event that was heard.
        present: the ids of the users who are in the room, as it was told.
    """

    def __init__(self, servers: str | Sequence[str], cookie: str, room: str, journal: Journal) -> None:
        self._servers = [servers] if isinstance(servers, str) else list(servers)
        super().__init__(self._servers[0], cookie)
        self.room = room
        self.journal = journal
        self.seen = 0
        self.present: set[int] = set()

    def received(self, message: dict[str, Any]) -> None:
        params = message["params"]
        if message["method"] == "message" and params["room"] == self.room:
            self._hear([params["message"]])
        elif message["method"] == "presence" and params["room"] == self.room:
            self.present.difference_update(user["id"] for user in params["left"])
            self.present.update(user["id"] for user in params["joined"])

    def answered(self, result: Any) -> None:
        # A join's snapshot is noted in the order of the wire, between the live events.
        if isinstance(result, dict) and "complete" in result:
            self.present = {user["id"] for user in result["present"]}
            if not result["complete"]:
                # What came before is dropped, and with it how far it reached: this server may be behind another.
                self.seen = result["messages"][0]["rev"] - 1 if result["messages"] else 0
                self.journal.skipped(self, upto=self.seen)
            self._hear(result["messages"])

    def _hear(self, messages: list[dict[str, Any]]) -> None:
        for message in messages:
            self.journal.heard(self, message["rev"], message["user"]["id"], message["text"])
            self.seen = max(self.seen, message["rev"])

    async def say_all(self, texts: list[str]) -> None:
        """Say each text until it is acknowledged: in order, with one nonce each, over as many connections as needed."""
        for text in texts:
            nonce = f"{text}-{random.getrandbits(64):x}"
            self.journal.sending(self, nonce, text)
            while True:
                try:
                    sent = await self.call("messages.send", room=self.room, text=text, nonce=nonce)
                except CallError as error:
                    if error.code not in (-32050, -32029):
                        raise
                    await asyncio.sleep(RETRY_SECONDS)
                except (ConnectionError, TimeoutError):
                    await self.come_back()
                else:
                    self.journal.acknowledged(self, nonce, sent["seq"])
                    break

    async def come_back(self) -> None:
        """Connect, to whichever server it may be, and resume, until it works."""
        while True:
            try:
                await self.close()
                self.server = random.choice(self._servers)
                await self.open()
                await self.call("rooms.join", room=self.room, after=self.seen, limit=200)
            except (OSError, TimeoutError, ConnectionClosed, InvalidHandshake, CallError):
                await asyncio.sleep(random.uniform(RETRY_SECONDS, 4 * RETRY_SECONDS))
            else:
                return

    async def hear_until(self, rev: int) -> None:
        """Listen, and come back when the connection ends, until everything up to an event was heard."""
        while self.seen < rev:
            if self._reading is None or self._reading.done():
                await self.come_back()
            await asyncio.sleep(RETRY_SECONDS)

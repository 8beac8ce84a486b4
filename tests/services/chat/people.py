"""What people do in the chat's tests, and what things of the contract consist of."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from server.service.harness import WAIT_SECONDS, Client
from services.chat.store import Store

ROOM = {"room", "title", "topic", "visibility", "present", "last_rev", "read_seq", "role"}
MESSAGE = {"room", "seq", "rev", "user", "text", "sent_at", "edited_at", "deleted", "reply_to", "reactions"}


async def say(client: Client, *texts: str, room: str = "lobby") -> list[Any]:
    return [await client.call("messages.send", room=room, text=text, nonce=f"nonce {text[:40]}") for text in texts]


def texts(messages: list[dict[str, Any]]) -> list[str]:
    return [message["text"] for message in messages]


async def presence(client: Client, present: int) -> dict[str, list[str]]:
    """Wait until so many people are told to be in a room; returns who came and who left until then, by name."""
    names: dict[str, list[str]] = {"joined": [], "left": []}
    while True:
        event = await client.event("presence")
        for change, known in names.items():
            known += [user["name"] for user in event[change]]
        if event["present"] == present:
            return names


class Held:
    """The first call of one of the store's methods, held up until a test lets it go on; later calls are not.

    Args:
        monkeypatch: pytest's.
        method: which method.
        answered: whether the database has done it already and only the answer is late; else it waits before that.
        error: what the call raises when it goes on, instead of being done.
    """

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, method: str, *, answered: bool = True, error: Exception | None = None
    ) -> None:
        self._begun = asyncio.Event()
        self._going_on = asyncio.Event()
        real = getattr(Store, method)

        async def held(store: Store, *args: Any) -> Any:
            if self._begun.is_set():
                return await real(store, *args)
            answer = await real(store, *args) if answered else None
            await self._hold()
            if error is not None:
                raise error
            return answer if answered else await real(store, *args)

        monkeypatch.setattr(Store, method, held)

    async def begun(self) -> None:
        """Wait until the call is held."""
        async with asyncio.timeout(WAIT_SECONDS):
            await self._begun.wait()

    def go_on(self) -> None:
        """Let it go on."""
        self._going_on.set()

    async def _hold(self) -> None:
        self._begun.set()
        async with asyncio.timeout(WAIT_SECONDS):
            await self._going_on.wait()

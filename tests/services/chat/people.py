"""What people do in the chat's tests, and what things of the contract consist of."""

from __future__ import annotations

from typing import Any

from server.service.harness import Client

ROOM = {"room", "title", "topic", "visibility", "present", "last_rev", "read_seq", "role"}
MESSAGE = {"room", "seq", "rev", "user", "text", "sent_at", "edited_at", "deleted", "reply_to", "reactions"}


async def say(client: Client, *texts: str, room: str = "lobby") -> list[Any]:
    return [await client.call("messages.send", room=room, text=text, nonce=f"nonce {text[:40]}") for text in texts]


def texts(messages: list[dict[str, Any]]) -> list[str]:
    return [message["text"] for message in messages]

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


async def presence(client: Client, present: int) -> dict[str, list[str]]:
    """Wait until so many people are told to be in a room; returns who came and who left until then, by name."""
    names: dict[str, list[str]] = {"joined": [], "left": []}
    while True:
        event = await client.event("presence")
        for change, known in names.items():
            known += [user["name"] for user in event[change]]
        if event["present"] == present:
            return names

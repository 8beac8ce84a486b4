"""The contract on a real socket of a real server: shapes and error codes, as a foreign client meets them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.services.chat.people import MESSAGE, ROOM
from tests.support.chatclient import CallError, ChatClient
from tests.support.server import Server

SETTINGS: dict[str, object] = {"auth.attempts_per_minute": 0, "services.chat.messages_per_minute": 0}
SAY = {"room": "lobby", "text": "x", "nonce": "x"}

REFUSED: list[tuple[str, dict[str, Any], int, str | None]] = [
    ("rooms.create", {"room": "Bad Name"}, -32602, "room"),
    ("rooms.create", {"room": "x", "visibility": "direct"}, -32602, "visibility"),
    ("rooms.create", {"room": "x", "title": "x" * 81}, -32602, "title"),
    ("rooms.create", {}, -32602, "room"),
    ("rooms.create", {"room": "lobby"}, -32009, None),
    ("rooms.join", {"room": "nowhere"}, -32004, None),
    ("rooms.join", {"room": "secret"}, -32004, None),
    ("rooms.leave", {"room": "secret"}, -32004, None),
    ("messages.history", {"room": "secret"}, -32004, None),
    ("messages.send", {**SAY, "room": "secret"}, -32004, None),
    ("messages.send", {**SAY, "room": "empty"}, -32003, None),
    ("messages.send", {**SAY, "text": " "}, -32602, "text"),
    ("messages.send", {**SAY, "text": "x" * 4001}, -32602, "text"),
    ("messages.send", {"room": "lobby", "text": "x"}, -32602, "nonce"),
    ("messages.edit", {"room": "lobby", "seq": 1, "text": "x"}, -32601, None),
    ("members.kick", {"room": "lobby", "user": 1}, -32601, None),
]


async def test_the_contract(tmp_path: Path) -> None:
    """Every method and event has exactly the fields of the contract, and every refusal its code and its field."""
    async with Server(tmp_path, SETTINGS, config="[services.chat]\n") as server:
        ann, ben = await ChatClient.guest(server.url, "ann"), await ChatClient.guest(server.url, "ben")
        await check_rooms(ann, ben)
        await check_messages(ann, ben)
        for method, params, code, path in REFUSED:
            with pytest.raises(CallError) as refused:
                await ben.call(method, **params)
            assert (refused.value.code, refused.value.data.get("path")) == (code, path), (method, params)
        await asyncio.gather(ann.close(), ben.close())
        assert await server.stop() == 0


async def check_rooms(ann: ChatClient, ben: ChatClient) -> None:
    assert set(ann.welcome) == {"service", "protocol", "version", "user", "limits", "reconnect"}
    assert ann.welcome["limits"] == {"frame_bytes": 65536, "message_chars": 4000, "messages_per_minute": 0}
    assert set(ann.welcome["user"]) == {"id", "name", "role"}
    assert set(ann.welcome["reconnect"]) == {"min_seconds", "max_seconds"}
    assert set(await ann.call("rooms.create", room="secret", visibility="private")) == ROOM
    await ann.call("rooms.create", room="empty")
    created = await ben.event("room")
    assert (set(created), created["room"]) == (ROOM, "empty")
    assert set(await ann.call("rooms.join", room="lobby")) == {"room", "present", "messages", "last_rev", "complete"}
    joined = await ben.call("rooms.join", room="lobby", after=0, limit=10)
    assert set(joined["room"]) == ROOM
    assert [set(user) for user in joined["present"]] == [{"id", "name"}] * 2
    presence = await ann.event("presence")
    assert set(presence) == {"room", "joined", "left", "present"}
    listed = await ben.call("rooms.list")
    assert set(listed) == {"rooms"}
    assert {room["room"] for room in listed["rooms"]} == {"lobby", "empty"}
    assert {frozenset(room) for room in listed["rooms"]} == {frozenset(ROOM)}


async def check_messages(ann: ChatClient, ben: ChatClient) -> None:
    sent = await ann.call("messages.send", room="lobby", text="<b>hello</b>", nonce="n")
    assert set(sent) == {"seq", "rev", "sent_at"}
    assert await ann.call("messages.send", room="lobby", text="again", nonce="n") == sent
    event = await ben.event("message")
    assert set(event) == {"room", "rev", "message"}
    message = event["message"]
    assert message == {
        "room": "lobby", "seq": 1, "rev": 1, "user": {"id": ann.welcome["user"]["id"], "name": "ann"},
        "text": "<b>hello</b>", "sent_at": sent["sent_at"], "edited_at": None, "deleted": False, "reply_to": None,
        "reactions": {},
    }  # fmt: skip
    assert set(message) == MESSAGE
    assert await ben.call("messages.history", room="lobby") == {"messages": [message], "more": False}
    await ann.notify("typing", room="lobby")
    assert await ben.event("typing") == {"room": "lobby", "user": message["user"]}
    assert await ben.call("read", room="lobby", seq=1) == {}
    document = await ben.call("rpc.discover")
    assert document["openrpc"]
    assert await ben.call("rooms.leave", room="lobby") == {}
    while not (left := (await ann.event("presence"))["left"]):
        pass
    assert left == [{"id": ben.welcome["user"]["id"], "name": "ben"}]


async def test_a_flood_on_a_real_socket(tmp_path: Path) -> None:
    """FAULTS 22: the refusal says when to come back, who goes on is closed with 4429, and what was accepted stays."""
    limited = {**SETTINGS, "services.chat.messages_per_minute": 10}
    async with Server(tmp_path, limited, config="[services.chat]\n") as server:
        ann = await ChatClient.guest(server.url, "ann")
        await ann.call("rooms.join", room="lobby")
        accepted: list[int] = []
        refusals: list[CallError] = []
        with pytest.raises(ConnectionError):
            for number in range(1000):
                try:
                    sent = await ann.call("messages.send", room="lobby", text="x", nonce=str(number))
                except CallError as refused:
                    refusals.append(refused)
                else:
                    accepted.append(sent["seq"])
        assert refusals
        assert {refused.code for refused in refusals} == {-32029}
        assert all(0 < refused.data["retry_after"] <= 60 for refused in refusals)
        await ann.close()
        assert await close_code(ann) == 4429
        await ann.open()
        history = await ann.call("messages.history", room="lobby", limit=200)
        assert [message["seq"] for message in history["messages"]] == accepted
        await ann.close()


async def close_code(client: ChatClient) -> int | None:
    """Return the code that the server closed the client's last connection with."""
    socket = client._socket
    assert socket is not None
    with pytest.raises(ConnectionClosed):
        await socket.recv()
    return socket.close_code

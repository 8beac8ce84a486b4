"""Joins and leaves of one user on several devices: what the chat knows by heart is what the database has."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from server import Conflict, NotAllowed, NotFound
from server.service.harness import Client, ServiceHarness
from services.chat import Chat
from services.chat.store import Store
from tests.services.chat.people import Held, say


async def member_since_an_earlier_start(chat: ServiceHarness[Chat], client: Client, room: str = "lobby") -> None:
    """Make somebody a member whom the service does not know by heart."""
    assert client.user is not None
    store = Store(chat.db)
    row = await store.room(room)
    assert row is not None
    await store.add_members([(row.id, client.user.id)])


async def others_go_on(ben: Client) -> None:
    """Wait as long as somebody else's look into the database takes, twice: what began before is done then."""
    for _ in range(2):
        await ben.call("rooms.list")


async def lobby(client: Client) -> dict[str, Any]:
    """Return the lobby as somebody sees it."""
    (room,) = (room for room in (await client.call("rooms.list"))["rooms"] if room["room"] == "lobby")
    found: dict[str, Any] = room
    return found


async def is_no_member(client: Client) -> None:
    """Assert that neither the database nor the service takes somebody for a member of the lobby."""
    with pytest.raises(NotAllowed):
        await client.call("messages.send", room="lobby", text="x", nonce="not a member's")
    with pytest.raises(NotAllowed):
        await client.call("read", room="lobby", seq=0)
    room = await lobby(client)
    assert (room["role"], room["present"]) == (None, 0)


@pytest.mark.parametrize(
    ("method", "params"),
    [("messages.send", {"text": "x", "nonce": "n"}), ("read", {"seq": 0}), ("rooms.join", {})],
)
async def test_a_slow_look_does_not_outlive_a_leave(
    chat: ServiceHarness[Chat],
    ann: Client,
    ben: Client,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    params: dict[str, Any],
) -> None:
    """A membership that was read before a leave, and whose answer comes late, is not believed after the leave."""
    phone = await chat.connect(ann.user)
    await member_since_an_earlier_start(chat, ann)
    look = Held(monkeypatch, "members")
    doing = asyncio.create_task(ann.call(method, room="lobby", **params))
    await look.begun()
    leaving = asyncio.create_task(phone.call("rooms.leave", room="lobby"))
    await others_go_on(ben)
    look.go_on()
    await leaving
    with suppress(Conflict, NotAllowed):  # before the leave or after it: both are right
        await doing
    await is_no_member(ann)


async def test_a_slow_look_does_not_open_a_private_room(
    chat: ServiceHarness[Chat], ann: Client, ben: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who left a private room does not know of it any more, whatever was being read meanwhile."""
    await ben.call("rooms.create", room="secret", visibility="private")
    await member_since_an_earlier_start(chat, ann, "secret")
    phone = await chat.connect(ann.user)
    look = Held(monkeypatch, "members")
    reading = asyncio.create_task(ann.call("messages.history", room="secret"))
    await look.begun()
    leaving = asyncio.create_task(phone.call("rooms.leave", room="secret"))
    await others_go_on(ben)
    look.go_on()
    await reading
    await leaving
    for client in (ann, phone):
        with pytest.raises(NotFound):
            await client.call("messages.history", room="secret")


async def test_a_leave_during_a_join_comes_after_it(
    chat: ServiceHarness[Chat], ann: Client, ben: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A join whose answer from the database comes late does not bring back a membership that was ended meanwhile."""
    phone = await chat.connect(ann.user)
    becoming = Held(monkeypatch, "add_members")
    joining = asyncio.create_task(ann.call("rooms.join", room="lobby"))
    await becoming.begun()
    leaving = asyncio.create_task(phone.call("rooms.leave", room="lobby"))
    await others_go_on(ben)
    becoming.go_on()
    await leaving
    with suppress(Conflict):  # whether the leave came before the answer or after it
        await joining
    await is_no_member(ann)


async def test_a_join_during_a_leave_comes_after_it(
    chat: ServiceHarness[Chat], ann: Client, ben: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who joins while another device's leave is under way is a member afterwards, is present, and hears the room."""
    await ann.call("rooms.join", room="lobby")
    phone = await chat.connect(ann.user)
    ending = Held(monkeypatch, "remove_members")
    leaving = asyncio.create_task(phone.call("rooms.leave", room="lobby"))
    await ending.begun()
    joining = asyncio.create_task(ann.call("rooms.join", room="lobby"))
    await others_go_on(ben)
    ending.go_on()
    await leaving
    assert (await joining)["room"]["role"] == "member"
    room = await lobby(phone)
    assert (room["role"], room["present"]) == ("member", 1)
    await say(ann, "still here")
    assert (await ann.event("message"))["message"]["text"] == "still here"


async def test_a_join_during_a_leave_does_not_get_back_into_a_private_room(
    chat: ServiceHarness[Chat], ann: Client, ben: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who leaves a private room is out, even when another device joins it again while the leave is under way."""
    await ann.call("rooms.create", room="secret", visibility="private")
    phone = await chat.connect(ann.user)
    ending = Held(monkeypatch, "remove_members")
    leaving = asyncio.create_task(phone.call("rooms.leave", room="secret"))
    await ending.begun()
    joining = asyncio.create_task(ann.call("rooms.join", room="secret"))
    await others_go_on(ben)
    ending.go_on()
    await leaving
    with suppress(Conflict, NotFound):
        await joining
    for client in (ann, phone):
        with pytest.raises(NotFound):
            await client.call("messages.history", room="secret")

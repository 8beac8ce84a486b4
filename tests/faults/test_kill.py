"""Power cuts: the server process is killed while everybody talks."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.support.chatclient import ChatClient, Talker, guest_cookie
from tests.support.history import Journal, Meter
from tests.support.server import Server

CLIENTS = 200
ROOMS = 10
MESSAGES = 20
KILLS = 3

NO_LIMITS: dict[str, object] = {
    "auth.attempts_per_minute": 0,
    "server.connections_per_address": 0,
    "services.chat.messages_per_minute": 0,
}


async def whole_history(reader: ChatClient, room: str) -> list[dict[str, Any]]:
    """Page through a room, from its end to its beginning."""
    messages: list[dict[str, Any]] = []
    before: dict[str, int] = {}
    while True:
        page = await reader.call("messages.history", room=room, limit=200, **before)
        messages = page["messages"] + messages
        if not page["more"]:
            return messages
        before = {"before": messages[0]["seq"]}


async def test_nothing_acknowledged_is_lost_repeated_or_out_of_order(tmp_path: Path, database_url: str) -> None:
    """200 clients in 10 rooms send 20 messages each while the server is killed three times: the history is sound.

    Acknowledged is a part of the history, no nonce is there twice, each author's messages stand in the order sent,
    and what each client heard, live and caught up, is the room's order without a gap or a repeat.
    """
    async with Server(tmp_path, NO_LIMITS | {"database.url": database_url}, config="[services.chat]\n") as server:
        owner = await ChatClient.guest(server.url, "owner")
        rooms = [f"room-{number}" for number in range(ROOMS)]
        for room in rooms:
            await owner.call("rooms.create", room=room)
        meter = Meter()
        journals = {room: Journal(meter) for room in rooms}
        talkers = []
        for number in range(CLIENTS):
            room = rooms[number % ROOMS]
            cookie = await guest_cookie(server.url, f"guest {number}")
            talkers.append(Talker(server.url, cookie, room, journals[room]))
        await asyncio.gather(*(talker.come_back() for talker in talkers))

        talking = [
            asyncio.create_task(talker.say_all([f"{number}:{count}" for count in range(MESSAGES)]))
            for number, talker in enumerate(talkers)
        ]
        for kill in range(1, KILLS + 1):
            # Each time a good part of what is to be said has been acknowledged, and not all of it.
            await meter.reach(CLIENTS * MESSAGES * kill // (KILLS + 1))
            await server.restart()
        await asyncio.gather(*talking)

        await owner.close()
        await owner.open()
        for room in rooms:
            history = await whole_history(owner, room)
            assert len(history) == CLIENTS // ROOMS * MESSAGES
            listeners = [talker for talker in talkers if talker.room == room]
            await asyncio.gather(*(talker.hear_until(len(history)) for talker in listeners))
            assert journals[room].problems(history) == []
        await asyncio.gather(*(talker.close() for talker in talkers), owner.close())
        assert await server.stop() == 0

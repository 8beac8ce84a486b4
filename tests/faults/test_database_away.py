"""The database server is killed, frozen and started again while everybody talks: FAULTS 5, 6 and 7."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.test_kill import NO_LIMITS, whole_history
from tests.support.chatclient import CallError, ChatClient, Talker, guest_cookie
from tests.support.history import Journal, Meter
from tests.support.mariadb import MariaDb, private_mariadb
from tests.support.server import Server

CLIENTS = 40
ROOMS = 4
MESSAGES = 20
UNAVAILABLE = -32050


@pytest.fixture
def own_mariadb() -> Iterator[MariaDb]:
    """A server that this test may end."""
    with private_mariadb() as server:
        yield server


def kill(database: MariaDb) -> Callable[[], None]:
    """End the database server as a power failure does; return what brings it back."""
    database.kill()
    return database.start


def freeze(database: MariaDb) -> Callable[[], None]:
    """Let the database server hang without answering; return what brings it back."""
    database.freeze()
    return database.thaw


@pytest.mark.parametrize("harm", [kill, freeze])
async def test_the_database_goes_away_and_comes_back(
    own_mariadb: MariaDb, tmp_path: Path, harm: Callable[[MariaDb], Callable[[], None]]
) -> None:
    """Sends are told to try again, sockets stay open, and it heals by itself: no history is harmed."""
    # What is given up on soon makes the test short; the limits themselves are settings.
    url = own_mariadb.url(own_mariadb.new_database(), query_seconds=1, connect_seconds=1, wait_seconds=1)
    settings: dict[str, object] = NO_LIMITS | {"database.url": url}
    async with Server(tmp_path, settings, config="[services.chat]\n") as server:
        owner = await ChatClient.guest(server.url, "owner")
        rooms = [f"room-{number}" for number in range(ROOMS)]
        for room in rooms:
            await owner.call("rooms.create", room=room)
            await owner.call("rooms.join", room=room)
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
        await meter.reach(CLIENTS * MESSAGES // 4)
        heal = harm(own_mariadb)
        await refused(owner, rooms[0])
        await asyncio.to_thread(heal)
        await asyncio.gather(*talking)
        for room in rooms:
            history = [message for message in await whole_history(owner, room) if message["text"] != "anybody?"]
            assert len(history) == CLIENTS // ROOMS * MESSAGES
            listeners = [talker for talker in talkers if talker.room == room]
            last = (await owner.call("rooms.join", room=room, limit=1))["last_rev"]
            await asyncio.gather(*(talker.hear_until(last) for talker in listeners))
            assert journals[room].problems(await whole_history(owner, room)) == []
        await asyncio.gather(*(talker.close() for talker in talkers), owner.close())
        assert await server.stop() == 0


async def refused(client: ChatClient, room: str) -> None:
    """Send until the answer is that it is not available now; the socket stays open."""
    answers: list[Any] = []
    for number in range(1000):
        try:
            answers.append(await client.call("messages.send", room=room, text="anybody?", nonce=f"own {number}"))
        except CallError as error:
            assert error.code == UNAVAILABLE  # noqa: PT017 the other errors go on up
            return
    raise AssertionError(answers[-1])

"""The server is restarted behind a socket that systemd keeps, while everybody talks: FAULTS 33."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from tests.faults.test_kill import NO_LIMITS, whole_history
from tests.support.activation import ActivatedServer
from tests.support.chatclient import ChatClient, Talker, guest_cookie
from tests.support.history import Journal, Meter

CLIENTS = 100
ROOMS = 4
MESSAGES = 20
RESTARTS = 2


class Prober:
    """Somebody who connects again and again, and asks whether the server is well."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.refused = 0
        self.cut = 0
        self.answered = 0

    async def probe(self) -> None:
        """Connect and ask, until cancelled."""
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                self.refused += 1
                continue
            with contextlib.closing(writer):
                try:
                    writer.write(b"GET /auth/me HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    answer = await reader.read()
                except OSError:
                    answer = b""
            self.answered += answer.startswith(b"HTTP/1.1 401 ")
            self.cut += not answer
            await asyncio.sleep(0)


async def test_a_restart_refuses_nobody_and_loses_nothing(tmp_path: Path) -> None:
    """SIGTERM and a new start, twice: no connection is refused or cut, all come back, and the history is sound."""
    settings: dict[str, object] = NO_LIMITS | {"services.chat.workers": 1}
    async with ActivatedServer(tmp_path, settings, config="[services.chat]\n") as server:
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
        prober = Prober(server.port)
        probing = asyncio.create_task(prober.probe())
        talking = [
            asyncio.create_task(talker.say_all([f"{number}:{count}" for count in range(MESSAGES)]))
            for number, talker in enumerate(talkers)
        ]
        for restart in range(1, RESTARTS + 1):
            await meter.reach(CLIENTS * MESSAGES * restart // (RESTARTS + 1))
            assert await server.stop() == 0
            await server.start()
        await asyncio.gather(*talking)
        probing.cancel()
        assert (prober.refused, prober.cut) == (0, 0)
        assert prober.answered

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

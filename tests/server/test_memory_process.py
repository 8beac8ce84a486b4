"""A real server with a memory budget, and clients that make it keep more than that."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from pathlib import Path

import httpx
from websockets.asyncio.client import connect

from tests.support.net import client_frame, upgrade_request
from tests.support.server import SCALE, Server

BUDGET_MIB = 128
CLIENTS = 64
AT_ONCE = 8
MESSAGE = client_frame(1, b"x" * 500_000)
MESSAGES = 12


def resident_mib(pid: int, what: str = "VmRSS") -> int:
    """Return what a process takes, or with `VmHWM` the most that it ever took."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) // 1024
    raise AssertionError(what)


async def send_and_never_read(port: int) -> socket.socket:
    """Have so much echoed that the server has to keep it, until it does not take any more."""
    loop = asyncio.get_running_loop()
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    await loop.sock_connect(client, ("127.0.0.1", port))
    await loop.sock_sendall(client, upgrade_request("/echo"))
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(0.5 * SCALE):  # the kernel's buffers are full, and nothing tells
            for _ in range(MESSAGES):
                await loop.sock_sendall(client, MESSAGE)
    return client


async def shed(server: Server, what: str) -> float:
    """Return how often something was given up."""
    async with httpx.AsyncClient(base_url=server.url) as http:
        text = (await http.get("/metrics")).text
    (line,) = [line for line in text.splitlines() if line.startswith(f'switchboard_shed_total{{what="{what}"}}')]
    return float(line.split()[1])


async def test_slow_clients_do_not_take_more_than_the_budget(tmp_path: Path) -> None:
    """Clients that read nothing go when memory is short; who keeps up is served all the time, and memory comes back."""
    async with Server(tmp_path, {"server.memory": BUDGET_MIB, "server.frame_bytes": 0}) as server:
        clients: list[socket.socket] = []
        async with connect(server.websocket_url("/echo"), proxy=None) as healthy:
            for _ in range(CLIENTS // AT_ONCE):
                clients += await asyncio.gather(*(send_and_never_read(server.port) for _ in range(AT_ONCE)))
                await healthy.send("still here?")
                assert await healthy.recv() == "still here?"
            assert "memory is short: clients that are behind are closed" in server.log
            assert await shed(server, "slow") > 0
            async with asyncio.timeout(10 * SCALE):
                while resident_mib(server.pid) > BUDGET_MIB:  # noqa: ASYNC110 another process tells nobody
                    await asyncio.sleep(0.05)
            assert resident_mib(server.pid, "VmHWM") < BUDGET_MIB + 64
        for client in clients:
            client.close()

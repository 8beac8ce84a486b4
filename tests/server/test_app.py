"""The whole server as a process: starting, stopping, and what it says."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.support.server import Server

MEGAPHONE = '''
from server import Connection, Service
class Megaphone(Service):
    """Everyone hears everyone."""
    async def serve(self, connection: Connection) -> None:
        with self.topic("all").subscribe(connection):
            async for message in connection:
                self.topic("all").publish(message)
'''
SERVICES = "[services.echo]\n[services.chat]\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_graceful_stop(tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM and SIGINT: open clients are told 1012, the process ends with 0, and nothing is cut short."""
    async with Server(tmp_path, config=SERVICES) as server:
        clients = [await connect(server.websocket_url("/echo")) for _ in range(10)]
        async with asyncio.timeout(10):
            assert await server.stop(number) == 0
        for client in clients:
            with pytest.raises(ConnectionClosed):
                await client.recv()
            assert client.close_code == 1012
        assert "stopped" in server.log


@pytest.mark.parametrize("setting", ["server.close_seconds", "server.stop_seconds"])
async def test_a_stop_while_nobody_answers(tmp_path: Path, setting: str) -> None:
    """A client that does not take part in the closing handshake does not hold the server up."""
    patience = {"server.close_seconds": 60, "server.stop_seconds": 60, setting: 0.2}
    async with Server(tmp_path, patience, config=SERVICES) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(
            b"GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        assert await server.stop() == 0
        writer.close()


async def test_a_file_becomes_a_service(tmp_path: Path) -> None:
    """A Python file in services/ beside the configuration, named there, answers at its path."""
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "megaphone.py").write_text(MEGAPHONE)
    async with Server(tmp_path, config=SERVICES + "[services.megaphone]\n") as server:
        url = server.websocket_url("/megaphone")
        async with connect(url) as ann, connect(url) as ben:
            await ben.send("is this on?")
            assert await ben.recv() == "is this on?"
            assert await ann.recv() == "is this on?"
        assert await server.stop() == 0


async def test_a_broken_service_breaks_nothing_else(tmp_path: Path) -> None:
    """A syntax error is named in the log and in /health, file and line; everything else is served."""
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "broken.py").write_text("from server import Service\n\nclass Broken(Service:\n")
    async with Server(tmp_path, config=SERVICES + "[services.broken]\n") as server, httpx.AsyncClient() as http:
        health = (await http.get(f"{server.url}/health")).json()
        assert health["status"] == "degraded"
        assert health["services"]["chat"]["state"] == "running"
        problem = health["services"]["broken"]["problem"]
        assert "broken.py" in problem
        assert "line 3" in problem
        assert "broken.py" in server.log
        async with connect(server.websocket_url("/echo")) as client:
            await client.send("fine")
            assert await client.recv() == "fine"
        assert await server.stop() == 0


async def test_nothing_private_is_logged(tmp_path: Path) -> None:
    """No message text, password, cookie or token stands in the log, even at level debug."""
    secrets = ("my secret text", "a secret password", "Nobody's Business")
    async with Server(tmp_path, {"log.level": "debug"}, config=SERVICES) as server:
        async with httpx.AsyncClient(base_url=server.url) as http:
            await http.post("/auth/register", json={"name": secrets[2], "password": secrets[1]})
            await http.post("/auth/login", json={"name": secrets[2], "password": secrets[1] + "!"})
            cookie = http.cookies["switchboard_session"]
        headers = {"Cookie": f"switchboard_session={cookie}"}
        async with connect(server.websocket_url("/chat"), additional_headers=headers) as client:
            await client.recv()
            for call in (
                {"method": "rooms.join", "params": {"room": "lobby"}},
                {"method": "messages.send", "params": {"room": "lobby", "text": secrets[0], "nonce": "n"}},
                {"method": "messages.send", "params": {"room": "nowhere", "text": secrets[0], "nonce": secrets[0]}},
            ):
                await client.send(json.dumps({"jsonrpc": "2.0", "id": 1, **call}))
            await client.send("{" + secrets[0])
            for _ in range(5):
                await client.recv()
        assert await server.stop() == 0
        for secret in (*secrets[:2], cookie):
            assert secret not in server.log


async def test_python_websockets_client_works(tmp_path: Path) -> None:
    """`python -m websockets ws://.../echo` talks to the echo service."""
    async with Server(tmp_path, config=SERVICES) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "websockets", server.websocket_url("/echo"),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"hello there\n")
        async with asyncio.timeout(20):
            while b"< hello there" not in await process.stdout.readline():
                pass
        process.stdin.close()
        await process.wait()

"""`deploy/nginx.conf` in front of a real server, and what `switchboard doctor` says of it."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.deploy.support import Nginx
from tests.server.operating.support import Done, run
from tests.support.server import Server, free_port

SERVED = "[services.echo]\n"


def nginx(folder: Path, port: int, without: tuple[str, ...] = (), idle: str = "75s") -> Nginx:
    return Nginx(folder, port, (free_port(), free_port()), without, idle)


async def doctor(proxy: Nginx, server: Server, *arguments: str) -> Done:
    return await asyncio.to_thread(run, "doctor", proxy.url, "--config", server.folder / "config.toml", *arguments)


def verdicts(done: Done) -> dict[str, str]:
    """Return each thing with its verdict."""
    lines = [line for line in done.out.splitlines() if line.startswith("  ") and "->" not in line[:24]]
    return {line[8:20].strip(): line[2:6].strip() for line in lines}


async def test_all_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """WebSockets, TLS and addresses come through, nobody else gets the figures, and the doctor finds nothing."""
    server = Server(tmp_path, {"server.proxies": "127.0.0.1", "server.connections_per_address": 1}, config=SERVED)
    proxy = nginx(tmp_path, server.port)
    monkeypatch.setenv("SSL_CERT_FILE", str(proxy.certificate))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(server)
        stack.enter_context(proxy.running())
        done = await doctor(proxy, server, "--idle", "0.05")
        assert done.status == 0, done.out
        assert set(verdicts(done).values()) <= {"ok", "skip"}, done.out
        assert {"certificate", "page", "health", "client", "WebSocket", "idle", "database", "SQLite"} <= {
            what for what, verdict in verdicts(done).items() if verdict == "ok"
        }
        await addresses_are_believed(proxy)


async def addresses_are_believed(proxy: Nginx) -> None:
    """Each address of a client counts for itself: with one connection for each, another address gets in."""
    context = ssl.create_default_context(cafile=proxy.certificate)

    def from_address(address: str) -> connect:
        return connect(
            f"{proxy.websocket_url}/echo", ssl=context, local_addr=(address, 0), proxy=None, compression=None
        )

    async with from_address("127.0.0.2") as one, from_address("127.0.0.3") as other:
        for client in (one, other):
            await client.send("hello")
            assert await client.recv() == "hello"
        with pytest.raises(InvalidStatus) as refused:
            await from_address("127.0.0.2")
        assert refused.value.response.status_code == 429


async def test_a_proxy_without_upgrades(tmp_path: Path) -> None:
    """The doctor names a proxy that passes on no upgrade, one that is not believed, and a certificate of nobody."""
    server = Server(tmp_path, config=SERVED)
    proxy = nginx(tmp_path, server.port, without=("Upgrade  ", "Connection  "))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(server)
        stack.enter_context(proxy.running())
        done = await doctor(proxy, server, "--outside")
        assert done.status == 1
        found = verdicts(done)
        assert {what for what, verdict in found.items() if verdict == "fail"} == {"certificate", "client", "WebSocket"}
        assert "pass on Upgrade and Connection" in done.out
        assert "server.proxies" in done.out
        assert "database" not in found


async def test_a_proxy_without_a_server(tmp_path: Path) -> None:
    """The doctor tells a proxy that reaches nobody from a server that is not well."""
    server = Server(tmp_path, config=SERVED)
    proxy = nginx(tmp_path, server.port)
    with proxy.running():
        done = await doctor(proxy, server, "--outside")
    assert done.status == 1
    assert f"see whether Switchboard runs, and whether the proxy points to 127.0.0.1:{server.port}" in done.out
    assert verdicts(done)["page"] == verdicts(done)["health"] == "fail"


async def test_a_proxy_that_cuts_who_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --idle the doctor finds a timeout that is shorter than the heartbeat."""
    server = Server(tmp_path, {"server.proxies": "127.0.0.1"}, config=SERVED)
    proxy = nginx(tmp_path, server.port, idle="500ms")
    monkeypatch.setenv("SSL_CERT_FILE", str(proxy.certificate))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(server)
        stack.enter_context(proxy.running())
        done = await doctor(proxy, server, "--outside", "--idle", "60")
    assert done.status == 1
    assert {what for what, verdict in verdicts(done).items() if verdict == "fail"} == {"idle"}, done.out
    assert "proxy_read_timeout" in done.out

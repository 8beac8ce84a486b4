"""The memory budget: what follows from it, and what is given up when it runs short, in which order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server import memory
from server.config import ServerSettings, Settings, decode
from server.errors import ConfigError
from server.memory import CLIENT_BYTES, MIB, SLOW_AT_ONCE, Monitor, derive, share_bytes
from server.net.connection import Connection
from server.usage import resident_bytes
from tests.server.service.support import Site, eventually, logged, serving, write_service
from tests.support.net import RawClient, client_frame, upgrade_request
from tests.support.server import SCALE

SHARE = 1000 * MIB

HOLDER = """
from server import Service

class Holder(Service):
    kept = 8

    def shrink(self):
        freed, self.kept = self.kept - self.kept // 2, self.kept // 2
        return freed

    async def serve(self, connection):
        async for message in connection:
            connection.write("x" * int(message))
"""

BROKEN = """
from server import Service

class Broken(Service):
    async def serve(self, connection):
        pass

    def shrink(self):
        raise ValueError("no")
"""


def settings(services: dict[str, Any] | None = None, **server: Any) -> Settings:
    return decode({"server": server, "services": services or {}}, Path())


# What follows from the budget.


def test_without_a_budget_nothing_follows() -> None:
    """0 is no budget: every default stays what it was, and there is no share to watch."""
    plain = settings()
    assert derive(plain) is plain
    assert share_bytes(plain, worker=False) == 0


def test_the_smallest_machine() -> None:
    """256 MiB are enough for ten thousand clients, and for all that is derived together."""
    server = derive(settings(memory=256)).server
    assert 10_000 < server.connections < 15_000
    assert server.outgoing_bytes == 768 * 1024
    assert server.cache_bytes == 24 * MIB
    taken = memory.MAIN_BYTES + server.connections * CLIENT_BYTES + server.cache_bytes
    assert taken + SLOW_AT_ONCE * server.outgoing_bytes < 256 * MIB


def test_what_is_configured_stays() -> None:
    """A setting that somebody wrote down is not changed by the budget."""
    server = derive(settings(memory=256, connections=50, outgoing_bytes=4096, cache_bytes=1)).server
    assert (server.connections, server.outgoing_bytes, server.cache_bytes) == (50, 4096, 1)


@pytest.mark.parametrize(("workers", "least"), [(0, 80), (1, 148), (4, 352)])
def test_too_little(workers: int, least: int) -> None:
    """A budget that the processes cannot keep is an error that names the least one, and with that it works."""
    services = {"chat": {"workers": workers}}
    with pytest.raises(ConfigError) as caught:
        derive(settings(services, memory=least - 1))
    assert f"server.memory: {least - 1} MiB is too little" in caught.value.problems[0]
    assert caught.value.problems[0].endswith(f"at least {least}")
    assert derive(settings(services, memory=least)).server.connections >= 1000


@given(st.integers(488, 10**6), st.integers(0, 4), st.integers(0, 2))
def test_any_budget(budget: int, chat: int, dice: int) -> None:
    """The shares of all processes are the budget; nothing derived is useless, or larger than what it comes from."""
    configured = settings({"chat": {"workers": chat}, "dice": {"workers": dice}}, memory=budget)
    derived = derive(configured)
    assert derive(derived) == derived
    workers = chat + dice
    shares = share_bytes(derived, worker=False) + workers * share_bytes(derived, worker=True)
    assert budget * MIB - workers - 1 < shares <= budget * MIB
    server, default = derived.server, ServerSettings()
    assert server.connections * CLIENT_BYTES < budget * MIB / 2
    assert memory.LEAST_OUTGOING_BYTES <= server.outgoing_bytes <= default.outgoing_bytes
    assert MIB <= server.cache_bytes <= memory.MOST_CACHE_BYTES


# What is given up.


class Watched:
    """A host with clients, and a monitor that believes whatever it is told."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.taken = 0.0
        self.monitor = Monitor(site.host, 2 * SHARE, SHARE, lambda: int(self.taken * SHARE))

    def look(self, pressure: float) -> dict[str, int]:
        """Look with such a pressure; returns what was given up so far."""
        self.taken = pressure
        self.monitor.look()
        return dict(self.monitor.figures.shed)

    async def client(self) -> tuple[RawClient, Connection]:
        """Connect somebody to the service `holder`; returns both ends."""
        before = set(self.site.host.connections())
        client = await RawClient.upgrade(self.site.listener, "/holder")
        await eventually(lambda: set(self.site.host.connections()) - before)
        (connection,) = set(self.site.host.connections()) - before
        return client, connection


@asynccontextmanager
async def watching(folder: Path) -> AsyncIterator[Watched]:
    write_service(folder, "holder", HOLDER)
    write_service(folder, "broken", BROKEN)
    table = {"port": 0, "close_seconds": 10 * SCALE}
    async with serving(decode({"server": table, "services": {"holder": {}, "broken": {}}}, folder)) as site:
        yield Watched(site)


async def test_caches_give_way_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """From 85 % on caches are halved while there is something in them; nobody is closed, and it is logged once."""
    async with watching(tmp_path) as watched:
        client, connection = await watched.client()
        with logged(caplog) as events:
            assert watched.look(0.84)["cache"] == 0
            assert [watched.look(0.85)["cache"] for _ in range(6)] == [1, 2, 3, 4, 4, 4]
            assert watched.look(0.84)["cache"] == 4
            watched.look(0.82)
        about = [event for event in events if "memory is short" in event]
        assert about == ["memory is short: caches give way", "over: memory is short: caches give way"]
        assert (watched.monitor.figures.pressure, watched.monitor.figures.budget_bytes) == (0.82, 2 * SHARE)
        assert connection.closed is None
        await client.close()


async def test_a_service_that_cannot_shrink(tmp_path: Path) -> None:
    """It is an incident of that service; the others shrink all the same."""
    async with watching(tmp_path) as watched:
        assert watched.look(0.9)["cache"] == 1
        assert watched.site.host.statuses()["broken"].incidents == 1


async def test_the_slowest_go_next(tmp_path: Path) -> None:
    """From 92 % on clients that are behind are closed, most waiting first, as many as it takes and no others."""
    async with watching(tmp_path) as watched:
        clients = {name: await watched.client() for name in ("healthy", "little", "most", "more")}
        for name, mib in (("little", 8), ("most", 16), ("more", 12)):
            clients[name][1].write("x" * mib * MIB)
        queued = {name: connection.queued_bytes for name, (_, connection) in clients.items()}
        assert queued["most"] > queued["more"] > queued["little"] > queued["healthy"] == 0
        assert watched.look(0.919)["slow"] == 0
        pressure = 0.92 + (queued["most"] + queued["more"] / 2) / SHARE
        assert watched.look(pressure)["slow"] == 2
        assert watched.look(pressure)["slow"] == 2  # they are on their way out: what they have waiting counts as gone
        assert {name for name, (_, connection) in clients.items() if connection.behind} == {"little"}
        for name in ("most", "more"):
            assert await clients[name][0].close_code() == 4008
        assert watched.look(0.96)["slow"] == 3
        assert watched.look(0.96)["slow"] == 3  # who keeps up stays, whatever happens
        healthy, _ = clients["healthy"]
        healthy.writer.write(client_frame(1, b"5"))
        assert await healthy.frame() == (1, b"xxxxx")
        for client, _ in clients.values():
            await client.close()


async def test_nobody_is_let_in_at_the_end(tmp_path: Path) -> None:
    """From 97 % on new clients are told to try again; who is there stays, and when there is room all is well."""
    async with watching(tmp_path) as watched:
        watched.look(0.99)
        client, connection = await watched.client()  # where nobody is, refusing would be for ever
        assert watched.look(0.99)["connections"] == 0
        for refused in (1, 2):
            stranger = await RawClient.connect(watched.site.listener)
            stranger.writer.write(upgrade_request("/holder"))
            assert (await stranger.head()).startswith("HTTP/1.1 503 ")
            await stranger.close()
            assert watched.look(0.96)["connections"] == refused  # not over yet
        watched.look(0.94)
        other, _ = await watched.client()
        assert connection.closed is None
        for each in (client, other):
            await each.close()


async def test_who_is_on_the_way_out_is_cut_at_the_end(tmp_path: Path) -> None:
    """From 97 % on nobody waits for a client that is being closed and reads nothing: what it has waiting is freed."""
    async with watching(tmp_path) as watched:
        client, connection = await watched.client()
        connection.write("x" * 16 * MIB)
        assert watched.look(0.93)["slow"] == 1
        assert connection.closed is None
        watched.look(0.97)
        await eventually(lambda: connection.closed)
        await client.close()


async def test_what_came_in_counts_too(tmp_path: Path) -> None:
    """A client holds what waits for it, and what it has sent and the service has not taken yet."""
    async with watching(tmp_path) as watched:
        client, connection = await watched.client()
        assert connection.held_bytes == 0
        connection.message_received("12345")
        connection.message_received(b"678")
        assert (connection.held_bytes, connection.queued_bytes) == (8, 0)
        await client.close()


async def test_it_watches_by_itself(tmp_path: Path) -> None:
    """Once started it looks again and again, until it is stopped."""
    async with watching(tmp_path) as watched:
        watched.taken = 0.9
        watched.monitor.start()
        try:
            await eventually(lambda: watched.monitor.figures.shed["cache"] >= 2)
        finally:
            watched.monitor.stop()


def test_what_is_free_goes_back() -> None:
    """What the allocator holds of memory that is free goes back to the system, which is what the budget is about."""
    allocator = memory._allocator()
    if allocator is None:
        pytest.skip("the C library is not glibc")
    dropped, kept = [], []
    for _ in range(64 * 2**10):
        dropped.append(bytes(1000))
        if len(dropped) % 1000 == 0:
            kept.append(bytes(1000))
    dropped.clear()
    before = resident_bytes()
    allocator.malloc_trim(0)
    assert before - resident_bytes() > 32 * MIB

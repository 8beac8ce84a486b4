"""Measuring: the figures of a process say what its parts know."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from server.db import Database, Statement
from server.figures import Figures, MemoryFigures
from server.measuring import measure
from server.net.connection import Connection
from server.net.frames import encode
from server.pubsub.local import LocalBroker
from server.pubsub.topics import Topics
from server.service.watchdog import Stall
from tests.server.service.support import eventually, serving, settings_for, write_service
from tests.support.net import RawClient

TALKER = """
from server import Service

class Talker(Service):
    async def serve(self, connection):
        async for message in connection:
            connection.write("x" * int(message))
"""


async def test_measure(tmp_path: Path) -> None:
    """Each figure comes from the part that knows it."""
    write_service(tmp_path, "talker", TALKER)
    async with (
        serving(settings_for(tmp_path, talker={}, echo={})) as site,
        await Database.open("sqlite://:memory:") as db,
    ):
        broker = LocalBroker()
        topics = Topics(encode, broker)

        def look() -> Figures:
            return measure(
                "main",
                site.host,
                topics,
                db,
                broker,
                site.listener.connections,
                handovers=7,
                memory=MemoryFigures(budget_bytes=3, pressure=0.5, shed={"slow": 1}),
            )

        client = await RawClient.upgrade(site.listener, "/talker")
        try:
            await eventually(lambda: look().services["talker"].connections == 1)
            (connection,) = site.listener.connections
            await assert_queue(look, connection)
            with topics.topic("t").subscribe(connection):
                topics.topic("t").publish("one")
                topics.topic("t").publish("two")
                topics.topic("t").flush()
            await db.execute(Statement("CREATE TABLE t (id INTEGER)"))
            await db.execute(Statement("INSERT INTO t VALUES (1), (2)"))
            site.host._stalled(Stall("talker", 0.75, "talker.py:1"))
            site.host._stalled(Stall("talker", 0.5, "talker.py:1"))
            site.host._stalled(Stall(None, 9.0, "elsewhere"))
            figures = look()
        finally:
            await client.close()
    talker, echo = figures.services["talker"], figures.services["echo"]
    assert (talker.running, talker.stalls, talker.stall_seconds, talker.last_stall_seconds) == (True, 2, 1.25, 0.5)
    assert (echo.running, echo.connections, echo.stalls) == (True, 0, 0)
    assert (figures.publications, figures.deliveries, figures.handovers) == (2, 2, 7)
    assert figures.commits.total == 2
    assert figures.commit_rows == 2
    assert figures.commits.seconds > 0
    assert figures.pool.size == 3
    assert (figures.broker.connected, figures.broker.gaps) == (True, 0)
    assert figures.memory.shed == {"slow": 1}
    process = figures.processes["main"]
    assert process.resident_bytes > 2**20
    assert process.descriptors > 5
    assert 0 < process.cpu_seconds <= sum(os.times()[:2]) + 1


async def assert_queue(look: Callable[[], Figures], connection: Connection) -> None:
    """What a client does not take is in the queue's bytes, and the connection counts as behind."""
    assert look().queue_bytes == 0
    assert not connection.behind
    connection.write("x" * 8 * 2**20)
    assert 2**20 < look().queue_bytes == connection.queued_bytes
    assert connection.behind

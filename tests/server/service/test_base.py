"""Raw services: one coroutine per client, and what happens however it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed as ClientClosed
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK

from server import Connection, ConnectionClosed, Service
from server.service.harness import Client, ServiceHarness
from tests.server.service.support import WAIT_SECONDS, eventually, serving, settings_for, write_service


class Scripted(Service):
    """Does with each client what the test wants, and notes how that ended."""

    leave_seconds = 0.01

    async def start(self) -> None:
        self.ended: list[BaseException | None] = []
        self.others: list[Connection] = []

    async def serve(self, connection: Connection) -> None:
        try:
            await self.act(connection)
        except BaseException as error:
            self.ended.append(error)
            raise
        self.ended.append(None)

    async def act(self, connection: Connection) -> None:
        async for message in connection:
            match message:
                case "return":
                    return
                case "raise":
                    raise LookupError("a secret of the service")
                case "exit":
                    raise SystemExit(3)
                case "cancelled":
                    await _cancelled()
                case "group":
                    async with asyncio.TaskGroup() as tasks:
                        tasks.create_task(_send_for_ever(connection))
                case "send":
                    await _send_for_ever(connection)
                case "never":
                    await asyncio.Event().wait()
                case "other":
                    await self.others[0].send("hello")
                case _:
                    await connection.send(message)


async def _send_for_ever(connection: Connection) -> None:
    while True:
        await connection.send("more")
        await asyncio.sleep(0)


async def _cancelled() -> None:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def test_returning_closes_with_1000() -> None:
    """When `serve` returns, the connection closes normally."""
    async with ServiceHarness(Scripted) as harness:
        client = await harness.connect()
        client.send("return")
        assert (await client.closed()).code == 1000
        assert harness.incidents == []


@pytest.mark.parametrize("how", ["raise", "exit", "cancelled"])
async def test_raising_closes_with_1011_and_an_incident(how: str, caplog: pytest.LogCaptureFixture) -> None:
    """What `serve` raises, `sys.exit()` included, is logged under the id that the client gets; others go on."""
    async with ServiceHarness(Scripted) as harness:
        other = await harness.connect()
        client = await harness.connect()
        client.send(how)
        closed = await client.closed()
        (error,) = harness.incidents
        assert closed.code == 1011
        assert "secret" not in closed.reason
        record = caplog.records[-1]
        assert closed.reason == f"incident {record.__dict__['fields']['incident']}"
        assert record.exc_info is not None
        assert record.exc_info[1] is error
        other.send("still here?")
        assert await other.receive() == "still here?"


@pytest.mark.parametrize("how", ["echo", "send", "group"])
async def test_a_client_that_leaves_is_no_incident(how: str) -> None:
    """The iteration ends, or `send` raises `ConnectionClosed`, also out of a task group: that is how clients leave."""
    async with ServiceHarness(Scripted) as harness:
        client = await harness.connect()
        client.send(how)
        await client.receive()
        await client.leave()
        await eventually(lambda: harness.service.ended)
        (ended,) = harness.service.ended
        assert harness.incidents == []
        assert (ended is None) == (how == "echo")
        if isinstance(ended, ConnectionClosed):
            assert ended.code == 1001


async def test_another_client_that_is_gone_is_an_incident() -> None:
    """`ConnectionClosed` of another connection than the coroutine's own is a failure of the service."""
    async with ServiceHarness(Scripted) as harness:
        gone, client = await harness.connect(), await harness.connect()
        harness.service.others.append(gone.connection)
        await gone.leave()
        client.send("other")
        assert (await client.closed()).code == 1011
        assert [type(error) for error in harness.incidents] == [ConnectionClosed]


async def test_who_stays_after_the_client_is_cancelled() -> None:
    """A coroutine whose client is gone has a while to leave; then it is cancelled, and that is no incident."""
    async with ServiceHarness(Scripted) as harness:
        client = await harness.connect()
        client.send("never")
        await client.leave()
        await eventually(lambda: harness.service.ended)
        assert isinstance(harness.service.ended[0], asyncio.CancelledError)
        assert harness.incidents == []


class Lingering(Service):
    """Needs a moment to leave."""

    done = False

    async def serve(self, connection: Connection) -> None:
        async for _ in connection:
            pass
        await asyncio.sleep(0.02)
        self.done = True


async def test_who_needs_a_moment_to_leave_gets_it() -> None:
    """What `serve` does after its client is gone is not cut short."""
    async with ServiceHarness(Lingering) as harness:
        client = await harness.connect()
        await client.leave()
        await eventually(lambda: harness.service.done)


class Spawning(Service):
    """Works beside its clients."""

    async def start(self) -> None:
        self.tasks: dict[str, asyncio.Task[Any]] = {}

    async def serve(self, connection: Connection) -> None:
        async for message in connection:
            assert isinstance(message, str)
            self.tasks[message] = self.spawn(self.work(message))
            await connection.send("spawned")

    async def work(self, what: str) -> str:
        if what == "raise":
            raise LookupError(what)
        if what == "exit":
            raise SystemExit
        if what == "never":
            await asyncio.Event().wait()
        return what

    async def stop(self) -> None:
        self.alive_at_stop = not self.tasks["never"].done()


async def _spawn(client: Client, what: str) -> None:
    client.send(what)
    await client.receive()


async def test_spawned_work() -> None:
    """`spawn` gives results and errors to whoever awaits, makes failures incidents, and ends behind `stop`."""
    harness = ServiceHarness(Spawning)
    async with harness:
        client = await harness.connect()
        for what in ("fine", "raise", "exit", "never"):
            await _spawn(client, what)
        tasks = harness.service.tasks
        assert await tasks["fine"] == "fine"
        with pytest.raises(LookupError):
            await tasks["raise"]
        with pytest.raises(RuntimeError, match=r"sys\.exit"):
            await tasks["exit"]
        assert [type(error) for error in harness.incidents] == [LookupError, RuntimeError]
    assert harness.service.alive_at_stop
    assert tasks["never"].cancelled()


class Stubborn(Service):
    """Does not let itself be cancelled at once."""

    leave_seconds = 0.0

    async def start(self) -> None:
        self.release = asyncio.Event()
        self.cancelled = 0

    async def serve(self, connection: Connection) -> None:
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.cancelled += 1


async def test_who_swallows_cancellation_does_not_hold_up_the_stop(caplog: pytest.LogCaptureFixture) -> None:
    """A task that cannot be cancelled is named in the log, and not waited for."""
    async with ServiceHarness(Stubborn) as harness:
        client = await harness.connect()
        await client.leave()
        await eventually(lambda: harness.service.cancelled)
        async with asyncio.timeout(WAIT_SECONDS):
            await harness.service.end_clients(0)
        assert "a task cannot be cancelled" in caplog.messages
        harness.service.release.set()


async def test_topics_and_presences_are_the_services_own() -> None:
    """Two services that use one name have different topics and presences; one service has the same one twice."""
    async with ServiceHarness(Scripted, name="one") as one, ServiceHarness(Scripted, name="two") as two:
        assert one.service.topic("all") is one.service.topic("all")
        assert one.service.topic("all").name != two.service.topic("all").name
        assert one.service.presence("all") is one.service.presence("all")
        assert one.service.presence("all").name != two.service.presence("all").name


MEGAPHONE = """
    from server import Connection, Service

    class Megaphone(Service):
        protocols = ("loud.v2", "loud.v1")

        async def serve(self, connection: Connection) -> None:
            topic = self.topic("all")
            with topic.subscribe(connection):
                await connection.send(str(topic.subscribers))
                async for message in connection:
                    if message == "fail":
                        raise ValueError(message)
                    if message == "bye":
                        return
                    topic.publish(message)
"""


async def test_over_a_real_socket(tmp_path: Any) -> None:
    """The megaphone of the documentation, with clients that are not ours: text, binary, subprotocol, close codes."""
    write_service(tmp_path, "megaphone", MEGAPHONE)
    async with serving(settings_for(tmp_path, megaphone={})) as site:
        a = await site.connect("/megaphone", subprotocols=["loud.v1", "loud.v2"])
        assert a.subprotocol == "loud.v2"
        assert await a.recv() == "1"
        b = await site.connect("/megaphone")
        assert await b.recv() == "2"
        await a.send("hello")
        await b.send(b"\x00\xff")
        received = [await client.recv() for client in (a, b) for _ in range(2)]
        assert sorted(map(str, received)) == sorted(map(str, ["hello", b"\x00\xff"] * 2))
        await a.send("fail")
        with pytest.raises(ConnectionClosedError) as failed:
            await a.recv()
        assert failed.value.rcvd is not None
        assert failed.value.rcvd.code == 1011
        assert failed.value.rcvd.reason.startswith("incident ")
        await b.send("bye")
        with pytest.raises(ConnectionClosedOK):
            await b.recv()
        c = await site.connect("/megaphone")
        assert await c.recv() == "1"
        await site.listener.stop()
        with pytest.raises(ClientClosed) as restart:
            await c.recv()
        assert restart.value.rcvd is not None
        assert restart.value.rcvd.code == 1012

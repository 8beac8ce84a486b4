"""The harness: what it promises to the author of a service."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from server import Caller, Connection, ConnectionClosed, Delivery, Identity, RpcService, Service, method, notification
from server.config import ServerSettings, ServiceSettings
from server.errors import ConfigError
from server.service import harness as harness_module
from server.service.discovery import find
from server.service.harness import ServiceHarness
from tests.server.service.support import eventually


class Said(msgspec.Struct):
    """Somebody said something."""

    who: str
    text: str


class Table(RpcService):
    """A table at which people talk."""

    login = "guest"

    class Settings(msgspec.Struct, frozen=True):
        loud: bool = False

    settings: Settings

    async def start(self) -> None:
        self.stopped = False

    async def stop(self) -> None:
        self.stopped = True

    def joined(self, caller: Caller) -> None:
        self.topic("table").subscribe(caller.connection)
        self.presence("table").enter(caller.user.id, caller.user.name, caller.connection)

    @method
    async def say(self, caller: Caller, text: str, times: int = 1) -> int:
        """Say something to everybody."""
        for _ in range(times):
            said = Said(caller.user.name, text.upper() if self.settings.loud else text)
            self.topic("table").publish(notification("said", said))
        return len(self.presence("table").members())

    @method
    async def slow(self, caller: Caller) -> None:
        """Never answer."""
        await asyncio.Event().wait()


async def test_several_clients() -> None:
    """Clients with identities call, hear each other, and are present; `event` leaves other events where they are."""
    async with ServiceHarness(Table, {"loud": True}) as table:
        ann, bob = await table.connect("ann"), await table.connect(await table.user("bob", "guest"))
        assert ann.user == Identity(1, "ann", "member")
        assert bob.user is not None
        assert (bob.user.name, bob.user.role) == ("bob", "guest")
        assert await ann.call("say", text="hello") == 2
        assert await bob.event("said") == {"who": "ann", "text": "HELLO"}
        assert (await bob.event("welcome"))["user"]["name"] == "bob"
        bob.notify("say", "bye", 2)
        assert [(await ann.event("said"))["text"] for _ in range(3)] == ["HELLO", "BYE", "BYE"]
        await bob.leave()
        await eventually(lambda: table.service.presence("table").count == 1)
        assert await table.call("say", "anybody?") == 2


async def test_the_life_of_the_service() -> None:
    """The service is started before the block and stopped behind it, its clients are gone by then."""
    async with ServiceHarness(Table, name="round") as table:
        service = table.service
        client = await table.connect("ann")
        assert (service.name, service.stopped) == ("round", False)
    assert service.stopped
    assert client.connection.closed is not None
    assert client.connection.closed.code == 1012


async def test_options_are_decoded_as_the_server_does() -> None:
    """A wrong option is a `ConfigError`, as it would be in config.toml."""
    with pytest.raises(
        ConfigError, match=r"services\.table\.lout: is not a setting; did you mean services\.table\.loud"
    ):
        async with ServiceHarness(Table, {"lout": True}):
            pass


async def test_who_waits_in_vain_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not come fails the test after a while, instead of hanging it."""
    monkeypatch.setattr(harness_module, "WAIT_SECONDS", 0.01)
    async with ServiceHarness(Table) as table:
        client = await table.connect("ann")
        with pytest.raises(TimeoutError):
            await client.event("nothing")
        with pytest.raises(TimeoutError):
            await client.closed()
        with pytest.raises(TimeoutError):
            await client.call("slow")
        assert await client.call("say", "still fine") == 1


async def test_a_closed_connection_is_told() -> None:
    """Whoever waits at a connection that closes is told so."""
    async with ServiceHarness(Table) as table:
        client = await table.connect("ann")
        waiting = [asyncio.ensure_future(client.event("never")), asyncio.ensure_future(client.call("slow"))]
        await client.event("welcome")
        await client.leave(1001)
        for waiter in waiting:
            with pytest.raises(ConnectionClosed) as closed:
                await waiter
            assert closed.value.code == 1001
        with pytest.raises(TypeError):
            await client.call("say", "by position", times=1)


class Shouter(Service):
    """Publishes what it hears, in every delivery class."""

    async def serve(self, connection: Connection) -> None:
        topic = self.topic("all")
        with topic.subscribe(connection):
            async for message in connection:
                assert isinstance(message, str)
                topic.publish(f"durable {message}")
                topic.publish(f"latest {message}", Delivery.LATEST, "key")
                topic.publish(f"droppable {message}", Delivery.DROPPABLE)


async def test_a_client_that_does_not_read() -> None:
    """A client that stops reading gets later what it must not miss, and the newest of the rest."""
    async with ServiceHarness(Shouter) as shouter:
        slow, fast = await shouter.connect(), await shouter.connect()
        slow.stop_reading()
        for number in range(3):
            fast.send(str(number))
            assert [await fast.receive() for _ in range(3)] == [
                f"{kind} {number}" for kind in ("durable", "latest", "droppable")
            ]
        slow.go_on_reading()
        assert [await slow.receive() for _ in range(4)] == ["durable 0", "durable 1", "durable 2", "latest 2"]


async def test_a_client_that_is_too_slow() -> None:
    """A client that does not read is closed with 4008 at its bound, and the others lose nothing."""
    async with ServiceHarness(Shouter, server=ServerSettings(outgoing_bytes=1000)) as shouter:
        slow, fast = await shouter.connect(), await shouter.connect()
        slow.stop_reading()
        for number in range(100):
            fast.send(str(number))
        assert (await slow.closed()).code == 4008
        durable = [message for message in [await fast.receive() for _ in range(300)] if str(message)[0] == "d"]
        assert [m for m in durable if "durable" in str(m)] == [f"durable {number}" for number in range(100)]


KEEPER = """
from server import Caller, RpcService, method
from server.db import DbObject, Integer, Text


class Note(DbObject):
    dbo_tablename = "notes"
    id = Integer(primary_key=True)
    text = Text(max_length=20)


class Keeper(RpcService):
    @method
    async def keep(self, caller: Caller, text: str) -> int:
        await Note(text=text).insert(self.db)
        return await Note.select(self.db).count()
"""

MIGRATION = """
from server.db import CreateTable, Integer, Text

steps = [CreateTable("notes", {"id": Integer(primary_key=True), "text": Text(max_length=20)})]
"""


async def test_the_database_is_a_real_one(tmp_path: Path) -> None:
    """Migrations beside the service's module are applied; a file keeps what was written."""
    folder = tmp_path / "services" / "keeper"
    (folder / "migrations").mkdir(parents=True)
    (folder / "__init__.py").write_text(KEEPER)
    (folder / "migrations" / "0001_initial.py").write_text(MIGRATION)
    keeper = find(ServiceSettings("keeper", "/keeper"), tmp_path).cls
    for expected in (1, 2):
        async with ServiceHarness(keeper, database=f"sqlite:///{tmp_path / 'file.db'}") as harness:
            assert await harness.call("keep", text="milk") == expected


async def test_a_start_that_fails_is_seen() -> None:
    """What `start` raises fails the test, and leaves nothing behind."""

    class Broken(Service):
        async def start(self) -> None:
            raise LookupError

    with pytest.raises(LookupError):
        async with ServiceHarness(Broken):
            pass

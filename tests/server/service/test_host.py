"""The host: who may come in, what a failing service means for the others, and the end of everything."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed as ClientClosed
from websockets.exceptions import InvalidStatus

from server import Identity
from server.db import Database, NewerSchema
from server.net.frames import encode
from server.net.handshake import Admission, Refusal
from server.pubsub.local import LocalBroker
from server.pubsub.peers import Peers
from server.pubsub.presence import Presences
from server.pubsub.topics import Topics
from server.service import host as host_module
from server.service import mounted as mounted_module
from server.service.host import ServiceHost, State
from tests.server.service.support import (
    WAIT_SECONDS,
    Site,
    eventually,
    hosting,
    logged,
    serving,
    settings_for,
    write_service,
)

ANN = Identity(1, "ann", "guest", 11)
BOB = Identity(2, "bob", "member", 22)
ROOT = Identity(3, "root", "admin", 33)

ECHO = """
    from server import Service

    class Echo(Service):
        login = {login!r}

        async def serve(self, connection):
            async for message in connection:
                if message == "fail":
                    raise ValueError
                await connection.send(message)
"""

SWITCH = """
    import asyncio
    from server import Service

    class Switch(Service):
        starts = 0

        async def start(self):
            type(self).starts += 1
            self.task = self.spawn(asyncio.Event().wait())
            if {condition}:
                {action}

        async def serve(self, connection):
            await connection.send(str(self.starts))

        async def stop(self):
            {stop}
"""


def switch(tmp_path: Path, name: str, condition: str = "False", action: str = "pass", stop: str = "pass") -> None:
    write_service(tmp_path, name, SWITCH.format(condition=condition, action=action, stop=stop))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait as long as in production."""
    monkeypatch.setattr(mounted_module, "BACKOFF_SECONDS", (0.01, 0.02))
    monkeypatch.setattr(mounted_module, "START_SECONDS", 0.1)


async def close_code(site: Site, path: str, user: Identity | None) -> int | None:
    """Connect, say something, and return how the server closes, or None when it answers."""
    async with site.connect(path, user) as client:
        with contextlib.suppress(ClientClosed):
            await client.send("hello")
            assert await client.recv() == "hello"
        return client.close_code


async def test_who_may_come_in(tmp_path: Path) -> None:
    """`none`: everybody; `guest`: whoever has an identity; `member`: members; the others get 4401 after the upgrade."""
    for login in ("none", "guest", "member"):
        write_service(tmp_path, f"for_{login}", ECHO.format(login=login))
    async with serving(settings_for(tmp_path, for_none={}, for_guest={}, for_member={})) as site:
        codes = {
            path: [await close_code(site, path, user) for user in (None, ANN, BOB, ROOT)]
            for path in ("/for_none", "/for_guest", "/for_member")
        }
    assert codes == {
        "/for_none": [None, None, None, None],
        "/for_guest": [4401, None, None, None],
        "/for_member": [4401, 4401, None, None],
    }


async def test_paths(tmp_path: Path) -> None:
    """A service answers at its path alone; every other path is 404 before the upgrade."""
    write_service(tmp_path, "echo", ECHO.format(login="none"))
    async with serving(settings_for(tmp_path, echo={"path": "/deep/mirror"})) as site:
        assert await close_code(site, "/deep/mirror", None) is None
        for path in ("/echo", "/", "/deep", "/deep/mirror/", "/deep/mirror/x", "/nothing", "/../deep"):
            with pytest.raises(InvalidStatus) as refused:
                await site.connect(path)
            assert refused.value.response.status_code == 404


async def test_a_session_that_ends_closes_its_sockets(tmp_path: Path) -> None:
    """`close_session` closes every socket of that session with 4401, in all services, and no other."""
    write_service(tmp_path, "one", ECHO.format(login="none"))
    write_service(tmp_path, "two", ECHO.format(login="guest"))
    async with serving(settings_for(tmp_path, one={}, two={})) as site:
        anns = [await site.connect(path, ANN) for path in ("/one", "/two", "/two")]
        bob = await site.connect("/one", BOB)
        nobody = await site.connect("/one")
        await eventually(lambda: sum(status.clients for status in site.host.statuses().values()) == 5)
        site.host.close_session(ANN.session or 0)
        for client in anns:
            with pytest.raises(ClientClosed) as closed:
                await client.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4401
        for client in (bob, nobody):
            await client.send("still here")
            assert await client.recv() == "still here"
            await client.close()
        await eventually(lambda: sum(status.clients for status in site.host.statuses().values()) == 0)


async def test_a_broken_service_harms_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A service with a syntax error is named in log and status, refused with 503, and the others serve."""
    write_service(tmp_path, "broken", "class A(\n")
    write_service(tmp_path, "echo", ECHO.format(login="none"))
    async with serving(settings_for(tmp_path, broken={}, echo={})) as site:
        assert await close_code(site, "/echo", None) is None
        with pytest.raises(InvalidStatus) as refused:
            await site.connect("/broken")
        assert refused.value.response.status_code == 503
        broken, echo = site.host.statuses()["broken"], site.host.statuses()["echo"]
        assert (broken.state, echo.state) == (State.FAILED, State.RUNNING)
        assert broken.problem.startswith("services/broken.py, line 1: ")
        assert [path for path, _ in site.host.running()] == ["/echo"]
    fields = [record.__dict__["fields"] for record in caplog.records if record.levelname == "ERROR"]
    assert fields == [{"service": "broken", "problem": broken.problem}]


async def test_methods_that_cannot_be(tmp_path: Path) -> None:
    """A bad signature, or a constructor that raises, is the service's problem, with file and line."""
    write_service(
        tmp_path,
        "rpc",
        """
        from server import RpcService, method

        class Rpc(RpcService):
            @method
            async def roll(self, caller, sides): ...
        """,
    )
    write_service(
        tmp_path,
        "raw",
        """
        from server import Service

        class Raw(Service):
            def __init__(self, context):
                raise LookupError("no")
            async def serve(self, connection): ...
        """,
    )
    async with hosting(settings_for(tmp_path, rpc={}, raw={}, dice={})) as host:
        statuses = host.statuses()
        assert statuses["rpc"].problem == "services/rpc.py, line 5: Rpc.roll: sides needs a type"
        assert statuses["raw"].problem == "services/raw.py, line 6: LookupError: no"
        assert statuses["dice"].state is State.RUNNING


async def test_options_that_are_wrong(tmp_path: Path) -> None:
    """Options that a service does not know keep it out; `check` has told that before."""
    async with hosting(settings_for(tmp_path, dice={"sides": 6})) as host:
        assert host.statuses()["dice"].problem == "services.dice.sides: is not a setting"
        assert host.statuses()["dice"].state is State.FAILED


async def test_a_failing_start_is_tried_again(tmp_path: Path, quick: None, caplog: pytest.LogCaptureFixture) -> None:
    """A service that does not start is on backoff, named, refused with 503; it serves as soon as it starts."""
    switch(tmp_path, "late", "self.starts < 4", "raise OSError('not yet')")
    async with serving(settings_for(tmp_path, late={}, dice={})) as site:
        status = site.host.statuses()["late"]
        if status.state is State.BACKOFF:
            assert status.problem == "does not start: OSError: not yet"
        await eventually(lambda: site.host.statuses()["late"].state is State.RUNNING)
        assert site.host.statuses()["late"].problem == ""
        async with site.connect("/late") as client:
            assert await client.recv() == "4"
    assert caplog.messages.count("service does not start") == 1
    assert caplog.messages.count("service still does not start") == 2


async def test_a_service_on_backoff_lets_nobody_in(tmp_path: Path, quick: None) -> None:
    """While a service is on backoff, its clients get 503, and what its start spawned is gone."""
    switch(tmp_path, "never", "True", "raise OSError('never')")
    async with hosting(settings_for(tmp_path, never={})) as host:
        refusal = host.admit("/never", None)
        assert isinstance(refusal, Refusal)
        assert refusal.status == 503
        assert host.statuses()["never"].state is State.BACKOFF
        await eventually(lambda: not [task for task in asyncio.all_tasks() if "_contained" in repr(task)])


async def test_a_start_that_hangs(tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that hangs does not hold up the others; after its deadline it has failed, and is tried again."""
    monkeypatch.setattr(host_module, "PATIENCE_SECONDS", 0.01)
    switch(tmp_path, "hangs", "self.starts == 1", "await asyncio.Event().wait()")
    async with hosting(settings_for(tmp_path, hangs={}, dice={})) as host:
        assert host.statuses()["dice"].state is State.RUNNING
        assert host.statuses()["hangs"].state is State.STARTING
        assert isinstance(host.admit("/hangs", None), Refusal)
        await eventually(lambda: host.statuses()["hangs"].state is State.RUNNING)


async def test_stop_while_starting(tmp_path: Path) -> None:
    """A host that is stopped while a service starts is stopped at once."""
    switch(tmp_path, "hangs", "True", "await asyncio.Event().wait()")
    settings = settings_for(tmp_path, hangs={}, dice={})
    async with await Database.open("sqlite://:memory:") as db, asyncio.timeout(WAIT_SECONDS):
        host = ServiceHost(settings, db, Topics(encode, LocalBroker()), Presences(), Peers(LocalBroker()))
        starting = asyncio.ensure_future(host.start())
        await eventually(lambda: host.statuses()["dice"].state is State.RUNNING)
        await host.stop()
        await starting
        assert {status.state for status in host.statuses().values()} == {State.STOPPED}


@pytest.mark.parametrize("stop", ["raise LookupError", "raise SystemExit", "await asyncio.Event().wait()"])
async def test_a_service_that_does_not_stop_well(tmp_path: Path, stop: str, caplog: pytest.LogCaptureFixture) -> None:
    """A `stop` that raises or hangs is named, and the others are stopped all the same."""
    switch(tmp_path, "sulky", stop=stop)
    async with await Database.open("sqlite://:memory:") as db:
        host = ServiceHost(
            settings_for(tmp_path, sulky={}, dice={}),
            db,
            Topics(encode, LocalBroker()),
            Presences(),
            Peers(LocalBroker()),
        )
        await host.start()
        await host.stop(0.01)
        assert {status.state for status in host.statuses().values()} == {State.STOPPED}
    assert "service does not stop well" in caplog.messages


async def test_clients_that_are_left_at_the_stop(tmp_path: Path) -> None:
    """Who is still connected when the host stops is told to reconnect, and served to the end."""
    write_service(tmp_path, "echo", ECHO.format(login="none"))
    async with serving(settings_for(tmp_path, echo={})) as site:
        client = await site.connect("/echo")
        await client.send("hello")
        assert await client.recv() == "hello"
        await site.host.stop()
        with pytest.raises(ClientClosed) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012


async def test_who_comes_in_while_the_service_stops(tmp_path: Path) -> None:
    """An admission that is older than the stop does not reach the service any more."""
    write_service(tmp_path, "echo", ECHO.format(login="none"))
    async with hosting(settings_for(tmp_path, echo={})) as host:
        admission = host.admit("/echo", None)
        assert isinstance(admission, Admission)
        await host.stop()
        closes: list[int] = []
        connection: Any = type("Connection", (), {"start_close": lambda self, code, reason: closes.append(code)})()
        admission.attach(connection)
        assert closes == [1012]


async def test_a_service_that_raises_often_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Incidents are counted; a service that raises again and again is named in its status, and goes on serving."""
    write_service(tmp_path, "echo", ECHO.format(login="none"))
    async with serving(settings_for(tmp_path, echo={})) as site:
        for _ in range(12):
            async with site.connect("/echo") as client:
                await client.send("fail")
                with pytest.raises(ClientClosed):
                    await client.recv()
        status = site.host.statuses()["echo"]
        assert (status.state, status.incidents) == (State.RUNNING, 12)
        assert "raises often" in status.problem
        assert await close_code(site, "/echo", None) is None
    assert "service raises often" in caplog.messages


MIGRATION = """
from server.db import CreateTable, Integer, Text

steps = [CreateTable("{table}", {{"id": Integer(primary_key=True), "text": Text(max_length=20)}})]
"""

NOTES = """
from server import Service
from server.db import DbObject, Integer, Text


class Note(DbObject):
    dbo_tablename = "notes"
    id = Integer(primary_key=True)
    text = Text(max_length=20)


class Notes(Service):
    async def start(self):
        await Note(text="hello").insert(self.db)

    async def serve(self, connection):
        await connection.send(str(await Note.select(self.db).count()))
"""


def write_notes(tmp_path: Path, *migrations: str) -> None:
    folder = tmp_path / "services" / "notes"
    (folder / "migrations").mkdir(parents=True)
    (folder / "__init__.py").write_text(NOTES)
    for number, text in enumerate(migrations, 1):
        (folder / "migrations" / f"000{number}_step.py").write_text(text)


async def test_migrations_run_before_the_start(tmp_path: Path) -> None:
    """A package's migrations are applied before its `start`."""
    write_notes(tmp_path, MIGRATION.format(table="notes"))
    async with serving(settings_for(tmp_path, notes={})) as site, site.connect("/notes") as client:
        assert await client.recv() == "1"


async def test_a_migration_that_fails(tmp_path: Path) -> None:
    """A migration that does not go through keeps its service out, and only that."""
    write_notes(tmp_path, "steps = [1 / 0]\n")
    async with hosting(settings_for(tmp_path, notes={}, dice={})) as host:
        assert host.statuses()["notes"].state is State.BACKOFF
        assert "ZeroDivisionError" in host.statuses()["notes"].problem
        assert host.statuses()["dice"].state is State.RUNNING


async def test_a_database_that_is_too_new(tmp_path: Path) -> None:
    """A database of a newer version of a service refuses the start of all: the operator has to decide."""
    newer, older = tmp_path / "newer", tmp_path / "older"
    write_notes(newer, MIGRATION.format(table="notes"), MIGRATION.format(table="more"))
    write_notes(older, MIGRATION.format(table="notes"))
    async with await Database.open(f"sqlite:///{tmp_path / 'file.db'}") as db:
        for base in (newer, older):
            host = ServiceHost(
                settings_for(base, notes={}), db, Topics(encode, LocalBroker()), Presences(), Peers(LocalBroker())
            )
            try:
                if base is newer:
                    await host.start()
                    continue
                with pytest.raises(NewerSchema, match="notes"):
                    await host.start()
                assert host.statuses()["notes"].state is State.FAILED
            finally:
                await host.stop()


async def test_a_service_that_blocks_the_loop_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The status and the log say which service blocked the event loop, for how long and where."""
    write_service(
        tmp_path,
        "slow",
        """
        import time
        from server import Service

        class Slow(Service):
            async def serve(self, connection):
                async for message in connection:
                    time.sleep(float(message))
                    await connection.send("done")
        """,
    )
    async with serving(settings_for(tmp_path, slow={}, dice={})) as site:
        with logged(caplog) as events:
            async with site.connect("/slow") as client:
                await client.send("0.8")
                assert await client.recv() == "done"
            await eventually(lambda: site.host.statuses()["slow"].stall_seconds)
        assert site.host.statuses()["slow"].stall_seconds >= 0.7
        assert site.host.statuses()["dice"].stall_seconds == 0
        assert "the event loop was blocked" in events
    (record,) = [record for record in caplog.records if record.getMessage() == "the event loop was blocked"]
    assert record.__dict__["fields"]["service"] == "slow"
    assert "slow.py:8" in record.__dict__["fields"]["place"]

"""Requests run at once: nobody can tell but by the time it takes; order, errors and bounds are as with tasks."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from server import Caller, Conflict, NotAllowed, RpcService, method
from server.net.connection import Connection
from server.net.handshake import Admission, Handshake
from server.net.listener import Listener
from server.service.caller import MAX_IN_FLIGHT
from tests.server.service.support import context, eventually
from tests.support.net import RawClient, client_frame, listening, upgrade_request

TEXT, CLOSE = 1, 8


class Quick(RpcService):
    """Notes what it is asked, and when it was answered."""

    leave_seconds = 0.05

    def __init__(self, started: Callable[[], None] | None = None) -> None:
        super().__init__(context())
        self.heard: list[str] = []
        self.running: list[int] = []
        self.callers: list[Caller] = []
        self.gone: list[str] = []
        self.door = asyncio.Event()
        self.started = started

    def joined(self, caller: Caller) -> None:
        self.callers.append(caller)

    def left(self, caller: Caller) -> None:
        self.gone.append("left")

    def _note(self, caller: Caller, name: str) -> str:
        self.heard.append(name)
        self.running.append(len(caller.running or ()))
        return name

    @method
    async def note(self, caller: Caller, name: str) -> str:
        """Answer at once."""
        return self._note(caller, name)

    @method
    async def wait(self, caller: Caller, name: str) -> str:
        """Answer when the door opens."""
        self._note(caller, name)
        try:
            await self.door.wait()
        except asyncio.CancelledError:
            self.gone.append(f"{name} cancelled")
            raise
        return name

    @method
    async def deadline(self, caller: Caller, name: str) -> str:
        """Run out of time, or not."""
        try:
            async with asyncio.timeout(0.001 if name == "late" else 60):
                await (asyncio.Event().wait() if name == "late" else asyncio.sleep(0))
        except TimeoutError:
            return "too late"
        return "in time"

    @method
    async def group(self, caller: Caller, name: str) -> list[str]:
        """Do two things together."""
        async with asyncio.TaskGroup() as tasks:
            children = [tasks.create_task(asyncio.sleep(0, f"{name} {number}")) for number in range(2)]
        return [child.result() for child in children]

    @method
    async def library(self, caller: Caller, name: str) -> str:
        """Use a library that stands on anyio, as most HTTP clients do."""
        async with anyio.Lock(), anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep, 0)
        return name

    @method
    async def fail(self, caller: Caller, name: str) -> str:
        """Fail at once, or after a wait."""
        how, _, when = name.partition(" ")
        if when == "later":
            await asyncio.sleep(0)
        match how:
            case "conflict":
                raise Conflict("It exists.", data={"what": "thing"})
            case "exit":
                raise SystemExit(1)
            case "cancelled":
                raise asyncio.CancelledError
            case "bug":
                raise KeyError("a secret")
            case "group":
                raise BaseExceptionGroup("several", [KeyError("a secret")])
            case "data":
                raise NotAllowed("No.", data={"why": object()})
        raise AssertionError

    @method
    async def hang_up(self, caller: Caller, name: str) -> str:
        """Close the connection, and go on."""
        caller.connection.start_close(4000, name)
        return name


def request(name: str, *params: Any, request_id: Any = 1) -> bytes:
    message = {"jsonrpc": "2.0", "method": name, "params": list(params), "id": request_id}
    return client_frame(TEXT, json.dumps(message).encode())


@asynccontextmanager
async def serving(attach: Callable[[Connection], None]) -> AsyncIterator[Listener]:
    async def gate(handshake: Handshake) -> Admission:
        if handshake.path == "/waits":
            await asyncio.sleep(0)
        return Admission(attach)

    async with listening(gate) as listener:
        yield listener


@asynccontextmanager
async def asking(service: RpcService) -> AsyncIterator[RawClient]:
    """Connect a client to a service."""
    async with serving(service.attach) as listener:
        client = await RawClient.upgrade(listener)
        assert (await answer(client))["method"] == "welcome"
        yield client
        await client.close()


async def answer(client: RawClient) -> Any:
    opcode, payload = await client.frame()
    assert opcode == TEXT, payload
    return json.loads(payload)


async def test_what_waits_for_nothing_is_answered_in_order_and_in_the_same_step() -> None:
    """Many requests of one read are answered in the order sent, before the loop does anything else, without a task."""
    service = Quick()
    steps: list[int] = []
    async with asking(service) as client:
        (caller,) = service.callers
        receive = caller.connection.receiver
        assert receive is not None

        def watched(message: str | bytes) -> None:
            receive(message)
            steps.append(len(service.heard))
            assert caller.running is None

        caller.connection.receiver = watched
        client.writer.write(b"".join(request("note", str(number), request_id=number) for number in range(40)))
        for number in range(40):
            got = await answer(client)
            assert (got["id"], got["result"]) == (number, str(number))
        assert steps == list(range(1, 41))
        assert service.running == [0] * 40


async def test_quick_ones_overtake_those_that_wait() -> None:
    """Requests start in the order sent; one that waits holds up none behind it, and is answered when it is ready."""
    service = Quick()
    async with asking(service) as client:
        names = ["wait", "note", "wait", "note"]
        client.writer.write(b"".join(request(name, str(i), request_id=i) for i, name in enumerate(names)))
        assert [(await answer(client))["id"] for _ in range(2)] == [1, 3]
        assert service.heard == ["0", "1", "2", "3"]
        assert service.running == [0, 1, 1, 2]
        service.door.set()
        assert [(await answer(client))["id"] for _ in range(2)] == [0, 2]
        await eventually(lambda: service.callers[0].running is None)


@pytest.mark.parametrize(
    ("name", "param", "result"),
    [
        ("deadline", "early", "in time"),
        ("deadline", "late", "too late"),
        ("group", "x", ["x 0", "x 1"]),
        ("library", "x", "x"),
    ],
)
async def test_methods_may_use_what_needs_a_task(name: str, param: str, result: Any) -> None:
    """Deadlines, groups of tasks and libraries on anyio work from a method's first line on, several at once too."""
    async with asking(Quick()) as client:
        client.writer.write(request(name, param) * 3)
        for _ in range(3):
            assert (await answer(client)).get("result") == result


@pytest.mark.parametrize("how", ["conflict", "exit", "cancelled", "bug", "group", "data"])
async def test_failing_at_once_is_failing_later(how: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a method raises gives the same answer before its first wait as afterwards, and the connection lives."""
    service = Quick()
    async with asking(service) as client:
        answers = []
        for when in ("at once", "later"):
            client.writer.write(request("fail", f"{how} {when}"))
            answers.append(await answer(client))
        for got in answers:
            incident = got["error"].get("data", {}).pop("incident", None)
            assert (incident is None) == (how == "conflict")
            assert "secret" not in json.dumps(got)
        assert answers[0] == answers[1]
        client.writer.write(request("note", "still here"))
        assert (await answer(client))["result"] == "still here"
        assert service.callers[0].running is None
        assert [record.message for record in caplog.records if record.name == "asyncio"] == []


async def test_a_client_that_leaves_during_a_request() -> None:
    """What waits for a client that is gone is cancelled after a while; then, and only once, the client has left."""
    service = Quick()
    async with asking(service) as client:
        client.writer.write(request("note", "a") + request("wait", "b") + request("note", "c"))
        await eventually(lambda: len(service.heard) == 3)
        client.writer.write(client_frame(CLOSE, b"\x03\xe8"))
        await eventually(lambda: "left" in service.gone)
        assert service.gone == ["b cancelled", "left"]
    assert service.gone == ["b cancelled", "left"]


async def test_a_method_that_closes_its_connection() -> None:
    """A request that hangs up at once is the client's last, and the client has left once."""
    service = Quick()
    async with asking(service) as client:
        client.writer.write(request("hang_up", "bye") + request("note", "too late"))
        assert await client.close_code() == 4000
        client.writer.write(client_frame(CLOSE, b"\x0f\xa0"))
        await eventually(lambda: service.gone == ["left"])
        assert service.heard == []


async def test_only_those_that_wait_count_as_in_flight() -> None:
    """A client may have any number of requests answered at once; of those that wait it has a bounded number."""
    service = Quick()
    async with asking(service) as client:
        count = 3 * MAX_IN_FLIGHT
        client.writer.write(b"".join(request("note", str(i)) + request("wait", str(i)) for i in range(count)))
        await eventually(lambda: len(service.heard) == 2 * MAX_IN_FLIGHT)
        assert [(await answer(client))["result"] for _ in range(MAX_IN_FLIGHT)] == list(map(str, range(MAX_IN_FLIGHT)))
        (caller,) = service.callers
        assert len(caller.running or ()) == MAX_IN_FLIGHT
        service.door.set()
        for _ in range(2 * count - MAX_IN_FLIGHT):
            await answer(client)
        assert service.heard == [str(number) for number in range(count) for _ in range(2)]
        await eventually(lambda: caller.running is None)


class Joining(Quick):
    """Lets somebody in after a while, and says so to a callback in the same step."""

    async def joined(self, caller: Caller) -> None:  # type: ignore[override]  # it may be either
        await self.door.wait()
        if self.started is not None:
            self.started()


async def test_order_when_joining_takes_a_while() -> None:
    """What waited while `joined` ran starts before what is read from the socket right afterwards."""
    service = Joining(lambda: own.sendall(request("note", "third", request_id=3)))
    async with serving(service.attach) as listener:
        behind = request("note", "first", request_id=1) + request("note", "second", request_id=2)
        client = await RawClient.upgrade(listener, behind=behind)
        assert (await answer(client))["method"] == "welcome"
        own = socket.socket(fileno=os.dup(client.writer.get_extra_info("socket").fileno()))
        service.door.set()
        assert [(await answer(client))["id"] for _ in range(3)] == [1, 2, 3]
        assert service.heard == ["first", "second", "third"]
        own.close()
        await client.close()


@pytest.mark.parametrize("path", ["/echo", "/waits"])
async def test_order_behind_a_handshake(path: str) -> None:
    """Requests that came with the handshake start before those read afterwards, whether the gate waited or not."""
    service = Quick()

    def attach(connection: Connection) -> None:
        service.attach(connection)
        own.sendall(request("note", "second", request_id=2))

    async with serving(attach) as listener:
        client = await RawClient.connect(listener)
        own = socket.socket(fileno=os.dup(client.writer.get_extra_info("socket").fileno()))
        client.writer.write(upgrade_request(path) + request("note", "first", request_id=1))
        await client.head()
        assert (await answer(client))["method"] == "welcome"
        assert [(await answer(client))["id"] for _ in range(2)] == [1, 2]
        assert service.heard == ["first", "second"]
        own.close()
        await client.close()

"""RPC services: the contract of PROTOCOL.md over a real socket, and what happens around it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed as ClientClosed

from server import (
    Conflict,
    ConnectionClosed,
    Identity,
    NotLoggedIn,
    TooManyRequests,
)
from server.errors import InternalError, InvalidParams, MethodNotFound
from server.service.caller import MAX_IN_FLIGHT, MAX_REFUSALS
from server.service.harness import ServiceHarness
from server.version import __version__
from tests.server.service import trying
from tests.server.service.support import Site, ask, eventually, hear, serving, settings_for, write_service
from tests.server.service.trying import Trying

SOURCE = Path(trying.__file__).read_text()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    write_service(tmp_path, "trying", SOURCE)
    settings = settings_for(tmp_path, trying={}, dice={})
    async with serving(settings) as site:
        yield site


@pytest.fixture
async def client(site: Site) -> AsyncIterator[ClientConnection]:
    async with site.connect("/trying") as client:
        await hear(client)
        yield client


ITEM = {"name": "a", "sizes": [1, 2]}


async def test_welcome(site: Site) -> None:
    """The first message is `welcome`: service, protocol, version, user or null, limits, reconnect."""
    expected = {
        "service": "trying",
        "protocol": 1,
        "version": __version__,
        "user": None,
        "limits": {"frame_bytes": 65536, "things": 3},
        "reconnect": {"min_seconds": 0.5, "max_seconds": 30},
    }
    async with site.connect("/trying") as client:
        assert await hear(client) == {"jsonrpc": "2.0", "method": "welcome", "params": expected}
    async with site.connect("/trying", Identity(7, "ann", "guest")) as client:
        user = {"id": 7, "name": "ann", "role": "guest"}
        assert await hear(client) == {"jsonrpc": "2.0", "method": "welcome", "params": {**expected, "user": user}}


@pytest.mark.parametrize("request_id", [0, -1, 2**53, "", "a", "\u00e4\n", None])
async def test_by_name_and_by_position(client: ClientConnection, request_id: Any) -> None:
    """Params go by name or by position, defaults included; the answer has the request's id."""
    expected = {"items": [ITEM], "note": "none", "times": None}
    for params in ({"items": [ITEM]}, [[ITEM]], [[ITEM], "none"]):
        answer = await ask(client, "echo", params, request_id)
        assert answer == {"jsonrpc": "2.0", "result": expected, "id": request_id}


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({}, "items"),
        (None, "items"),
        ([], "items"),
        ({"items": 1}, "items"),
        ([1], "items"),
        ({"items": [ITEM, {"name": 1}]}, "items[1].name"),
        ({"items": [{"sizes": []}]}, "items[0].name"),
        ({"items": [{"name": "a", "sizes": [0, 1, -1]}]}, "items[0].sizes[2]"),
        ([[{"name": "a", "sizes": [0, 1, -1]}]], "items[0].sizes[2]"),
        ([[], 5], "note"),
        ([[], "a", 1, 2], ""),
        ({"items": [], "extra": 1}, "extra"),
        ({"items": [], "note": None}, "note"),
        ({"items": [], "times": 1.5}, "times"),
        ({"items": [], "times": True}, "times"),
        ({"items": [], "times": "1"}, "times"),
    ],
)
async def test_bad_params(client: ClientConnection, params: Any, path: str) -> None:
    """Params that do not fit are -32602, and `data.path` names the field."""
    answer = await ask(client, "echo", params)
    assert answer["error"]["code"] == -32602
    assert answer["error"]["data"] == {"path": path}
    assert answer["id"] == 1


HOSTILE = [
    ("not json", -32700, None),
    ("", -32700, None),
    ("{", -32700, None),
    ("[1", -32700, None),
    ("[]", -32600, None),
    ('[{"jsonrpc":"2.0","method":"whoami","id":1}]', -32600, None),
    ("1", -32600, None),
    ('{"jsonrpc":"1.0","method":"whoami","id":4}', -32600, 4),
    ('{"jsonrpc":"2.0","method":"whoami","params":"x","id":"a"}', -32600, "a"),
    ('{"jsonrpc":"2.0","method":"whoami","id":1.5}', -32600, None),
    ('{"jsonrpc":"2.0","method":"whoami","id":{}}', -32600, None),
    ('{"jsonrpc":"2.0","method":5}', -32600, None),
    ('{"jsonrpc":"2.0","method":"whoami","method":"odd","id":4}', -32600, 4),
    ('{"jsonrpc":"2.0","method":"echo","params":{"items":[],"note":"a","note":"b"},"id":4}', -32600, 4),
    ('{"jsonrpc":"2.0","method":"echo","params":' + "[" * 15000 + "]" * 15000 + ',"id":4}', -32600, None),
    ('{"jsonrpc":"2.0","method":"echo","params":[' + "[" * 400 + "]" * 400 + '],"id":4}', -32602, 4),
    ('{"jsonrpc":"2.0","method":"echo","params":{"items":[],"times":1e999},"id":4}', -32602, 4),
    ('{"jsonrpc":"2.0","method":"echo","params":{"items":[],"times":' + "9" * 9000 + '},"id":4}', -32602, 4),
    ('{"jsonrpc":"2.0","method":"echo","params":{"items":[{"name":"a","sizes":[1e400]}]},"id":4}', -32602, 4),
    ('{"jsonrpc":"2.0","method":"nothing","id":4}', -32601, 4),
    ('{"jsonrpc":"2.0","method":"__init__","id":4}', -32601, 4),
    ('{"jsonrpc":"2.0","method":"start","id":4}', -32601, 4),
    ('{"jsonrpc":"2.0","method":"' + "x" * 30000 + '","id":4}', -32601, 4),
    ('{"jsonrpc":"2.0","method":"whoami","id":4}', -32001, 4),
]


@pytest.mark.parametrize(("text", "code", "request_id"), HOSTILE)
async def test_hostile_json(client: ClientConnection, text: str, code: int, request_id: Any) -> None:
    """Whatever comes is answered with an error of JSON-RPC, shortly, and the connection lives."""
    await client.send(text)
    answer = await hear(client)
    assert answer["jsonrpc"] == "2.0"
    assert answer["error"]["code"] == code
    assert answer["id"] == request_id
    assert len(json.dumps(answer)) < 1000
    assert "Traceback" not in json.dumps(answer)
    assert (await ask(client, "echo", [[]]))["result"]["items"] == []


async def test_binary_frames_close_with_1003(client: ClientConnection) -> None:
    """An RPC service speaks text."""
    await client.send(b'{"jsonrpc":"2.0","method":"whoami","id":1}')
    with pytest.raises(ClientClosed) as closed:
        await client.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1003


async def test_notifications_are_never_answered(client: ClientConnection) -> None:
    """A request without an id has no answer, not even an error; what follows is answered in order."""
    for method_, params in [("echo", [[]]), ("echo", [1]), ("nothing", []), ("things.fail", ["bug"]), ("odd", [])]:
        await client.send(json.dumps({"jsonrpc": "2.0", "method": method_, "params": params}))
    assert (await ask(client, "whoami", request_id="last"))["id"] == "last"


@pytest.mark.parametrize(
    ("how", "code", "data"),
    [
        ("rpc", -32009, {"what": "thing"}),
        ("database", -32050, None),
        ("closed", -32050, None),
        ("bug", -32603, "incident"),
        ("exit", -32603, "incident"),
        ("cancelled", -32603, "incident"),
        ("data", -32603, "incident"),
    ],
)
async def test_what_a_method_raises(
    client: ClientConnection, how: str, code: int, data: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Errors of the contract arrive as they are; anything else is an incident, and tells nothing more."""
    answer = await ask(client, "things.fail", {"how": how})
    assert answer["error"]["code"] == code
    if data == "incident":
        assert list(answer["error"]["data"]) == ["incident"]
        assert "secret" not in json.dumps(answer)
        fields = [record.__dict__.get("fields", {}) for record in caplog.records if record.exc_info]
        assert answer["error"]["data"]["incident"] in [field.get("incident") for field in fields]
    else:
        assert answer["error"].get("data") == data
    assert (await ask(client, "echo", [[]]))["result"]["items"] == []


async def test_a_result_that_is_no_json(client: ClientConnection) -> None:
    """A result that cannot be written is the service's failure, and an incident."""
    assert (await ask(client, "odd"))["error"]["code"] == -32603


async def test_discover(client: ClientConnection) -> None:
    """`rpc.discover` returns the OpenRPC document."""
    document = (await ask(client, "rpc.discover"))["result"]
    assert {"echo", "things.fail", "rpc.discover"} <= {method["name"] for method in document["methods"]}


async def test_dice_over_a_real_socket(site: Site) -> None:
    """The smallest RPC service."""
    async with site.connect("/dice") as client:
        await hear(client)
        roll = (await ask(client, "roll", {"sides": 2, "count": 100}))["result"]
        assert len(roll["faces"]) == 100
        assert set(roll["faces"]) <= {1, 2}
        assert roll["total"] == sum(roll["faces"])


async def test_requests_start_in_order_and_finish_as_they_can() -> None:
    """Requests of one client start in the order received; answers come as they are ready."""
    async with ServiceHarness(Trying) as harness:
        client = await harness.connect()
        calls = [asyncio.ensure_future(client.call("wait", gate)) for gate in "abc"]
        await eventually(lambda: len(harness.service.heard) == 3)
        assert harness.service.heard == ["a", "b", "c"]
        for index in (2, 0, 1):
            harness.service.open("abc"[index])
            assert await calls[index] == "abc"[index]


async def test_at_most_32_requests_of_one_client_run_at_once() -> None:
    """A client with 32 requests on the way is not read until half of them are done; nothing is lost."""
    async with ServiceHarness(Trying) as harness:
        client, other = await harness.connect(), await harness.connect()
        gates = [str(number) for number in range(100)]
        calls = [asyncio.ensure_future(client.call("wait", gate)) for gate in gates]
        await eventually(lambda: len(harness.service.heard) >= MAX_IN_FLIGHT)
        assert await other.call("echo", []) is not None
        assert harness.service.heard == gates[:MAX_IN_FLIGHT]
        for gate in gates[: MAX_IN_FLIGHT // 2]:
            harness.service.open(gate)
        await asyncio.gather(*calls[: MAX_IN_FLIGHT // 2])
        await eventually(lambda: len(harness.service.heard) == MAX_IN_FLIGHT * 3 // 2)
        for gate in gates:
            harness.service.open(gate)
        assert await asyncio.gather(*calls) == gates
        assert harness.service.heard == gates


async def test_the_answer_comes_before_what_is_published_after_it() -> None:
    """`subscribe()` right before `return` makes a snapshot without a gap and without a repeat."""
    async with ServiceHarness(Trying) as harness:
        client, topic = await harness.connect(), harness.service.topic("all")
        await client.event("welcome")
        running = True

        async def publish() -> None:
            while running:
                topic.publish(json.dumps({"method": "said", "params": len(harness.service.heard)}))
                harness.service.heard.append("x")
                await asyncio.sleep(0)

        publisher = asyncio.ensure_future(publish())
        await eventually(lambda: len(harness.service.heard) > 5)
        count = await client.call("subscribe")
        assert count > 0
        said = [await client.event("said") for _ in range(20)]
        running = False
        await publisher
        assert said == list(range(count, count + 20))


async def test_requests_of_a_client_that_is_gone() -> None:
    """What runs for a client may finish a while after it left; then it is cancelled, and that is no incident."""
    async with ServiceHarness(Trying) as harness:
        client = await harness.connect()
        lost = asyncio.ensure_future(client.call("wait", "a"))
        client.notify("wait", "b")
        await eventually(lambda: len(harness.service.heard) == 2)
        await client.leave()
        with pytest.raises(ConnectionClosed):
            await lost
        harness.service.open("a")
        await eventually(lambda: harness.service.cancelled)
        assert harness.service.cancelled == 1
        assert harness.incidents == []


async def test_a_flood_is_refused_and_then_closed() -> None:
    """Over the limit: -32029 with `retry_after`; who goes on and on is closed with 4429; others are not touched."""
    async with ServiceHarness(Trying) as harness:
        flooder, other = await harness.connect("flooder"), await harness.connect("other")
        assert [await flooder.call("limited"), await flooder.call("limited")] == ["fine", "fine"]
        with pytest.raises(TooManyRequests) as refused:
            await flooder.call("limited")
        assert 0 < refused.value.retry_after <= 1
        for _ in range(MAX_REFUSALS):
            flooder.notify("limited")
        assert (await flooder.closed()).code == 4429
        assert await other.call("limited") == "fine"
        assert harness.incidents == []


async def test_who_listens_is_not_closed() -> None:
    """A client that is refused now and then, within what a person can do, is not closed."""
    async with ServiceHarness(Trying) as harness:
        client = await harness.connect("ann")
        refusals = 0
        for _ in range(MAX_REFUSALS):
            try:
                await client.call("limited")
            except TooManyRequests:
                refusals += 1
        assert refusals > MAX_REFUSALS // 2
        assert client.connection.closed is None


async def test_errors_reach_a_harness_client_as_they_were_raised() -> None:
    """In tests, what failed is the cause of the `InternalError`, so that it is seen at once."""
    async with ServiceHarness(Trying) as harness:
        with pytest.raises(InternalError) as failed:
            await harness.call("things.fail", "bug")
        assert isinstance(failed.value.__cause__, KeyError)
        with pytest.raises(InvalidParams) as invalid:
            await harness.call("echo", items=[{}])
        assert invalid.value.path == "items[0].name"
        with pytest.raises(MethodNotFound):
            await harness.call("nothing")
        with pytest.raises(NotLoggedIn):
            await harness.call("whoami")
        with pytest.raises(Conflict) as conflict:
            await harness.call("things.fail", "rpc")
        assert conflict.value.data == {"what": "thing"}


async def test_idle_clients_have_no_task(client: ClientConnection) -> None:
    """An RPC client that says nothing costs no coroutine; one whose request waits is seen to have one."""

    def running() -> list[str]:
        coroutines = [repr(task.get_coro()) for task in asyncio.all_tasks()]
        return [name for name in coroutines if "RpcService" in name or "Service._" in name]

    await ask(client, "echo", [[]])
    assert running() == []
    await client.send(json.dumps({"jsonrpc": "2.0", "method": "wait", "params": ["a"]}))
    await eventually(running)

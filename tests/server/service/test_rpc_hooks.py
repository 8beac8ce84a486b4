"""`joined` and `left`: who comes is told before the first request, who leaves once, whatever happened between."""

from __future__ import annotations

import asyncio

import pytest

from server import Caller, NotAllowed, RpcService, Unavailable, method
from server.service.harness import ServiceHarness
from tests.server.service.support import eventually


class Doorkeeper(RpcService):
    """Notes who comes and goes; a name decides how."""

    leave_seconds = 0.05

    async def start(self) -> None:
        self.log_book: list[str] = []
        self.door = asyncio.Event()

    async def joined(self, caller: Caller) -> None:
        name = caller.user.name
        self.log_book.append(f"{name} comes")
        match name:
            case "banned":
                raise NotAllowed("You are banned. " + "\u00e4" * 200)
            case "unlucky":
                raise Unavailable
            case "bug":
                raise LookupError
            case "cancelled":
                raise asyncio.CancelledError
            case "slow":
                await self.door.wait()
        self.log_book.append(f"{name} is in")

    async def left(self, caller: Caller) -> None:
        await asyncio.sleep(0)
        self.log_book.append(f"{caller.user.name} leaves")
        if caller.user.name == "sulky":
            raise LookupError

    @method
    async def knock(self, caller: Caller) -> str:
        """Say who knocks."""
        self.log_book.append(f"{caller.user.name} knocks")
        return caller.user.name


async def test_joined_and_left() -> None:
    """`joined` is over before the first request starts; `left` comes once, after everything."""
    async with ServiceHarness(Doorkeeper) as harness:
        client = await harness.connect("slow")
        knocks = [asyncio.ensure_future(client.call("knock")) for _ in range(3)]
        await eventually(lambda: harness.service.log_book)
        await asyncio.sleep(0)
        assert harness.service.log_book == ["slow comes"]
        harness.service.door.set()
        assert await asyncio.gather(*knocks) == ["slow"] * 3
        await client.leave()
        await eventually(lambda: harness.service.log_book[-1] == "slow leaves")
        assert harness.service.log_book == ["slow comes", "slow is in", *["slow knocks"] * 3, "slow leaves"]


@pytest.mark.parametrize(
    ("name", "code", "incidents"),
    [("banned", 1008, 0), ("unlucky", 1011, 0), ("bug", 1011, 1), ("cancelled", 1011, 1)],
)
async def test_who_is_turned_away_has_left(name: str, code: int, incidents: int) -> None:
    """What `joined` raises closes the connection with the reason; `left` follows, once."""
    async with ServiceHarness(Doorkeeper) as harness:
        client = await harness.connect(name)
        closed = await client.closed()
        assert closed.code == code
        assert len(closed.reason.encode()) <= 123
        assert len(harness.incidents) == incidents
        await eventually(lambda: len(harness.service.log_book) == 2)
        assert harness.service.log_book == [f"{name} comes", f"{name} leaves"]


async def test_leaving_while_joining() -> None:
    """A client that leaves while `joined` waits is cancelled there, and has left once."""
    async with ServiceHarness(Doorkeeper) as harness:
        client = await harness.connect("slow")
        await eventually(lambda: harness.service.log_book)
        await client.leave()
        await eventually(lambda: len(harness.service.log_book) == 2)
        assert harness.service.log_book == ["slow comes", "slow leaves"]
        assert harness.incidents == []


async def test_everybody_has_left_when_the_service_stops() -> None:
    """`left` is awaited for every client before `stop` returns; one that fails harms nobody."""
    harness = ServiceHarness(Doorkeeper)
    async with harness:
        for name in ("ann", "sulky", "bob"):
            client = await harness.connect(name)
            await client.call("knock")
    left = [line for line in harness.service.log_book if line.endswith("leaves")]
    assert sorted(left) == ["ann leaves", "bob leaves", "sulky leaves"]
    assert [type(error) for error in harness.incidents] == [LookupError]


class Plain(RpcService):
    """Has hooks that are no coroutines."""

    async def start(self) -> None:
        self.log_book: list[str] = []

    def joined(self, caller: Caller) -> None:
        self.log_book.append("joined")
        if caller.identity is not None:
            raise NotAllowed("No.")

    def left(self, caller: Caller) -> None:
        self.log_book.append("left")
        raise LookupError


async def test_hooks_need_not_be_coroutines() -> None:
    """`joined` and `left` may be plain functions, with the same promises."""
    async with ServiceHarness(Plain) as harness:
        await (await harness.connect()).leave()
        assert harness.service.log_book == ["joined", "left"]
        assert (await (await harness.connect("ann")).closed()).code == 1008
        assert harness.service.log_book == ["joined", "left"] * 2
        assert [type(error) for error in harness.incidents] == [LookupError] * len(harness.incidents)

"""A service that tries everything; the tests serve it from `services/` too, as its author would."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec

from server import Caller, Conflict, ConnectionClosed, NotAllowed, RateLimiter, RpcService, method
from server.db import Unavailable as DatabaseUnavailable


class Item(msgspec.Struct):
    """A thing."""

    name: str
    sizes: list[Annotated[int, msgspec.Meta(ge=0)]] = []


class Trying(RpcService):
    """Tries everything that a service may do."""

    leave_seconds = 0.05

    async def start(self) -> None:
        self.heard: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.cancelled = 0
        self.limiter = RateLimiter(60, burst=2)

    def limits(self) -> dict[str, int]:
        return {"things": 3}

    @method
    async def echo(self, caller: Caller, items: list[Item], note: str = "none", times: int | None = None) -> Any:
        """Return what came."""
        return {"items": items, "note": note, "times": times}

    @method(name="things.fail")
    async def fail(self, caller: Caller, how: str) -> None:
        """Fail."""
        match how:
            case "rpc":
                raise Conflict("It exists.", data={"what": "thing"})
            case "database":
                raise DatabaseUnavailable("no such luck")
            case "bug":
                raise KeyError("a secret of the service")
            case "exit":
                raise SystemExit(1)
            case "cancelled":
                raise asyncio.CancelledError
            case "data":
                raise NotAllowed("No.", data={"why": object()})
            case "closed":
                raise ConnectionClosed(1006)

    @method
    async def odd(self, caller: Caller) -> object:
        """Return what is no JSON."""
        return object()

    @method
    async def whoami(self, caller: Caller) -> str:
        """Tell the caller's name."""
        return caller.user.name

    @method
    async def wait(self, caller: Caller, gate: str) -> str:
        """Answer when the gate opens."""
        self.heard.append(gate)
        try:
            await self.gates.setdefault(gate, asyncio.Event()).wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return gate

    @method
    async def limited(self, caller: Caller) -> str:
        """Answer, twice."""
        caller.limit(self.limiter)
        return "fine"

    @method
    async def subscribe(self, caller: Caller) -> int:
        """Return how much was published, and receive what follows."""
        await asyncio.sleep(0)
        self.topic("all").subscribe(caller.connection)
        return len(self.heard)

    def open(self, gate: str) -> None:
        self.gates.setdefault(gate, asyncio.Event()).set()

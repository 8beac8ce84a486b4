"""Several machines on this one: nodes that have a database and a NATS in common, and nothing else."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import httpx

from tests.support.server import SCALE, Server

POLL_SECONDS = 0.05
HTTP_SECONDS = 10
NO_LIMITS: dict[str, object] = {
    "auth.attempts_per_minute": 0,
    "server.connections_per_address": 0,
    "services.chat.messages_per_minute": 0,
}


class Cluster:
    """Nodes, each a `Server` with a folder and a configuration of its own.

    Args:
        folder: holds the nodes' folders.
        database_url: the database of all.
        broker_url: the NATS of all.
        workers: how many processes the chat of each node has; 0 is the main process.
        settings: laid over the configuration of all, as of `Server`.

    Attributes:
        nodes: as said.
    """

    def __init__(
        self,
        folder: Path,
        database_url: str,
        broker_url: str,
        *,
        workers: Sequence[int] = (2, 1, 0),
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self.nodes: list[Server] = []
        self._frozen: set[int] = set()
        common = {"database.url": database_url, "broker.url": broker_url, **(settings or {})}
        for number, count in enumerate(workers, start=1):
            own = folder / f"node-{number}"
            own.mkdir()
            self.nodes.append(Server(own, {**common, "services.chat.workers": count}, config="[services.chat]\n"))

    @property
    def urls(self) -> list[str]:
        """The base of each node's URLs."""
        return [node.url for node in self.nodes]

    async def start(self) -> None:
        """Start all nodes at the same time."""
        try:
            await asyncio.gather(*(node.start() for node in self.nodes))
        except BaseException:
            await self.kill()
            raise

    async def kill(self) -> None:
        """End what runs, frozen or not; workers end by themselves when their main process is gone."""
        for pid in tuple(self._frozen):
            self.thaw(pid)
        await asyncio.gather(*(node.kill() for node in self.nodes))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def workers(self, node: Server) -> list[int]:
        """Return the process ids of a node's workers that serve."""
        async with httpx.AsyncClient(timeout=HTTP_SECONDS) as http:
            chat = (await http.get(f"{node.url}/health")).json()["services"]["chat"]
        return [process["pid"] for process in chat["processes"] if process["state"] == "running"]

    def freeze(self, pid: int) -> None:
        """Stop a process where it is; its connections stay open."""
        self._frozen.add(pid)
        os.kill(pid, signal.SIGSTOP)

    def thaw(self, pid: int) -> None:
        """Let a process go on; without effect where it is over."""
        self._frozen.discard(pid)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


async def until(what: str, condition: Callable[[], Awaitable[Any]], seconds: float) -> float:
    """Wait until a condition holds.

    Args:
        what: what is waited for, for whoever reads that it did not come.
        condition: returns what is true when it holds.
        seconds: give up after so many, times the tests' scale.

    Returns:
        How long it took, in seconds.

    Raises:
        AssertionError: it does not come to hold.
    """
    began = time.monotonic()
    while not await condition():
        if time.monotonic() > began + seconds * SCALE:
            raise AssertionError(f"not within {seconds} seconds: {what}")
        await asyncio.sleep(POLL_SECONDS)
    return time.monotonic() - began


def tell(text: str) -> None:
    """Say what was measured, or seen, to whoever reads what a test says."""
    print(text)  # noqa: T201 pytest shows it with a test that failed, or with `-s`

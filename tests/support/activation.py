"""A listening socket that outlives the server, as systemd's socket activation has it."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import httpx

from tests.support.server import ROOT, START_SECONDS, Server

# What systemd does between fork and exec, see sd_listen_fds(3): LISTEN_PID is the server's own.
_LAUNCHER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.set_inheritable(3, True)
os.execve(sys.argv[2], sys.argv[2:], {**os.environ, "LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"})
"""


class ActivatedServer(Server):
    """The server behind a socket that somebody else listens on, and that stays open while the server is restarted."""

    def __init__(self, folder: Path, settings: Mapping[str, object] | None = None, *, config: str = "") -> None:
        super().__init__(folder, settings, config=config)
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", self.port))
        self._listener.listen(4096)

    async def spawn(self, log: IO[bytes]) -> asyncio.subprocess.Process:
        """Start the process with the socket, as its third descriptor."""
        return await asyncio.create_subprocess_exec(
            sys.executable, "-c", _LAUNCHER, str(self._listener.fileno()), *self.command,
            cwd=ROOT, env=self.environment, pass_fds=(self._listener.fileno(),),
            stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip

    async def _listens(self) -> bool:
        """Tell whether the server answers: the socket does in any case."""
        async with httpx.AsyncClient(timeout=START_SECONDS) as http:
            return (await http.get(f"{self.url}/health")).is_success

    async def __aexit__(self, *parts: object) -> None:
        await super().__aexit__(*parts)
        self._listener.close()

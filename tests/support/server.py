"""The real server as a process: started, killed, started again on the same port with the same data."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Self

ROOT = Path(__file__).parents[2]
SCALE = float(os.environ.get("SWITCHBOARD_TEST_SCALE", "1"))
"""Factor on every deadline; raise it on a slow or busy machine."""
START_SECONDS = 30 * SCALE
STOP_SECONDS = 20 * SCALE
POLL_SECONDS = 0.02


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Server:
    """`python -m server serve` with a configuration file and a data folder of its own.

    Args:
        folder: holds `config.toml`, `data/` and `server.log`; usually pytest's `tmp_path`.
        settings: settings by their dotted name, laid over the file as environment variables, as in
            `{"auth.attempts_per_minute": 0, "services.chat.messages_per_minute": 0}`.
        config: the rest of the configuration file, such as `"[services.chat]\\n"`.
    """

    def __init__(self, folder: Path, settings: Mapping[str, object] | None = None, *, config: str = "") -> None:
        self.folder = folder
        self.port = free_port()
        self.log_file = folder / "server.log"
        self.environment = {
            **os.environ,
            **{_variable(name): str(value) for name, value in (settings or {}).items()},
        }
        self.config_file = folder / "config.toml"
        self.config_file.write_text(f'[server]\nport = {self.port}\ndata = "data"\n\n{config}')
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """The base of HTTP URLs, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def websocket_url(self, path: str) -> str:
        """Return the URL of a service; `path` starts with a slash."""
        return f"ws://127.0.0.1:{self.port}{path}"

    @property
    def log(self) -> str:
        """All that the server said on standard error, over all its starts."""
        return self.log_file.read_text(encoding="utf-8") if self.log_file.exists() else ""

    @property
    def pid(self) -> int:
        """The process's id while it runs.

        Raises:
            RuntimeError: it does not run.
        """
        if self._process is None:
            raise RuntimeError("the server does not run")
        return self._process.pid

    async def start(self) -> None:
        """Start the process and wait until it listens.

        Raises:
            RuntimeError: it ended before that; the message holds its log.
            TimeoutError: it did not listen within `START_SECONDS`.
        """
        if self._process is not None:
            raise RuntimeError("the server runs already")
        with self.log_file.open("ab") as log:
            self._process = await self.spawn(log)
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._wait_until_it_listens(self._process)
        except BaseException:
            await self.kill()
            raise

    async def spawn(self, log: IO[bytes]) -> asyncio.subprocess.Process:
        """Start the process."""
        return await asyncio.create_subprocess_exec(
            *self.command, cwd=ROOT, env=self.environment, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
        )

    @property
    def command(self) -> list[str]:
        """What is run."""
        return [sys.executable, "-m", "server", "serve", "--config", str(self.config_file)]

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask the process to stop and wait until it has.

        Args:
            number: the signal that asks.

        Returns:
            Its exit status; 0 when it does not run.

        Raises:
            TimeoutError: it did not stop within `STOP_SECONDS`; it is killed then.
        """
        if self._process is None:
            return 0
        process = self._process
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        try:
            status = await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except BaseException:
            await self.kill()
            raise
        self._process = None
        return status

    async def kill(self) -> None:
        """End the process without a warning (SIGKILL), as a power cut would."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def restart(self) -> None:
        """Kill the process and start it again: same port, same data."""
        await self.kill()
        await self.start()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def _wait_until_it_listens(self, process: asyncio.subprocess.Process) -> None:
        while not await self._listens():
            if process.returncode is not None:
                raise RuntimeError(f"the server ended with status {process.returncode}:\n{self.log}")
            await asyncio.sleep(POLL_SECONDS)

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True


def _variable(name: str) -> str:
    return "SWITCHBOARD__" + name.upper().replace(".", "__")

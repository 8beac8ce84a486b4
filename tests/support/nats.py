"""A private NATS for tests: on this machine only, in a temporary folder; it can be killed, frozen and restarted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

START_SECONDS = 20
STOP_SECONDS = 10
TLS = Path(__file__).parent / "tls"


class MissingNats(Exception):
    """There is no NATS on this machine."""


class Nats:
    """A server on a port of its own, started by `start`.

    Args:
        options: for its command line.

    Raises:
        MissingNats: it is not installed.
    """

    def __init__(self, options: Sequence[str] = ()) -> None:
        path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
        program = shutil.which("nats-server", path=path)
        if program is None:
            raise MissingNats("nats-server is not installed")
        self.port, self.monitor_port = _free_ports()
        self._folder = Path(tempfile.mkdtemp(prefix="test-nats-"))
        self._command = [
            program, "--addr", "127.0.0.1", "--port", str(self.port), "--http_port", str(self.monitor_port), *options,
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it; it has nothing from before."""
        log = self._folder / "log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, stdout=output, stderr=output, cwd=self._folder, start_new_session=True
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.settimeout(5)
                if connection.recv(4) == b"INFO":  # it greets when it is ready
                    return
            time.sleep(0.02)
        raise RuntimeError(f"nats-server does not start: {log.read_text(errors='replace')[-1000:]}")

    def restart(self) -> None:
        """Kill it, and start it on the same port."""
        self.kill()
        self.start()

    def kill(self) -> None:
        """End it at once; it has no time to say anything to its clients."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def freeze(self) -> None:
        """Stop it where it is; its connections stay open, and its port takes new ones."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        if self._process:
            self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it, and remove its folder."""
        if self._process:
            self.thaw()
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
            self.kill()
        shutil.rmtree(self._folder)

    def monitor(self, path: str) -> dict[str, Any]:
        """Return what it says about itself, as in `varz` or `connz?subs=1`."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.monitor_port}/{path}", timeout=STOP_SECONDS) as answer:
            said: dict[str, Any] = json.load(answer)
            return said

    def subjects(self) -> set[str]:
        """Return what its clients are subscribed to."""
        connections = self.monitor("connz?subs=1")["connections"]
        return {subject for connection in connections for subject in connection.get("subscriptions_list", ())}


@contextmanager
def private_nats(*options: str, started: bool = True) -> Iterator[Nats]:
    """Start a server for tests, and end it; skip where there is none, but fail in CI.

    Args:
        options: for its command line.
        started: False leaves the start to the test.
    """
    try:
        server = Nats(options)
    except MissingNats as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    try:
        if started:
            server.start()
        yield server
    finally:
        server.stop()


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]

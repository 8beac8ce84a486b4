"""A private MariaDB for tests: on this machine only, in a temporary folder; it can be killed, frozen and restarted."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

START_SECONDS = 60
STOP_SECONDS = 30
INSTALL_TRIES = 3
USER = "tester"
PASSWORD = "p@ss:w/rd%"
"""No secret; it has what has to be encoded in a URL."""
ENCODED_PASSWORD = "p%40ss%3Aw%2Frd%25"
TLS = Path(__file__).parent / "tls"


class MissingMariaDb(Exception):
    """There is no MariaDB on this machine."""


class MariaDb:
    """A server with its data, made and started by `start`.

    Raises:
        MissingMariaDb: it is not installed.
    """

    def __init__(self) -> None:
        self._program, self._installer, self._client = map(_find, ("mariadbd", "mariadb-install-db", "mariadb"))
        self._folder = Path(tempfile.mkdtemp(prefix="test-mariadb-"))
        self._as_root = ["--user=root"] if os.geteuid() == 0 else []
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self.port = _free_port()

    @property
    def socket(self) -> Path:
        """Its Unix socket."""
        return self._folder / "socket"

    def url(self, database: str, **options: str | float) -> str:
        """Return the URL of one of its databases."""
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"mysql://{USER}:{ENCODED_PASSWORD}@127.0.0.1:{self.port}/{database}" + (f"?{query}" if query else "")

    def new_database(self) -> str:
        """Make a database, and return its name."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin")
        return name

    def execute(self, sql: str) -> str:
        """Run statements as root, with MariaDB's own client; return what they select, tabs between."""
        command = [self._client, "--no-defaults", "-uroot", f"--socket={self.socket}", "-N", "-B", "-e", sql]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=START_SECONDS).stdout

    def start(self) -> None:
        """Start it, with what it had when it was ended."""
        data = f"--datadir={self._folder / 'data'}"
        log = self._folder / "log"
        with log.open("ab") as output:
            if not (self._folder / "data").exists():
                self._install(data)
            (self._folder / "init.sql").write_text(
                "".join(
                    f"CREATE USER IF NOT EXISTS {USER}@'{host}' IDENTIFIED BY '{PASSWORD}';\n"
                    f"GRANT ALL ON *.* TO {USER}@'{host}';\n"
                    for host in ("%", "localhost")  # the socket's users are apart, and nobody's otherwise
                )
            )
            key = self._folder / "key.pem"
            shutil.copy(TLS / "key.pem", key)
            command = [
                self._program, "--no-defaults", data, *self._as_root, f"--init-file={self._folder / 'init.sql'}",
                "--bind-address=127.0.0.1", f"--port={self.port}", f"--socket={self.socket}",
                f"--pid-file={self._folder / 'pid'}", "--skip-name-resolve", "--skip-log-bin",
                # A commit survives the end of the process, and not that of the machine.
                "--innodb-flush-log-at-trx-commit=2", "--innodb-flush-method=nosync", "--innodb-buffer-pool-size=64M",
                "--innodb-log-file-size=64M", "--max-allowed-packet=64M", "--max-connections=200",
                f"--ssl-cert={TLS / 'certificate.pem'}", f"--ssl-key={key}",
            ]  # fmt: skip
            self._process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        self._wait(log)

    def _install(self, data: str) -> None:
        """Make its own tables; its installer has been seen to fail once on a busy machine."""
        command = [self._installer, "--no-defaults", data, "--auth-root-authentication-method=normal", *self._as_root]
        for _ in range(INSTALL_TRIES):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                return
            shutil.rmtree(self._folder / "data", ignore_errors=True)
        raise RuntimeError(f"mariadb-install-db fails: {(done.stdout + done.stderr)[-1000:]}")

    def kill(self) -> None:
        """End it at once; it has no time to say anything to its clients."""
        assert self._process
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Stop it where it is; its connections stay open."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        if self._process:
            self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it, and remove its data."""
        if self._process:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder)

    def _wait(self, log: Path) -> None:
        assert self._process
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.settimeout(5)
                if connection.recv(1):  # it greets only when it is ready
                    return
            time.sleep(0.05)
        raise RuntimeError(f"mariadbd does not start: {log.read_text(errors='replace')[-1000:]}")


@contextmanager
def private_mariadb() -> Iterator[MariaDb]:
    """Start a server for tests, and end it; skip where there is none, but fail in CI."""
    try:
        server = MariaDb()
    except MissingMariaDb as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    try:
        server.start()
        yield server
    finally:
        server.thaw()
        server.stop()


def _find(program: str) -> str:
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(program, path=path)
    if found is None:
        raise MissingMariaDb(f"{program} is not installed")
    return found


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port

"""A private MariaDB: on this machine only, in a temporary folder, ended with the benchmark."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.generator import BenchError

START_SECONDS = 60
STOP_SECONDS = 30
USER = PASSWORD = "bench"
"""No secret: the server is reached from this machine alone, while the benchmark runs."""


class MariaDb:
    """A running server."""

    def __init__(self, port: int, version: str, pid: int) -> None:
        self.port = port
        self.version = version
        self.pid = pid

    def url(self, database: str) -> str:
        """Return the URL of one of its databases."""
        return f"mysql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"


@contextmanager
def mariadb(databases: Iterable[str]) -> Iterator[MariaDb]:
    """Start a server with empty databases; it commits durably, as it comes.

    Raises:
        BenchError: there is none to start, or it does not start.
    """
    program, installer = _find("mariadbd"), _find("mariadb-install-db")
    with tempfile.TemporaryDirectory(prefix="bench-mariadb-") as name:
        folder = Path(name)
        as_root = ["--user=root"] if os.geteuid() == 0 else []
        data = f"--datadir={folder / 'data'}"
        log = folder / "log"
        with log.open("wb") as output:
            install = [installer, "--no-defaults", data, "--auth-root-authentication-method=normal", *as_root]
            if subprocess.run(install, stdout=output, stderr=output, check=False).returncode:
                raise BenchError(f"mariadb-install-db failed: {_end(log)}")
            (folder / "init.sql").write_text(_initial(databases))
            port = _free_port()
            command = [
                program, "--no-defaults", data, *as_root, f"--init-file={folder / 'init.sql'}",
                "--bind-address=127.0.0.1", f"--port={port}", f"--socket={folder / 'socket'}",
                f"--pid-file={folder / 'pid'}", "--skip-name-resolve", "--character-set-server=utf8mb4",
                "--innodb-flush-log-at-trx-commit=1",
            ]  # fmt: skip
            # A session of its own, so that an interrupt ends the benchmark first, and then this one in good order.
            process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        try:
            _wait(process, port, log)
            yield MariaDb(port, _version(program), process.pid)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            process.kill()
            process.wait()


def _initial(databases: Iterable[str]) -> str:
    """Return statements of one line each, as an init file wants them."""
    statements = [f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4" for name in databases]
    statements += [
        f"CREATE USER '{USER}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'",
        f"GRANT ALL ON *.* TO '{USER}'@'127.0.0.1'",
    ]
    return "".join(f"{statement};\n" for statement in statements)


def _find(program: str) -> str:
    found = shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))
    if found is None:
        raise BenchError(f"{program} is not installed")
    return found


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise BenchError(f"mariadbd ended with status {process.returncode}: {_end(log)}")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.settimeout(5)
            if connection.recv(1):  # it greets only when it is ready
                return
        time.sleep(0.1)
    raise BenchError(f"mariadbd does not answer after {START_SECONDS} seconds: {_end(log)}")


def _version(program: str) -> str:
    text = subprocess.run([program, "--no-defaults", "--version"], capture_output=True, text=True, check=False).stdout
    return text.partition("Ver ")[2].partition(" ")[0]


def _end(log: Path) -> str:
    return " ... ".join(log.read_text(errors="replace").splitlines()[-3:])

"""A contestant's server as a process of its own: started, pinned, looked at, ended."""

from __future__ import annotations

import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from bench.contestant import Contestant, Role
from bench.generator import BenchError
from bench.mariadb import mariadb

ROOT = Path(__file__).parents[1]
START_SECONDS = 30
STOP_SECONDS = 15
LOG_LINES = 15
DATABASE = "switchboard"
_TICKS = os.sysconf("SC_CLK_TCK")


class Server:
    """A running server, with whatever processes it has."""

    def __init__(
        self, process: subprocess.Popen[bytes], port: int, log: Path, started: float, database: int | None
    ) -> None:
        """Keep what is known about it.

        Args:
            process: its first.
            port: where it listens.
            log: what it says.
            started: when, by the monotonic clock, in seconds.
            database: the process of its database, if that is one of its own.
        """
        self._process = process
        self._log = log
        self._database = database
        self.port = port
        self.started = started

    def cpu_seconds(self) -> float:
        """Return the processor time that its processes have used."""
        return _cpu_seconds(self._processes())

    def process_cpu_seconds(self) -> dict[int, float]:
        """Return the processor time of each of its processes, the first one's first."""
        return {pid: _cpu_seconds([pid]) for pid in self._processes()}

    def database_cpu_seconds(self) -> float:
        """Return the processor time of its database, where that is a process of its own; 0 where not."""
        return _cpu_seconds([self._database]) if self._database is not None else 0.0

    def resident_bytes(self) -> int:
        """Return the resident memory of its processes, once it is not changing any more."""
        previous, current = -1, self.resident_bytes_now()
        deadline = time.monotonic() + START_SECONDS
        while abs(current - previous) > 65536 and time.monotonic() < deadline:
            time.sleep(0.25)
            previous, current = current, self.resident_bytes_now()
        return current

    def wait_listening(self) -> None:
        """Wait until it accepts.

        Raises:
            BenchError: it ended, or does not accept in time.
        """
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise BenchError(f"the server ended with status {self._process.returncode}: {self.last_words()}")
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.005)
        raise BenchError(f"the server does not listen after {START_SECONDS} seconds: {self.last_words()}")

    def wait_serving(self) -> None:
        """Wait until each process of each of its services serves; Switchboard listens before those that are late do.

        Raises:
            BenchError: it ended, or they do not serve in time.
        """
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise BenchError(f"the server ended with status {self._process.returncode}: {self.last_words()}")
            with suppress(OSError, http.client.HTTPException):
                if self._all_serve():
                    return
            time.sleep(0.05)
        raise BenchError(f"not all services serve after {START_SECONDS} seconds: {self.last_words()}")

    def _all_serve(self) -> bool:
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_SECONDS)
        try:
            client.request("GET", "/health")
            services = json.loads(client.getresponse().read())["services"].values()
        finally:
            client.close()
        each = [process for service in services for process in (service, *service["processes"])]
        return all(process["state"] == "running" for process in each)

    def last_words(self) -> str:
        """Return the end of its log."""
        lines = self._log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return "\n  ".join(["", *lines]) if lines else "it said nothing"

    def stop(self) -> None:
        """End it, and what it started."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def resident_bytes_now(self) -> int:
        """Return the resident memory of its processes at this moment."""
        return _resident_bytes(self._processes())

    def yield_to_others(self) -> None:
        """Let its processes but the first run only while nobody else wants the core."""
        for pid in self._processes()[1:]:
            os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))

    def first_resident_bytes(self) -> int:
        """Return the resident memory of its first process, once that of all is not changing any more."""
        self.resident_bytes()
        return _resident_bytes([self._process.pid])

    def _processes(self) -> list[int]:
        found = [self._process.pid]
        for pid in found:  # grows while it is walked
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                with suppress(OSError):
                    found += [int(child) for child in children.read_text().split()]
        return found


@contextmanager
def serve(
    contestant: Contestant, role: Role, core: int | None, settings: Mapping[str, object] | None = None
) -> Iterator[Server]:
    """Run a contestant's server in a new folder, until the block ends.

    Args:
        contestant: whose.
        role: what it does.
        core: the processor core to keep it on; None for any.
        settings: Switchboard's, such as `services.chat.workers`, over those that the contestant makes.

    Raises:
        BenchError: it does not start.
    """
    port = _free_port()
    with (
        tempfile.TemporaryDirectory(prefix="switchboard-bench-") as name,
        mariadb([DATABASE]) if contestant.mariadb else nullcontext() as database,
    ):
        folder = Path(name) / "server"
        folder.mkdir()
        log = Path(name) / "log"
        url = {"SWITCHBOARD__DATABASE__URL": database.url(DATABASE)} if database else {}
        changed = {f"SWITCHBOARD__{key.upper().replace('.', '__')}": str(it) for key, it in (settings or {}).items()}
        command = contestant.command(role, port, folder)
        started = time.monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | url | changed,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=lambda: pin(core),
                start_new_session=True,
            )
        server = Server(process, port, log, started, database.pid if database else None)
        try:
            server.wait_listening()
            if settings:
                server.wait_serving()
            yield server
        finally:
            server.stop()


def _resident_bytes(processes: Iterable[int]) -> int:
    pages = 0
    for pid in processes:
        with suppress(OSError):
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _cpu_seconds(processes: Iterable[int]) -> float:
    total = 0
    for pid in processes:
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def machine_cpu_seconds() -> float:
    """Return the processor time that the whole machine has spent on anything but waiting."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / _TICKS


def pin(core: int | None) -> None:
    """Keep this process on one core and let it open as many sockets as it may. Runs between fork and exec."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def cores() -> tuple[int | None, int | None]:
    """Return the core for the server and the one for the generator; None and None when there is only one."""
    available = sorted(os.sched_getaffinity(0))
    return (available[0], available[1]) if len(available) > 1 else (None, None)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

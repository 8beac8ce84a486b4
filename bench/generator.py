"""The load generator: compiled on the spot, run beside a server, read line by line."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bench.contestant import Load

SOURCES = sorted(Path(__file__).with_name("load").glob("*.[ch]"))
FLAGS = ("-O2", "-Wall", "-Wextra")
ZLIB = ("-DWITH_ZLIB", "-lz")
"""What compressed messages need; without it everything else can be measured."""
STOP_SECONDS = 10


class BenchError(Exception):
    """A benchmark cannot be run; the text says what to do."""


class Latency(msgspec.Struct, frozen=True):
    """How long deliveries took, in microseconds, from the moment at which their message was to be sent.

    Args:
        count: how many deliveries.
        p50: half of them took no longer.
        p99: 99 % of them took no longer.
        p999: 99.9 % of them took no longer.
        greatest: none took longer.
    """

    count: int
    p50: float
    p99: float
    p999: float
    greatest: float


class Report(msgspec.Struct, frozen=True):
    """A line that the generator wrote.

    Args:
        event: `opened`, `ready`, `begin`, `end`, or `result`, which has most of the rest.
        clients: how many took part.
        seconds: how long the measurement took; with `opened` and in mode `connect`, until all clients were in.
        sent: messages sent in that time.
        received: messages received in that time, by all clients together.
        lost: of all that was sent, what some client should have received and never did, acknowledgements included.
        disordered: messages that came twice, out of order or after a gap.
        refused: messages that were answered with an error.
        closed: clients that the server closed.
        sent_total: messages sent altogether, before and after the measurement too.
        received_total: messages received altogether.
        cycles: in mode `churn`, how often a client came, joined, left and was gone in that time.
        items: what all clients together had missed and were given.
        cpu: the generator's own use of its core, 0 to 1.
        stalled_code: the close code of a client that did not read; 1006 for none; 0 when it was never closed.
        latency: in open loop, of all messages that were to be sent in that time.
    """

    event: str
    clients: int = 0
    seconds: float = 0
    sent: int = 0
    received: int = 0
    lost: int = 0
    disordered: int = 0
    refused: int = 0
    closed: int = 0
    sent_total: int = 0
    received_total: int = 0
    cycles: int = 0
    items: int = 0
    cpu: float = 0
    stalled_code: int = 0
    latency: Latency | None = None

    @property
    def faults(self) -> str:
        """What went wrong, in words; empty when nothing did."""
        counts = {
            "lost": self.lost,
            "out of order": self.disordered,
            "refused": self.refused,
            "clients closed": self.closed,
        }
        return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)


def compile_generator(cache: Path | None = None) -> Path:
    """Return the generator's program; it is compiled when its source is new.

    Args:
        cache: where programs are kept; by default the user's cache folder.

    Raises:
        BenchError: there is no compiler, or it refuses.
    """
    source = b"".join(file.read_bytes() for file in SOURCES)
    cache = cache or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "switchboard-bench"
    compiler = find_compiler()
    problem = (
        "The load generator is a C program and there is no C compiler here. Install one (Debian: "
        "apt install gcc libc6-dev), or name yours in the environment variable CC."
    )
    for flags in ((*FLAGS, *ZLIB), FLAGS):
        program = cache / f"generator-{hashlib.sha256(source + ' '.join(flags).encode()).hexdigest()[:16]}"
        if program.exists():
            return program
        if compiler is not None:
            problem = _compile(compiler, flags, program)
            if program.exists():
                return program
    raise BenchError(problem)


def _compile(compiler: str, flags: tuple[str, ...], program: Path) -> str:
    """Compile the generator; returns what the compiler said."""
    program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=program.parent) as folder:
        fresh = Path(folder) / "generator"
        files = [file for file in SOURCES if file.suffix == ".c"]
        run = subprocess.run([compiler, "-o", fresh, *files, *flags], capture_output=True, text=True, check=False)
        if run.returncode == 0:
            fresh.replace(program)  # at once, so that a second run beside this one never sees half a program
    return f"The load generator cannot be compiled: {run.stderr.strip()}"


def find_compiler() -> str | None:
    """Return the C compiler: the environment's CC, or one of the usual names."""
    names = [os.environ["CC"]] if os.environ.get("CC") else ["cc", "gcc", "clang"]
    return next((path for name in names if (path := shutil.which(name))), None)


class Generator:
    """A running generator. Iterate over its reports; `release` ends mode `idle`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def wait(self, event: str) -> Report:
        """Wait for a report.

        Args:
            event: which.

        Raises:
            BenchError: the generator ended before.
        """
        for report in self:
            if report.event == event:
                return report
        raise BenchError(f"the generator ended without saying {event}")

    def __iter__(self) -> Iterator[Report]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            yield msgspec.json.decode(line, type=Report)
        if self._process.wait() != 0:
            assert self._process.stderr is not None
            raise BenchError(self._process.stderr.read().strip() or "the generator was killed")

    def release(self) -> None:
        """Let the clients of mode `idle` go."""
        assert self._process.stdin is not None
        self._process.stdin.close()


@contextmanager
def generator(
    options: dict[str, object], load: Load, port: int, prepare: Callable[[], None] | None = None
) -> Iterator[Generator]:
    """Run a generator.

    Args:
        options: mode, clients, publishers ... as `load/main.c` names them.
        load: what the clients say.
        port: of the server, on this machine.
        prepare: runs in the new process first, such as to pin it to a core.
    """
    values = {**options, "port": port, "path": load.path, "template": load.template}
    if load.join:
        values["join"] = load.join
    if load.joined:
        values["joined"] = load.joined
    if load.leave:
        values |= {"leave": load.leave, "left": load.left}
    if load.item:
        values["items"] = load.item
    if load.ignored:
        values["ignore"] = load.ignored
    if load.acknowledged:
        values["answer"] = load.acknowledged
    with tempfile.TemporaryDirectory() as folder:
        if load.headers:
            values["headers"] = Path(folder) / "headers"
            (Path(folder) / "headers").write_text("".join(f"{header}\n" for header in load.headers))
        arguments = [text for name, value in values.items() for text in (f"--{name}", str(value))]
        process = subprocess.Popen(
            [compile_generator(), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=prepare,
        )
        with process:
            try:
                yield Generator(process)
            finally:
                process.terminate()
                process.wait(STOP_SECONDS)

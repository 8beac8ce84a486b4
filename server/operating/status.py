"""`switchboard status`: how a running server is, as a table in the terminal that stays current.

Exit status: 0 fine, 1 it does not answer (with --once), 2 wrong usage, 78 bad configuration.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, TextIO

from server.config import Settings
from server.http.health import Health
from server.operating.asking import Address, Unreachable, add_arguments, configured, printable
from server.operating.sample import Sample, take
from server.service.host import ServiceStatus

SECONDS = 2.0
LEAST_SECONDS, MOST_SECONDS = 0.2, 3600.0

COLUMNS = ("SERVICE", "STATE", "PID", "CLIENTS", "MEMORY", "INCIDENTS", "STALLS", "LAST STALL", "RESTARTS", "PROBLEM")
NUMBERS = range(2, 9)
"""The columns that stand to the right."""
UNKNOWN = "-"

_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _REST_OF_LINE, _REST = "\x1b[H", "\x1b[K", "\x1b[J"


def add_to(commands: Any) -> None:
    """Add the command to the command's parser."""
    parser = commands.add_parser("status", help="watch a running server")
    parser.add_argument("--once", action="store_true", help="say it once; so it is where there is no terminal")
    parser.add_argument(
        "--seconds", metavar="S", type=_seconds, default=SECONDS, help=f"how often (default: {SECONDS:g})"
    )
    add_arguments(parser)


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Show the table until somebody presses Ctrl-C, or once; returns the exit status.

    Args:
        options: what was parsed.
        settings: the configuration.
    """
    address = options.url or configured(settings)
    if options.once or not sys.stdout.isatty():
        try:
            sample = take(address)
        except Unreachable as error:
            print(f"switchboard: {address.url}: {error}", file=sys.stderr)  # noqa: T201 the command's own voice
            return 1
        print("\n".join(table(address, sample)))  # noqa: T201 the command's own voice
        return 0
    with suppress(KeyboardInterrupt):  # that is how it ends
        _watch(address, options.seconds, sys.stdout)
    return 0


def _watch(address: Address, seconds: float, stream: TextIO) -> None:
    before: Sample | None = None
    stream.write(_ENTER)
    try:
        while True:
            try:
                sample = take(address)
                lines, before = table(address, sample, before), sample
            except Unreachable as error:
                lines, before = [f"{address.url}: {printable(str(error))}", "", "Trying again."], None
            size = shutil.get_terminal_size()
            lines = [line[: size.columns] for line in lines[: size.lines - 1]]
            stream.write(_HOME + "".join(f"{line}{_REST_OF_LINE}\n" for line in lines) + _REST)
            stream.flush()
            time.sleep(seconds)
    finally:
        stream.write(_LEAVE)
        stream.flush()


def table(address: Address, sample: Sample, before: Sample | None = None) -> list[str]:
    """Return the lines of the table.

    Args:
        address: the server.
        sample: how it is.
        before: how it was, so that something can be said of what happened since.
    """
    health = sample.health
    rows = [row for status in health.services.values() for row in _rows(status, sample)]
    return [
        printable(line)
        for line in (
            f"Switchboard {health.version} at {address.url}: {health.status}",
            *_parts(health, sample),
            _traffic(sample, before),
            "",
            *_aligned([COLUMNS, *rows]),
        )
    ]


def _parts(health: Health, sample: Sample) -> Iterator[str]:
    """Yield a line for each part that is not a service."""
    database = "connected" if health.database.connected else f"away: {health.database.problem}"
    size, in_use, waiting = (sample.figure("database_pool", state) for state in ("size", "in_use", "waiting"))
    if size:  # SQLite has none
        database += f"; {_number(in_use)} of {_number(size)} connections busy, {_number(waiting)} waiting"
    yield f"database  {database}"
    yield f"broker    {'connected' if health.broker.connected else 'away'}; {health.broker.detail}"
    memory = _bytes(sample.figure("process_resident_bytes"))
    budget = sample.figure("memory_budget_bytes")
    if budget:
        memory += f" of {_bytes(budget)}; {(sample.figure('memory_pressure') or 0):.0%} taken"
    yield f"memory    {memory}"


def _traffic(sample: Sample, before: Sample | None) -> str:
    clients = sum(status.clients for status in sample.health.services.values())
    words = [f"{clients:,} clients", f"{_bytes(sample.figure('queue_bytes'))} waiting for them"]
    for name, word in (("deliveries", "deliveries"), ("publications", "publications"), ("commits", "commits")):
        rate = sample.rate(f"{name}_total", before)
        if rate is not None:
            words.append(f"{rate:,.0f} {word}/s")
        else:
            words.append(f"{_number(sample.figure(f'{name}_total'))} {word}")
    gaps = sample.figure("broker_gaps_total")
    if gaps:
        words.append(f"{gaps:,.0f} gaps")
    return "traffic   " + ", ".join(words)


def _rows(status: ServiceStatus, sample: Sample) -> Iterator[Sequence[str]]:
    """Yield a row for a service, and one for each of its processes."""
    yield (
        status.name,
        status.state.value,
        UNKNOWN if not status.processes else f"{len(status.processes)} proc.",
        f"{status.clients:,}",
        UNKNOWN,
        f"{status.incidents:,}",
        _number(sample.figure("stalls_total", status.name)),
        _stall(status.stall_seconds),
        UNKNOWN if not status.processes else f"{sum(process.restarts for process in status.processes):,}",
        status.problem,
    )
    for process in status.processes:
        yield (
            f"  {process.name}",
            process.state,
            str(process.pid or UNKNOWN),
            f"{process.clients:,}",
            _bytes(sample.figure("process_resident_bytes", process.name)),
            "",
            "",
            _stall(process.stall_seconds),
            f"{process.restarts:,}",
            process.problem,
        )


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if number in NUMBERS else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:,.0f}"


def _stall(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds else UNKNOWN


def _bytes(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    for unit in ("B", "KB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} GB"


def _seconds(text: str) -> float:
    seconds = float(text)
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"from {LEAST_SECONDS:g} to {MOST_SECONDS:g} seconds")
    return seconds

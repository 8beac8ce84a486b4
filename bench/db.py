"""`python -m bench.db`: measure DbObject beside other async ORMs, and the bare drivers, in a few minutes."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import apsw
import msgspec

from bench.db_contestant import ENTRIES, YARDSTICK, DatabaseName, Entry
from bench.db_report import DbRun, Table, render
from bench.db_worker import Outcome
from bench.generator import BenchError
from bench.machine import Machine
from bench.mariadb import mariadb
from server.version import __version__

RESULTS = Path(__file__).with_name("results")
ROOT = Path(__file__).parents[1]
PATIENCE = 120
"""Seconds that a worker may take beyond what it measures."""
LAST_LINES = 8
Url = Callable[[Entry, int], str]
"""Gives a contestant an empty database of its own in each round."""


def main() -> int:
    """Run the benchmark; returns 1 when something could not be measured that should have been."""
    options = _parser().parse_args()
    known = [entry.module for entry in ENTRIES]
    if unknown := [name for name in options.contestant if name not in known]:
        print(f"bench: {', '.join(unknown)}: no such contestant; there are {', '.join(known)}", file=sys.stderr)
        return 2
    entries = [entry for entry in ENTRIES if not options.contestant or entry.module in (YARDSTICK, *options.contestant)]
    run = DbRun(
        started_at=datetime.now(UTC),
        machine=Machine.this(),
        rounds=options.rounds,
        seconds=options.seconds,
        rows=options.rows,
        synchronous=options.synchronous,
        filesystem=filesystem(Path(tempfile.gettempdir())),
        versions=_versions(entries),
    )
    try:
        for database in options.database or get_args(DatabaseName):
            _measure_on(run, database, entries)
    except KeyboardInterrupt:
        print("\nbench: interrupted; this is what there is", file=sys.stderr)
    print(render(run))
    print(f"\nKept in {os.path.relpath(run.save(options.results))}")
    return 1 if run.failed else 0


def _measure_on(run: DbRun, database: DatabaseName, entries: Sequence[Entry]) -> None:
    table = run.tables[database] = Table()
    for entry in entries:
        if database not in entry.databases and entry.kind == "orm":
            table.absent[entry.module] = entry.reason
    taking_part = [entry for entry in entries if database in entry.databases]
    try:
        with (_sqlite if database == "sqlite" else _mariadb)(run, table, taking_part) as url:
            _measure(run, table, taking_part, url)
    except BenchError as error:
        table.about = f"Not measured: {error}"
        print(f"bench: {database}: {error}", file=sys.stderr)


@contextmanager
def _sqlite(_run: DbRun, table: Table, _entries: Sequence[Entry]) -> Iterator[Url]:
    table.about = f"SQLite {sqlite3.sqlite_version} under aiosqlite, {apsw.sqlite_lib_version()} under apsw"
    with tempfile.TemporaryDirectory(prefix="bench-db-") as folder:
        yield lambda entry, number: f"sqlite:///{Path(folder).resolve() / f'{entry.module}-{number}.db'}"


@contextmanager
def _mariadb(run: DbRun, table: Table, entries: Sequence[Entry]) -> Iterator[Url]:
    def name(entry: Entry, number: int) -> str:
        return f"{entry.module}_{number}"

    with mariadb(name(entry, number) for entry in entries for number in range(run.rounds)) as server:
        table.about = (
            f"MariaDB {server.version} over loopback, private, as it comes: every commit is flushed for everybody"
        )
        yield lambda entry, number: server.url(name(entry, number))


def _measure(run: DbRun, table: Table, entries: Sequence[Entry], url: Url) -> None:
    """Measure round by round, everybody in turn, so that a slow minute of the machine hits all alike."""
    for number in range(run.rounds):
        for entry in entries:
            if entry.module in table.absent or entry.module in table.failures:
                continue
            outcome = run_worker(entry.module, url(entry, number), run.seconds, run.rows, run.synchronous)
            said = f"round {number + 1} of {run.rounds}, {entry.title}"
            if outcome.absent:
                table.absent[entry.module] = outcome.absent
                print(f"{said}: {outcome.absent}", file=sys.stderr)
            elif outcome.failure:
                table.failures[entry.module] = outcome.failure
                print(f"{said}: {outcome.failure}", file=sys.stderr)
            else:
                table.add(entry.module, outcome.values)
                values = ", ".join(f"{operation} {value:,.0f}" for operation, value in outcome.values.items())
                print(f"{said}: {values}", file=sys.stderr)


def run_worker(module: str, url: str, seconds: float, rows: int, synchronous: str) -> Outcome:
    """Measure a contestant in a process of its own, so that nothing of one is in another's way."""
    command = [sys.executable, "-m", "bench.db_worker", module, url, str(seconds), str(rows)]
    environment = os.environ | {"BENCH_SYNCHRONOUS": synchronous}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env=environment,
            timeout=PATIENCE + 20 * seconds,
        )
    except subprocess.TimeoutExpired as error:
        return Outcome(failure=f"it took longer than {error.timeout:g} s")
    try:
        return msgspec.json.decode(done.stdout.splitlines()[-1], type=Outcome)
    except (IndexError, msgspec.DecodeError):
        last = " ... ".join(done.stderr.splitlines()[-LAST_LINES:])
        return Outcome(failure=f"its process ended with status {done.returncode}: {last}")


def filesystem(folder: Path) -> str:
    """Return the kind of file system that a folder is on: on tmpfs a commit waits for nothing."""
    best, kind = "", "an unknown file system"
    for line in Path("/proc/mounts").read_text().splitlines():
        point, found = line.split(" ")[1:3]
        if folder.resolve().is_relative_to(point) and len(point) >= len(best):
            best, kind = point, found
    return kind


def _versions(entries: Sequence[Entry]) -> dict[str, str]:
    versions = {"switchboard-server": __version__}
    for package in (*(package for entry in entries for package in entry.packages), "uvloop"):
        try:
            versions.setdefault(package, importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            continue  # whoever needs it is named in the tables
    return versions


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.db", description="Measure DbObject beside other ORMs.")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (default: 3)")
    parser.add_argument("--seconds", type=float, default=0.5, help="how long each operation repeats (default: 0.5)")
    parser.add_argument("--rows", type=int, default=5000, help="rows that are there before (default: 5000)")
    parser.add_argument("--database", action="append", choices=get_args(DatabaseName), help="only this one")
    parser.add_argument(
        "--contestant", action="append", default=[], metavar="MODULE", help="only this one, and DbObject"
    )
    parser.add_argument("--synchronous", choices=["NORMAL", "FULL"], default="NORMAL", help="what all set on SQLite")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER", help="where db.json is kept")
    return parser


if __name__ == "__main__":
    sys.exit(main())

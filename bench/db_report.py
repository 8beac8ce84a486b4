"""What `bench.db` found: kept as JSON, printed as tables in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from bench.db_contestant import ENTRIES, FLOORS, YARDSTICK, DatabaseName, Entry
from bench.machine import Machine

GOAL = 1.5
"""What 100 rows as objects may cost, in relation to the bare driver's tuples."""
NOISE = 1.05
"""Whoever is ahead by less than this factor is not called faster."""


class Column(msgspec.Struct, frozen=True):
    """A figure of the tables.

    Args:
        title: its head, with the unit.
        name: in a sentence.
        scale: what the microseconds are divided by.
    """

    title: str
    name: str
    scale: float = 1


COLUMNS = {
    "insert": Column("insert, µs", "insert"),
    "bulk": Column("bulk of 1,000, ms", "bulk", 1000),
    "by_key": Column("by key, µs", "by key"),
    "hundred": Column("100 rows, µs", "100 rows"),
    "read": Column("100 rows, all values read, µs", "100 rows, all values read"),
    "change": Column("load, change one column, save, µs", "load, change, save"),
}
_TITLES: dict[DatabaseName, str] = {"sqlite": "SQLite", "mariadb": "MariaDB"}
_ENTRIES = {entry.module: entry for entry in ENTRIES}


class Table(msgspec.Struct):
    """What was found on one database.

    Args:
        about: the database's version and settings, in words.
        values: microseconds per call, one for each round, by contestant and operation.
        absent: why contestants did not take part.
        failures: what went wrong with the ones that did.
    """

    about: str = ""
    values: dict[str, dict[str, list[float]]] = {}
    absent: dict[str, str] = {}
    failures: dict[str, str] = {}

    def add(self, module: str, values: dict[str, float]) -> None:
        """Keep what a worker measured."""
        own = self.values.setdefault(module, {})
        for operation, value in values.items():
            own.setdefault(operation, []).append(value)

    def median(self, module: str, operation: str) -> float | None:
        """Return the median of the rounds; None when there is none."""
        values = self.values.get(module, {}).get(operation)
        return statistics.median(values) if values else None

    def ratio(self, module: str, operation: str, to: str = YARDSTICK) -> float | None:
        """Return a contestant's time in relation to another's; None where there is nothing to compare."""
        own, other = self.median(module, operation), self.median(to, operation)
        return own / other if own is not None and other else None


class DbRun(msgspec.Struct):
    """Everything that a run found.

    Args:
        started_at: UTC.
        rounds: how often each contestant was measured.
        seconds: how long each operation was repeated, at least, each time.
        rows: how many rows the table held before.
        synchronous: what all set on SQLite.
        filesystem: what kind the databases were on.
        versions: of what took part.
    """

    started_at: datetime
    machine: Machine
    rounds: int
    seconds: float
    rows: int
    synchronous: str
    filesystem: str
    versions: dict[str, str]
    tables: dict[DatabaseName, Table] = {}

    @property
    def failed(self) -> bool:
        """Return whether anything went wrong."""
        return any(table.failures for table in self.tables.values())

    def save(self, folder: Path) -> Path:
        """Write it as JSON; returns the file."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "db.json"
        file.write_bytes(msgspec.json.format(msgspec.json.encode(self)))
        return file


def render(run: DbRun) -> str:
    """Return the report as Markdown."""
    machine = run.machine
    place = (
        f"{machine.processor}, {machine.cores} cores, Linux {machine.kernel}, Python {machine.python}; "
        f"databases on {run.filesystem}{_meaning(run.filesystem)}."
    )
    versions = ", ".join(f"{package} {version}" for package, version in run.versions.items())
    method = (
        "Time per operation, one task awaiting one after the other: "
        f"median of {run.rounds} rounds of {run.seconds:g} s (lowest-highest), "
        f"and its ratio to DbObject's, so that less is better. {run.rows:,} rows were there before. "
        "DbObject's times are aware; the peers' are naive UTC, which is less work, and the drivers' on SQLite numbers."
    )
    lines = [place, f"{versions}.", "", method]
    for database, table in run.tables.items():
        lines += ["", *_table(database, table), *_remarks(run, database, table)]
    return "\n".join(lines)


def _meaning(filesystem: str) -> str:
    return ", where no commit waits for a disk" if filesystem in ("tmpfs", "ramfs") else ""


def _table(database: DatabaseName, table: Table) -> Iterator[str]:
    yield f"| {_TITLES[database]} | " + " | ".join(column.title for column in COLUMNS.values()) + " |"
    yield "|---" * (len(COLUMNS) + 1) + "|"
    for entry in _listed(table):
        cells = [_cell(table, entry.module, operation) for operation in COLUMNS]
        yield f"| {_name(entry)} | " + " | ".join(cells) + " |"


def _listed(table: Table) -> list[Entry]:
    return [entry for entry in ENTRIES if entry.module in table.values]


def _name(entry: Entry) -> str:
    name = entry.title if entry.kind == "orm" else f"{entry.title} (driver)"
    return f"**{name}**" if entry.module == YARDSTICK else name


def _cell(table: Table, module: str, operation: str) -> str:
    values = table.values[module].get(operation)
    if not values:
        return ""
    scale = COLUMNS[operation].scale
    low, middle, high = (figure(value / scale) for value in (min(values), statistics.median(values), max(values)))
    ratio = table.ratio(module, operation)
    span = f" ({low}-{high})" if len(values) > 1 else ""
    return middle + span + (f" {ratio:.2f}x" if ratio is not None else "")


def _remarks(run: DbRun, database: DatabaseName, table: Table) -> Iterator[str]:
    yield ""
    if table.about:
        yield f"{table.about}."
    if database == "sqlite":
        yield f"WAL and synchronous={run.synchronous} for all; DbObject has FULL unless it is told otherwise."
    yield from filter(None, [_floor(database, table), _standing(table)])
    for module, reason in table.absent.items():
        yield f"{_ENTRIES[module].title} is not there: {reason}."
    for module, reason in table.failures.items():
        yield f"{_ENTRIES[module].title} failed: {reason}"


def _floor(database: DatabaseName, table: Table) -> str:
    """Say what 100 rows as objects cost in relation to the driver."""
    floor = FLOORS[database]
    ratios = [
        (entry, ratio)
        for entry in _listed(table)
        if entry.kind == "orm" and (ratio := table.ratio(entry.module, "hundred", floor)) is not None
    ]
    if not ratios:
        return ""
    said = [f"{entry.title} {ratio:.2f}{_verdict(entry, ratio)}" for entry, ratio in ratios]
    return f"Times the bare driver ({_ENTRIES[floor].title}) for 100 rows: {', '.join(said)}."


def _verdict(entry: Entry, ratio: float) -> str:
    if entry.module != YARDSTICK:
        return ""
    return f" (goal <= {GOAL:g}: {'met' if ratio <= GOAL else 'MISSED'})"


def _standing(table: Table) -> str:
    """Say which ORM is faster than DbObject, and in what."""
    peers = [entry for entry in _listed(table) if entry.kind == "orm" and entry.module != YARDSTICK]
    if YARDSTICK not in table.values or not peers:
        return ""
    ahead = [
        f"{entry.title} in {column.name} ({ratio:.2f}x)"
        for operation, column in COLUMNS.items()
        for entry in peers
        if (ratio := table.ratio(entry.module, operation)) is not None and ratio * NOISE < 1
    ]
    return (
        f"Faster than DbObject: {', '.join(ahead)}."
        if ahead
        else f"No ORM is faster than DbObject by more than {NOISE - 1:.0%} in anything."
    )


def figure(value: float) -> str:
    """Write a time with no more digits than it is sure of."""
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"

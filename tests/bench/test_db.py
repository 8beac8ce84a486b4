"""`python -m bench.db`: figures that can be compared, contestants that do what they are measured at."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.db import filesystem, run_worker
from bench.db_contestant import ENTRIES, FLOORS, YARDSTICK, mysql_arguments
from bench.db_report import COLUMNS, DbRun, Table, figure, render
from bench.db_worker import WrongResult, make_rows, measure, outcome
from bench.machine import Machine
from bench.orms.apsw_thread import ApswThread

ROOT = Path(__file__).parents[2]
SECONDS = 0.01
ROWS = 300


def url(folder: Path) -> str:
    return f"sqlite:///{folder.resolve() / 'bench.db'}"


@pytest.fixture
def run() -> DbRun:
    table = Table()
    for hundred in (100.0, 300.0, 200.0):
        table.add(YARDSTICK, {"hundred": hundred, "bulk": 5000.0})
        table.add("tortoise_orm", {"hundred": hundred * 4, "bulk": 4000.0})
        table.add("apsw_thread", {"hundred": hundred / 2, "bulk": 1000.0})
    return DbRun(
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        machine=Machine("a processor", 2, "6.1", "3.11"),
        rounds=3,
        seconds=0.5,
        rows=5000,
        synchronous="NORMAL",
        filesystem="tmpfs",
        versions={"apsw": "3.54"},
        tables={"sqlite": table},
    )


@pytest.mark.parametrize(("value", "text"), [(3.444, "3.4"), (99.94, "99.9"), (100.4, "100"), (1234.5, "1,234")])
def test_times_have_as_many_digits_as_they_are_sure_of(value: float, text: str) -> None:
    """A figure is as long as it is sure."""
    assert figure(value) == text


def test_the_table_compares_medians_with_dbobject(run: DbRun) -> None:
    """Each cell has the median, the range and the ratio; milliseconds where a column says so."""
    rows = {line.split(" | ")[0].strip("| *"): line for line in render(run).splitlines() if line.startswith("|")}
    assert "| 5.0 (5.0-5.0) 1.00x |" in rows["DbObject"]
    assert "| 200 (100-300) 1.00x |" in rows["DbObject"]
    assert "| 4.0 (4.0-4.0) 0.80x |" in rows["Tortoise"]
    assert "| 800 (400-1,200) 4.00x |" in rows["Tortoise"]
    assert "| 100 (50.0-150) 0.50x |" in rows["apsw, one hop (driver)"]
    assert len({line.count("|") for line in rows.values()}) == 1


def test_what_is_missed_and_lost_is_said(run: DbRun) -> None:
    """The goal is judged, and whoever is faster is named; a driver is no ORM."""
    text = render(run)
    assert "DbObject 2.00 (goal <= 1.5: MISSED), Tortoise 8.00." in text
    assert "Faster than DbObject: Tortoise in bulk (0.80x)." in text
    assert "where no commit waits for a disk" in text
    assert "for all; DbObject has FULL unless it is told otherwise" in text


def test_who_is_absent_is_named(run: DbRun) -> None:
    """Without DbObject there is a table all the same, without ratios."""
    table = run.tables["sqlite"]
    table.absent["piccolo_orm"] = "piccolo is not installed"
    del table.values[YARDSTICK]
    table.failures[YARDSTICK] = "QueryError: no"
    text = render(run)
    assert "Piccolo is not there: piccolo is not installed." in text
    assert "DbObject failed: QueryError: no" in text
    assert "800 (400-1,200) |" in text
    assert run.failed


def test_dbobject_is_measured(tmp_path: Path) -> None:
    """It takes part in a process of its own, in every column, and is right in all of them."""
    found = run_worker(YARDSTICK, url(tmp_path), SECONDS, ROWS, "NORMAL")
    assert not found.failure
    assert set(found.values) == set(COLUMNS)
    assert all(value > 0 for value in found.values.values())


def test_the_whole_command(tmp_path: Path) -> None:
    """Tables are printed and the figures kept."""
    command = [sys.executable, "-m", "bench.db", "--rounds", "1", "--seconds", str(SECONDS), "--rows", str(ROWS)]
    command += ["--database", "sqlite", "--contestant", "apsw_thread", "--results", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Times the bare driver (apsw, one hop) for 100 rows: DbObject" in done.stdout
    kept = msgspec.json.decode((tmp_path / "db.json").read_bytes(), type=DbRun)
    assert list(kept.tables["sqlite"].values) == [YARDSTICK, "apsw_thread"]


def test_unknown_contestants_are_named() -> None:
    """A mistyped name is a wrong use of the command, with the right names in the answer."""
    command = [sys.executable, "-m", "bench.db", "--contestant", "django"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)
    assert done.returncode == 2
    assert "no such contestant; there are dbobject," in done.stderr


def test_a_peer_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is no failure."""
    monkeypatch.setitem(sys.modules, "aiosqlite", None)
    monkeypatch.delitem(sys.modules, "bench.orms.aiosqlite_bare", raising=False)
    found = outcome("aiosqlite_bare", url(tmp_path), SECONDS, ROWS)
    assert "aiosqlite" in found.absent
    assert not found.failure


class Lazy(ApswThread):
    """Leaves the last row out."""

    async def hundred(self, room: int) -> Sequence[Any]:
        return (await super().hundred(room))[:-1]


async def test_whoever_does_less_is_not_measured(tmp_path: Path) -> None:
    """What was measured is known to have been done."""
    with pytest.raises(WrongResult, match="hundred"):
        await measure(Lazy(), url(tmp_path), SECONDS, ROWS)


def test_a_process_that_dies_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its last words stand in the report."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    found = run_worker(YARDSTICK, url(tmp_path), SECONDS, ROWS, "NORMAL")
    assert "ended with status 1" in found.failure


def test_rows_are_always_the_same() -> None:
    """Texts are as long as promised, and every round measures the same."""
    rows = make_rows(ApswThread(), ROWS)
    assert rows == make_rows(ApswThread(), ROWS)
    assert all(100 <= len(row.text) <= 150 for row in rows)
    assert {row.room for row in rows} == {1, 2, 3}


def test_every_contestant_that_is_listed_is_there() -> None:
    """The list and the modules agree."""
    modules = {file.stem for file in (ROOT / "bench" / "orms").glob("[!_]*.py")}
    assert {entry.module for entry in ENTRIES} == modules
    assert {YARDSTICK, *FLOORS.values()} <= modules


def test_urls_and_file_systems_are_understood() -> None:
    """A driver's arguments come from the one URL that all are given."""
    assert mysql_arguments("mysql://user:word@127.0.0.1:3307/name") == {
        "host": "127.0.0.1",
        "port": 3307,
        "user": "user",
        "password": "word",
        "db": "name",
    }
    assert filesystem(Path("/proc")) == "proc"


async def test_nothing_is_left_running(tmp_path: Path) -> None:
    """A contestant that is closed has ended its thread."""
    contestant = ApswThread()
    await contestant.open(url(tmp_path))
    await asyncio.wait_for(contestant.close(), 10)
    assert not contestant._thread.is_alive()

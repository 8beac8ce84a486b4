"""How connections to one file wait for each other, and what becomes of the log."""

from __future__ import annotations

import threading
from pathlib import Path

import apsw
import pytest

from server.db.errors import Unavailable
from server.db.sqlite import connecting
from server.db.sqlite.connecting import RESTART_PAGES, connect, translated


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "test.db"
    connect(file).execute("CREATE TABLE words (word TEXT)")
    return file


def write(connection: apsw.Connection, times: int) -> None:
    for _ in range(times):
        connection.execute("INSERT INTO words VALUES (?)", ("x" * 3000,))


def log_size(file: Path) -> int:
    return file.with_name(f"{file.name}-wal").stat().st_size


def test_a_writer_waits_for_another(file: Path) -> None:
    """While another connection holds the file a write waits; it goes through when that lets go."""
    first, second = connect(file), connect(file)
    first.execute("BEGIN IMMEDIATE")
    waiting = threading.Thread(target=write, args=(second, 1))
    waiting.start()
    first.execute("INSERT INTO words VALUES ('first')")
    first.execute("COMMIT")
    waiting.join()
    assert [len(word) for (word,) in first.execute("SELECT word FROM words ORDER BY rowid")] == [5, 3000]


def test_a_writer_gives_up_some_time(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever does not get the file in time says that it is not available now, and nothing is written."""
    monkeypatch.setattr(connecting, "BUSY_SECONDS", 0.01)
    first, second = connect(file), connect(file)
    first.execute("BEGIN IMMEDIATE")
    with pytest.raises(apsw.BusyError) as caught:
        write(second, 1)
    assert isinstance(translated(caught.value), Unavailable)
    first.execute("ROLLBACK")
    assert first.execute("SELECT count(*) FROM words").get == 0


def test_the_log_starts_anew(file: Path) -> None:
    """However much is written by two connections in turn, the log does not grow without end."""
    first, second = connect(file), connect(file)
    for _ in range(3 * RESTART_PAGES // 100):
        write(first, 50)
        write(second, 50)
    assert log_size(file) < 2 * RESTART_PAGES * 4096


def test_a_long_read_holds_up_no_commit(file: Path) -> None:
    """While somebody reads one moment of the file the log grows and writes go through; afterwards it starts anew."""
    reader, writer = connect(file, readonly=True), connect(file)
    write(writer, 10)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM words").get == 10
    write(writer, RESTART_PAGES // 2 + 10)
    grown = log_size(file)
    assert reader.execute("SELECT count(*) FROM words").get == 10
    reader.execute("COMMIT")
    write(writer, RESTART_PAGES)
    assert log_size(file) < grown + RESTART_PAGES * 4096

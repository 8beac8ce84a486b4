"""The threads behind the SQLite backend, and how they say what went wrong."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import apsw
import pytest

from server.db.errors import (
    DatabaseError,
    ForeignKeyViolation,
    IntegrityError,
    QueryError,
    Unavailable,
    UniqueViolation,
    UnusableDatabase,
)  # fmt: skip
from server.db.sqlite.connecting import connect, translated
from server.db.sqlite.threads import Call, Session


@pytest.fixture
def connection(tmp_path: Path) -> apsw.Connection:
    connection = connect(tmp_path / "test.db")
    connection.execute(
        "CREATE TABLE a (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, n INTEGER CHECK (n > 0));"
        "CREATE TABLE b (a INTEGER REFERENCES a (id) ON DELETE RESTRICT);"
        "INSERT INTO a VALUES (1, 'secret', 1);"
        "INSERT INTO b VALUES (1)"
    )
    return connection


@pytest.mark.parametrize(
    ("sql", "kind", "text"),
    [
        ("INSERT INTO a VALUES (2, 'secret', 1)", UniqueViolation, r"^a\.name is taken$"),
        ("INSERT INTO a VALUES (1, 'other', 1)", UniqueViolation, r"^a\.id is taken$"),
        ("INSERT INTO b VALUES (7)", ForeignKeyViolation, "refers to a row that does not exist"),
        ("DELETE FROM a", ForeignKeyViolation, "is referred to"),
        ("INSERT INTO a VALUES (2, NULL, 1)", IntegrityError, r"a\.name violates the schema"),
        ("INSERT INTO a VALUES (2, 'x', 0)", IntegrityError, "violates the schema"),
        ("INSERT INTO nowhere VALUES (1)", QueryError, "nowhere"),
        ("SELEC 1", QueryError, "syntax"),
        ("SELECT ?", QueryError, "bindings"),
    ],
)
def test_errors(connection: apsw.Connection, sql: str, kind: type[DatabaseError], text: str) -> None:
    """Each error of the driver is one of ours, says what it is about, and shows no value."""
    with pytest.raises(apsw.Error) as wrong:
        connection.execute(sql)
    error = translated(wrong.value)
    assert type(error) is kind
    with pytest.raises(kind, match=text):
        raise error
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (apsw.BusyError("x"), Unavailable),
        (apsw.FullError("x"), Unavailable),
        (apsw.IOError("x"), Unavailable),
        (apsw.CorruptError("x"), UnusableDatabase),
        (apsw.NotADBError("x"), UnusableDatabase),
        (apsw.SQLError("x"), QueryError),
        (Unavailable("x"), Unavailable),
        (TypeError("x"), QueryError),
    ],
)
def test_errors_that_pass_and_those_that_do_not(error: Exception, kind: type[DatabaseError]) -> None:
    """What may succeed a moment later is Unavailable; what never will is not."""
    assert type(translated(error, Path("file.db"))) is kind


def test_lower_case_is_that_of_all_alphabets(connection: apsw.Connection) -> None:
    """SQLite's own knows ASCII alone."""
    assert connection.execute("SELECT lower('ÄÉΩ'), lower(NULL), lower(3)").fetchall() == [("äéω", None, "3")]


async def test_a_session_that_ended_takes_no_more_calls() -> None:
    """Whoever comes too late, or was not served, is told; nobody waits for ever."""
    loop = asyncio.get_running_loop()
    session = Session(loop.create_future(), 1.0, schema=False)
    first, second = loop.create_future(), loop.create_future()
    assert session.call(Call(lambda _: None, first))
    assert session.end() == [first]
    assert not session.call(Call(lambda _: None, second))
    assert session.end() == []


async def test_no_call_is_lost_between_threads() -> None:
    """A call that comes at the very end is either served, or handed back."""
    loop = asyncio.get_running_loop()
    for _ in range(50):
        session = Session(loop.create_future(), 1.0, schema=False)
        futures = [loop.create_future() for _ in range(20)]
        accepted: list[bool] = []

        def send(session: Session = session, accepted: list[bool] = accepted, futures: list[Any] = futures) -> None:
            accepted.extend(session.call(Call(lambda _: None, future)) for future in futures)

        thread = threading.Thread(target=send)
        thread.start()
        left = session.end()
        thread.join()
        assert len(left) == sum(accepted)

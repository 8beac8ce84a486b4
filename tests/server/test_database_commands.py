"""`switchboard db`, as an operator and somebody who writes a service use it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from server.auth.models import Session, User
from server.cli import main
from server.config import Settings
from server.db import Database, Statement
from server.migrated import migrated
from tests.support.mariadb import ENCODED_PASSWORD, MariaDb

ROOT = Path(__file__).parents[2]
SERVICE = """
from server import Connection, Service
from server.db import DbObject
class Notes(Service):
    async def serve(self, connection: Connection) -> None:
        pass
"""
MODELS = """
from server.db import DbObject, Integer, Text
class Base(DbObject):
    id = Integer(primary_key=True)
class Note(Base):
    dbo_tablename = "notes"
    text = Text(max_length=100)
Other = Note.prefix("o")
"""
MORE = MODELS.replace("    text = ", '    title = Text(max_length=20, default="")\n    text = ')
BROKEN = """
from server.db import RunSql
steps = [RunSql({"sqlite": ["INSERT INTO nowhere VALUES (1)"], "mysql": ["INSERT INTO nowhere VALUES (1)"]})]
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a configuration and a service with one table, which no migration makes yet."""
    (tmp_path / "config.toml").write_text("[services.notes]\n")
    package = tmp_path / "services" / "notes"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "service.py").write_text(SERVICE)
    (package / "models.py").write_text(MODELS)
    return tmp_path


def db(place: Path, *arguments: str | Path, status: int = 0, url: str = "") -> str:
    """Run the real command, perhaps with another database, and return what it says on both streams."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("SWITCHBOARD__")}
    command = [sys.executable, "-m", "server", "db", *map(str, arguments), "--config", str(place / "config.toml")]
    environment = {**clean, "SWITCHBOARD__DATABASE__URL": url}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT, env=environment)
    assert "Traceback" not in done.stderr
    assert done.returncode == status, done.stderr
    if status:
        assert done.stdout == "" or "applied" in done.stdout
        assert status == 2 or len(done.stderr.splitlines()) == 1, done.stderr
    return done.stdout + done.stderr


def edited(place: Path, models: str = MORE) -> None:
    """Change the service's classes."""
    (place / "services" / "notes" / "models.py").write_text(models)


def execute(url: str, *statements: str) -> None:
    """Run statements on a database."""

    async def run() -> None:
        async with await Database.open(url) as database:
            for statement in statements:
                await database.execute(Statement(statement))

    asyncio.run(run())


def url_of(place: Path) -> str:
    """Return the URL of the configured database."""
    return f"sqlite:///{place / 'data' / 'switchboard.db'}"


def test_a_service_from_its_first_migration_to_the_next(place: Path) -> None:
    """make, status, plan, upgrade: the way of somebody who changes a class."""
    folder = place / "services" / "notes" / "migrations"
    assert db(place, "make", "notes") == f"{folder / '0001_initial.py'}\n"
    assert db(place, "make", "notes") == "Nothing has changed.\n"
    assert (
        db(place, "status") == "auth\n  0001_initial  pending\n  0002_bans  pending\nnotes\n  0001_initial  pending\n"
    )
    assert not (place / "data").exists()
    assert "notes 0001_initial\n  create notes with id, text\n" in db(place, "plan")
    assert db(place, "upgrade") == "auth: applied 0001_initial\nauth: applied 0002_bans\nnotes: applied 0001_initial\n"
    assert db(place, "upgrade") == "Everything is applied.\n"
    assert db(place, "plan") == "Everything is applied.\n"
    edited(place)
    assert db(place, "make", "notes") == f"{folder / '0002_add_title_to_notes.py'}\n"
    lines = db(place, "status").splitlines()
    assert lines[0] == "auth"
    assert lines[1].startswith("  0001_initial  applied 2")
    assert lines[1].endswith(" UTC")
    assert lines[5] == "  0002_add_title_to_notes  pending"
    assert db(place, "upgrade") == "notes: applied 0002_add_title_to_notes\n"


def test_a_migration_has_the_name_that_somebody_gives_it(place: Path) -> None:
    """`--name` says what it is called."""
    assert db(place, "make", "notes", "--name", "What it all began with").endswith("0001_what_it_all_began_with.py\n")


def test_sql_of_what_is_pending(place: Path) -> None:
    """The SQL is that of the configured database, or of the one that is asked for."""
    db(place, "make", "notes")
    db(place, "upgrade")
    edited(place)
    db(place, "make", "notes")
    assert db(place, "sql") == (
        "-- notes 0002_add_title_to_notes\nALTER TABLE notes ADD COLUMN title TEXT NOT NULL DEFAULT '';\n"
    )
    assert "ADD COLUMN title VARCHAR(20) NOT NULL DEFAULT ('');" in db(place, "sql", "--dialect", "mariadb")


def test_sql_without_the_database(place: Path) -> None:
    """Where it cannot be reached, the SQL of all migrations can be had for a kind of database."""
    away = "mysql://user:secret@127.0.0.1:1/name"
    text = db(place, "sql", "--dialect", "mysql", url=away)
    assert text.startswith("-- auth 0001_initial\nCREATE TABLE users (")
    assert "secret" not in db(place, "sql", status=1, url=away)


def test_a_failed_migration(place: Path) -> None:
    """It is named with its statement in one sentence, and the status is 65."""
    folder = place / "services" / "notes" / "migrations"
    folder.mkdir()
    (folder / "0001_broken.py").write_text(BROKEN)
    text = db(place, "upgrade", status=65)
    assert "migration 0001_broken of notes" in text
    assert "INSERT INTO nowhere" in text


@pytest.mark.parametrize("command", ["status", "plan", "sql", "upgrade"])
def test_a_newer_database(place: Path, command: str) -> None:
    """A database that knows more than this version is refused, with status 65."""
    db(place, "make", "notes")
    db(place, "upgrade")
    (place / "services" / "notes" / "migrations" / "0001_initial.py").unlink()
    assert "which this version does not know" in db(place, command, status=65)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ((), 2, "usage: switchboard db"),
        (("nonsense",), 2, "usage: switchboard db"),
        (("make",), 2, "SERVICE"),
        (("make", "nowhere"), 1, "there is no services/nowhere.py"),
        (("make", "echo"), 1, "is a single file"),
        (("sql", "--dialect", "oracle"), 2, "invalid choice"),
        (("copy", "sqlite:///a.db", "b.db"), 2, "a database's URL is sqlite:///FILE"),
        (("copy", "sqlite:////nowhere/a.db", "sqlite:////nowhere/b.db"), 1, "there is no such file"),
    ],
)
def test_mistakes(place: Path, arguments: tuple[str, ...], status: int, words: str) -> None:
    """Each mistake is one sentence, or how it is used, and has its status."""
    assert words in db(place, *arguments, status=status)


def test_a_bad_configuration(place: Path) -> None:
    """It is named, with status 78."""
    (place / "config.toml").write_text("[database]\nslow_seconds = -1\n")
    assert "database.slow_seconds" in db(place, "status", status=78)


def test_a_service_whose_code_is_broken(place: Path) -> None:
    """The line is named in one sentence."""
    edited(place, MODELS + "1 / 0\n")
    assert "services/notes/models.py, line" in db(place, "make", "notes", status=1)


def test_a_key_that_changed(place: Path) -> None:
    """What no step can do is said, and no file is written."""
    db(place, "make", "notes")
    edited(place, MODELS.replace("Integer(primary_key=True)", "Text(max_length=9, primary_key=True)"))
    assert "the primary key of notes is another than before" in db(place, "make", "notes", status=1)
    assert len(list((place / "services" / "notes" / "migrations").glob("*.py"))) == 1


def test_the_accounts_and_the_chat_are_complete(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Nobody has changed their classes without a migration."""
    (tmp_path / "config.toml").write_text("")
    for service in ("auth", "chat"):
        assert main(["db", "make", service, "--config", str(tmp_path / "config.toml")]) == 0
        assert capsys.readouterr().out == "Nothing has changed.\n"


def test_the_tables_of_a_service_are_its_own(tmp_path: Path) -> None:
    """What a module imports from elsewhere is not its table, and neither is a prefix."""
    assert migrated("auth", Settings()).classes == (User, Session)
    chat = migrated("chat", Settings()).classes
    assert [cls.dbo_tablename for cls in chat] == ["chat_rooms", "chat_members", "chat_messages"]


def test_the_shell_completes_it() -> None:
    """The completion script knows the commands."""
    command = [sys.executable, "-m", "server", "--print-completion", "bash"]
    script = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    for name in ("status", "plan", "upgrade", "sql", "make", "copy"):
        assert f"_db_{name}_" in script


# Copying.


def filled(place: Path) -> None:
    """Make the configured database, with some rows."""
    db(place, "make", "notes")
    db(place, "upgrade")
    execute(url_of(place), "INSERT INTO notes (id, text) VALUES (5, 'five'), (6, 'six')")


def test_everything_goes_to_another_database(place: Path, mariadb: MariaDb) -> None:
    """From the file to a server and back; the checksums are the same, and no password is shown."""
    filled(place)
    there = mariadb.url(mariadb.new_database())
    text = db(place, "copy", url_of(place), there)
    assert "notes: applied 0001_initial" in text
    assert "Copied and verified 2 rows." in text
    back = db(place, "copy", there, f"sqlite:///{place / 'back.db'}")
    assert back == text
    assert ENCODED_PASSWORD not in text
    execute(f"sqlite:///{place / 'back.db'}", "UPDATE notes SET text = 'six' WHERE id = 6 AND text = 'six'")


def test_a_target_with_rows(place: Path) -> None:
    """It is refused, with status 1."""
    filled(place)
    to = f"sqlite:///{place / 'to.db'}"
    db(place, "copy", url_of(place), to)
    assert "the target has rows in notes that no copy has written" in db(place, "copy", url_of(place), to, status=1)


def test_a_source_that_is_not_migrated(place: Path) -> None:
    """It is refused before anything is written: the classes of today are not its tables."""
    filled(place)
    edited(place)
    db(place, "make", "notes")
    text = db(place, "copy", url_of(place), f"sqlite:///{place / 'to.db'}", status=1)
    assert "has migrations of notes that are not applied" in text
    assert not (place / "to.db").exists()


@pytest.mark.parametrize("side", ["source", "target"])
def test_no_password_is_shown(place: Path, side: str) -> None:
    """A server that cannot be reached is named, and its password is not."""
    filled(place)
    away = "mysql://user:secret@127.0.0.1:1/name"
    urls = (away, url_of(place)) if side == "source" else (url_of(place), away)
    text = db(place, "copy", *urls, status=1)
    assert "127.0.0.1:1" in text
    assert "secret" not in text

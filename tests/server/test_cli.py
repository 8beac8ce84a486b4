"""The command: its exit status and its words, as an operator meets them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from server.version import __version__

ROOT = Path(__file__).parents[2]


def switchboard(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("SWITCHBOARD__")}
    return subprocess.run(
        [sys.executable, "-m", "server", *map(str, arguments)],
        capture_output=True, text=True, timeout=30, check=False, cwd=ROOT, env={**clean, **environment},
    )  # fmt: skip


def test_version() -> None:
    """`--version` is one line and fine."""
    done = switchboard("--version")
    assert (done.returncode, done.stdout) == (0, f"switchboard {__version__}\n")


@pytest.mark.parametrize(
    "arguments",
    [[], ["nonsense"], ["serve", "--port", "x"], ["serve", "--port", "70000"], ["serve", "--nonsense"]],
)
def test_wrong_usage(arguments: list[str]) -> None:
    """Wrong usage says how it is used, and is exit status 2."""
    done = switchboard(*arguments)
    assert done.returncode == 2
    assert "usage: switchboard" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_of_a_good_file(tmp_path: Path) -> None:
    """A file without mistakes: one line that says what would be served."""
    file = tmp_path / "config.toml"
    file.write_text("[services.echo]\npath = '/mirror'\n")
    done = switchboard("check", "--config", file)
    assert (done.returncode, done.stdout) == (0, f"{file}: fine. Serves echo at /mirror.\n")


@pytest.mark.parametrize("command", ["check", "serve"])
def test_three_mistakes_are_three_messages(tmp_path: Path, command: str) -> None:
    """All errors at once, the services' own keys included, each with the nearest name, exit status 78."""
    file = tmp_path / "config.toml"
    file.write_text("[server]\nprot = 1\n[auth]\nguests = 'yes'\n[services.chat]\nmesages_per_minute = 3\n")
    done = switchboard(command, "--config", file)
    assert done.returncode == 78
    lines = done.stderr.splitlines()
    assert len(lines) == 3, done.stderr
    assert "server.prot: is not a setting; did you mean server.port?" in lines[0]
    assert "auth.guests: expected `bool`" in lines[1]
    assert "services.chat.mesages_per_minute" in lines[2]
    assert "services.chat.messages_per_minute?" in lines[2]


def test_port_taken_is_one_sentence(tmp_path: Path) -> None:
    """A taken port: one sentence that says what to do, exit status 1, no traceback."""
    file = tmp_path / "config.toml"
    file.write_text("")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = switchboard("serve", "--config", file, "--port", str(port))
    assert done.returncode == 1
    assert str(port) in done.stderr
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("switchboard: ")]) == 1


def test_flag_wins_over_environment_and_file(tmp_path: Path) -> None:
    """The order is flag, environment, file: the flag's port is the one that is found taken."""
    file = tmp_path / "config.toml"
    file.write_text("[server]\nport = 1\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = switchboard("serve", "--config", file, "--port", str(port), SWITCHBOARD__SERVER__PORT="2")
    assert done.returncode == 1
    assert str(port) in done.stderr


def test_unusable_database_file_has_its_own_status(tmp_path: Path) -> None:
    """A corrupt database file is named, left alone, and is exit status 65 (EX_DATAERR)."""
    file = tmp_path / "config.toml"
    file.write_text("")
    (tmp_path / "data").mkdir()
    database = tmp_path / "data" / "switchboard.db"
    database.write_bytes(b"this is no database" * 100)
    done = switchboard("serve", "--config", file, "--port", "0")
    assert done.returncode == 65
    assert "switchboard.db" in done.stderr
    assert "Traceback" not in done.stderr
    assert database.read_bytes().startswith(b"this is no database")

"""`switchboard install-service`: what is rendered, and what the operator is told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from server.config import ServerSettings, Settings
from server.operating.install_service import (
    CannotInstall,
    Installation,
    closed_to_others,
    hidden_folders,
    notes,
    render,
    this_installation,
)
from tests.server.operating.support import run


def installation(*needs: str, config: str = "/etc/switchboard/config.toml") -> Installation:
    return Installation(Path("/opt/switchboard/bin/switchboard"), Path(config), tuple(map(Path, needs)))


def listen(host: str, port: int = 8765) -> str:
    sock = render(installation(), Settings(server=ServerSettings(host=host, port=port)))["switchboard.socket"]
    (line,) = [line for line in sock.splitlines() if line.startswith("ListenStream=")]
    return line


def test_an_installation_in_opt_is_the_template() -> None:
    """The units of `deploy/` are those of an installation in /opt/switchboard with the default configuration."""
    templates = Path(__file__).parents[3] / "deploy"
    for name, text in render(installation("/opt/switchboard", "/usr"), Settings()).items():
        assert text == (templates / name).read_text()


@pytest.mark.parametrize(
    ("host", "line"),
    [
        ("0.0.0.0", "ListenStream=0.0.0.0:8765"),
        ("::", "ListenStream=[::]:8765"),
        ("::1", "ListenStream=[::1]:8765"),
        ("127.0.0.1", "ListenStream=127.0.0.1:8765"),
    ],
)
def test_the_socket_has_the_configured_address(host: str, line: str) -> None:
    """systemd listens where the server would have."""
    assert listen(host) == line


def test_what_cannot_be_listened_on_is_said() -> None:
    """A port that is another one each time is nothing for systemd."""
    with pytest.raises(CannotInstall, match=r"server\.port"):
        listen("127.0.0.1", 0)


@pytest.mark.parametrize(
    ("needs", "home", "bound"),
    [
        (("/home/ann/switchboard", "/home/ann/switchboard/.venv", "/usr"), "tmpfs", ["/home/ann/switchboard"]),
        (("/root/.venv", "/opt/python"), "tmpfs", ["/root/.venv"]),
        (("/tmp/try",), "yes", ["/tmp/try"]),
        (("/homestead/switchboard",), "yes", []),
    ],
)
def test_what_is_hidden_is_shown_again(needs: tuple[str, ...], home: str, bound: list[str]) -> None:
    """The service sees its installation and nothing else of people's homes."""
    service = render(installation(*needs), Settings())["switchboard.service"].splitlines()
    assert f"ProtectHome={home}" in service
    assert [line for line in service if line.startswith("BindReadOnlyPaths=")] == [
        f"BindReadOnlyPaths={path}" for path in bound
    ]
    assert hidden_folders(list(map(Path, needs))) == list(map(Path, bound))


@pytest.mark.parametrize("path", ["/home/ann/my files", "/srv/100%", "/srv/a:b", '/srv/"', "/srv/$HOME", "/srv/a\nb"])
def test_paths_that_systemd_reads_otherwise_are_refused(path: str) -> None:
    """No path becomes something else in a unit."""
    with pytest.raises(CannotInstall, match="/opt/switchboard"):
        render(installation(path), Settings())


def test_the_present_installation_is_found(tmp_path: Path) -> None:
    """The command is this virtual environment's, and where its interpreter lies is needed too."""
    found = this_installation(tmp_path / "config.toml")
    assert found.command == Path(sys.prefix) / "bin" / "switchboard"
    assert found.command.exists()
    assert found.config == tmp_path / "config.toml"
    assert {Path(sys.prefix), Path(sys.base_prefix).resolve(), Path(__file__).parents[3], tmp_path} <= set(found.needs)


def test_what_is_closed_to_the_service_is_named(tmp_path: Path) -> None:
    """A file or folder that the service's own user could not read is named, but not what it does not meet."""
    outer, inner = tmp_path / "outer", tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    for folder in (outer, inner):
        folder.chmod(0o755)
    file = inner / "config.toml"
    file.write_text("")
    file.chmod(0o644)
    assert closed_to_others(file, [outer]) is None
    file.chmod(0o600)
    assert closed_to_others(file, [outer]) == file
    file.chmod(0o644)
    outer.chmod(0o700)
    assert closed_to_others(file, [outer]) == outer
    assert closed_to_others(file, [inner]) is None
    assert closed_to_others(inner / "gone", [inner]) is None


def test_data_that_stays_behind_is_named(tmp_path: Path) -> None:
    """Whoever has a database already is told how it comes along."""
    settings = Settings(base=tmp_path)
    assert not any("/var/lib/switchboard" in note for note in notes(installation(), settings))
    settings.data.mkdir()
    (settings.data / "switchboard.db").touch()
    (note,) = [note for note in notes(installation(), settings) if "database" in note]
    assert f"cp -r {tmp_path}/data /var/lib/switchboard" in note


def test_printing_writes_nothing(tmp_path: Path) -> None:
    """Without --install both units are printed, each with its path, and the folder stays as it is."""
    config = tmp_path / "config.toml"
    config.write_text("")
    folder = tmp_path / "units"
    folder.mkdir()
    done = run("install-service", "--folder", folder, "--config", config)
    assert done.status == 0
    assert f"# {folder}/switchboard.service\n" in done.out
    assert f"# {folder}/switchboard.socket\n" in done.out
    assert list(folder.iterdir()) == []
    assert "--install" in done.err


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """What cannot be written is exit status 1 and one sentence."""
    config = tmp_path / "config.toml"
    config.write_text("")
    done = run("install-service", "--install", "--folder", tmp_path / "gone", "--config", config)
    assert (done.status, done.err) == (
        1,
        f"switchboard: {tmp_path}/gone/switchboard.service: No such file or directory\n",
    )

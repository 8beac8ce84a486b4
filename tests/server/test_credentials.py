"""Settings from systemd's credentials."""

from __future__ import annotations

from pathlib import Path

import pytest

from server import config
from server.credentials import FILES, read
from server.errors import ConfigError


def test_without_credentials_there_is_nothing() -> None:
    """A server that was not started by systemd has no credentials."""
    assert read({}) == {}
    assert read({"CREDENTIALS_DIRECTORY": ""}) == {}


def test_files_are_settings(tmp_path: Path) -> None:
    """A file that is named like a setting is that setting, without the newline that editors leave at its end."""
    (tmp_path / "database.url").write_text("mysql://ann:p%3D@db/switchboard\n")
    (tmp_path / "services.chat.key").write_text(" two words \r\n")
    assert read({"CREDENTIALS_DIRECTORY": str(tmp_path)}) == {
        "SWITCHBOARD__DATABASE__URL": "mysql://ann:p%3D@db/switchboard",
        "SWITCHBOARD__SERVICES__CHAT__KEY": " two words ",
    }


def test_what_says_nothing_is_nothing(tmp_path: Path) -> None:
    """The empty line that a unit has for a missing credential is no setting, and files of other names are not ours."""
    for name, text in {"database.url": "\n", "broker.url": "", "notes": "x", "services.chat": "x", ".x.y": "x"}.items():
        (tmp_path / name).write_text(text)
    assert read({"CREDENTIALS_DIRECTORY": str(tmp_path)}) == {}


def test_settings_that_are_files_are_the_credential_itself(tmp_path: Path) -> None:
    """Where a setting names a file, the credential is that file; these are settings that there are."""
    (tmp_path / "server.tls_key").write_text("-----BEGIN PRIVATE KEY-----\n")
    found = read({"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert found == {"SWITCHBOARD__SERVER__TLS_KEY": str(tmp_path / "server.tls_key")}
    for name in FILES:
        table, _, key = name.partition(".")
        assert key in config.TABLES[table].__struct_fields__


def test_the_configuration_reads_them(tmp_path: Path) -> None:
    """What is returned is what `config.load` takes for the environment."""
    (tmp_path / "database.url").write_text("sqlite:///secret.db")
    environment = read({"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert config.load(None, environment).database.url == "sqlite:///secret.db"


def test_unreadable_credentials_are_named_and_not_shown(tmp_path: Path) -> None:
    """Every credential that is no text is named at once, and nothing of it is repeated."""
    (tmp_path / "database.url").write_bytes(b"secret\xff")
    (tmp_path / "broker.url").mkdir()
    with pytest.raises(ConfigError) as caught:
        read({"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert len(caught.value.problems) == 2
    assert "secret" not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        read({"CREDENTIALS_DIRECTORY": str(tmp_path / "gone")})

"""Settings: the file, the environment, and what is said about mistakes."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server import config
from server.errors import ConfigError

ROOT = Path(__file__).parents[2]


def load(tmp_path: Path, text: str = "", **environment: str) -> config.Settings:
    file = tmp_path / "config.toml"
    file.write_text(text)
    return config.load(file, environment)


def problems(tmp_path: Path, text: str = "", **environment: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, **environment)
    return caught.value.problems


def test_defaults_are_the_contract(tmp_path: Path) -> None:
    """With nothing configured: this machine, port 8765, SQLite beside the file, the bundled services."""
    settings = load(tmp_path)
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 8765)
    assert settings.database_url == f"sqlite:///{tmp_path / 'data' / 'switchboard.db'}"
    assert {name: service.path for name, service in settings.services.items()} == {
        "chat": "/chat",
        "echo": "/echo",
        "dice": "/dice",
    }


def test_environment_wins_over_file(tmp_path: Path) -> None:
    """The order is environment, file, default."""
    settings = load(tmp_path, "[server]\nport = 1000\nhost = '::1'", SWITCHBOARD__SERVER__PORT="9000")
    assert settings.server.port == 9000
    assert settings.server.host == "::1"


def test_environment_reaches_every_kind_of_setting(tmp_path: Path) -> None:
    """Text stays text, numbers and booleans are read, lists may be TOML or separated by commas."""
    settings = load(
        tmp_path,
        SWITCHBOARD__SERVER__HOST="127.0.0.2",
        SWITCHBOARD__SERVER__DATA="1234",
        SWITCHBOARD__AUTH__GUESTS="false",
        SWITCHBOARD__SERVER__ORIGINS="https://a.example, https://b.example",
        SWITCHBOARD__SERVER__PROXIES='["127.0.0.1"]',
        SWITCHBOARD__SERVER__CLOSE_SECONDS="1.5",
        SWITCHBOARD__SERVICES__CHAT__MESSAGES_PER_MINUTE="0",
        SWITCHBOARD__SERVICES__CHAT__WORKERS="2",
    )
    assert settings.server.host == "127.0.0.2"
    assert settings.server.data == "1234"
    assert settings.auth.guests is False
    assert settings.server.origins == ("https://a.example", "https://b.example")
    assert settings.server.proxies == ("127.0.0.1",)
    assert settings.server.close_seconds == 1.5
    assert settings.services["chat"].options == {"messages_per_minute": 0}
    assert settings.services["chat"].workers == 2
    assert "echo" in settings.services


def test_all_errors_at_once_with_the_nearest_name(tmp_path: Path) -> None:
    """Three mistakes are three messages, each with its key."""
    text = "[server]\nprot = 1\nport = 'x'\n[database]\nurll = ''"
    found = problems(tmp_path, text)
    assert len(found) == 3
    assert found[0] == "server.prot: is not a setting; did you mean server.port?"
    assert found[1].startswith("server.port: expected `int`")
    assert found[2] == "database.urll: is not a setting; did you mean database.url?"


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("[serve]", "serve: is not a setting; did you mean server?"),
        ("server = 3", "server: is a table"),
        ("[server]\nport = 70000", "server.port: expected `int` <= 65535"),
        ("[server]\nconnections_per_address = -1", "server.connections_per_address: expected"),
        ("[auth]\nregistration = 'opened'", "auth.registration: invalid enum value"),
        ("[auth]\nguests = 1", "auth.guests: expected `bool`"),
        ("[services.chat]\npath = 'chat'", "services.chat.path: is a path like /chat"),
        ("[services.chat]\npath = '/'", "services.chat.path: is a path like /chat"),
        ("[services.chat]\npath = '/auth/x'", "services.chat.path: /auth/x is taken by the server"),
        ("[services.chat]\nworkers = true", "services.chat.workers: is a number"),
        ("[services.a]\npath='/x'\n[services.b]\npath='/x'", "services.b.path: /x is the path of services.a"),
        ('[services."../x"]', "services.../x: a service's name"),
        ("[services]\nchat = 1", "services.chat: is a table"),
        ("[server]\ntls_key = 'a'", "server.tls_certificate: a certificate and its key"),
        ("[server]\nreconnect_min_seconds = 60", "server.reconnect_min_seconds: is larger"),
        ("[database]\nurl = 'postgres://x'", "database.url: "),
        ("[database]\nurl = 'mysql:/x'", "database.url: "),
        ("[database]\nslow_seconds = -1", "database.slow_seconds: expected"),
        ("[broker]\nurl = 'nats://a:4222'", "database.url: several machines need one database"),
        ("[broker]\nurl = 'nats://a:4222'\nprefix = 'a b'", "broker.prefix: is letters"),
        (
            "[server]\ntls_certificate = 'a'\ntls_key = 'b'\n[services.chat]\nworkers = 1",
            "services.chat.workers: a client cannot move to another process together with its TLS",
        ),
        ("[server", "{file}: is not valid TOML"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, start: str) -> None:
    """Each kind of mistake says which key and what to do."""
    found = problems(tmp_path, text)
    wanted = start.replace("{file}", str(tmp_path / "config.toml"))
    assert any(problem.startswith(wanted) for problem in found), found


@pytest.mark.parametrize("scheme", ["sqlite", "mysql", "mariadb"])
def test_every_kind_of_database_can_be_named(tmp_path: Path, scheme: str) -> None:
    """Only the scheme is looked at here; whoever opens the database finds the rest."""
    text = f"[database]\nurl = '{scheme}://user:secret@host/name'\nslow_seconds = 0"
    settings = load(tmp_path, text)
    assert settings.database_url == f"{scheme}://user:secret@host/name"
    assert settings.database.slow_seconds == 0


def test_a_wrong_database_url_is_not_shown(tmp_path: Path) -> None:
    """It may have a password."""
    (problem,) = problems(tmp_path, "[database]\nurl = 'postgres://user:secret@host/name'")
    assert "secret" not in problem


def test_missing_file_is_a_problem_only_when_it_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No config.toml means defaults; a file that was asked for has to be there."""
    monkeypatch.chdir(tmp_path)
    assert config.load(None, {}).server.port == 8765
    with pytest.raises(ConfigError, match="there is no such file"):
        config.load(tmp_path / "other.toml", {})


def test_unreadable_file_is_a_problem(tmp_path: Path) -> None:
    """A folder or bytes that are no text are named, not raised."""
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(tmp_path, {})
    file = tmp_path / "config.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        config.load(file, {})


def test_environment_that_is_no_setting_is_named(tmp_path: Path) -> None:
    """A mistyped variable does not pass in silence."""
    assert "SWITCHBOARD__PORT" in problems(tmp_path, SWITCHBOARD__PORT="1")[0]
    assert "did you mean server.port?" in problems(tmp_path, SWITCHBOARD__SERVER__PROT="1")[0]


def test_service_check_speaks_even_when_other_tables_are_wrong(tmp_path: Path) -> None:
    """The services' own keys are reported together with everything else."""
    file = tmp_path / "config.toml"
    file.write_text("[server]\nport = 'x'\n[services.chat]\n")
    with pytest.raises(ConfigError) as caught:
        config.load(file, {}, lambda settings: [f"services.{name}.colour: no" for name in settings.services])
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "server.port",
        "services.chat.colour",
    ]


def test_shipped_file_shows_every_setting_with_its_default() -> None:
    """config.toml, with every comment sign taken away, is valid and equals the defaults."""
    lines = (ROOT / "config.toml").read_text().splitlines()
    shown = "\n".join(
        line.removeprefix("# ") if line.startswith("# ") and " = " in line and line[2].islower() else line
        for line in lines
    )
    document = tomllib.loads(shown)
    for name, struct in config.TABLES.items():
        assert set(document[name]) == set(struct.__struct_fields__), name
    settings = config.decode(document, Path())
    plain = config.decode({}, Path())
    assert settings.server == plain.server
    assert settings.database == plain.database
    assert settings.auth == plain.auth
    assert settings.log == plain.log
    assert {name: s.path for name, s in settings.services.items()} == {
        name: s.path for name, s in plain.services.items()
    }


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_any_document_gives_settings_or_problems(value: object) -> None:
    """Nothing in a file makes the loader fail in another way than by naming problems."""
    for document in (
        {"server": value}, {"services": value}, {"services": {"chat": value}}, {"auth": {"guests": value}},
        {"services": {"chat": {"path": value, "workers": value}}}, {"other": value},
    ):  # fmt: skip
        try:
            config.decode(document, Path())
        except ConfigError as error:
            problems = error.problems
        else:
            continue
        assert all(problems)

"""Which NATS servers a setting names."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from server.config import BrokerSettings
from server.pubsub.nats_servers import NatsServer, check, servers
from tests.support.nats import TLS


def test_servers() -> None:
    """Several, with and without TLS, a port, a user or a token, in their order."""
    assert servers("nats://one, tls://ann:p%40ss%2C@two:5222/,nats://t%3Aken@[::1]:1") == (
        NatsServer("one", 4222),
        NatsServer("two", 5222, tls=True, user="ann", password="p@ss,"),
        NatsServer("::1", 1, password="t:ken"),
    )
    assert servers("nats://t@[::1]:1")[0].url == "nats://[::1]:1"


def test_a_server_does_not_tell_its_password() -> None:
    """However it is written into a log, the secret is not there."""
    (server,) = servers("nats://ann:secret@one")
    assert "secret" not in f"{server} {server!r} {server.url}"


@pytest.mark.parametrize(
    "url", ["", "nats://", "http://secret@one", "one:4222", "nats://secret@one:x", "nats://one:99999", "nats://one,",
            "nats://one/path", "nats://[secret", "nats://one?secret"],
)  # fmt: skip
def test_what_is_no_server(url: str) -> None:
    """It is refused, and the text does not repeat what may be a password."""
    with pytest.raises(ValueError, match=r"server number [12] is not nats://HOST:PORT") as refused:
        servers(url)
    assert "secret" not in str(refused.value)


def test_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every problem is named with its key, and what is right has none."""
    assert check(BrokerSettings(), tmp_path) == []
    assert check(BrokerSettings("nats://one"), tmp_path) == []
    assert check(BrokerSettings("tls://one", tls_ca=str(TLS / "certificate.pem")), tmp_path) == []
    (tmp_path / "empty").touch()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    problems = check(BrokerSettings("nats://one", tls_ca="empty", credentials="creds"), tmp_path)
    assert [problem.split(":")[0] for problem in problems] == [
        "broker.url", "broker.tls_ca", "broker.credentials", "broker.credentials",
    ]  # fmt: skip
    assert "empty" in problems[1]
    assert check(BrokerSettings("nats://one:x", tls_ca="missing"), tmp_path)[1].startswith(
        "broker.url: server number 1"
    )
    assert "No such file" in check(BrokerSettings("nats://one", tls_ca="missing"), tmp_path)[1]

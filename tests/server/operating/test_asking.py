"""Where a server is, as the operator's commands read and write it."""

from __future__ import annotations

import argparse
import socket
import threading

import pytest

from server.config import ServerSettings, Settings
from server.operating import asking
from server.operating.asking import Address, Unreachable, address, configured, get


@pytest.mark.parametrize(
    ("text", "found", "websocket_url"),
    [
        ("https://chat.example.org/", Address(True, "chat.example.org", 443), "wss://chat.example.org"),
        ("http://[::1]:8765", Address(False, "::1", 8765), "ws://[::1]:8765"),
        ("http://localhost", Address(False, "localhost", 80), "ws://localhost"),
    ],
)
def test_urls(text: str, found: Address, websocket_url: str) -> None:
    """A URL is read, and written again without what goes without saying."""
    assert address(text) == found
    assert found.url == text.rstrip("/")
    assert found.websocket_url == websocket_url


@pytest.mark.parametrize(
    "text", ["chat.example.org", "ftp://x/", "https://", "http://x/chat", "http://x:port/", "http://["]
)
def test_what_is_no_url(text: str) -> None:
    """What is no server's URL is wrong usage, with an example of one that is."""
    with pytest.raises(argparse.ArgumentTypeError):
        address(text)


@pytest.mark.parametrize(
    ("host", "url"), [("0.0.0.0", "http://127.0.0.1:1"), ("::", "http://[::1]:1"), ("ann", "http://ann:1")]
)
def test_the_configured_server(host: str, url: str) -> None:
    """Without a URL the server of the configuration is asked, from this machine."""
    assert configured(Settings(server=ServerSettings(host=host, port=1))).url == url


def test_silence_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts and says nothing is given up on."""
    monkeypatch.setattr(asking, "TIMEOUT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(Unreachable, match="no answer within"):
        get(Address(False, "127.0.0.1", server.getsockname()[1]), "/")


def test_what_is_not_http() -> None:
    """Something else than HTTP at the port is said, not raised."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def babble() -> None:
            client, _ = server.accept()
            with client:
                client.sendall(b"SSH-2.0-nothing\r\n")
                client.recv(1000)

        thread = threading.Thread(target=babble)
        thread.start()
        with pytest.raises(Unreachable, match="does not speak HTTP"):
            get(Address(False, "127.0.0.1", server.getsockname()[1]), "/")
        thread.join()

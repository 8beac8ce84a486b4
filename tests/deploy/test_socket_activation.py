"""The server on a socket that systemd holds."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from websockets.sync.client import connect

from tests.deploy.support import need, running, wait_for_port
from tests.support.server import ROOT, START_SECONDS, free_port


def test_the_server_takes_the_socket_and_says_when_it_serves(tmp_path: Path) -> None:
    """Who connected before the server was there is served by it, and systemd hears READY=1 and then STOPPING=1.

    The port of the configuration is another one: what is served is systemd's socket.
    """
    port, config, log = free_port(), tmp_path / "config.toml", tmp_path / "log"
    config.write_text("[server]\nport = 1\n[services.echo]\nworkers = 1\n")
    command = [
        need("systemd-socket-activate"), "--listen", f"127.0.0.1:{port}", "--fdname", "switchboard",
        f"--setenv=NOTIFY_SOCKET={tmp_path / 'notify'}", f"--setenv=PYTHONPATH={ROOT}",
        sys.executable, "-m", "server", "serve", "--config", str(config),
    ]  # fmt: skip
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(START_SECONDS)
        with running(command, log):
            wait_for_port(port, log)
            with connect(f"ws://127.0.0.1:{port}/echo", open_timeout=START_SECONDS, proxy=None) as client:
                client.send("hello")
                assert client.recv(START_SECONDS) == "hello"
            assert manager.recv(1000).startswith(b"READY=1\nSTATUS=")
        assert manager.recv(1000) == b"STOPPING=1"
    assert "Traceback" not in log.read_text()

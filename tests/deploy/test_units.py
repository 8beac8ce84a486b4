"""The units: what systemd says of them, and whether the server bears what they take away."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.deploy.support import DEPLOY, need, running, wait_for_port
from tests.server.operating.support import run
from tests.support.server import START_SECONDS, free_port

UNITS = ("switchboard.service", "switchboard.socket")
MOST_EXPOSURE = 1.5


def analyze(*arguments: str | Path) -> str:
    command = [need("systemd-analyze"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    # It reads the units of this machine too, and what it says of those is not our matter.
    assert [line for line in done.stderr.splitlines() if "switchboard" in line] == []
    return done.stdout


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """A folder with the units as they are, but for the path of the command, which systemd wants to be there."""
    for name in UNITS:
        text = (DEPLOY / name).read_text()
        (tmp_path / name).write_text(text.replace("ExecStart=/opt/switchboard/bin/switchboard", "ExecStart=/bin/true"))
    return tmp_path


def test_systemd_understands_the_units(units: Path) -> None:
    """`systemd-analyze verify` has nothing to say about either unit: no unknown key, no value that is ignored."""
    assert analyze("verify", *(units / name for name in UNITS)) == ""


def test_the_service_is_exposed_to_little(units: Path) -> None:
    """`systemd-analyze security` rates the service with at most 1.5; what is left is the network that it serves."""
    said = analyze("security", "--offline=true", units / "switchboard.service")
    rating = re.search(r"Overall exposure level for switchboard.service: ([\d.]+)", said)
    assert rating is not None, said
    assert float(rating[1]) <= MOST_EXPOSURE, said


def test_install_service_writes_units_for_this_installation(tmp_path: Path) -> None:
    """What `install-service` writes for the present virtual environment is understood too, and as little exposed."""
    config = tmp_path / "config.toml"
    config.write_text("[server]\nhost = 'localhost'\nport = 4000\nstop_seconds = 60\n[services.echo]\n")
    folder = tmp_path / "units"
    folder.mkdir()
    done = run("install-service", "--install", "--folder", folder, "--config", config)
    assert done.status == 0, done.err
    assert "systemctl daemon-reload" in done.out
    assert analyze("verify", *(folder / name for name in UNITS)) == ""
    said = analyze("security", "--offline=true", folder / "switchboard.service")
    assert float(said.rpartition("switchboard.service: ")[2].split()[0]) <= MOST_EXPOSURE
    service = (folder / "switchboard.service").read_text()
    assert f"ExecStart={sys.prefix}/bin/switchboard serve --config {config}\n" in service
    assert "TimeoutStopSec=72\n" in service
    assert "ListenStream=127.0.0.1:4000\n" in (folder / "switchboard.socket").read_text()


def test_the_server_bears_the_filters_of_the_unit(tmp_path: Path) -> None:
    """Under the unit's filters for system calls everything works: workers, sockets handed to them, SQLite, argon2."""
    need("systemd-analyze")
    config, log, port = tmp_path / "config.toml", tmp_path / "log", free_port()
    config.write_text(f"[server]\nport = {port}\n[services.echo]\nworkers = 1\n[services.chat]\n")
    confined = [sys.executable, str(Path(__file__).with_name("confined.py")), str(DEPLOY / "switchboard.service")]
    serve = [sys.executable, "-m", "server", "serve", "--config", str(config)]
    with running([*confined, *serve], log, {**os.environ, "SWITCHBOARD__AUTH__REGISTRATION": "open"}):
        wait_for_port(port, log)
        http = HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
        http.request("POST", "/auth/register", '{"name": "ann", "password": "correct horse battery"}',
                     {"Content-Type": "application/json"})  # fmt: skip
        assert http.getresponse().status == 201, log.read_text()
        http.close()
        with connect(f"ws://127.0.0.1:{port}/echo", open_timeout=START_SECONDS, proxy=None) as client:
            client.send("hello")
            assert client.recv(START_SECONDS) == "hello"
    assert "Traceback" not in log.read_text()


def test_the_filters_of_the_unit_filter() -> None:
    """The test above would fail for a server that needs what the unit takes away."""
    need("systemd-analyze")
    confined = [sys.executable, str(Path(__file__).with_name("confined.py")), str(DEPLOY / "switchboard.service")]
    for forbidden in ("os.setuid(0)", "mmap.mmap(-1, 4096, prot=7)", "socket.socket(socket.AF_NETLINK)", "os.nice(1)"):
        code = f"import mmap, os, socket\ntry: {forbidden}\nexcept PermissionError: print('refused')"
        done = subprocess.run([*confined, sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.stdout == "refused\n", done.stderr

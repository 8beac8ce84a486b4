"""Programs that the tests of `deploy/` start, and end."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.server import ROOT, START_SECONDS, STOP_SECONDS

DEPLOY = ROOT / "deploy"


def need(program: str) -> str:
    """Return where a program is; without it the test is skipped, but in CI it fails."""
    found = shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))
    if found is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{program} is not installed")
    return found


@contextmanager
def running(command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """Run a program; at the end it is asked to stop, then made to."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for_port(port: int, log: Path) -> None:
    """Wait until somebody listens on a port of 127.0.0.1.

    Raises:
        TimeoutError: nobody does; the text is what the program said.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), START_SECONDS).close()
        except ConnectionRefusedError:
            time.sleep(0.02)
        else:
            return
    raise TimeoutError(log.read_text())


class Nginx:
    """`deploy/nginx.conf` in Debian's nginx, with other ports and a certificate of its own.

    Args:
        folder: for its files.
        server_port: where Switchboard is.
        ports: those of HTTP and of HTTPS.
        without: what is left out of the configuration: lines that hold one of these words.
        idle: after how long without a word a connection is cut.
    """

    def __init__(
        self, folder: Path, server_port: int, ports: tuple[int, int], without: Sequence[str] = (), idle: str = "75s"
    ) -> None:
        self.folder = folder / "nginx"
        self.folder.mkdir()
        self.certificate = self.folder / "certificate.pem"
        self.url = f"https://127.0.0.1:{ports[1]}/"
        self.websocket_url = f"wss://127.0.0.1:{ports[1]}"
        self.ports = ports
        self._log = self.folder / "log"
        self._make_certificate()
        self._configure(server_port, without, idle)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run it."""
        command = [need("nginx"), "-p", str(self.folder), "-c", str(self.folder / "nginx.conf"), "-e", str(self._log)]
        with running(command, self._log):
            wait_for_port(self.ports[1], self._log)
            yield

    def _make_certificate(self) -> None:
        key = self.folder / "key.pem"
        subprocess.run(
            [need("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "100",
             "-keyout", str(key), "-out", str(self.certificate)],
            check=True, capture_output=True, timeout=START_SECONDS,
        )  # fmt: skip

    def _configure(self, server_port: int, without: Sequence[str], idle: str) -> None:
        text = (DEPLOY / "nginx.conf").read_text()
        text = "\n".join(line for line in text.splitlines() if not any(word in line for word in without))
        for pattern, new in {
            r" listen \[::\]:\S+.*;": "",
            r"listen 80;": f"listen 127.0.0.1:{self.ports[0]};",
            r"listen 443 ssl;": f"listen 127.0.0.1:{self.ports[1]} ssl;",
            r"server 127\.0\.0\.1:8765;": f"server 127.0.0.1:{server_port};",
            r"75s;": f"{idle};",
            r"ssl_certificate .*": f"ssl_certificate {self.certificate};",
            r"ssl_certificate_key .*": f"ssl_certificate_key {self.folder / 'key.pem'};",
        }.items():
            text, count = re.subn(pattern, new, text)
            assert count, pattern
        temporary = "\n".join(
            f"{kind}_temp_path {self.folder / kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (self.folder / "nginx.conf").write_text(
            f"daemon off; master_process off; pid {self.folder / 'pid'};\nevents {{ }}\n"
            f"http {{\naccess_log off;\n{temporary}\n{text}\n}}\n"
        )

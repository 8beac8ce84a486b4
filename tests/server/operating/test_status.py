"""`switchboard status`: the table, and the command against real servers."""

from __future__ import annotations

import argparse
import asyncio
import os
import pty
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from server.config import Settings
from server.http.health import DatabaseHealth, Health
from server.operating import status
from server.operating.asking import Address
from server.operating.sample import Sample, read_figures
from server.operating.status import table
from server.pubsub.broker import BrokerHealth
from server.service.host import ServiceStatus, State
from server.service.mounted import ProcessStatus
from tests.server.operating.support import run
from tests.support.server import ROOT, START_SECONDS, Server, free_port

ADDRESS = Address(False, "127.0.0.1", 8765)

FIGURES = """
switchboard_deliveries_total {deliveries}
switchboard_commits_total 3.0
switchboard_queue_bytes 2048.0
switchboard_stalls_total{{service="chat"}} 2.0
switchboard_process_resident_bytes{{process="main"}} 31457280.0
switchboard_process_resident_bytes{{process="chat-1"}} 41943040.0
switchboard_database_pool{{state="size"}} 4.0
switchboard_database_pool{{state="in_use"}} 1.0
switchboard_database_pool{{state="waiting"}} 0.0
switchboard_memory_budget_bytes 104857600.0
switchboard_memory_pressure 0.7
"""


def health(problem: str = "") -> Health:
    process = ProcessStatus("chat-1", 4711, "running", 12, 3, problem, 0.25)
    chat = ServiceStatus("chat", "/chat", State.RUNNING, 12, 1, "", 0.25, (process,))
    echo = ServiceStatus("echo", "/echo", State.BACKOFF, 0, 0, "no luck", 0.0)
    return Health("degraded", "1.2.3", {"chat": chat, "echo": echo}, DatabaseHealth(True), BrokerHealth(True, "local"))


def sample(at: float, deliveries: float, problem: str = "") -> Sample:
    return Sample(at, health(problem), read_figures(FIGURES.format(deliveries=deliveries)))


def test_the_table() -> None:
    """Everything that /health and /metrics say of the whole, of each service and of each process is in its place."""
    lines = table(ADDRESS, sample(10.0, 500.0))
    assert lines[0] == "Switchboard 1.2.3 at http://127.0.0.1:8765: degraded"
    assert lines[1] == "database  connected; 1 of 4 connections busy, 0 waiting"
    assert lines[2] == "broker    connected; local"
    assert lines[3] == "memory    70 MB of 100 MB; 70% taken"
    assert lines[4] == "traffic   12 clients, 2 KB waiting for them, 500 deliveries, - publications, 3 commits"
    assert lines[6].split() == [
        "SERVICE", "STATE", "PID", "CLIENTS", "MEMORY", "INCIDENTS", "STALLS", "LAST", "STALL", "RESTARTS", "PROBLEM",
    ]  # fmt: skip
    assert lines[7].split() == ["chat", "running", "1", "proc.", "12", "-", "1", "2", "0.25", "s", "3"]
    assert lines[8].split() == ["chat-1", "running", "4711", "12", "40", "MB", "0.25", "s", "3"]
    assert lines[9].split() == ["echo", "backoff", "-", "0", "-", "0", "-", "-", "-", "no", "luck"]


def test_rates() -> None:
    """With a moment before, totals become rates; a server that started again has none below zero."""
    assert "250 deliveries/s" in table(ADDRESS, sample(12.0, 1000.0), sample(10.0, 500.0))[4]
    assert " 0 deliveries/s" in table(ADDRESS, sample(12.0, 1.0), sample(10.0, 500.0))[4]


def test_without_figures() -> None:
    """Where /metrics may not be asked, the table says what /health knows."""
    lines = table(ADDRESS, Sample(0.0, health(), {}))
    assert lines[4] == "traffic   12 clients, - waiting for them, - deliveries, - publications, - commits"


def test_nothing_that_a_server_says_steers_the_terminal() -> None:
    """Control characters of a server that somebody else runs are shown as nothing."""
    assert not any("\x1b" in line for line in table(ADDRESS, sample(0.0, 0.0, problem="\x1b[2J\x07")))


def test_figures_that_are_none() -> None:
    """An answer that is not Prometheus' text is no figures, not a traceback."""
    assert read_figures('switchboard_x{a="1" 2\n') == {}
    assert read_figures("<html>") == {}


async def test_once(tmp_path: Path) -> None:
    """Against a real server the table is said once where there is no terminal."""
    async with Server(tmp_path, config="[services.echo]\n[services.dice]\n") as server:
        done = await asyncio.to_thread(run, "status", server.url, "--once")
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0].endswith(f"at {server.url}: ok")
    assert [line.split()[:2] for line in lines[-2:]] == [["echo", "running"], ["dice", "running"]]


def test_nobody_there() -> None:
    """A server that does not answer is exit status 1 and one sentence."""
    url = f"http://127.0.0.1:{free_port()}"
    done = run("status", url, "--once")
    assert (done.status, done.out, done.err) == (1, "", f"switchboard: {url}: Connection refused\n")


@contextmanager
def answering(body: bytes) -> Iterator[str]:
    """Serve the same answer to everything; yields the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b"[1, 2]", b'{"status": "ok"}', b"\xff"])
def test_somebody_else_there(body: bytes) -> None:
    """What answers and is no Switchboard is said so."""
    with answering(body) as url:
        done = run("status", url, "--once")
    assert done.status == 1
    assert "no Switchboard" in done.err


def test_live_until_interrupted() -> None:
    """On a terminal an unreachable server is tried again and again; Ctrl-C ends that with 0 and restores the screen."""
    ours, theirs = pty.openpty()
    code = "import sys; from tests.server.operating.test_status import live; sys.exit(live())"
    url = f"http://127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [sys.executable, "-c", code, url], cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    try:
        seen = b""
        while seen.count(b"Trying again.") < 2:
            assert select.select([ours], [], [], START_SECONDS)[0], seen
            seen += os.read(ours, 10_000)
        process.send_signal(signal.SIGINT)
        assert process.wait(START_SECONDS) == 0
        assert os.read(ours, 10_000).endswith(b"\x1b[?1049l")
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def live() -> int:
    """Run the command live; what the test above starts."""
    parser = argparse.ArgumentParser()
    status.add_to(parser.add_subparsers())
    return status.run(parser.parse_args(["status", sys.argv[1], "--seconds", "0.2"]), Settings())

"""What systemd says to the server and hears from it, over real sockets."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.errors import ListenError
from server.systemd import Notifier, listen_socket, watchdog_seconds
from tests.support.server import ROOT, START_SECONDS, free_port

GIVE_UP_SECONDS = START_SECONDS


def announced(count: int = 1, pid: int | None = None) -> dict[str, str]:
    return {
        "LISTEN_PID": str(os.getpid() if pid is None else pid),
        "LISTEN_FDS": str(count),
        "LISTEN_FDNAMES": "switchboard",
        "PATH": "/usr/bin",
    }


def handed_over(sock: socket.socket) -> int:
    """Return a descriptor as systemd hands it over: nobody's, and inherited by whoever is started."""
    with sock:
        os.set_inheritable(sock.fileno(), True)
        return sock.detach()


def listening(family: int = socket.AF_INET, address: str | tuple[str, int] = ("127.0.0.1", 0)) -> int:
    sock = socket.socket(family)
    sock.bind(address)
    sock.listen()
    return handed_over(sock)


# Sockets.


def test_without_systemd_there_is_no_socket() -> None:
    """A server that was started by hand listens itself."""
    assert listen_socket({}) is None
    assert listen_socket(announced(0)) is None


def test_a_listening_socket_is_taken() -> None:
    """The socket that is handed over takes connections, and is inherited by no process that is started later."""
    environment = announced()
    sock = listen_socket(environment, listening())
    assert sock is not None
    with sock, socket.create_connection(sock.getsockname(), GIVE_UP_SECONDS) as client:
        taken, address = sock.accept()
        with taken:
            assert address == client.getsockname()
        assert not os.get_inheritable(sock.fileno())


def test_what_was_meant_for_this_process_leaves_the_environment() -> None:
    """No process that is started later believes that sockets were handed to it; even when they were not ours."""
    for pid in (None, 1):
        environment = announced(pid=pid)
        sock = listen_socket(environment, descriptor := listening())
        assert (sock is None) == (pid == 1)
        if sock is None:
            os.close(descriptor)
        else:
            sock.close()
        assert environment == {"PATH": "/usr/bin"}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda _: handed_over(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)), "not TCP"),
        (lambda folder: listening(socket.AF_UNIX, str(folder / "s")), "not TCP"),
        (lambda _: handed_over(socket.socket()), "Accept=no"),
    ],
    ids=["datagrams", "unix", "not listening"],
)
def test_other_sockets_are_refused(make: object, words: str, tmp_path: Path) -> None:
    """A socket that cannot be served is named together with the line of the unit that is to be changed."""
    assert callable(make)
    with pytest.raises(ListenError, match=words):
        listen_socket(announced(), make(tmp_path))


def test_several_sockets_are_refused() -> None:
    """Two sockets are one too many, and nothing is served by chance."""
    with pytest.raises(ListenError, match="2 sockets; leave one ListenStream="):
        listen_socket(announced(2), 1_000_000)


def test_a_descriptor_that_is_no_socket_is_refused() -> None:
    """A wrong announcement is an error for the operator, not a traceback."""
    with Path(os.devnull).open() as file, pytest.raises(ListenError, match="is no socket"):
        listen_socket(announced(), file.fileno())


def test_socket_activation_by_systemd_itself() -> None:
    """A program that systemd starts for a connection gets the socket with that connection in it."""
    activate = shutil.which("systemd-socket-activate")
    if activate is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("systemd-socket-activate is not installed")
    program = (
        "import os; from server.systemd import listen_socket; sock = listen_socket(); client, _ = sock.accept();"
        "client.sendall(' '.join(sorted(n for n in os.environ if n.startswith('LISTEN'))).encode() + b'served')"
    )
    port = free_port()
    command = [activate, "--listen", f"127.0.0.1:{port}", sys.executable, "-c", program]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE)
    try:
        with connected(port, process) as client:
            assert client.recv(100) == b"served"
        assert process.wait(GIVE_UP_SECONDS) == 0
    finally:
        process.kill()
        process.communicate()


def connected(port: int, process: subprocess.Popen[bytes]) -> socket.socket:
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            return socket.create_connection(("127.0.0.1", port), GIVE_UP_SECONDS)
        except ConnectionRefusedError:
            time.sleep(0.02)
    raise AssertionError("nobody listens")


# Notifications.


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """The socket on which systemd listens, and what it is called in the environment."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@{tmp_path.name}-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        sock.settimeout(GIVE_UP_SECONDS)
        yield sock, name


def test_notifications_arrive(manager: tuple[socket.socket, str]) -> None:
    """Each state of the server is what sd_notify(3) calls it, and a status is one line whatever is in it."""
    sock, name = manager
    environment = {"NOTIFY_SOCKET": name}
    notifier = Notifier(environment)
    assert environment == {}
    notifier.ready("Serving\nREADY=0")
    notifier.status("All well")
    notifier.watchdog()
    notifier.stopping()
    heard = [sock.recv(1000) for _ in range(4)]
    assert heard == [b"READY=1\nSTATUS=Serving READY=0", b"STATUS=All well", b"WATCHDOG=1", b"STOPPING=1"]


def test_reloading_says_when(manager: tuple[socket.socket, str]) -> None:
    """A reload carries its time on the clock that systemd compares it with."""
    sock, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.reloading()
    state, _, microseconds = sock.recv(1000).decode().partition("\nMONOTONIC_USEC=")
    assert state == "RELOADING=1"
    assert before <= int(microseconds) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_a_deaf_systemd_holds_nothing_up(manager: tuple[socket.socket, str]) -> None:
    """More notifications than anybody reads are dropped: the server neither waits nor fails."""
    sock, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})
    for _ in range(1000):
        notifier.watchdog()
    assert sock.recv(1000) == b"WATCHDOG=1"


def test_nobody_to_notify(tmp_path: Path) -> None:
    """Without systemd, or with one that is gone, nothing happens."""
    for environment in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone")}, {"NOTIFY_SOCKET": "/" + "x" * 200}):
        Notifier(environment).ready("Serving")


# The watchdog.


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
    ],
)
def test_watchdog(environment: dict[str, str], seconds: float) -> None:
    """The watchdog is fed as often as systemd says, only where it means this process, and only by it."""
    environment = dict(environment)
    assert watchdog_seconds(environment) == seconds
    assert environment == {}

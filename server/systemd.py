"""What systemd and a service say to each other: sockets that listen already, readiness, the watchdog.

sd_listen_fds(3), sd_notify(3) and sd_watchdog_enabled(3), without their library. Whatever is meant for this process
alone leaves the environment when it is read, so that no process started from here takes it for its own.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress

from server.errors import ListenError

FIRST_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START: the first one after standard input, output and error."""


def listen_socket(
    environment: MutableMapping[str, str] = os.environ, first: int = FIRST_DESCRIPTOR
) -> socket.socket | None:
    """Return the socket that systemd listens on for this process; None where it does not.

    Args:
        environment: where systemd says so; what it says is removed.
        first: the first descriptor that is handed over.

    Raises:
        ListenError: what was handed over is not one listening TCP socket; the text is for the operator.
    """
    pid = environment.pop("LISTEN_PID", "")
    count = environment.pop("LISTEN_FDS", "")
    environment.pop("LISTEN_FDNAMES", None)
    # Another process's number: the variables are somebody else's, such as our parent's.
    if pid != str(os.getpid()) or not count.isdecimal() or count == "0":
        return None
    descriptors = range(first, first + int(count))
    with suppress(OSError):  # one that is not open is said below
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
    if len(descriptors) != 1:
        raise ListenError(f"systemd hands over {count} sockets; leave one ListenStream= in switchboard.socket")
    try:
        sock = socket.socket(fileno=first)
    except OSError as error:
        raise ListenError(f"descriptor {first}, which LISTEN_FDS announces, is no socket: {error.strerror}") from None
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or sock.type != socket.SOCK_STREAM:
        sock.close()
        raise ListenError("systemd hands over a socket that is not TCP; write ListenStream=PORT in switchboard.socket")
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.close()
        raise ListenError("systemd hands over a socket that does not listen; write Accept=no in switchboard.socket")
    return sock


def watchdog_seconds(environment: MutableMapping[str, str] = os.environ) -> float:
    """Return within how many seconds systemd wants to hear from this process each time; 0 where it does not.

    Args:
        environment: where systemd says so; what it says is removed.
    """
    microseconds = environment.pop("WATCHDOG_USEC", "")
    pid = environment.pop("WATCHDOG_PID", "")
    if not microseconds.isdecimal() or pid not in ("", str(os.getpid())):
        return 0.0
    return int(microseconds) / 1_000_000


class Notifier:
    """Tells systemd how this process is; without systemd it does nothing. It never waits, and never raises.

    Args:
        environment: where systemd says how to reach it; what it says is removed.
    """

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        address = environment.pop("NOTIFY_SOCKET", "")
        # An @ stands for the zero byte that begins a name which is no file, unix(7).
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def ready(self, status: str = "") -> None:
        """Say that this process serves, or serves again.

        Args:
            status: a sentence for `systemctl status`; empty leaves it as it was.
        """
        self._send("READY=1", status)

    def reloading(self, status: str = "") -> None:
        """Say that the configuration is being read again; `ready` follows."""
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={microseconds}", status)

    def stopping(self, status: str = "") -> None:
        """Say that this process is about to end."""
        self._send("STOPPING=1", status)

    def status(self, text: str) -> None:
        """Say a sentence for `systemctl status`."""
        self._send("", text)

    def watchdog(self) -> None:
        """Say that this process still works."""
        self._send("WATCHDOG=1")

    def _send(self, state: str, status: str = "") -> None:
        if not self._address:
            return
        lines = [state] if state else []
        if status:
            lines.append("STATUS=" + " ".join(status.split()))
        # A notification that cannot be delivered now is worth less than the moment that it would take.
        with suppress(OSError, ValueError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto("\n".join(lines).encode("utf-8", "replace"), self._address)

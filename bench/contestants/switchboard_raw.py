"""Switchboard with raw services: a topic, an echo. The real command, with every guard that is not a quota."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.contestant import Contestant, Load, Role

MEGAPHONE = '''
from server import Connection, Service


class Megaphone(Service):
    """Everyone hears everyone."""

    async def serve(self, connection: Connection) -> None:
        topic = self.topic("all")
        with topic.subscribe(connection):
            async for message in connection:
                topic.publish(message)
'''

ECHO = '''
from server import Connection, Service


class Echo(Service):
    """Send every message back."""

    async def serve(self, connection: Connection) -> None:
        async for message in connection:
            await connection.send(message)
'''

COMPUTE = '''
import time

from server import Connection, Service


class Compute(Service):
    """Compute for so many seconds, without ever letting anybody else in."""

    async def serve(self, connection: Connection) -> None:
        async for message in connection:
            end = time.perf_counter() + float(message)
            while time.perf_counter() < end:
                sum(range(1000))
            await connection.send("done")
'''

COMPRESS_BYTES = 100

# Quotas are off, because all clients of a benchmark come from one address.
CONFIG = """
[server]
port = {port}
connections_per_address = 0
compress_bytes = {compress_bytes}

[auth]
attempts_per_minute = 0

[log]
level = "warning"

[services.{service}]
path = "/bench"
{options}
{more}
"""


def serve(
    folder: Path, port: int, service: str, options: str = "", more: str = "", compress_bytes: int = 0
) -> list[str]:
    """Write the configuration; returns the command that serves it.

    Args:
        folder: where.
        port: to listen at.
        service: which is mounted at `/bench`.
        options: lines of its own.
        more: lines behind those, such as for another service.
        compress_bytes: messages from this size on are compressed; 0 for none.
    """
    file = folder / "config.toml"
    file.write_text(
        CONFIG.format(port=port, service=service, options=options, more=more, compress_bytes=compress_bytes)
    )
    return [sys.executable, "-m", "server", "serve", "--config", str(file)]


def command(role: Role, port: int, folder: Path) -> list[str]:
    """Lay out a folder as an operator would, and serve it."""
    service, source = ("echo", ECHO) if role == "echo" else ("megaphone", MEGAPHONE)
    services = folder / "services"
    services.mkdir()
    (services / f"{service}.py").write_text(source)
    if role == "compute":
        (services / "compute.py").write_text(COMPUTE)
        return serve(folder, port, service, more="[services.compute]")
    if role != "fair":
        return serve(folder, port, service, compress_bytes=COMPRESS_BYTES if role == "compressed" else 0)
    (services / "quiet.py").write_text(MEGAPHONE.replace("Megaphone", "Quiet"))
    return serve(folder, port, service, more='[services.quiet]\npath = "/quiet"')


CONTESTANT = Contestant(
    name="Switchboard, raw service",
    command=command,
    roles=("topic", "echo", "fair", "compressed", "compute"),
    load=lambda _task: Load(path="/bench"),
    too_slow=4008,
)

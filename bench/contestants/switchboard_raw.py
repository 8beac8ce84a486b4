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

# Quotas are off, because all clients of a benchmark come from one address.
CONFIG = """
[server]
port = {port}
connections_per_address = 0

[auth]
attempts_per_minute = 0

[log]
level = "warning"

[services.{service}]
path = "/bench"
{options}
"""


def serve(folder: Path, port: int, service: str, options: str = "") -> list[str]:
    """Write the configuration; returns the command that serves it."""
    file = folder / "config.toml"
    file.write_text(CONFIG.format(port=port, service=service, options=options))
    return [sys.executable, "-m", "server", "serve", "--config", str(file)]


def command(role: Role, port: int, folder: Path) -> list[str]:
    """Lay out a folder as an operator would, and serve it."""
    service, source = ("megaphone", MEGAPHONE) if role == "topic" else ("echo", ECHO)
    (folder / "services").mkdir()
    (folder / "services" / f"{service}.py").write_text(source)
    return serve(folder, port, service)


CONTESTANT = Contestant(name="Switchboard, raw service", command=command, load=lambda _task: Load(path="/bench"))

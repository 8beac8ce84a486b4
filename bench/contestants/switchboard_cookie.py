"""Switchboard with a raw service whose clients a cookie authenticates: each is a guest of its own."""

from __future__ import annotations

from pathlib import Path

from bench.contestant import Contestant, Load, Role, Task
from bench.contestants import switchboard_chat, switchboard_raw

WELCOME = '''
from server import Connection, Service


class Welcome(Service):
    """Greet guests by their names; everybody hears everyone."""

    login = "guest"

    async def serve(self, connection: Connection) -> None:
        await connection.send(f"Welcome, {connection.identity.name}.")
        topic = self.topic("all")
        with topic.subscribe(connection):
            async for message in connection:
                topic.publish(message)
'''


def command(_role: Role, port: int, folder: Path) -> list[str]:
    """Lay out a folder as an operator would, and serve it."""
    (folder / "services").mkdir()
    (folder / "services" / "welcome.py").write_text(WELCOME)
    return switchboard_raw.serve(folder, port, "welcome")


def load(task: Task) -> Load:
    """Make a guest of each client; it is in when it is greeted by its name."""
    cookies = switchboard_chat.guests(task.port, task.clients)
    return Load(path="/bench", headers=tuple(f"Cookie: {cookie}" for cookie in cookies), joined="Welcome, guest")


CONTESTANT = Contestant(name="Switchboard, raw, by cookie", command=command, roles=("cookie",), load=load)

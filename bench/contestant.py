"""What takes part in a benchmark: how its server is started, and what its clients say."""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

import bench.contestants

Role = Literal["topic", "echo", "rpc", "chat", "mariadb", "cookie", "fair", "compressed", "compute"]
"""What a server does.

`topic`: everybody hears everybody, oneself included; `echo`: everybody hears oneself; `rpc`: typed calls; `chat`:
rooms, and messages that are kept; `mariadb`: the same, on a MariaDB; `cookie`: a topic for clients that a cookie
authenticates; `fair`: a topic at `/bench` and another one at `/quiet`; `compressed`: a topic that compresses
(permessage-deflate); `compute`: a topic at `/bench`, and at `/compute` one that computes as long as it is told to.
"""

YARDSTICK = "websockets_broadcast"
"""The module of the contestant that all ratios refer to."""

OWN = "switchboard_"
"""How the modules of Switchboard's contestants begin; all others are peers."""


class Task(msgspec.Struct, frozen=True):
    """What a server that listens will have to do.

    Args:
        role: what it does.
        port: where it listens, on this machine.
        clients: how many will come.
        rooms: how many rooms they spread over, where a contestant has rooms.
        behind: messages that are written in each room after every client has been there and before it comes again.
    """

    role: Role
    port: int
    clients: int
    rooms: int = 1
    behind: int = 0


class Load(msgspec.Struct, frozen=True):
    """What the generator's clients send; see `load/wire.c` for the placeholders of `join` and `template`.

    Args:
        path: of the URL.
        headers: a header for each client, such as its cookie; reused in turn when there are fewer.
        join: sent once by each client before it takes part; empty for nothing.
        joined: what the answer to that holds.
        template: a message.
        acknowledged: what the answer to a message holds, where there is one beside its delivery; empty where not.
        ignored: what is held by other things that the server says, where they are as long as a message.
        item: what the answer to `join` holds once for each message that a client has missed; empty to count nothing.
        leave: sent before a client goes; empty for nothing.
        left: what the answer to that holds.
    """

    path: str = "/"
    headers: tuple[str, ...] = ()
    join: str = ""
    joined: str = ""
    template: str = "$T"
    acknowledged: str = ""
    ignored: str = ""
    item: str = ""
    leave: str = ""
    left: str = ""


class Contestant(msgspec.Struct, frozen=True, kw_only=True):
    """A server that can be measured.

    Args:
        name: for the report.
        command: starts the server; gets the role, the port, and a folder of its own that is empty.
        roles: what the server can do.
        load: what its clients send; called when the server listens.
        packages: installed distributions whose versions belong into the report.
        mariadb: whether it needs a MariaDB; its URL is then in the environment of the command, as Switchboard reads it.
        too_slow: the code that it promises to close a client with that does not read; 0 where it promises nothing.
    """

    name: str
    command: Callable[[Role, int, Path], list[str]]
    roles: tuple[Role, ...] = ("topic", "echo")
    load: Callable[[Task], Load] = lambda _task: Load()
    packages: tuple[str, ...] = ()
    mariadb: bool = False
    too_slow: int = 0

    def versions(self) -> dict[str, str]:
        """Return the version of each package."""
        return {package: importlib.metadata.version(package) for package in self.packages}


def python_server(module: str) -> Callable[[Role, int, Path], list[str]]:
    """Return the command that runs a module of `bench.contestants` with its role and port.

    Args:
        module: its name, as in `websockets_broadcast`.
    """

    def command(role: Role, port: int, _folder: Path) -> list[str]:
        return [sys.executable, "-m", f"bench.contestants.{module}", role, str(port)]

    return command


def find_contestants(names: list[str]) -> tuple[dict[str, Contestant], dict[str, str]]:
    """Import the contestants.

    Args:
        names: modules to take; empty for all. The yardstick comes first, and always takes part.

    Returns:
        The contestants by the name of their module, and why others cannot take part.

    Raises:
        LookupError: a name is not one of a contestant; the text names them all.
    """
    known = sorted(module.name for module in pkgutil.iter_modules(bench.contestants.__path__))
    if unknown := [name for name in names if name not in known]:
        raise LookupError(f"{', '.join(unknown)}: no such contestant; there are {', '.join(known)}")
    taking_part = [YARDSTICK, *(name for name in names or known if name != YARDSTICK)]
    contestants: dict[str, Contestant] = {}
    missing: dict[str, str] = {}
    for name in taking_part:
        try:
            module = importlib.import_module(f"bench.contestants.{name}")
        except ModuleNotFoundError as error:
            missing[name] = f"{error.name} is not installed"
        else:
            contestants[name] = module.CONTESTANT
    return contestants, missing

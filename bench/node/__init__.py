"""The contestants that run on Node: their sources, `NAME.mjs`, and how they are started.

`npm install --prefix bench/node` installs what they need; `make bench` does that where there is an npm.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec

from bench.contestant import Contestant, Load, Role

FOLDER = Path(__file__).parent
MODULES = FOLDER / "node_modules"

SOCKET_IO = Load(
    path="/socket.io/?EIO=4&transport=websocket",
    join="40",
    joined="40{",
    template='42["m","$T"]',
)
"""Engine.IO 4 over a bare WebSocket: `40` connects to the main namespace, `42` is an event, here `m` with a text."""


class Package(msgspec.Struct, frozen=True):
    """What is read of a `package.json`."""

    version: str


class NodeContestant(Contestant, frozen=True, kw_only=True):
    """A server that runs on Node.

    Args:
        npm_packages: installed packages whose versions belong into the report, beside Node's.
    """

    npm_packages: tuple[str, ...] = ()

    def versions(self) -> dict[str, str]:
        """Return the version of Node and of each package."""
        node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
        versions = {name: installed(name).version for name in self.npm_packages}
        return {**super().versions(), "Node": node.removeprefix("v"), **versions}


def installed(name: str) -> Package:
    """Return what npm installed under a name.

    Raises:
        ModuleNotFoundError: there is nothing; `name` is the package's.
    """
    file = MODULES / name / "package.json"
    if not file.exists():
        raise ModuleNotFoundError(f"{name} is not in {MODULES}", name=name)
    return msgspec.json.decode(file.read_bytes(), type=Package)


def node_server(name: str) -> Callable[[Role, int, Path], list[str]]:
    """Return the command that runs `NAME.mjs` with its role and port; the npm package is called the same.

    Raises:
        ModuleNotFoundError: Node or the package is not installed; `name` is what is missing.
    """
    if shutil.which("node") is None:
        raise ModuleNotFoundError("there is no program called node", name="node")
    installed(name)

    def command(role: Role, port: int, _folder: Path) -> list[str]:
        return ["node", str(FOLDER / f"{name}.mjs"), role, str(port)]

    return command

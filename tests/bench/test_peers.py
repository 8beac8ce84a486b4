"""The peers that Switchboard is measured beside: how they are started, and that they are left out when absent."""

from __future__ import annotations

import ast
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import bench.node
from bench.contestant import Task, find_contestants
from bench.node import SOCKET_IO, NodeContestant, node_server

ROOT = Path(__file__).parents[2]
CONTESTANTS = ROOT / "bench" / "contestants"
PYTHON_PEERS = {
    "aiohttp_server": "aiohttp",
    "picows_server": "picows",
    "socketio_python": "socketio",
    "starlette_server": "starlette",
}
NODE_PEERS = {"socket_io_node": "socket.io", "ws_node": "ws"}


@pytest.fixture(autouse=True)
def fresh_imports() -> Iterator[None]:
    """Forget the contestants before and after: what is imported here may be imported under false pretences."""

    def forget() -> None:
        for name in [name for name in sys.modules if name.startswith("bench.contestants.")]:
            del sys.modules[name]

    forget()
    yield
    forget()


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have a Node, and nothing installed for it; returns the folder for that."""
    monkeypatch.setattr(bench.node, "MODULES", tmp_path)
    monkeypatch.setattr("shutil.which", lambda _name: "/usr/bin/node")
    return tmp_path


def install(modules: Path, name: str, version: str) -> None:
    (modules / name).mkdir()
    (modules / name / "package.json").write_text(json.dumps({"name": name, "version": version, "type": "module"}))


@pytest.mark.parametrize(("module", "package"), PYTHON_PEERS.items())
def test_a_python_peer_that_is_not_installed_is_named(
    module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is left out with its package as the reason, and the yardstick takes part."""
    for name in [name for name in sys.modules if name.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    found, missing = find_contestants([module])
    assert list(found) == ["websockets_broadcast"]
    assert list(missing) == [module]
    assert package in missing[module]


@pytest.mark.parametrize(("module", "package"), NODE_PEERS.items())
def test_a_node_peer_that_is_not_installed_is_named(module: str, package: str, node: Path) -> None:
    """It is left out with its package as the reason, though there is a Node."""
    assert find_contestants([module])[1] == {module: f"{package} is not installed"}


def test_node_itself_may_be_missing(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then that is the reason, whatever npm has installed."""
    install(node, "ws", "8.23.0")
    monkeypatch.setattr("shutil.which", lambda _name: None)
    assert find_contestants(["ws_node"])[1] == {"ws_node": "node is not installed"}


@pytest.mark.parametrize(("module", "package"), NODE_PEERS.items())
def test_node_peers_are_started_with_role_and_port(module: str, package: str, node: Path) -> None:
    """The program that is named is in the repository, and imports the package that was looked for."""
    install(node, package, "1.2.3")
    contestant = importlib.import_module(f"bench.contestants.{module}").CONTESTANT
    program, source, *arguments = contestant.command("echo", 8765, node)
    assert (program, arguments) == ("node", ["echo", "8765"])
    assert f'from "{package}"' in Path(source).read_text()


def test_versions_of_node_peers_are_those_installed(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report names what really ran: Node, and the packages as npm installed them."""
    install(node, "ws", "8.23.0")
    contestant = NodeContestant(name="ws", command=node_server("ws"), npm_packages=("ws",))
    program = node / "node"
    program.write_text("#!/bin/sh\necho v20.1.0\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(node), prepend=":")
    assert contestant.versions() == {"Node": "20.1.0", "ws": "8.23.0"}


@pytest.mark.parametrize("module", PYTHON_PEERS)
def test_python_peers_are_their_own_server(module: str) -> None:
    """Each names itself in its command and can be run, so that no peer measures another one."""
    tree = ast.parse((CONTESTANTS / f"{module}.py").read_text())
    commands = [
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "python_server"
        and isinstance(node.args[0], ast.Constant)
    ]
    assert commands == [module]
    assert any(isinstance(node, ast.If) and "__main__" in ast.dump(node.test) for node in tree.body)


def test_peers_shadow_no_package() -> None:
    """A module called like the package it imports would import itself when run as a program."""
    assert not {file.stem for file in CONTESTANTS.glob("*.py")} & {"aiohttp", "picows", "socketio", "starlette", "ws"}


def test_socket_io_is_spoken_as_the_generator_expects(node: Path) -> None:
    """A message is an event with the text as a JSON string; nobody takes part before the namespace is joined."""
    install(node, "socket.io", "4.8.4")
    contestant = importlib.import_module("bench.contestants.socket_io_node").CONTESTANT
    assert contestant.load(Task("topic", 1, 1, 1)) == SOCKET_IO
    assert SOCKET_IO.template.startswith("42")
    assert json.loads(SOCKET_IO.template.removeprefix("42").replace("$T", "text")) == ["m", "text"]
    assert (SOCKET_IO.join, SOCKET_IO.joined) == ("40", "40{")
    assert SOCKET_IO.path.startswith("/socket.io/?EIO=4&transport=websocket")


def test_no_lock_file_is_kept() -> None:
    """A lock file names the host it was made with: versions have lower bounds, and the report says what ran."""
    assert not list((ROOT / "bench" / "node").glob("*lock*"))
    packages = json.loads((ROOT / "bench" / "node" / "package.json").read_text())["dependencies"]
    assert set(packages) == set(NODE_PEERS.values())
    assert all(bound.startswith(">=") for bound in packages.values())

"""The house: who may import whom, how large a file is, what the package gives away."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import server

ROOT = Path(__file__).parents[1]
SERVER = ROOT / "server"
MOST_LINES = 450

# From the foundation upwards; a wing imports what stands in an earlier row, and itself.
FOUNDATION = {"config", "credentials", "deadlines", "eager", "errors", "figures", "log", "systemd", "usage", "version"}
ROWS: list[set[str]] = [
    FOUNDATION,
    {"net", "pubsub", "db"},
    {"auth"},
    {"service"},
    {"http"},
    {"measuring", "memory"},
    {"engine", "migrated", "progress"},
    {"app"},
    {"process"},
    {"database_commands", "operating"},
    {"cli"},
    {"__main__"},
]
LEVEL = {wing: level for level, row in enumerate(ROWS) for wing in row}


def python_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(file: Path) -> Iterator[str]:
    """Yield the full name of everything a file imports, wherever in the file the import stands."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                path = ROOT / full.replace(".", "/")
                is_module = path.with_suffix(".py").exists() or (path / "__init__.py").exists()
                yield full if is_module else str(node.module)


def wing(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


@pytest.mark.parametrize("file", python_files(SERVER), ids=module_name)
def test_imports_point_downwards(file: Path) -> None:
    """No wing imports one that stands above or beside it; `server/__init__` only names things."""
    module = module_name(file)
    if module == "server":
        return
    here = wing(module)
    for name in imports(file):
        if name == "server" or not name.startswith("server."):
            assert name != "server", f"{module} imports the authors' names; import the module that has them"
            continue
        there = wing(name)
        assert there == here or LEVEL[there] < LEVEL[here] or {here, there} <= FOUNDATION, f"{module} imports {name}"


@pytest.mark.parametrize("file", python_files(SERVER / "db"), ids=module_name)
def test_dbobject_stands_alone(file: Path) -> None:
    """`server.db` imports nothing else of the project: someone could lift it out."""
    for name in imports(file):
        assert not name.startswith("server") or name.startswith("server.db"), name


def test_import_of_dbobject_loads_nothing_else() -> None:
    """`import server.db` loads DbObject alone, so that it is cheap to use by itself."""
    code = "import sys, server.db; print(*(n for n in sys.modules if n.startswith('server')))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    others = [n for n in loaded.stdout.split() if n not in ("server", "server.version") and wing(n) != "db"]
    assert others == []


@pytest.mark.parametrize("file", python_files(ROOT / "services"), ids=module_name)
def test_services_import_what_authors_may(file: Path) -> None:
    """A service imports `server`, `server.db` and itself: what is shown to authors is enough."""
    module = module_name(file)
    own = ".".join(module.split(".")[:2])
    for name in imports(file):
        if name.startswith("server"):
            assert name == "server" or name.startswith("server.db"), f"{module} imports {name}"
        if name.startswith("services"):
            assert name.startswith(own), f"{module} imports {name}"


def test_no_import_circles() -> None:
    """The modules of the engine can be put in one order in which each imports only earlier ones."""
    graph = {module_name(file): set(imports(file)) for file in python_files(SERVER) if module_name(file) != "server"}
    graph = {name: {n for n in targets if n in graph and n != name} for name, targets in graph.items()}
    while graph:
        leaves = {name for name, targets in graph.items() if not targets}
        assert leaves, f"circle among {sorted(graph)}"
        graph = {name: targets - leaves for name, targets in graph.items() if name not in leaves}


def test_files_are_one_thing() -> None:
    """A file that outgrows about 400 lines is usually two things."""
    folders = (SERVER, ROOT / "services", ROOT / "client", ROOT / "bench")
    long = {
        str(file.relative_to(ROOT)): lines
        for folder in folders
        for pattern in ("*.py", "*.js")
        for file in folder.rglob(pattern)
        if "node_modules" not in file.parts
        if (lines := len(file.read_text().splitlines())) > MOST_LINES
    }
    assert long == {}


def test_author_names_are_all_there() -> None:
    """Every name in `server.__all__` can be imported, and `__all__` is complete."""
    for name in server.__all__:
        assert getattr(server, name) is not None
    assert sorted(server.__all__) == sorted([*server._HOMES, "__version__"])
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = server.Nonsense

"""Finding services, and naming the line of what its author got wrong."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from server.config import ServiceSettings
from server.errors import ServiceError
from server.service import discovery
from server.service.discovery import Missing, check, find, names
from services.dice import Dice
from services.echo import Echo
from tests.server.service.support import settings_for, write_service

GOOD = """
    from server import Service

    class Good(Service):
        async def serve(self, connection):
            pass
"""


def table(name: str) -> ServiceSettings:
    return ServiceSettings(name=name, path=f"/{name}")


def problem(name: str, base: Path) -> str:
    with pytest.raises(ServiceError) as error:
        find(table(name), base)
    assert error.value.service == name
    return error.value.problem


def test_bundled_services_are_found_without_a_folder(tmp_path: Path) -> None:
    """The services that come with Switchboard are the very modules that `import services` gives."""
    assert find(table("dice"), tmp_path).cls is Dice
    assert find(table("echo"), tmp_path).cls is Echo


def test_a_module_beside_the_configuration(tmp_path: Path) -> None:
    """`services/NAME.py` beside the configuration file is found, loaded once, and is a home of its own."""
    file = write_service(tmp_path, "good", GOOD)
    found = find(table("good"), tmp_path)
    assert found.cls.__name__ == "Good"
    assert found.cls.__module__ == "services.good"
    assert found.home == str(file.resolve())
    assert found.migrations is None
    assert find(table("good"), tmp_path).cls is found.cls


def test_what_stands_beside_the_configuration_comes_first(tmp_path: Path) -> None:
    """A service of one's own replaces a bundled one of the same name."""
    write_service(tmp_path, "echo", GOOD)
    assert find(table("echo"), tmp_path).cls.__name__ == "Good"
    assert find(table("echo"), tmp_path / "elsewhere").cls.__name__ == "Echo"


@pytest.mark.parametrize("where", ["service.py", "__init__.py"])
def test_a_package(tmp_path: Path, where: str) -> None:
    """A package has its class in `service.py`, else in `__init__.py`; its modules import each other by name."""
    folder = tmp_path / "services" / "notes"
    (folder / "migrations").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "models.py").write_text("ANSWER = 42\n")
    source = "from server import Service\nfrom services.notes.models import ANSWER\n\n\nclass Notes(Service):\n"
    (folder / where).write_text(f"{source}    answer = ANSWER\n    async def serve(self, connection): pass\n")
    found = find(table("notes"), tmp_path)
    assert vars(found.cls)["answer"] == 42
    assert found.migrations == (folder / "migrations").resolve()
    assert found.home == f"{folder.resolve()}/"


def test_two_folders_with_the_same_name(tmp_path: Path) -> None:
    """A file of the same name in another folder is another service, and brings its own modules."""
    for name in ("one", "two"):
        folder = tmp_path / name / "services" / "notes"
        folder.mkdir(parents=True)
        (folder / "models.py").write_text(f"ANSWER = {name!r}\n")
        (folder / "__init__.py").write_text(
            "from server import Service\nfrom services.notes import models\n\n\nclass Notes(Service):\n"
            "    answer = models.ANSWER\n    async def serve(self, connection): pass\n"
        )
    assert vars(find(table("notes"), tmp_path / "one").cls)["answer"] == "one"
    assert vars(find(table("notes"), tmp_path / "two").cls)["answer"] == "two"


@pytest.mark.parametrize("value", ["acme_plugin:Acme", "acme_plugin"])
def test_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """A package that is installed offers a service by an entry point, which names its class or its module."""
    (tmp_path / "acme_plugin.py").write_text(
        "from server import Service\n\n\nclass Acme(Service):\n    async def serve(self, connection): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "acme_plugin", raising=False)
    point = EntryPoint("acme", value, discovery.ENTRY_POINTS)
    monkeypatch.setattr(discovery, "entry_points", lambda **which: EntryPoints([point]).select(**which))
    found = find(table("acme"), tmp_path)
    assert found.cls.__name__ == "Acme"
    assert found.home == str((tmp_path / "acme_plugin.py").resolve())
    assert "acme" in names(tmp_path)


BROKEN = {
    "syntax": ("class A(\n", "services/syntax.py, line 1: '(' was never closed"),
    "indent": ("x = 1\n  y = 2\n", "services/indent.py, line 2: unexpected indent"),
    "missing": ("\n\nimport not_there_at_all\n", "services/missing.py, line 3: ModuleNotFoundError: No module named"),
    "raises": ("\nimport json\njson.loads('{')\n", "services/raises.py, line 3: JSONDecodeError"),
    "exits": ("\nimport sys\n\nsys.exit(3)\n", "services/exits.py, line 4: SystemExit: 3"),
    "nothing": ("x = 1\n", "services/nothing.py, line 1: defines no service class"),
    "imported": ("from services.echo import Echo\n", "services/imported.py, line 1: defines no service class"),
    "private": (
        "from server import Service\nclass _A(Service):\n    async def serve(self, c): ...\n",
        "services/private.py, line 1: defines no service class",
    ),
    "several": (
        "from server import Service\nclass A(Service): ...\nclass B(Service): ...\n",
        "services/several.py, line 3: defines A (line 2), B (line 3)",
    ),
    "empty": (
        "from server import Service\n\nclass A(Service): ...\n",
        "services/empty.py, line 3: A: it has no `async def serve(self, connection)`",
    ),
    "plain": (
        "from server import Service\nclass A(Service):\n    def serve(self, c): ...\n",
        "services/plain.py, line 2: A: `serve` is an `async def`",
    ),
    "login": (
        "from server import Service\nclass A(Service):\n    login = 'root'\n    async def serve(self, c): ...\n",
        "services/login.py, line 2: A: `login` is one of none, guest, member, but it is 'root'",
    ),
    "protocols": (
        "from server import Service\nclass A(Service):\n    protocols = 'x'\n    async def serve(self, c): ...\n",
        "services/protocols.py, line 2: A: `protocols` is a tuple",
    ),
    "settings": (
        "from server import Service\nclass A(Service):\n    Settings = dict\n    async def serve(self, c): ...\n",
        "services/settings.py, line 2: A: `Settings` is a msgspec Struct",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_code_is_named_with_file_and_line(tmp_path: Path, name: str) -> None:
    """What is wrong is told with the service, the file and the line, and not with where the disk has it."""
    source, expected = BROKEN[name]
    write_service(tmp_path, name, source)
    told = problem(name, tmp_path)
    assert told.startswith(expected)
    assert str(tmp_path) not in told


def test_a_broken_module_of_a_package(tmp_path: Path) -> None:
    """The line that is named is the one in the service's own files that went wrong."""
    folder = tmp_path / "services" / "notes"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "service.py").write_text("from server import Service\nfrom services.notes import models\n")
    (folder / "models.py").write_text("\n\nx = 1 / 0\n")
    assert problem("notes", tmp_path) == "services/notes/models.py, line 3: ZeroDivisionError: division by zero"


def test_mended_code_is_loaded(tmp_path: Path) -> None:
    """A module that failed is not remembered."""
    write_service(tmp_path, "late", "1 / 0\n")
    assert "ZeroDivisionError" in problem("late", tmp_path)
    write_service(tmp_path, "late", GOOD + "\n    # mended\n")
    assert find(table("late"), tmp_path).cls.__name__ == "Good"


def test_a_service_that_is_not_there(tmp_path: Path) -> None:
    """A name of no service is told apart from broken code."""
    with pytest.raises(Missing, match=r"there is no services/nowhere\.py"):
        find(table("nowhere"), tmp_path)


def test_check_names_every_wrong_key_and_name(tmp_path: Path) -> None:
    """Wrong keys and names of no service are problems of the configuration, with the nearest name; broken code not."""
    write_service(tmp_path, "broken", "class A(\n")
    write_service(
        tmp_path,
        "keyed",
        """
        import msgspec
        from server import Service

        class Keyed(Service):
            class Settings(msgspec.Struct):
                colour: str
                size: int = 1

            async def serve(self, connection):
                pass
        """,
    )
    settings = settings_for(tmp_path, broken={}, keyed={"color": "red", "size": "x"}, ecko={}, dice={"sides": 6})
    problems = check(settings)
    nowhere = "there is no services/ecko.py, no package services/ecko/ and no entry point of that name"
    assert problems == [
        "services.keyed.color: is not a setting; did you mean services.keyed.colour?",
        "services.keyed.size: expected `int`, got `str`, but it is 'x'",
        "services.keyed.colour: is required, and is missing",
        f"services.ecko: {nowhere}; did you mean services.echo?",
        "services.dice.sides: is not a setting",
    ]
    assert check(settings_for(tmp_path, broken={}, keyed={"colour": "red"}, dice={})) == []


def test_names_of_all_services(tmp_path: Path) -> None:
    """Everything that could be served is known by name."""
    write_service(tmp_path, "good", GOOD)
    assert {"good", "dice", "echo"} <= set(names(tmp_path))

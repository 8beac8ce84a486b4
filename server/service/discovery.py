"""Finding services: in `services/` beside the configuration file, among the bundled ones, in installed packages.

What a service's author can get wrong becomes a `ServiceError` that names the service, the file and the line.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
import typing
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import msgspec

import services as bundled
from server.config import ServiceSettings, Settings, decode_options
from server.errors import ServiceError
from server.service.base import Login, Service
from server.service.methods import BadMethod

ENTRY_POINTS = "switchboard.services"
_LOGINS = typing.get_args(Login)


class Found(msgspec.Struct, frozen=True):
    """A service that can be made.

    Args:
        cls: its class.
        file: its module, or its package's `__init__.py`.
    """

    cls: type[Service]
    file: Path

    @property
    def home(self) -> str:
        """What the path of every file of the service begins with: its module, or the folder of its package."""
        return _home(self.file)

    @property
    def migrations(self) -> Path | None:
        """The folder of its migrations, where it is a package that has one."""
        folder = self.file.parent / "migrations"
        return folder if self.file.name == "__init__.py" and folder.is_dir() else None


class Missing(ServiceError):
    """There is no service of that name."""


def find(settings: ServiceSettings, base: Path) -> Found:
    """Load the class that a service's table names.

    Args:
        settings: the table.
        base: the folder of the configuration file; its `services/` is looked into first.

    Raises:
        ServiceError: there is none, its code is broken, or it does not have exactly one service class.
    """
    name = settings.name
    source = _locate(name, base)
    try:
        module, top = _load(name, source)
        cls = _service_class(name, module)
        _check_class(name, cls)
    except (Exception, SystemExit) as error:
        raise explain(name, error, _home(source) if isinstance(source, Path) else "") from error
    return Found(cls, Path(inspect.getfile(top)).resolve())


def explain(service: str, error: BaseException, home: str) -> ServiceError:
    """Say which line of a service's code is wrong.

    Args:
        service: its name.
        error: what came of its code.
        home: what the paths of its files begin with; empty when that is not known.
    """
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, SyntaxError):
        return ServiceError(service, f"{_shown(error.filename or home)}, line {error.lineno}: {error.msg}")
    if isinstance(error, BadMethod):
        return ServiceError(service, f"{_shown(error.filename)}, line {error.line}: {error}")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    own = [frame for frame in frames if home and frame.filename.startswith(home)] or frames
    return ServiceError(service, f"{_shown(own[-1].filename)}, line {own[-1].lineno}: {type(error).__name__}: {error}")


def check(settings: Settings) -> list[str]:
    """Return what is wrong with the services' tables: names of no service, and keys that a service does not know.

    A service whose code is broken is not a problem of the configuration: it is contained when it is started.
    """
    problems: list[str] = []
    for service in settings.services.values():
        try:
            found = find(service, settings.base)
            problems += decode_settings(service, found.cls)[1]
        except Missing as error:
            nearest = difflib.get_close_matches(service.name, names(settings.base), n=1)
            hint = f"; did you mean services.{nearest[0]}?" if nearest else ""
            problems.append(f"services.{service.name}: {error.problem}{hint}")
        except ServiceError:
            continue
    return problems


def decode_settings(service: ServiceSettings, cls: type[Service]) -> tuple[Any, list[str]]:
    """Decode a service's own keys into its `Settings`; returns them, or None, and the problems."""
    return decode_options(f"services.{service.name}", service.options, cls.Settings)


def names(base: Path) -> list[str]:
    """Return the names of all services that could be served."""
    found = {point.name for point in entry_points(group=ENTRY_POINTS)}
    for folder in _folders(base):
        found.update(file.stem for file in folder.glob("*.py") if not file.name.startswith("_"))
        found.update(file.parent.name for file in folder.glob("*/__init__.py"))
    return sorted(found)


def _folders(base: Path) -> Iterator[Path]:
    """Yield the folders of services: beside the configuration, then the bundled ones."""
    for folder in dict.fromkeys(path.resolve() for path in (base / "services", *map(Path, bundled.__path__))):
        if folder.is_dir():
            yield folder


def _locate(name: str, base: Path) -> Path | EntryPoint:
    """Return a service's module, the `__init__.py` of its package, or its entry point."""
    for folder in _folders(base):
        for file in (folder / name / "__init__.py", folder / f"{name}.py"):
            if file.is_file():
                return file
    for point in entry_points(group=ENTRY_POINTS, name=name):
        return point
    raise Missing(name, f"there is no services/{name}.py, no package services/{name}/ and no entry point of that name")


def _load(name: str, source: Path | EntryPoint) -> tuple[ModuleType, ModuleType]:
    """Import a service; returns the module that has its class, and its package (or the same module)."""
    if isinstance(source, Path):
        top = _load_file(name, source)
        if source.name == "__init__.py" and source.with_name("service.py").is_file():
            return importlib.import_module(f"{top.__name__}.service"), top
        return top, top
    loaded = source.load()
    module = loaded if isinstance(loaded, ModuleType) else sys.modules[loaded.__module__]
    return module, sys.modules[module.__name__.removesuffix(".service")]


def _load_file(name: str, file: Path) -> ModuleType:
    """Import a file as `services.NAME`, whatever folder it is in, so that its own modules find each other."""
    full = f"{bundled.__name__}.{name}"
    loaded = sys.modules.get(full)
    if loaded is not None:
        if loaded.__file__ and Path(loaded.__file__).resolve() == file:
            return loaded
        _forget(full)
    folders = [str(file.parent)] if file.name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(full, file, submodule_search_locations=folders)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[full] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        _forget(full)
        raise
    return module


def _forget(full: str) -> None:
    """Drop a module and what is below it: it failed, or another file has its name now."""
    for name in [name for name in sys.modules if name == full or name.startswith(f"{full}.")]:
        del sys.modules[name]


def _service_class(name: str, module: ModuleType) -> type[Service]:
    """Return the one service class that a module defines; what it imports, or marks as private, does not count."""
    own = [
        cls
        for cls in vars(module).values()
        if inspect.isclass(cls)
        and issubclass(cls, Service)
        and cls.__module__ == module.__name__
        and not cls.__name__.startswith("_")
    ]
    if len(own) == 1:
        return own[0]
    file = _shown(module.__file__ or module.__name__)
    if not own:
        raise ServiceError(name, f"{file}, line 1: defines no service class, and has to define one")
    classes = ", ".join(f"{cls.__name__} (line {inspect.getsourcelines(cls)[1]})" for cls in own)
    line = inspect.getsourcelines(own[1])[1]
    raise ServiceError(
        name, f"{file}, line {line}: defines {classes}; one of them may be public, the others are _Named"
    )


def _check_class(name: str, cls: type[Service]) -> None:
    """Refuse a class that could not serve."""
    problem = ""
    protocols, settings = cast("Any", cls.protocols), cast("Any", cls.Settings)
    if cls.login not in _LOGINS:
        problem = f"`login` is one of {', '.join(_LOGINS)}, but it is {cls.login!r}"
    elif not isinstance(protocols, tuple) or not all(isinstance(protocol, str) for protocol in protocols):
        problem = f"`protocols` is a tuple of names, but it is {protocols!r}"
    elif not inspect.isclass(settings) or not issubclass(settings, msgspec.Struct):
        problem = "`Settings` is a msgspec Struct"
    elif cls.attach is Service.attach and not inspect.iscoroutinefunction(cls.serve):
        problem = "`serve` is an `async def`"
    elif cls.attach is Service.attach and cls.serve is Service.serve:
        problem = "it has no `async def serve(self, connection)`"
    else:
        decode_options(f"services.{name}", {}, cls.Settings)  # its types have to be there
    if problem:
        file, line = inspect.getfile(cls), inspect.getsourcelines(cls)[1]
        raise ServiceError(name, f"{_shown(file)}, line {line}: {cls.__name__}: {problem}")


def _home(file: Path) -> str:
    """Return what the path of every file of a service begins with: its module, or the folder of its package."""
    return f"{file.parent}{os.sep}" if file.name == "__init__.py" else str(file)


def _shown(file: str) -> str:
    """Return a path as the operator sees it in `services/`; /health need not tell where on the disk that is."""
    path = Path(file)
    parts = path.parts
    if "services" in parts:
        return "/".join(parts[len(parts) - 1 - parts[::-1].index("services") :])
    return path.name

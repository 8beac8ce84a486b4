"""Finding services: in `services/` beside the configuration file, among the bundled ones, in installed packages."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

import services as bundled
from server.config import ServiceSettings, Settings, decode_options
from server.errors import ServiceError
from server.service.base import Service

ENTRY_POINTS = "switchboard.services"


class Found(msgspec.Struct, frozen=True):
    """A service that can be made.

    Args:
        cls: its class.
        folder: where it lives: its package, or the folder of its module.
        package: whether it is a package, which may have `migrations/`.
    """

    cls: type[Service]
    folder: Path
    package: bool

    @property
    def migrations(self) -> Path | None:
        """The folder of its migrations, where it has one."""
        folder = self.folder / "migrations"
        return folder if self.package and folder.is_dir() else None


def find(settings: ServiceSettings, base: Path) -> Found:
    """Load the class that a service's table names.

    Args:
        settings: the table.
        base: the folder of the configuration file; its `services/` is looked into first.

    Raises:
        ServiceError: there is none, its code is broken, or it does not have exactly one service class.
    """
    try:
        module = _load(settings.name, base)
        cls = _service_class(settings.name, module)
    except ServiceError:
        raise
    except SyntaxError as error:
        raise ServiceError(settings.name, f"{error.filename}, line {error.lineno}: {error.msg}") from error
    except Exception as error:
        raise ServiceError(settings.name, f"{_place(error)}{type(error).__name__}: {error}") from error
    file = Path(inspect.getfile(module))
    return Found(cls, file.parent, package=file.name == "__init__.py")


def check(settings: Settings) -> list[str]:
    """Return the problems of the services' own keys.

    A service whose code is broken is not a problem of the configuration: it is contained when it is started.
    """
    problems: list[str] = []
    for service in settings.services.values():
        try:
            found = find(service, settings.base)
        except ServiceError:
            continue
        problems += decode_settings(service, found.cls)[1]
    return problems


def decode_settings(service: ServiceSettings, cls: type[Service]) -> tuple[Any, list[str]]:
    """Decode a service's own keys into its `Settings`; returns them, or None, and the problems."""
    return decode_options(f"services.{service.name}", service.options, cls.Settings)


def _load(name: str, base: Path) -> ModuleType:
    for folder in (base / "services", *map(Path, bundled.__path__)):
        for file in (folder / name / "__init__.py", folder / f"{name}.py"):
            if file.is_file():
                return _import(name, folder.resolve(), file.resolve())
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS, name=name):
        loaded = point.load()
        return loaded if isinstance(loaded, ModuleType) else sys.modules[loaded.__module__]
    raise ServiceError(
        name, f"there is no services/{name}.py, no package services/{name}/ and no entry point of that name"
    )


def _import(name: str, folder: Path, file: Path) -> ModuleType:
    """Import a service as `services.NAME`, so that its own modules find each other, whatever folder it is in."""
    if str(folder) not in bundled.__path__:
        bundled.__path__.insert(0, str(folder))
        importlib.invalidate_caches()
    full = f"{bundled.__name__}.{name}"
    loaded = sys.modules.get(full)
    if loaded is not None and Path(loaded.__file__ or "").resolve() != file:
        del sys.modules[full]  # the same name in another folder, which came first before
    return importlib.import_module(full)


def _service_class(name: str, module: ModuleType) -> type[Service]:
    """Return the one service class that a module defines; what it merely imports does not count."""
    own = [
        cls
        for cls in vars(module).values()
        if inspect.isclass(cls)
        and issubclass(cls, Service)
        and (cls.__module__ == module.__name__ or cls.__module__.startswith(f"{module.__name__}."))
        and not cls.__name__.startswith("_")
    ]
    if len(own) != 1:
        names = ", ".join(cls.__name__ for cls in own) or "none"
        raise ServiceError(name, f"{module.__file__} has to define one service class, and defines {names}")
    return own[0]


def _place(error: Exception) -> str:
    """Return the file and line of the service that raised."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "importlib" not in frame.filename and not frame.filename.startswith("<")]
    return f"{own[-1].filename}, line {own[-1].lineno}: " if own else ""

"""Everything that has migrations of its own: the accounts, and the services of the configuration."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from server.auth import models
from server.auth.accounts import MIGRATIONS
from server.config import ServiceSettings, Settings
from server.db import DbObject
from server.service.discovery import explain, find

AUTH = "auth"


class Migrated(msgspec.Struct, frozen=True):
    """The accounts, or a service.

    Args:
        name: what its migrations are called in the database.
        folder: where they are; it need not be there.
        classes: its tables.
        single_file: whether it has no folder of its own to keep migrations in.
    """

    name: str
    folder: Path
    classes: tuple[type[DbObject], ...]
    single_file: bool = False


def all_migrated(settings: Settings) -> list[Migrated]:
    """Return the accounts and all services of the configuration, in the order in which they are migrated.

    Raises:
        ServiceError: a service's code is broken.
    """
    return [migrated(name, settings) for name in (AUTH, *settings.services)]


def migrated(name: str, settings: Settings) -> Migrated:
    """Return the accounts, or a service, which need not be in the configuration.

    Raises:
        ServiceError: there is no such service, or its code is broken.
    """
    if name == AUTH:
        return Migrated(AUTH, MIGRATIONS, tuple(tables_of(models.__name__)))
    found = find(settings.services.get(name, ServiceSettings(name=name, path=f"/{name}")), settings.base)
    package = found.cls.__module__.removesuffix(".service")
    is_package = found.file.name == "__init__.py"
    if is_package:
        try:
            if importlib.util.find_spec(f"{package}.models") is not None:
                importlib.import_module(f"{package}.models")
        except (Exception, SystemExit) as error:
            raise explain(name, error, found.home) from error
    folder = found.file.parent / "migrations" if is_package else found.file.with_suffix("") / "migrations"
    return Migrated(name, folder, tuple(tables_of(package)), single_file=not is_package)


def tables_of(package: str) -> Iterator[type[DbObject]]:
    """Yield the tables that a module defines, or that the modules inside a package define, once they are imported."""
    for name, module in sorted(sys.modules.items()):
        if name == package or name.startswith(f"{package}."):
            for value in dict.fromkeys(filter(_is_table, list(vars(module).values()))):
                if value.__module__ == name:
                    yield value


def _is_table(value: object) -> bool:
    """Tell whether something is a table: no class without a name, and no prefix of another one."""
    return (
        isinstance(value, type) and issubclass(value, DbObject) and bool(value.dbo_tablename) and not value.dbo_prefix
    )

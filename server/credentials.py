"""Settings from systemd's credentials: files that only this service can read, see systemd.exec(5), CREDENTIALS.

A file that is named like a setting is that setting: `database.url`, `services.chat.key`. Where the setting is itself
the name of a file (`server.tls_key`), the credential is that file. Files of other names are not ours to judge, and an
empty file says nothing, so that a unit can list credentials which a machine does not have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from server.config import ENVIRONMENT_PREFIX
from server.errors import ConfigError

FILES = frozenset({"broker.credentials", "broker.tls_ca", "server.tls_certificate", "server.tls_key"})
"""The settings that are names of files."""

_SETTING = re.compile(r"(services\.\w+\.\w+|(?!services\.)[a-z]+\.\w+)", re.ASCII)


def read(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the credentials' settings as the variables that say the same, such as `SWITCHBOARD__DATABASE__URL`.

    Args:
        environment: where systemd says which folder they are in.

    Raises:
        ConfigError: with every file that cannot be read; it names none of what is in them.
    """
    folder = environment.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return {}
    found: dict[str, str] = {}
    problems: list[str] = []
    try:
        files = sorted(Path(folder).iterdir())
    except OSError as error:
        raise ConfigError([f"{folder}: the credentials cannot be read: {error.strerror}"]) from None
    for file in files:
        if not _SETTING.fullmatch(file.name):
            continue
        try:
            text = file.read_bytes().decode().removesuffix("\n").removesuffix("\r")
        except OSError as error:
            problems.append(f"{file.name}: the credential cannot be read: {error.strerror}")
        except UnicodeDecodeError:
            problems.append(f"{file.name}: the credential is not UTF-8 text")
        else:
            if text:
                variable = ENVIRONMENT_PREFIX + file.name.upper().replace(".", "__")
                found[variable] = str(file) if file.name in FILES else text
    if problems:
        raise ConfigError(problems)
    return found

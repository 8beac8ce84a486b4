"""`switchboard install-service`: the units of `deploy/`, written for this installation and its configuration.

Exit status: 0 fine, 1 they cannot be written, 2 wrong usage, 78 bad configuration.
"""

from __future__ import annotations

import argparse
import math
import re
import socket
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from server.config import DEFAULT_FILE, Settings
from server.errors import SwitchboardError
from server.operating.asking import add_config

PROJECT = Path(__file__).parents[2]
"""What the packages are in: the checkout, or site-packages."""
PACKAGED = PROJECT / "server" / "deploy"
TEMPLATES = PACKAGED if PACKAGED.is_dir() else PROJECT / "deploy"
"""A wheel has them inside the package, a checkout beside it."""
FOLDER = Path("/etc/systemd/system")
SERVICE = "switchboard.service"
SOCKET = "switchboard.socket"

HOMES = ("/home", "/root", "/run/user")
"""What ProtectHome= hides."""
HIDDEN = (*HOMES, "/tmp", "/var/tmp")  # noqa: S108 named, not written to
"""What a service does not see of the machine; PrivateTmp= hides the last two."""

DATA = "/var/lib/switchboard"
"""Where StateDirectory= is."""
LEAST_STOP_SECONDS = 20
AFTER_STOP_SECONDS = 12
"""What stopping takes beyond `server.stop_seconds`, for the database and a busy machine."""

_PLAIN = re.compile(r"[\w./+@-]+")


class CannotInstall(SwitchboardError):
    """No unit can be written for this installation; the text says what to do."""


class Installation(msgspec.Struct, frozen=True):
    """What is installed, and where.

    Args:
        command: the `switchboard` that is to run.
        config: the configuration file that it is to read.
        needs: the folders that it reads.
    """

    command: Path
    config: Path
    needs: tuple[Path, ...]


def add_to(commands: Any) -> None:
    """Add the command to the command's parser."""
    parser = commands.add_parser("install-service", help="print or install the units for systemd")
    parser.add_argument("--install", action="store_true", help="write them instead of printing them")
    parser.add_argument("--folder", metavar="DIR", type=Path, default=FOLDER, help=f"where to (default: {FOLDER})")
    add_config(parser)


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Print the units, or write them; returns the exit status.

    Args:
        options: what was parsed.
        settings: the configuration.
    """
    try:
        installation = this_installation(options.config)
        units = render(installation, settings)
        if not options.install:
            _say("\n".join(f"# {options.folder / name}\n{text}" for name, text in units.items()))
            _note(notes(installation, settings))
            _note(["nothing is written; as root, with --install, it is"])
            return 0
        for name, text in units.items():
            (options.folder / name).write_text(text, encoding="utf-8")
            _say(f"Wrote {options.folder / name}")
    except CannotInstall as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}")
    _note(notes(installation, settings))
    _say("Next:\n  systemctl daemon-reload\n  systemctl enable --now switchboard.socket switchboard.service")
    _say("And then:\n  systemctl status switchboard\n  switchboard doctor")
    return 0


def this_installation(config: Path | None) -> Installation:
    """Return what runs at the moment.

    Args:
        config: the configuration file that was named.
    """
    file = (config or DEFAULT_FILE).absolute()
    if config is None and not file.exists():
        file = Path("/etc/switchboard/config.toml")
    prefix = Path(sys.prefix)
    places = [prefix, Path(sys.base_prefix), PROJECT, file.parent]
    # A link needs what it points to as well.
    needs = tuple(dict.fromkeys(path for place in places for path in (place, place.resolve())))
    return Installation(prefix / "bin" / "switchboard", file, needs)


def render(installation: Installation, settings: Settings) -> dict[str, str]:
    """Return the text of each unit.

    Args:
        installation: what is to run.
        settings: its configuration.

    Raises:
        CannotInstall: a path or the address is none that a unit can have.
    """
    for path in (installation.command, installation.config, *installation.needs):
        if not _PLAIN.fullmatch(str(path)):
            raise CannotInstall(
                f"{path}: systemd reads some of these characters otherwise; install into /opt/switchboard"
            )
    service = (TEMPLATES / SERVICE).read_text(encoding="utf-8")
    service = _set(service, "ExecStart", f"{installation.command} serve --config {installation.config}")
    seconds = max(LEAST_STOP_SECONDS, math.ceil(settings.server.stop_seconds) + AFTER_STOP_SECONDS)
    service = _set(service, "TimeoutStopSec", str(seconds))
    hidden = hidden_folders(installation.needs)
    if hidden:
        home = "tmpfs" if any(_is_in(path, HOMES) for path in hidden) else "yes"
        seen = "\n".join(f"BindReadOnlyPaths={path}" for path in hidden)
        service = _set(service, "ProtectHome", f"{home}\n# Of what is hidden, the installation is seen.\n{seen}")
    sock = _set((TEMPLATES / SOCKET).read_text(encoding="utf-8"), "ListenStream", _listen(settings))
    return {SERVICE: service, SOCKET: sock}


def hidden_folders(paths: Sequence[Path]) -> list[Path]:
    """Return those paths that a service does not see, without those that are inside another."""
    hidden = sorted({path for path in paths if _is_in(path, HIDDEN)})
    return [path for path in hidden if not any(other in path.parents for other in hidden)]


def notes(installation: Installation, settings: Settings) -> list[str]:
    """Return what the operator should know before the first start."""
    found = []
    if not installation.config.exists():
        found.append(f"{installation.config} is not there yet: make it, and be it empty")
    hidden = hidden_folders(installation.needs)
    for path in (installation.command, installation.config):
        closed = closed_to_others(path, hidden)
        if closed is not None:
            found.append(f"{closed} is closed to the service's own user: chmod o+rX {closed}")
    database = settings.data / "switchboard.db"
    if settings.data != Path(DATA) and not settings.database.url and database.exists():
        found.append(
            f"the service keeps its data in {DATA}, and there is a database in {settings.data}: stop the server that "
            f"uses it, and before the service's first start: cp -r {settings.data.absolute()} {DATA}"
        )
    return found


def closed_to_others(path: Path, seen: Sequence[Path]) -> Path | None:
    """Return what of a path another user may not read or enter; None where it may.

    Args:
        path: a file; one that is not there is closed to nobody.
        seen: the folders above which nothing matters, because the service sees them in a place of their own.
    """
    for part in _until(path, seen):
        try:
            mode = part.stat().st_mode
        except OSError:
            continue
        wanted = stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH
        if not mode & wanted:
            return part
    return None


def _until(path: Path, seen: Sequence[Path]) -> Iterator[Path]:
    """Yield a path and what it is in, up to one of the folders that are seen."""
    for part in (path, *path.parents):
        yield part
        if part in seen:
            return


def _is_in(path: Path, folders: Sequence[str]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _listen(settings: Settings) -> str:
    """Return the address to listen on in numbers, as ListenStream= wants it."""
    host, port = settings.server.host, settings.server.port
    if not port:
        raise CannotInstall("server.port: a service needs a port that stays the same, not 0")
    try:
        number = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][4][0]
    except OSError as error:
        raise CannotInstall(f"server.host: {host} has no address: {error.strerror}") from None
    return f"[{number}]:{port}" if ":" in str(number) else f"{number}:{port}"


def _set(unit: str, key: str, value: str) -> str:
    """Give a key of a unit another value; it is there once."""
    changed, count = re.subn(rf"^{key}=.*$", lambda _: f"{key}={value}", unit, flags=re.MULTILINE)
    assert count == 1, f"{key} stands {count} times in the template"
    return changed


# Words.


def _say(text: str) -> None:
    print(text)  # noqa: T201 the command's own voice


def _note(sentences: Sequence[str]) -> None:
    for sentence in sentences:
        print(f"switchboard: {sentence}", file=sys.stderr)  # noqa: T201 the command's own voice


def _fail(sentence: str) -> int:
    _note([sentence])
    return 1

"""The `switchboard` command.

Exit status: 0 fine, 1 failure at run time, 2 wrong usage, 65 unusable database (EX_DATAERR of sysexits.h), 78 bad
configuration (EX_CONFIG).
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from server import config, credentials
from server.errors import ConfigError
from server.memory import derive
from server.process.main import run
from server.pubsub import nats_servers
from server.service.discovery import check
from server.version import __version__

OTHERS = {
    "db": "server.database_commands",
    "status": "server.operating.status",
    "doctor": "server.operating.doctor",
    "install-service": "server.operating.install_service",
}
"""Commands with a module of their own."""

EXIT_FINE = 0
EXIT_FAILURE = 1
EXIT_CONFIG = 78


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: what follows the command's name; by default the process's own.

    Returns:
        The exit status.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser(serves=arguments[:1] == ["serve"]).parse_args(arguments)
    load = partial(_load, options)
    try:
        settings = load()
    except ConfigError as error:
        for problem in error.problems:
            print(f"switchboard: {problem}", file=sys.stderr)  # noqa: T201 the command's own voice
        return EXIT_CONFIG
    if options.command == "check":
        print(_summary(options.config, settings))  # noqa: T201 the command's own voice
        return EXIT_FINE
    if options.command in OTHERS:
        status: int = _module(options.command).run(options, settings)
        return status
    return run(settings, load)


def _load(options: argparse.Namespace) -> config.Settings:
    return derive(config.load(options.config, _environment(options), _check))


def _check(settings: config.Settings) -> list[str]:
    return [*check(settings), *nats_servers.check(settings.broker, settings.base)]


def _environment(options: argparse.Namespace) -> Mapping[str, str]:
    """Lay the flags over the environment, and that over credentials: the order is as said, then file, then default."""
    flags = {
        f"{config.ENVIRONMENT_PREFIX}SERVER__{key.upper()}": str(value)
        for key in ("host", "port")
        if (value := getattr(options, key, None)) is not None
    }
    return {**credentials.read(os.environ), **os.environ, **flags}


def _summary(path: Path | None, settings: config.Settings) -> str:
    file = path or config.DEFAULT_FILE
    source = str(file) if file.exists() else "the defaults"
    services = ", ".join(f"{service.name} at {service.path}" for service in settings.services.values())
    return f"{source}: fine. Serves {services or 'no service'}."


def _module(command: str) -> Any:
    """Return the module of a command that has one of its own: `add_to(commands)` and `run(options, settings)`."""
    return importlib.import_module(OTHERS[command])


def _parser(*, serves: bool) -> argparse.ArgumentParser:
    """Return the parser.

    Args:
        serves: whether the command is `serve`: a server has no use for what the others need, which is 3 MB.
    """
    parser = argparse.ArgumentParser(prog="switchboard", description="Self-hosted real-time services in Python.")
    parser.add_argument("--version", action="version", version=f"switchboard {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="answer WebSockets and serve the browser client")
    serve.add_argument("--host", metavar="H", help="address to listen on")
    serve.add_argument("--port", metavar="P", type=_port, help="port to listen on; 0 takes a free one")
    checking = commands.add_parser("check", help="validate a configuration file and exit")
    files = [
        command.add_argument(
            "--config", metavar="FILE", type=Path, help="configuration file (default: config.toml, if it is there)"
        )
        for command in (serve, checking)
    ]
    if not serves:
        for name in OTHERS:
            _module(name).add_to(commands)
        shtab = importlib.import_module("shtab")
        shtab.add_argument_to(parser, help="print a completion script for your shell")
        for file in files:
            file.complete = shtab.FILE  # type: ignore[attr-defined]  # how shtab is told what to complete
    return parser


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return port

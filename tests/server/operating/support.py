"""The operator's commands, run as `switchboard` runs them."""

from __future__ import annotations

import argparse
import contextlib
import io
from pathlib import Path
from types import ModuleType

import msgspec

from server import config
from server.operating import doctor, install_service, status

COMMANDS: dict[str, ModuleType] = {"doctor": doctor, "install-service": install_service, "status": status}


class Done(msgspec.Struct, frozen=True):
    """What a command did: its exit status, and its words."""

    status: int
    out: str
    err: str


def run(command: str, *arguments: str | Path) -> Done:
    """Run one of the commands in this process; it blocks."""
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command")
    for module in COMMANDS.values():
        module.add_to(commands)
    options = parser.parse_args([command, *map(str, arguments)])
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = COMMANDS[command].run(options, config.load(options.config, {}))
    return Done(status, out.getvalue(), err.getvalue())

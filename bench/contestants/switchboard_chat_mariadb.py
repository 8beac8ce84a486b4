"""Switchboard's chat on a MariaDB of its own, which commits durably too. It runs on the load generator's core."""

from __future__ import annotations

import importlib
import shutil

from bench.contestant import Contestant
from bench.contestants import switchboard_chat

importlib.import_module("aiomysql")  # without which it cannot take part
if shutil.which("mariadbd", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") is None:
    raise ModuleNotFoundError("there is no program called mariadbd", name="mariadbd")

CONTESTANT = Contestant(
    name="Switchboard chat, on MariaDB",
    command=switchboard_chat.command,
    roles=("mariadb",),
    load=switchboard_chat.load,
    packages=("aiomysql",),
    mariadb=True,
)

"""Run a command under the system call filters of a unit, as systemd would: `python confined.py UNIT COMMAND...`.

Of all that a unit takes away, the system calls are what a program notices first. systemd itself is not needed, its
names for groups of system calls are.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ALLOW = 0x7FFF0000
REFUSE = 0x00050000 | errno.EPERM
EQUAL, MASKED_EQUAL = 4, 7
MOST_FAMILIES = 64


class Condition(ctypes.Structure):
    """libseccomp's scmp_arg_cmp: what an argument has to be for a rule to hold."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


class Filter:
    """A filter for system calls, made with libseccomp."""

    def __init__(self, otherwise: int) -> None:
        self._library = ctypes.CDLL("libseccomp.so.2")
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._library.seccomp_init(ctypes.c_uint32(otherwise)))

    def add(self, action: int, name: str, *conditions: Condition) -> None:
        """Add a rule; a call that this machine does not have needs none."""
        number = self._library.seccomp_syscall_resolve_name(name.encode())
        array = (Condition * len(conditions))(*conditions)
        self._library.seccomp_rule_add_array(self._context, ctypes.c_uint32(action), number, len(conditions), array)

    def load(self) -> None:
        """Let it hold from now on, for this process and all that it starts."""
        assert self._library.seccomp_load(self._context) == 0


def values(unit: str, key: str) -> list[str]:
    """Return the values of a key, in order."""
    return [line.partition("=")[2] for line in unit.splitlines() if line.startswith(f"{key}=")]


def system_calls(words: str) -> Iterator[str]:
    """Yield the system calls that names and groups mean."""
    for word in words.split():
        if not word.startswith("@"):
            yield word
            continue
        command = ["systemd-analyze", "syscall-filter", word]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        yield from system_calls(" ".join(line.strip() for line in lines[1:] if not line.strip().startswith("#")))


def confine(unit: str) -> None:
    """Take away what the unit takes away."""
    allowed: set[str] = set()
    for words in values(unit, "SystemCallFilter"):
        if words.startswith("~"):
            allowed -= set(system_calls(words[1:]))
        else:
            allowed |= set(system_calls(words))
    refusing = Filter(ALLOW)
    if values(unit, "MemoryDenyWriteExecute") == ["yes"]:
        both = mmap.PROT_WRITE | mmap.PROT_EXEC
        refusing.add(REFUSE, "mmap", Condition(2, MASKED_EQUAL, both, both))
        for name in ("mprotect", "pkey_mprotect"):
            refusing.add(REFUSE, name, Condition(2, MASKED_EQUAL, mmap.PROT_EXEC, mmap.PROT_EXEC))
    families = {getattr(socket, name) for words in values(unit, "RestrictAddressFamilies") for name in words.split()}
    for family in set(range(MOST_FAMILIES)) - families:
        refusing.add(REFUSE, "socket", Condition(0, EQUAL, family, 0))
    allowing = Filter(REFUSE)
    for name in allowed:
        allowing.add(ALLOW, name)
    refusing.load()
    allowing.load()


if __name__ == "__main__":
    confine(Path(sys.argv[1]).read_text())
    os.execv(sys.argv[2], sys.argv[2:])

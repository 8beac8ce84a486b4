"""What a process takes of the machine is what Linux says."""

from __future__ import annotations

import mmap
import time
from pathlib import Path

from server import usage

MIB = 2**20


def test_memory() -> None:
    """Memory that is touched is resident."""
    before = usage.resident_bytes()
    with mmap.mmap(-1, 64 * MIB) as memory:
        memory.write(b"x" * (64 * MIB))
        after = usage.resident_bytes()
    assert after - before >= 63 * MIB
    assert before > MIB


def test_descriptors(tmp_path: Path) -> None:
    """An open file is one more."""
    before = usage.descriptors()
    with (tmp_path / "file").open("w"):
        assert usage.descriptors() == before + 1
    assert usage.descriptors() == before


def test_cpu() -> None:
    """Work takes time."""
    before = usage.cpu_seconds()
    end = time.monotonic() + 10
    while usage.cpu_seconds() == before and time.monotonic() < end:
        sum(range(1000))
    assert usage.cpu_seconds() > before

"""The machine that a benchmark runs on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import msgspec


class Machine(msgspec.Struct, frozen=True):
    """Where a run took place."""

    processor: str
    cores: int
    kernel: str
    python: str

    @classmethod
    def this(cls) -> Machine:
        """Describe this machine."""
        kernel = platform.release().partition("-")[0]  # what follows is the distribution's, or a provider's, own name
        return cls(_processor(), len(os.sched_getaffinity(0)), kernel, platform.python_version())

    def __str__(self) -> str:
        return f"{self.processor}, {self.cores} cores, Linux {self.kernel}, Python {self.python}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()

"""Services that a test writes are modules; they are gone when it is over."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _own_modules() -> Iterator[None]:
    """Forget the services that a test loaded, and bring back those that it replaced."""
    before = {name: module for name, module in sys.modules.items() if name.startswith("services.")}
    yield
    for name in [name for name in sys.modules if name.startswith("services.")]:
        del sys.modules[name]
    sys.modules.update(before)

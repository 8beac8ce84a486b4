"""The watchdog: whoever blocks the event loop is found by the file that runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

import pytest

from server.service import watchdog as watchdog_module
from server.service.watchdog import Stall, Watchdog
from tests.server.service.support import eventually

BLOCK = """
import time


def block(seconds):
    time.sleep(seconds)


def call(function):
    return function()
"""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call a shorter stall a stall, so that the tests need not be as slow as what they look for."""
    monkeypatch.setattr(watchdog_module, "LATE_SECONDS", 0.1)
    monkeypatch.setattr(watchdog_module, "BEAT_SECONDS", 0.02)


def module(file: Path) -> ModuleType:
    """Load a file that blocks."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(BLOCK)
    loaded = ModuleType(file.stem)
    exec(compile(BLOCK, str(file), "exec"), vars(loaded))
    return loaded


@asynccontextmanager
async def watching(**homes: str) -> AsyncIterator[list[Stall]]:
    stalls: list[Stall] = []
    watchdog = Watchdog(homes, stalls.append)
    watchdog.start()
    try:
        yield stalls
    finally:
        await watchdog.stop()


async def test_the_service_is_found_by_its_file(tmp_path: Path) -> None:
    """A module, or any file of a package, leads to its service, with the measured time and the place."""
    one, two = module(tmp_path / "one.py"), module(tmp_path / "two" / "deep.py")
    async with watching(one=str(tmp_path / "one.py"), two=f"{tmp_path / 'two'}/") as stalls:
        one.block(0.3)
        await eventually(lambda: len(stalls) == 1)
        two.block(0.3)
        await eventually(lambda: len(stalls) == 2)
    assert [stall.service for stall in stalls] == ["one", "two"]
    assert all(stall.seconds >= 0.3 for stall in stalls)
    assert stalls[0].place == f"{tmp_path / 'one.py'}:6"
    assert stalls[1].place == f"{tmp_path / 'two' / 'deep.py'}:6"


async def test_the_innermost_service_is_named(tmp_path: Path) -> None:
    """What a service calls in a library is its own doing; where one service calls another, the inner one blocks."""
    one, two = module(tmp_path / "one.py"), module(tmp_path / "two.py")
    async with watching(one=str(tmp_path / "one.py"), two=str(tmp_path / "two.py")) as stalls:
        one.call(lambda: time.sleep(0.3))
        await eventually(lambda: len(stalls) == 1)
        one.call(lambda: two.block(0.3))
        await eventually(lambda: len(stalls) == 2)
    assert [stall.service for stall in stalls] == ["one", "two"]


async def test_a_similar_name_is_not_the_service(tmp_path: Path) -> None:
    """A file whose name begins like a service's is not the service's."""
    other = module(tmp_path / "chatter.py")
    async with watching(chat=str(tmp_path / "chat")) as stalls:
        other.block(0.3)
        await eventually(lambda: stalls)
    assert stalls[0].service is None


async def test_what_is_no_services_is_named_by_its_place() -> None:
    """A stall in no service's code is reported with the place alone."""
    async with watching() as stalls:
        time.sleep(0.3)  # noqa: ASYNC251 that is what is tested
        await eventually(lambda: stalls)
    assert stalls[0].service is None
    assert stalls[0].place.startswith(f"{__file__}:")


async def test_what_is_short_is_not_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that is shorter than the bound is no stall."""
    monkeypatch.setattr(watchdog_module, "LATE_SECONDS", 60)
    async with watching() as stalls:
        time.sleep(0.2)  # noqa: ASYNC251 that is what is tested
        await asyncio.sleep(2 * watchdog_module.BEAT_SECONDS)
    assert stalls == []


async def test_a_loop_that_hangs_is_named_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A stall that may never end is in the log before it is over, once."""
    monkeypatch.setattr(watchdog_module, "HANGING_SECONDS", 0.2)
    one = module(tmp_path / "one.py")
    logged: list[int] = []
    async with watching(one=str(tmp_path / "one.py")) as stalls:
        one.block(0.6)
        logged.append(caplog.messages.count("the event loop hangs"))
        await eventually(lambda: stalls)
    assert logged == [1]
    (record,) = [record for record in caplog.records if record.getMessage() == "the event loop hangs"]
    assert record.__dict__["fields"]["service"] == "one"

"""A browser per module, a server per test, and people."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.browser.people import People, people_at
from tests.support.browser import chromium
from tests.support.server import Server

# Tests make many people from one address, and they write fast.
SETTINGS = {
    "auth.attempts_per_minute": 0,
    "server.connections_per_address": 0,
    "server.reconnect_max_seconds": 2,
    "services.chat.messages_per_minute": 0,
    "services.chat.default_rooms": [],
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of a module on one loop: the browser lives as long as the module."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and isinstance(item, pytest.Function):
            item.add_marker(pytest.mark.asyncio(loop_scope="module"), append=False)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with Server(tmp_path, SETTINGS) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def people(browser: Browser, server: Server) -> AsyncIterator[People]:
    async with people_at(browser, server) as everybody:
        yield everybody

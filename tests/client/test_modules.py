"""Runs `web/*.test.js`, the tests of the client's modules, in Chromium: each in a page of its own, without a server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Route

from tests.support.browser import DEADLINE_MS, Watch, chromium

TESTS = Path(__file__).parent / "web"
WEB = Path(__file__).parents[2] / "client" / "web"
BASE = "http://localhost"  # a secure context, so that locks and random UUIDs are there
RUN = "([file, property]) => Promise.all([import(`/tests/harness.js`), import(file)]).then(([h]) => h.run(property))"

pytestmark = pytest.mark.asyncio(loop_scope="module")


def discover() -> list[tuple[str, str]]:
    """Every test: its file, and the property that is its name."""
    return [
        (file.name, match[1])
        for file in sorted(TESTS.glob("*.test.js"))
        for match in re.finditer(r'^test\("(.+?)", ', file.read_text(encoding="utf-8"), re.MULTILINE)
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


async def serve(route: Route) -> None:
    """Answer from the two folders; there is no server behind."""
    path = route.request.url.removeprefix(BASE)
    folder, _, name = path.removeprefix("/").partition("/")
    file = {"web": WEB, "tests": TESTS}.get(folder, TESTS) / name
    if path == "/":
        await route.fulfill(content_type="text/html", body="<!doctype html><title>Test</title>")
    elif file.is_file():
        await route.fulfill(content_type="text/javascript", body=file.read_text(encoding="utf-8"))
    else:
        await route.fulfill(status=404)


@pytest.mark.parametrize(("file", "property_"), discover(), ids=lambda part: part.replace(".test.js", ""))
async def test_module(browser: Browser, file: str, property_: str) -> None:
    """The property that the test's name states holds in a real browser."""
    context = await browser.new_context()
    try:
        page = await context.new_page()
        watch = Watch(page)
        await page.route(f"{BASE}/**", serve)
        await page.goto(f"{BASE}/")
        async with asyncio.timeout(DEADLINE_MS / 1000):
            await page.evaluate(RUN, [f"/tests/{file}", property_])
        watch.check()
    finally:
        await context.close()

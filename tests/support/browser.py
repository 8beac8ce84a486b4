"""Chromium for tests: one browser, people with pages of their own, and a watch over what goes wrong in them."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, ConsoleMessage, Error, Page, async_playwright

from tests.support.server import SCALE

CHROMIUM = "/usr/bin/chromium"
DEADLINE_MS = 20_000 * SCALE
SCREENSHOTS = Path(__file__).parents[2] / "artifacts" / "screenshots"
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def require_chromium() -> None:
    """Skip the test where there is no Chromium; in CI that is a failure."""
    if shutil.which(CHROMIUM) is None:
        reason = f"{CHROMIUM} is missing; install Debian's chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Run a headless Chromium for the length of a block."""
    require_chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


class Watch:
    """Collects what goes wrong in a page: console errors, exceptions, violations of the content policy.

    Args:
        page: watched from now on.
    """

    def __init__(self, page: Page) -> None:
        self.problems: list[str] = []
        self._expected: list[str] = []
        page.set_default_timeout(DEADLINE_MS)
        page.set_default_navigation_timeout(DEADLINE_MS)
        page.on("console", self._on_console)
        page.on("pageerror", self._on_error)

    def expect(self, part: str) -> None:
        """Let pass what contains `part`, such as the browser's own word about a connection that is refused."""
        self._expected.append(part)

    def check(self) -> None:
        """Fail the test if anything went wrong that was not expected."""
        problems = [text for text in self.problems if not any(part in text for part in self._expected)]
        assert problems == []

    def _on_console(self, message: ConsoleMessage) -> None:
        # A violation of the Content Security Policy is reported as an error, too.
        if message.type in ("error", "warning"):
            self.problems.append(f"{message.type}: {message.text}")

    def _on_error(self, error: Error) -> None:
        self.problems.append(f"exception: {error}")

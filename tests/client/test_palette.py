"""The palettes: every pair of colours that meet has the contrast that WCAG 2 AA asks for, light and dark."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.support.browser import chromium

CSS = Path(__file__).parents[2] / "client" / "web" / "css"
TEXT = 4.5
"""Least contrast of text, WCAG 2.2 criterion 1.4.3."""
CONTROL = 3.0
"""Least contrast of a control's outline and of the focus ring, criterion 1.4.11."""

PAIRS = [
    *(
        (TEXT, colour, ground)
        for colour in ("--text", "--muted")
        for ground in ("--page", "--pane", "--raised", "--hover")
    ),
    *((TEXT, "--accent", ground) for ground in ("--page", "--pane", "--raised")),
    (TEXT, "--accent-strong", "--page"),
    (TEXT, "--on-accent", "--accent"),
    (TEXT, "--on-accent", "--accent-strong"),
    (TEXT, "--on-accent-soft", "--accent-soft"),
    (TEXT, "--accent-soft-muted", "--accent-soft"),
    (TEXT, "--danger", "--page"),
    (TEXT, "--danger", "--raised"),
    (TEXT, "--on-danger-soft", "--danger-soft"),
    (TEXT, "--accent", "--danger-soft"),
    (TEXT, "--on-notice", "--notice"),
    *((CONTROL, "--control-line", ground) for ground in ("--page", "--raised", "--pane")),
    *((CONTROL, "--accent", ground) for ground in ("--page", "--pane", "--raised", "--hover", "--accent-soft")),
]

# Paints each pair on a canvas, which turns any notation into sRGB, and computes WCAG's contrast.
CONTRAST = """
(pairs) => {
  const element = document.createElement("span");
  element.className = "avatar";
  document.body.append(element);
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const luminance = (name, hue) => {
    element.style.setProperty("--hue", hue);
    element.style.color = `var(${name})`;
    canvas.fillStyle = getComputedStyle(element).color;
    canvas.fillRect(0, 0, 1, 1);
    const linear = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3)
      .map((byte) => byte / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  return pairs.map(([colour, ground, hue]) => {
    const [a, b] = [luminance(colour, hue), luminance(ground, hue)];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  });
}
"""

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


async def contrasts(
    browser: Browser, scheme: Literal["light", "dark"], pairs: list[tuple[str, str, int]]
) -> list[float]:
    page = await browser.new_page(color_scheme=scheme)
    try:
        sheets = "".join((CSS / name).read_text(encoding="utf-8") for name in ("tokens.css", "base.css"))
        await page.set_content(f"<!doctype html><style>{sheets}</style>")
        values: list[float] = await page.evaluate(CONTRAST, [list(pair) for pair in pairs])
        return values
    finally:
        await page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_contrast(browser: Browser, scheme: Literal["light", "dark"]) -> None:
    """Text reaches 4.5 : 1 on every ground it stands on, controls and focus rings reach 3 : 1."""
    values = await contrasts(browser, scheme, [(colour, ground, 0) for _, colour, ground in PAIRS])
    low = [(*pair, round(value, 2)) for pair, value in zip(PAIRS, values, strict=True) if value < pair[0]]
    assert low == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_avatars(browser: Browser, scheme: Literal["light", "dark"]) -> None:
    """The letters of a person's sign are readable whatever the hue."""
    pairs = [("--on-avatar", "--avatar", hue) for hue in range(0, 360, 5)]
    assert min(await contrasts(browser, scheme, pairs)) >= TEXT


async def test_the_palettes_differ(browser: Browser) -> None:
    """Light is light and dark is dark: the check above looked at two palettes."""
    pair = [("--page", "--text", 0)]
    light, dark = await contrasts(browser, "light", pair), await contrasts(browser, "dark", pair)
    assert light != dark

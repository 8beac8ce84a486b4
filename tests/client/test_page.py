"""What the client's files promise without being run: no build, no inline code, no markup from text, no loose ends."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

WEB = Path(__file__).parents[2] / "client" / "web"
MODULES = sorted(WEB.rglob("*.js"))
TESTED_ALONE = {"backoff", "connection", "format", "outbox", "rows", "rpc", "store"}


class Page(HTMLParser):
    """The elements of index.html with their attributes, and the text of scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inline_script = ""
        self.feed((WEB / "index.html").read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.lasttag in ("script", "style") and self.get_starttag_text() in ("<script>", "<style>"):
            self.inline_script += data

    def values(self, attribute: str) -> list[str]:
        return [value for _, attributes in self.elements if (value := attributes.get(attribute))]


def name(file: Path) -> str:
    return str(file.relative_to(WEB))


@pytest.mark.parametrize("file", MODULES, ids=name)
def test_text_never_becomes_markup_or_code(file: Path) -> None:
    """No module parses a string as HTML or runs one as code, so what people write stays text."""
    danger = r"innerHTML|outerHTML|insertAdjacentHTML|setHTML|parseFromString|createContextualFragment"
    danger += r"|document\.write|\beval\(|\bnew Function\b|srcdoc|javascript:"
    assert re.findall(danger, file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("file", MODULES, ids=name)
def test_modules_are_checked_by_the_type_checker(file: Path) -> None:
    """Each module asks for type checks, and none is switched off in it."""
    text = file.read_text(encoding="utf-8")
    assert text.startswith("// @ts-check\n")
    assert re.findall(r"@ts-(?:ignore|nocheck|expect-error)", text) == []


@pytest.mark.parametrize("file", MODULES, ids=name)
def test_imports_are_files_of_ours(file: Path) -> None:
    """Every import is a relative path to a file that is there: no dependency and no build step."""
    for target in re.findall(
        r'^(?:import|export) .*?from "(.+?)";', file.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    ):
        assert target.startswith(("./", "../")), target
        assert (file.parent / target).resolve().is_file(), target


def test_page_has_nothing_inline() -> None:
    """The strict content policy has nothing to forbid: no inline script, style or handler."""
    page = Page()
    for tag, attributes in page.elements:
        assert "style" not in attributes, tag
        assert not [attribute for attribute in attributes if attribute.startswith("on")], tag
        assert tag != "style"
        assert tag != "script" or attributes.get("src")
    assert page.inline_script == ""


def test_page_asks_only_for_files_that_are_there() -> None:
    """Every stylesheet, script and picture of the page is a file of ours, and every stylesheet is used."""
    page = Page()
    files = [*page.values("src"), *page.values("href")]
    for file in files:
        assert (WEB / file).is_file(), file
    assert {f"css/{sheet.name}" for sheet in WEB.glob("css/*.css")} <= set(files)


def test_identifiers_are_unique_and_references_hit() -> None:
    """Labels, descriptions and controlled elements exist, and no identifier is there twice."""
    page = Page()
    identifiers = page.values("id")
    assert len(identifiers) == len(set(identifiers))
    for attribute in ("for", "aria-labelledby", "aria-describedby", "aria-controls"):
        for value in page.values(attribute):
            assert set(value.split()) <= set(identifiers), (attribute, value)


def test_modules_find_their_elements() -> None:
    """Every element that a module looks up by its identifier is in the page."""
    identifiers = set(Page().values("id"))
    for file in MODULES:
        wanted = set(re.findall(r'(?:byId|getElementById)\("([\w-]+)"', file.read_text(encoding="utf-8")))
        assert wanted <= identifiers, name(file)


def test_modules_without_a_page_have_tests() -> None:
    """What can be tested without a page is."""
    tests = {file.name.removesuffix(".test.js") for file in (Path(__file__).parent / "web").glob("*.test.js")}
    assert tests >= TESTED_ALONE

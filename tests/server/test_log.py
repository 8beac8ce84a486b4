"""Log lines."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server import log


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    """Give the root logger back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def written(form: log.LogFormat, event: str, **fields: object) -> str:
    stream = io.StringIO()
    log.configure("info", form, stream)
    log.Log("net").info(event, **fields)
    return stream.getvalue()


def test_text_line_has_event_and_fields() -> None:
    """One event is one line: time, level, part, event, key=value."""
    line = written("text", "client connected", address="127.0.0.1", count=3)
    assert line.endswith(" info net: client connected address=127.0.0.1 count=3\n")


@given(st.text(), st.text())
def test_an_event_is_one_line_whatever_is_in_it(event: str, value: str) -> None:
    """Nothing that a client sends can forge a second log line or steer a terminal."""
    stream = io.StringIO()
    log.configure("info", "text", stream)
    log.Log("net").info(event, value=value)
    line = stream.getvalue()
    assert line.endswith("\n")
    assert line[:-1].isprintable()


def test_values_with_spaces_are_quoted() -> None:
    """A value's end is clear."""
    assert written("text", "x", path="a b=c").endswith('path="a b=c"\n')
    assert written("text", "x", path="").endswith('path=""\n')


def test_journal_line_starts_with_its_priority() -> None:
    """The journal reads the priority from the prefix (sd-daemon(3))."""
    assert written("journal", "x") == "<6>net: x\n"


def test_json_line_is_an_object() -> None:
    """JSON on request: one object a line."""
    entry = json.loads(written("json", "x", path="a b", count=3))
    assert (entry["event"], entry["name"], entry["level"]) == ("x", "net", "info")
    assert (entry["path"], entry["count"]) == ("a b", 3)


@pytest.mark.parametrize("form", ["text", "journal", "json"])
def test_traceback_follows_its_event(form: log.LogFormat) -> None:
    """An operator finds the traceback beside the incident."""
    stream = io.StringIO()
    log.configure("info", form, stream)
    try:
        int("broken")
    except ValueError as error:
        log.Log("service").error("failed", error=error, incident="ab12")
    text = stream.getvalue()
    assert "ab12" in text
    assert "ValueError: invalid literal" in text
    if form == "journal":
        assert all(line.startswith("<3>") for line in text.splitlines())


def test_colour_only_on_a_terminal() -> None:
    """A file and a pipe get no escape sequences."""
    assert "\x1b" not in written("text", "x")

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    log.configure("info", "auto", stream)
    log.Log("net").warning("x")
    assert "\x1b[33m" in stream.getvalue()


def test_auto_speaks_to_the_journal_under_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd sets JOURNAL_STREAM; then lines carry priorities."""
    monkeypatch.setenv("JOURNAL_STREAM", "8:1234")
    assert written("auto", "x").startswith("<6>")
    monkeypatch.delenv("JOURNAL_STREAM")
    assert not written("auto", "x").startswith("<")


def test_level_is_respected() -> None:
    """What is below the level costs nothing and writes nothing."""
    stream = io.StringIO()
    log.configure("warning", "text", stream)
    log.Log("net").info("x")
    log.Log("net").debug("x")
    assert stream.getvalue() == ""

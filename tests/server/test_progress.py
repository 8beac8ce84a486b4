"""How far a command is, as somebody sees it on a terminal and in a log."""

from __future__ import annotations

import io
import itertools

import pytest

from server.progress import ProgressBar, line


class Terminal(io.StringIO):
    """A stream that somebody looks at."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("done", "total", "rate", "text"),
    [
        (0, 100, 0.0, "[........................]   0%  0 rows/s  ? left  x"),
        (50, 100, 5.0, "[############............]  50%  5 rows/s  0:10 left  x"),
        (0, 36_610_000, 1e4, "[........................]   0%  10,000 rows/s  1:01:01 left  x"),
        (100, 100, 50.0, "[########################] 100%  50 rows/s  0:00 left  x"),
        (0, 0, 0.0, "[########################] 100%  0 rows/s  ? left  x"),
    ],
)
def test_the_line(done: int, total: int, rate: float, text: str) -> None:
    """Part, rate and time left; nothing divides by nothing."""
    assert line("x", done, total, rate) == text


def test_one_line_on_a_terminal() -> None:
    """The line is drawn over itself, not for every row, and is gone at the end."""
    stream, clock = Terminal(), itertools.count(0, 0.04)
    bar = ProgressBar(stream, lambda: next(clock))
    for done in range(10):
        bar.show("copying", done, 10)
    bar.close()
    assert "\n" not in stream.getvalue()
    assert stream.getvalue().count("copying") == 4
    assert stream.getvalue().endswith("\r\x1b[K")


def test_plain_lines_elsewhere() -> None:
    """In a log there is a line every few seconds, and no control character."""
    stream, clock = io.StringIO(), itertools.count(0, 2.5)
    bar = ProgressBar(stream, lambda: next(clock))
    for done in range(9):
        bar.show("copying", done, 10)
    bar.close()
    assert len(stream.getvalue().splitlines()) == 4
    assert "\x1b" not in stream.getvalue()
    assert "\r" not in stream.getvalue()


def test_what_an_earlier_run_did_is_no_rate_of_this_one() -> None:
    """A copy that goes on begins with much that is done, and that took this run no time."""
    stream, clock = Terminal(), iter([0.0, 1.0, 2.0])
    bar = ProgressBar(stream, lambda: next(clock))
    bar.show("copying", 1000, 2000)
    bar.show("copying", 1100, 2000)
    assert "50 rows/s  0:18 left" in stream.getvalue()

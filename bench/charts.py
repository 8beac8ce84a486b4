"""Charts as SVG: text in, text out, no script, readable on light and on dark pages.

They are drawn by hand rather than with a plotting library: two kinds of chart are all there is, and this way they
follow the reader's colour scheme, use the system's font, and can be read aloud.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from xml.sax.saxutils import escape

import msgspec

WIDTH = 600
"""In pixels, which shrink with the page: narrow, so that the text can still be read on a telephone."""
PAD = 24
TITLE_SIZE, TEXT_SIZE, SMALL_SIZE = 19, 15, 13
"""Of letters, in pixels; `STYLE` says the same."""
REGULAR, BOLD = 0.62, 0.7
"""How wide letters are, in relation to their size: as in a wide font, for the reader's is not known here."""
TITLE_LINE, LEGEND_LINE = 25, 24
BAR_HEIGHT, ROW_HEIGHT = 14, 46
PLOT_HEIGHT = 280
WHISKER_LEAST = 5
"""In pixels: what is narrower would be a blot. Its figures stand beside it all the same."""
TICKS_MOST = 6
COLOURS = 7
"""Of lines that do not stand out: `--c0` and on in `STYLE`."""

STYLE = """
.chart { --page: #ffffff; --edge: #d1d9e0; --ink: #1f2328; --quiet: #59636e; --grid: #e6eaef; --plain: #b4bfca;
  --accent: #1f6feb; --c0: #57606a; --c1: #c2571a; --c2: #1a7f64; --c3: #8250df; --c4: #bf3989; --c5: #9a6700;
  --c6: #0b7c98;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; font-size: 15px; }
@media (prefers-color-scheme: dark) {
  .chart { --page: #0d1117; --edge: #30363d; --ink: #f0f6fc; --quiet: #9198a1; --grid: #21262d; --plain: #4b5562;
    --accent: #4493f8; --c0: #9198a1; --c1: #f0883e; --c2: #3fb98c; --c3: #ab7df8; --c4: #f778ba; --c5: #d4a72c;
    --c6: #39c5cf; }
}
.chart text { fill: var(--ink); }
.chart .title { font-size: 19px; font-weight: 600; }
.chart .small { font-size: 13px; font-weight: 400; fill: var(--quiet); font-variant-numeric: tabular-nums; }
.chart .strong { font-weight: 600; }
.chart .page { fill: var(--page); stroke: var(--edge); }
.chart .bar { fill: var(--plain); }
.chart .bar.highlight { fill: var(--accent); }
.chart .halo { stroke: var(--page); stroke-width: 4; stroke-linecap: round; fill: none; }
.chart .range { stroke: var(--ink); stroke-width: 1.5; stroke-linecap: round; fill: none; }
.chart .axis { stroke: var(--plain); stroke-width: 1; fill: none; }
.chart .grid { stroke: var(--grid); stroke-width: 1; fill: none; }
.chart .line { stroke: var(--own); stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; fill: none; }
.chart .line.highlight { stroke-width: 3; }
.chart .whisker { stroke: var(--own); stroke-width: 1.5; opacity: .55; fill: none; }
.chart .mark { fill: var(--own); stroke: var(--page); stroke-width: 1.5; }
"""


class Bar(msgspec.Struct, frozen=True):
    """A row of a bar chart.

    Args:
        label: what was measured.
        value: the figure, such as a median.
        low: the lowest of what it sums up.
        high: the highest.
        highlight: draw it in the colour that stands out.
    """

    label: str
    value: float
    low: float
    high: float
    highlight: bool = False


class Point(msgspec.Struct, frozen=True):
    """A point of a line; `low` and `high` are the lowest and the highest of what `y` sums up."""

    x: float
    y: float
    low: float
    high: float


class Series(msgspec.Struct, frozen=True):
    """A line.

    Args:
        label: what was measured.
        points: in the order in which they are joined.
        highlight: draw it in the colour that stands out.
    """

    label: str
    points: Sequence[Point]
    highlight: bool = False


def bars(title: str, unit: str, rows: Sequence[Bar]) -> str:
    """Draw horizontal bars, each with its figure and a thin line from the lowest to the highest value.

    Args:
        title: above the chart.
        unit: of the figures.
        rows: from the top down.

    Returns:
        An SVG document.

    Raises:
        ValueError: there is no row, or a figure is negative or not finite.
    """
    _check([number for row in rows for number in (row.value, row.low, row.high)])
    heading, top = _heading(title, unit)
    room = WIDTH - 2 * PAD
    scale = min(_bar_scale(row, room) for row in rows)
    body: list[str] = []
    for row in rows:
        body += [f"<g>{_title(_bar_words(row))}", *_bar(row, top, scale, room), "</g>"]
        top += ROW_HEIGHT
    words = "; ".join(_bar_words(row) for row in rows)
    return _document(title, f"Bar chart, {unit}. {words}.", top + PAD - 12, [*heading, *body])


def lines(
    title: str, x_title: str, y_title: str, series: Sequence[Series], *, log_x: bool = False, log_y: bool = False
) -> str:
    """Draw lines over two axes, with a whisker from the lowest to the highest value at each point.

    A point at 0 has no place on a logarithmic axis: it is left out of the drawing, and the description has it.

    Args:
        title: above the chart.
        x_title: what the horizontal axis shows, with its unit.
        y_title: what the vertical axis shows, with its unit. Unless it is logarithmic, it begins at 0.
        series: the lines; the legend names them in this order.
        log_x: make the horizontal axis logarithmic.
        log_y: make the vertical axis logarithmic.

    Returns:
        An SVG document.

    Raises:
        ValueError: there is no point to draw, or a number is negative or not finite.
    """
    _check([number for one in series for point in one.points for number in msgspec.structs.astuple(point)])
    words = ". ".join(f"{one.label}: {_line_words(one)}" for one in series)
    series = [_without_zeros(one, log_x, log_y) for one in series]
    points = [point for one in series for point in one.points]
    xs = [point.x for point in points]
    ys = [number for p in points for number in (p.y, p.low, p.high) if number > 0 or not log_y]
    _check(ys)
    heading, top = _heading(title, "")
    legend, top = _legend(series, top)
    y_ticks = log_ticks(min(ys), max(ys)) if log_y else ticks(0, max(ys))
    x_ticks = log_ticks(min(xs), max(xs)) if log_x else ticks(min(xs), max(xs))
    left = PAD + max(_width(tick_label(tick), SMALL_SIZE) for tick in y_ticks) + 10
    top += 32
    right, bottom = WIDTH - PAD - 12, top + PLOT_HEIGHT
    x, y = _axis(x_ticks, left, right, log=log_x), _axis(y_ticks, bottom, top, log=log_y)
    body = [_label(PAD, top - 16, "start", _fit(y_title, WIDTH - 2 * PAD, SMALL_SIZE))]
    for tick in y_ticks:
        body += [_grid(f"M{left:.2f} {y(tick):.2f}H{right}"), _label(left - 8, y(tick) + 4.5, "end", tick_label(tick))]
    for tick in x_ticks:
        body += [_grid(f"M{x(tick):.2f} {top}V{bottom}"), _label(x(tick), bottom + 20, "middle", tick_label(tick))]
    body.append(f'<path class="axis" d="M{left:.2f} {bottom}H{right}"/>')
    body.append(_label((left + right) / 2, bottom + 42, "middle", _fit(x_title, right - left, SMALL_SIZE)))
    # What stands out is drawn last, so that nothing covers it.
    for number, one in sorted(enumerate(series), key=lambda pair: pair[1].highlight):
        body += _line(one, _own(series, number), number, x, y)
    description = f"Line chart, {y_title} over {x_title}. {words}."
    return _document(title, description, bottom + 42 + PAD - 6, [*heading, *legend, *body])


def ticks(low: float, high: float) -> list[float]:
    """Return round numbers, evenly spaced: the first is not above `low`, the last not below `high`."""
    if high - low <= 1e-9 * high:  # a single value; more would be lost in rounding
        low, high = 0.0, high or 1.0
    rough = (high - low) / TICKS_MOST
    decade = 10.0 ** math.floor(math.log10(rough))
    step = decade * next(factor for factor in (1, 2, 5, 10) if factor * decade >= rough * (1 - 1e-9))
    first = math.floor(low / step + 1e-9)
    found = [first * step]
    while found[-1] < high:
        found.append((first + len(found)) * step)
    return found


def log_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten: the first is not above `low`, the last not below `high`; at least two, not too many."""
    first, last = _exponent(low), _exponent(high)
    last += 10.0**last < high
    stride = max(1, math.ceil((last - first) / TICKS_MOST))
    count = max(1, math.ceil((last - first) / stride))
    return [10.0 ** (first + number * stride) for number in range(count + 1)]


def figure(value: float) -> str:
    """Write a measured number with three significant digits, as in 168k or 14.6M."""
    number, letter = _in_thousands(float(f"{value:.3g}"))
    return f"{number:.3g}{letter}"


def tick_label(value: float) -> str:
    """Write a round number in full, but for its thousands, as in 250k."""
    number, letter = _in_thousands(value)
    return f"{number:.6g}{letter}"


def _in_thousands(value: float) -> tuple[float, str]:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return value / size, letter
    return value, ""


def _exponent(value: float) -> int:
    """Return the greatest power of ten that is not above a value; `log10` alone may be off by a hair."""
    power = math.floor(math.log10(value) + 1e-9)
    return power if 10.0**power <= value else power - 1


# Bars.


def _bar(row: Bar, top: float, scale: float, room: float) -> Iterator[str]:
    mark = " highlight" if row.highlight else ""
    strong = ' class="strong"' if row.highlight else ""
    middle = top + 22 + BAR_HEIGHT / 2
    yield f'<text{strong} x="{PAD}" y="{top + 15}">{_text(_fit(row.label, room, TEXT_SIZE))}</text>'
    yield f'<path class="axis" d="M{PAD - 0.5} {middle - 9:g}v18"/>'
    yield (
        f'<rect class="bar{mark}" x="{PAD}" y="{middle - BAR_HEIGHT / 2:g}" width="{row.value * scale:.3f}"'
        f' height="{BAR_HEIGHT}" rx="2"/>'
    )
    end, span = row.value * scale, _span(row)
    if span:
        low, high = PAD + row.low * scale, PAD + row.high * scale
        end = max(end, high - PAD)
        if high - low >= WHISKER_LEAST:
            shape = f"M{low:.2f} {middle - 4:g}v8m0-4H{high:.2f}m0-4v8"
            yield f'<path class="halo" d="{shape}"/><path class="range" d="{shape}"/>'
        span = f'<tspan class="small" dx="8">{span}</tspan>'
    yield f'<text class="strong" x="{PAD + end + 10:.2f}" y="{middle + 5:g}">{figure(row.value)}{span}</text>'


def _bar_scale(row: Bar, room: float) -> float:
    """Return the greatest scale that leaves room for a row's figures."""
    taken = 10 + _width(figure(row.value), TEXT_SIZE, BOLD) + 8 + _width(_span(row), SMALL_SIZE)
    return (room - taken) / max(row.value, row.high, 1e-300)


def _span(row: Bar) -> str:
    low, high = figure(row.low), figure(row.high)
    return f"{low} – {high}" if low != high else ""  # noqa: RUF001 a dash between numbers is this one


def _bar_words(row: Bar) -> str:
    span = f" ({figure(row.low)} to {figure(row.high)})" if _span(row) else ""
    return f"{row.label}: {figure(row.value)}{span}"


# Lines.

_SHAPES = (
    "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z",  # a disc
    "M-4.5-4.5h9v9h-9z",  # a square
    "M0-6L5.5 4.5h-11z",  # a triangle
    "M0-6.2L6.2 0L0 6.2L-6.2 0z",  # a diamond
    "M0 6L5.5-4.5h-11z",  # a triangle on its head
)
"""A series has a colour and a shape, for those who cannot tell the colours apart."""


def _own(series: Sequence[Series], number: int) -> str:
    """Return the colour of a series: the accent for what stands out, the others in turn."""
    if series[number].highlight:
        return "--own: var(--accent)"
    return f"--own: var(--c{sum(not one.highlight for one in series[:number]) % COLOURS})"


def _legend(series: Sequence[Series], top: float) -> tuple[list[str], float]:
    """Name the series, as many in a row as fit; returns the drawing and where it ends."""
    drawn: list[str] = []
    x, room = float(PAD), WIDTH - 2 * PAD
    for number, one in enumerate(series):
        label = _fit(one.label, room - 34, TEXT_SIZE)
        needed = 34 + _width(label, TEXT_SIZE)
        if x > PAD and x + needed > PAD + room:
            x, top = float(PAD), top + LEGEND_LINE
        strong, mark = (' class="strong"', " highlight") if one.highlight else ("", "")
        drawn.append(
            f'<g style="{_own(series, number)}"><path class="line{mark}" d="M{x:.2f} {top + 8}h24"/>'
            f'<path class="mark" transform="translate({x + 12:.2f} {top + 8})" d="{_SHAPES[number % len(_SHAPES)]}"/>'
            f'<text{strong} x="{x + 32:.2f}" y="{top + 13}">{_text(label)}</text></g>'
        )
        x += needed + 22
    return drawn, top + LEGEND_LINE


def _line(
    one: Series, own: str, number: int, x: Callable[[float], float], y: Callable[[float], float]
) -> Iterator[str]:
    yield f'<g style="{own}">{_title(f"{one.label}: {_line_words(one)}")}'
    for point in one.points:
        if point.low < point.high:
            low, high = y(point.low), y(point.high)
            yield f'<path class="whisker" d="M{x(point.x) - 4:.2f} {low:.2f}h8m-4 0V{high:.2f}m-4 0h8"/>'
    mark = " highlight" if one.highlight else ""
    path = "L".join(f"{x(point.x):.2f} {y(point.y):.2f}" for point in one.points)
    if path:
        yield f'<path class="line{mark}" d="M{path}"/>'
    for point in one.points:
        shape = _SHAPES[number % len(_SHAPES)]
        yield f'<path class="mark" transform="translate({x(point.x):.2f} {y(point.y):.2f})" d="{shape}"/>'
    yield "</g>"


def _without_zeros(one: Series, log_x: bool, log_y: bool) -> Series:
    points = [point for point in one.points if (point.x > 0 or not log_x) and (point.y > 0 or not log_y)]
    return Series(one.label, points, one.highlight)


def _line_words(one: Series) -> str:
    return ", ".join(f"{figure(point.y)} at {figure(point.x)}" for point in one.points)


def _axis(at: Sequence[float], begin: float, end: float, *, log: bool) -> Callable[[float], float]:
    """Return what maps a value to its place between the first and the last tick; less is at the first."""
    measure: Callable[[float], float] = math.log10 if log else float
    low, high = measure(at[0]), measure(at[-1])
    return lambda value: begin + (measure(max(value, at[0])) - low) / (high - low) * (end - begin)


# What both have.


def _check(numbers: Sequence[float]) -> None:
    if not numbers:
        raise ValueError("there is nothing to draw")
    for number in numbers:
        if not 0 <= number < math.inf:
            raise ValueError(f"{number} has no place on an axis")


def _heading(title: str, unit: str) -> tuple[list[str], float]:
    """Write the title in as many lines as it needs, and the unit under it; returns where they end."""
    top = PAD - 6
    drawn = []
    for line in _wrap(title, WIDTH - 2 * PAD):
        drawn.append(f'<text class="title" x="{PAD}" y="{top + 20}">{_text(line)}</text>')
        top += TITLE_LINE
    if unit:
        drawn.append(_label(PAD, top + 17, "start", _fit(unit, WIDTH - 2 * PAD, SMALL_SIZE)))
        top += 20
    return drawn, top + 12


def _document(title: str, description: str, height: float, body: Sequence[str]) -> str:
    size = f'width="{WIDTH}" height="{height:.0f}" viewBox="0 0 {WIDTH} {height:.0f}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" role="img" {size}>',
            f"{_title(title)}<desc>{_text(description)}</desc>",
            f"<style>{STYLE}</style>",
            f'<rect class="page" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1:.0f}" rx="8"/>',
            *body,
            "</svg>\n",
        ]
    )


def _label(x: float, y: float, anchor: str, text: str) -> str:
    return f'<text class="small" x="{x:.2f}" y="{y:.2f}" text-anchor="{anchor}">{_text(text)}</text>'


def _grid(shape: str) -> str:
    return f'<path class="grid" d="{shape}"/>'


def _title(text: str) -> str:
    return f"<title>{_text(text)}</title>"


def _text(text: str) -> str:
    """Escape a text; what XML 1.0 forbids altogether (section 2.2) becomes a replacement character."""
    return escape(_FORBIDDEN.sub("\ufffd", text))


_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _width(text: str, size: float, weight: float = REGULAR) -> float:
    """Estimate how wide a text is, rather too wide than too narrow."""
    return sum(size if unicodedata.east_asian_width(c) in "WF" else weight * size for c in text)


def _fit(text: str, room: float, size: float) -> str:
    """Shorten a text that is too wide; the description has it in full."""
    if _width(text, size) <= room:
        return text
    while text and _width(text + "…", size) > room:
        text = text[:-1]
    return text + "…"


def _wrap(title: str, room: float) -> list[str]:
    """Break a title into lines."""
    wrapped: list[str] = []
    for word in title.split():
        if wrapped and _width(f"{wrapped[-1]} {word}", TITLE_SIZE) <= room:
            wrapped[-1] += f" {word}"
        else:
            wrapped.append(_fit(word, room, TITLE_SIZE))
    return wrapped

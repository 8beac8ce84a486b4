"""Charts: documents that any browser takes, and drawings that do not lie."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.charts import WIDTH, Bar, Point, Series, bars, figure, lines, log_ticks, tick_label, ticks

SVG = "{http://www.w3.org/2000/svg}"
texts = st.text(max_size=60)
numbers = st.floats(min_value=0, max_value=1e12, allow_subnormal=False)
positive = st.floats(min_value=1e-9, max_value=1e12)


def spread(values: list[float]) -> tuple[float, float, float]:
    low, middle, high = sorted(values)
    return middle, low, high


rows = st.builds(
    lambda label, values, highlight: Bar(label, *spread(values), highlight),
    texts,
    st.lists(numbers, min_size=3, max_size=3),
    st.booleans(),
)
points = st.builds(lambda x, values: Point(x, *spread(values)), positive, st.lists(positive, min_size=3, max_size=3))
series = st.builds(Series, texts, st.lists(points, min_size=1, max_size=5), st.booleans())


def elements(document: str, tag: str, mark: str = "") -> Iterator[ET.Element]:
    """Find elements of a class, where they are drawn."""
    for element in ET.fromstring(document).iter(f"{SVG}{tag}"):
        if not mark or mark in element.get("class", "").split():
            yield element


@settings(max_examples=40, deadline=None)
@given(texts, texts, st.lists(rows, min_size=1, max_size=8))
def test_bars_are_a_document_whatever_the_labels_and_values(title: str, unit: str, given_rows: list[Bar]) -> None:
    """No label and no figure breaks the XML, and nothing is drawn beyond the edges."""
    document = bars(title, unit, given_rows)
    assert len(list(elements(document, "rect", "bar"))) == len(given_rows)
    for bar in elements(document, "rect", "bar"):
        assert float(bar.attrib["x"]) + float(bar.attrib["width"]) <= WIDTH
    for text in elements(document, "text"):
        assert 0 <= float(text.attrib["x"]) <= WIDTH


@settings(max_examples=40, deadline=None)
@given(texts, texts, st.lists(series, min_size=1, max_size=8), st.booleans(), st.booleans())
def test_lines_are_a_document_whatever_the_labels_and_values(
    title: str, axis: str, given_series: list[Series], log_x: bool, log_y: bool
) -> None:
    """No label and no number breaks the XML, on any pair of axes; each series has its line and its legend."""
    document = lines(title, axis, axis, given_series, log_x=log_x, log_y=log_y)
    assert len(list(elements(document, "path", "line"))) == 2 * len(given_series)


@settings(max_examples=40, deadline=None)
@given(st.lists(positive, min_size=2, max_size=8))
def test_bars_are_in_proportion(values: list[float]) -> None:
    """A bar that is twice as long stands for twice as much: all begin at 0, on one scale."""
    document = bars("", "", [Bar("", value, value, value) for value in values])
    widths = [float(bar.attrib["width"]) for bar in elements(document, "rect", "bar")]
    for value, width in zip(values, widths, strict=True):
        assert width == pytest.approx(value / max(values) * max(widths), abs=0.002)


@settings(max_examples=200, deadline=None)
@given(numbers, numbers)
def test_ticks_cover_the_data_with_few_round_numbers(one: float, other: float) -> None:
    """What is measured lies between the first and the last; they rise evenly and are not crowded."""
    low, high = min(one, other), max(one, other)
    found = ticks(low, high)
    slack = 1e-6 * max(found[-1] - found[0], 1e-300)
    assert found[0] <= low + slack
    assert found[-1] >= high
    assert 2 <= len(found) <= 9
    assert all(a < b for a, b in pairwise(found))


@settings(max_examples=200, deadline=None)
@given(positive, positive)
def test_logarithmic_ticks_are_powers_of_ten_that_cover_the_data(one: float, other: float) -> None:
    """However far the data reach, there are a few of them, each a power of ten."""
    low, high = min(one, other), max(one, other)
    found = log_ticks(low, high)
    assert found[0] <= low
    assert found[-1] >= high
    assert 2 <= len(found) <= 8
    assert all(math.log10(tick) == pytest.approx(round(math.log10(tick)), abs=1e-9) for tick in found)


def test_logarithmic_ticks_do_not_waste_a_decade() -> None:
    """Data that begin and end at powers of ten begin and end at ticks."""
    assert log_ticks(100, 10_000) == [100, 1000, 10_000]
    assert log_ticks(1000, 1000) == [1000, 10_000]


def test_points_stand_where_their_numbers_are() -> None:
    """The middle of a linear axis is the mean of its ends, that of a logarithmic one their geometric mean."""
    three = Series("", [Point(x, x, x, x) for x in (1, 10, 100)])

    def across(document: str) -> list[float]:
        marks = [mark.attrib["transform"] for mark in elements(document, "path", "mark")]
        return [float(mark.removeprefix("translate(").split()[0]) for mark in marks[1:]]  # the first is the legend's

    low, middle, high = across(lines("", "", "", [three], log_x=True))
    assert middle - low == pytest.approx(high - middle, abs=0.02)
    low, middle, high = across(lines("", "", "", [three]))
    assert (middle - low) * 10 == pytest.approx(high - middle, rel=0.01)


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_what_cannot_be_drawn_is_refused(bad: float) -> None:
    """A number without a place on the axis raises instead of being drawn somewhere."""
    with pytest.raises(ValueError, match="has no place"):
        bars("", "", [Bar("", bad, bad, bad)])
    with pytest.raises(ValueError, match="has no place"):
        lines("", "", "", [Series("", [Point(1, bad, bad, bad)])], log_y=True)


def test_zero_on_a_logarithmic_axis_is_told_but_not_drawn() -> None:
    """A server that delivered nothing spoils no chart: its point is in the description, and a range may begin at 0."""
    document = lines("", "", "", [Series("a", [Point(1, 5, 0, 9), Point(2, 0, 0, 0)])], log_x=True, log_y=True)
    assert len(list(elements(document, "path", "mark"))) == 2  # one of them in the legend
    assert len(list(elements(document, "path", "whisker"))) == 1
    assert "a: 5 at 1, 0 at 2" in document


def test_nothing_to_draw_is_refused() -> None:
    """It would be a picture that says nothing."""
    with pytest.raises(ValueError, match="nothing to draw"):
        bars("", "", [])
    with pytest.raises(ValueError, match="nothing to draw"):
        lines("", "", "", [Series("none", [])])
    with pytest.raises(ValueError, match="nothing to draw"):
        lines("", "", "", [Series("", [Point(1, 0, 0, 0)])], log_y=True)


def test_a_chart_can_be_read_aloud_and_runs_nothing() -> None:
    """It has a title and a description with every figure; there is no script, and nothing is fetched."""
    document = bars("Fan-out", "deliveries/s", [Bar("ws <Node>", 94_000, 90_000, 99_500), Bar("ours", 5e6, 5e6, 5e6)])
    root = ET.fromstring(document)
    assert (root.get("role"), root[0].tag, root[1].tag) == ("img", f"{SVG}title", f"{SVG}desc")
    assert root[0].text == "Fan-out"
    assert root[1].text == "Bar chart, deliveries/s. ws <Node>: 94k (90k to 99.5k); ours: 5M."
    assert "<script" not in document
    assert "http" not in document.replace("http://www.w3.org/2000/svg", "")


def test_legends_do_not_run_into_each_other() -> None:
    """Series that do not fit into a row of the legend go to the next one."""
    names = ["a rather long name of a contestant"] * 5
    document = lines("", "", "", [Series(name, [Point(1, 1, 1, 1)]) for name in names])
    places = [(t.get("x"), t.get("y")) for t in elements(document, "text") if t.text == names[0]]
    assert len(set(places)) == len({y for _, y in places}) == 5


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.1234, "0.123"), (999.4, "999"), (999.6, "1k"), (14_900_000, "14.9M"), (999_999, "1M"), (2e9, "2G")],
)
def test_figures_have_three_digits(value: float, text: str) -> None:
    """Rounding may bring the next letter, never a fourth digit."""
    assert figure(value) == text


def test_ticks_are_written_in_full() -> None:
    """Ticks that are close together stay different."""
    assert [tick_label(tick) for tick in ticks(1000, 1050)] == ["1k", "1.01k", "1.02k", "1.03k", "1.04k", "1.05k"]
    assert [tick_label(tick) for tick in ticks(0, 0.5)] == ["0", "0.1", "0.2", "0.3", "0.4", "0.5"]

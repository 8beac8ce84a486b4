"""The parser of answers: whatever the server sends, in whatever pieces it comes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.db.mysql.answers import LARGEST_PART, MORE_RESULTS, Answer, ProtocolError

INTEGER, DOUBLE, DATETIME, TEXT, BLOB, DECIMAL = (8, 63), (5, 63), (12, 63), (253, 45), (252, 63), (246, 63)
VALUES = {
    INTEGER: st.integers(-(2**63), 2**64 - 1),
    DOUBLE: st.floats(allow_nan=False, allow_infinity=False),
    DATETIME: st.just("2024-02-29 12:00:00.000001"),
    DECIMAL: st.decimals(allow_nan=False, allow_infinity=False).map(str),
    TEXT: st.text(max_size=300),
    BLOB: st.binary(max_size=300),
}
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
Table = tuple[list[tuple[int, int]], list[tuple[object, ...]]]


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Return columns and rows of a result."""
    columns = draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=5))
    row = st.tuples(*(st.none() | VALUES[column] for column in columns))
    return columns, draw(st.lists(row, max_size=20))


def packet(payload: bytes) -> bytes:
    """Return a payload as the packets that carry it."""
    parts = [payload[at : at + LARGEST_PART] for at in range(0, len(payload) + 1, LARGEST_PART)]
    return b"".join(len(part).to_bytes(3, "little") + b"\x01" + part for part in parts)


def counted(data: bytes) -> bytes:
    """Return data behind its length."""
    if len(data) < 251:
        return bytes([len(data)]) + data
    width, mark = next((w, m) for w, m in ((2, 252), (3, 253), (8, 254)) if len(data) < 256**w)
    return bytes([mark]) + len(data).to_bytes(width, "little") + data


def written(value: object) -> bytes:
    """Return a value as a row has it."""
    if value is None:
        return b"\xfb"
    return counted(value if isinstance(value, bytes) else str(value).encode())


def ok(changed: int = 0, last_key: int = 0, info: bytes = b"", status: int = 2) -> bytes:
    """Return the packet that ends a statement without rows."""
    numbers = b"".join(bytes([n]) if n < 251 else b"\xfc" + n.to_bytes(2, "little") for n in (changed, last_key))
    return packet(b"\0" + numbers + status.to_bytes(2, "little") + b"\0\0" + (counted(info) if info else b""))


def failure(code: int, message: str) -> bytes:
    """Return the packet of an error."""
    return packet(b"\xff" + code.to_bytes(2, "little") + b"#HY000" + message.encode())


def result_set(table: Table, status: int = 2, ending: bytes | None = None) -> bytes:
    """Return the packets of a result with rows."""
    columns, rows = table
    end = packet(b"\xfe\0\0" + status.to_bytes(2, "little"))
    names = b"".join(map(counted, (b"def", b"db", b"t", b"t", b"name", b"name")))
    described = [
        packet(names + b"\x0c" + charset.to_bytes(2, "little") + b"\0\0\0\0" + bytes([kind]) + b"\0\0\0\0\0")
        for kind, charset in columns
    ]
    packets = [packet(b"".join(map(written, row))) for row in rows]
    return b"".join([packet(bytes([len(columns)])), *described, end, *packets, end if ending is None else ending])


def fed(data: bytes, cuts: Iterable[int] = ()) -> Answer:
    """Return the answer that was read from data in pieces."""
    answer = Answer()
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, stop in pairwise(places):
        answer.feed(data[start:stop])
    return answer


@PATIENT
@given(st.lists(tables(), min_size=1, max_size=3), st.lists(st.integers(0, 10**6), max_size=30))
def test_results_come_in_any_pieces(results: list[Table], cuts: list[int]) -> None:
    """Every value comes back in its type, wherever the stream of bytes was cut."""
    last = len(results) - 1
    data = b"".join(
        result_set(table, 2 if number == last else 2 | MORE_RESULTS) for number, table in enumerate(results)
    )
    answer = fed(data, cuts)
    assert answer.complete
    assert answer.error is None
    assert [result.rows for result in answer.results] == [rows for _, rows in results]


@PATIENT
@given(tables())
def test_results_come_byte_by_byte(table: Table) -> None:
    """The same, with the smallest pieces; nothing is complete before its last byte."""
    data = result_set(table)
    answer = Answer()
    for number in range(len(data)):
        assert not answer.complete
        answer.feed(data[number : number + 1])
    assert answer.results[0].rows == table[1]


@PATIENT
@given(tables(), st.lists(st.integers(0, 10**6), max_size=10))
def test_an_error_may_end_anything(table: Table, cuts: list[int]) -> None:
    """After a result, in the midst of rows, or at once: what was complete stays, and the text is the server's."""
    error = failure(1234, "what it says")
    for data, count in (
        (error, 0),
        (ok(status=MORE_RESULTS) + error, 1),
        (result_set(table, 2 | MORE_RESULTS) + error, 1),
        (result_set(table, ending=error), 0),
    ):
        answer = fed(data, cuts)
        assert answer.complete
        assert answer.error is not None
        assert (answer.error.code, answer.error.message) == (1234, "what it says")
        assert "what it says" not in str(answer.error)
        assert len(answer.results) == count


def test_numbers_of_a_statement_without_rows() -> None:
    """Changed rows and the key are those of the packet; of an UPDATE those rows count that matched."""
    assert fed(ok(3, 300)).results[0].changed == 3
    assert fed(ok(3, 300)).results[0].last_key == 300
    assert fed(ok(0, info=b"Rows matched: 17  Changed: 0  Warnings: 0")).results[0].changed == 17


@pytest.mark.parametrize("extra", [-1, 0, 1, 2 * LARGEST_PART])
def test_large_rows(extra: int) -> None:
    """A row that takes several packets, or just fills one, is one row; rows before and after it stay rows."""
    large = b"x" * (LARGEST_PART - 4 - 2 + extra)
    rows: list[tuple[object, ...]] = [(1, b"a"), (2, large), (3, None)]
    data = result_set(([INTEGER, BLOB], rows))
    assert fed(data, range(0, len(data), 1_000_003)).results[0].rows == rows


def test_a_huge_first_value_is_no_end() -> None:
    """A value of more than 16 MB has a length that begins like the packet at the end of rows."""
    rows: list[tuple[object, ...]] = [(b"x" * (2**24 + 5),), (b"",)]
    assert fed(result_set(([BLOB], rows))).results[0].rows == rows


def test_rows_can_be_taken_while_they_come() -> None:
    """With `keeps_rows` they stay where whoever reads takes them from."""
    rows: list[tuple[object, ...]] = [(number,) for number in range(10)]
    answer = Answer(keeps_rows=True)
    answer.feed(ok(status=MORE_RESULTS) + result_set(([INTEGER], rows), MORE_RESULTS) + ok())
    assert answer.complete
    assert answer.rows == rows


@PATIENT
@given(st.binary(), st.booleans(), st.lists(st.integers(0, 10**6), max_size=5))
def test_anything_else_is_refused(data: bytes, framed: bool, cuts: list[int]) -> None:
    """Nonsense gives a result, waits for more, or is a ProtocolError; never anything else."""
    for beginning in (b"", packet(b"\x01"), result_set(([INTEGER, TEXT], []), ending=b"")):
        with suppress(ProtocolError):
            fed(beginning + (packet(data) if framed else data), cuts)


@pytest.mark.parametrize(
    "data",
    [
        packet(b"\xfb/etc/passwd"),
        packet(b"\xfe"),
        packet(b""),
        ok() + b"more",
        result_set(([INTEGER], []), ending=packet(b"\x01a")),
        result_set(([INTEGER], []), ending=packet(b"\x01")),
        result_set(([INTEGER], []), ending=packet(b"\x011\x011")),
        result_set(([TEXT], []), ending=packet(b"\x01\xff")),
        result_set(([INTEGER, INTEGER], []), ending=packet(b"\x011\xff")),
    ],
)
def test_what_makes_no_sense_is_refused(data: bytes) -> None:
    """A file that is asked for, values that are none, lengths that lie, and more than an answer."""
    with pytest.raises(ProtocolError):
        fed(data)


def test_floats_are_floats() -> None:
    """A DOUBLE without a point is still a float."""
    [value] = fed(result_set(([DOUBLE], [(b"1",)]))).results[0].rows[0]
    assert isinstance(value, float)
    assert math.isclose(value, 1.0)

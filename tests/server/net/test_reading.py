"""Incoming bytes: the short path and the generic one are the same, and every bound holds."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from server.net.reading import Reader, ReadLimits
from tests.support.net import client_frame

LIMITS = ReadLimits(frame_bytes=1000, message_bytes=2000, message_fragments=5)
NO_LIMITS = ReadLimits(0, 0, 0)
TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10


class Taken:
    """What came out of a reader."""

    def __init__(self, limits: ReadLimits = LIMITS) -> None:
        self.messages: list[str | bytes] = []
        self.pongs = 0
        self.turns = 0
        self.answers: list[bytes] = []
        self.reader = Reader(limits, self.messages.append, self._answer, self._pong, self._turn)

    def _answer(self, protocol: ServerProtocol) -> None:
        self.answers += protocol.data_to_send()
        if protocol.state is OPEN and protocol.current_size is None:
            self.reader.protocol = None

    def _pong(self) -> None:
        self.pongs += 1

    def _turn(self) -> None:
        self.turns += 1

    @property
    def code(self) -> int | None:
        """The close code that was sent, if any."""
        closes = [answer for answer in self.answers if answer[:1] == b"\x88"]
        return int.from_bytes(closes[0][2:4], "big") if closes and len(closes[0]) >= 4 else None


def taken(*chunks: bytes, limits: ReadLimits = LIMITS) -> Taken:
    result = Taken(limits)
    for chunk in chunks:
        result.reader.feed(chunk)
    return result


def generic(data: bytes) -> tuple[list[Any], int | None]:
    """Return what websockets' own parser makes of a stream: whole messages, and the close code it sends."""
    protocol = ServerProtocol(state=OPEN, max_size=None)
    protocol.receive_data(data)
    messages: list[Any] = []
    parts: list[bytes] = []
    text = False
    for event in protocol.events_received():
        if not isinstance(event, Frame) or event.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            continue
        if event.opcode is not Opcode.CONT:
            text, parts = event.opcode is Opcode.TEXT, []
        parts.append(bytes(event.data))
        if event.fin:
            joined = b"".join(parts)
            try:
                messages.append(joined.decode() if text else joined)
            except UnicodeDecodeError:
                return messages, 1007
    return messages, protocol.close_sent.code if protocol.close_sent else None


masks = st.binary(min_size=4, max_size=4)
valid_frames = st.one_of(
    st.builds(lambda t, m: client_frame(TEXT, t.encode(), mask=m), st.text(max_size=200), masks),
    st.builds(lambda b, m: client_frame(BINARY, b, mask=m), st.binary(max_size=300), masks),
    st.builds(lambda b: client_frame(PING, b), st.binary(max_size=125)),
    st.builds(lambda b: client_frame(PONG, b), st.binary(max_size=125)),
    st.builds(
        lambda a, b: client_frame(BINARY, a, fin=False) + client_frame(CONTINUATION, b),
        st.binary(max_size=20), st.binary(max_size=20),
    ),
    st.builds(
        lambda t, cut: client_frame(TEXT, t.encode()[:cut], fin=False) + client_frame(PING, b"between")
        + client_frame(CONTINUATION, t.encode()[cut:]),
        st.text(max_size=20), st.integers(0, 40),
    ),
)  # fmt: skip
odd_frames = st.builds(
    client_frame,
    st.integers(0, 15),
    st.binary(max_size=140),
    fin=st.booleans(),
    rsv=st.sampled_from([0, 0, 0, 1, 4]),
    mask=st.sampled_from([b"\1\2\3\4", b"\1\2\3\4", b"\0\0\0\0", None]),
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut bytes at places, as a network does."""
    marks = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(marks)]


@settings(max_examples=300)
@given(st.lists(valid_frames | odd_frames, max_size=8), st.lists(st.integers(0, 5000), max_size=6))
def test_short_path_equals_the_generic_one(frames: list[bytes], places: list[int]) -> None:
    """Any sequence of frames, cut anywhere, gives what websockets' parser gives of the whole: messages and close code.

    A violation that its header shows is found before the payload, so that the code may come earlier, never later.
    """
    data = b"".join(frames)
    messages, code = generic(data)
    ours = taken(*cut(data, places), limits=NO_LIMITS)
    if code == 1007 or ours.code == 1007:
        # Broken text is found as soon as it is broken: everything before it is the same.
        assert ours.messages == messages[: len(ours.messages)]
        assert ours.code is not None
    else:
        assert ours.messages == messages
        assert ours.code == code


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_no_bytes_break_the_reader(data: bytes, places: list[int]) -> None:
    """Arbitrary bytes end in messages or in a close code, never in an exception, wherever they are cut."""
    whole, pieces = taken(data), taken(*cut(data, places))
    assert whole.messages == pieces.messages
    assert whole.code == pieces.code


def test_a_byte_at_a_time() -> None:
    """A frame may come in as many reads as it has bytes."""
    data = client_frame(TEXT, "grün".encode()) + client_frame(BINARY, b"x" * 300)
    assert taken(*(data[i : i + 1] for i in range(len(data)))).messages == ["grün", b"x" * 300]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (client_frame(TEXT, b"x", mask=None), 1002),
        (client_frame(TEXT, b"x", rsv=4), 1002),
        (client_frame(3, b"x"), 1002),
        (client_frame(11, b"x"), 1002),
        (client_frame(PING, b"x" * 126), 1002),
        (client_frame(PING, b"x", fin=False), 1002),
        (client_frame(CONTINUATION, b"x"), 1002),
        (client_frame(TEXT, b"x", fin=False) + client_frame(TEXT, b"y"), 1002),
        (client_frame(CLOSE, b"x"), 1002),
        (client_frame(CLOSE, b"\x03\xed"), 1002),
        (client_frame(TEXT, b"\xff"), 1007),
        (client_frame(TEXT, b"\xed\xa0\x80"), 1007),
        (client_frame(TEXT, b"\xc3", fin=False) + client_frame(CONTINUATION, b"("), 1007),
        (client_frame(TEXT, b"\xc3", fin=False) + client_frame(CONTINUATION, b""), 1007),
        (client_frame(CLOSE, b"\x03\xe8\xff"), 1007),
        (client_frame(TEXT, b"x" * 1001), 1009),
        (b"".join(client_frame(CONTINUATION if i else TEXT, b"", fin=False) for i in range(6)), 1009),
        (b"".join(client_frame(CONTINUATION if i else TEXT, b"x" * 900, fin=False) for i in range(3)), 1009),
    ],
)  # fmt: skip
def test_violations_have_their_codes(data: bytes, code: int) -> None:
    """Each violation ends the connection with the code of RFC 6455, section 7.4.1."""
    result = taken(data)
    assert result.code == code
    assert result.messages == []
    assert result.reader.closing


@pytest.mark.parametrize(
    "head",
    [client_frame(TEXT, b"x" * 5000)[:8], client_frame(TEXT, b"\xff", fin=False), client_frame(3, b"x" * 99)[:2]],
)
def test_violations_are_found_before_the_rest_comes(head: bytes) -> None:
    """A frame that is too large, or wrong, is refused by its header: its payload is never buffered."""
    assert taken(head).reader.closing


def test_nothing_is_taken_after_the_end() -> None:
    """What follows a violation in the same read is not looked at."""
    assert taken(client_frame(3) + client_frame(TEXT, b"late")).messages == []


def test_idle_readers_have_no_parser() -> None:
    """The generic parser is there only while something unusual is under way."""
    result = taken(client_frame(TEXT, b"a"))
    parsers = [result.reader.protocol]
    result.reader.feed(client_frame(BINARY, b"a", fin=False))
    parsers.append(result.reader.protocol)
    result.reader.feed(client_frame(CONTINUATION, b"b") + client_frame(PING, b"x"))
    parsers.append(result.reader.protocol)
    assert [parser is None for parser in parsers] == [True, False, True]
    assert result.messages == ["a", b"ab"]
    assert len(result.answers) == 1


def test_paused_readers_keep_what_comes() -> None:
    """Nothing is given while paused, nothing is lost, and it goes on where it stopped."""
    result = Taken()
    result.reader.paused = True
    data = client_frame(TEXT, b"a") + client_frame(TEXT, b"b")
    result.reader.feed(data[:3])
    result.reader.feed(data[3:])
    assert result.messages == []
    result.reader.paused = False
    result.reader.feed(b"")
    assert result.messages == ["a", "b"]


def test_pausing_inside_a_read_stops_there() -> None:
    """A service that is full gets no further message of the same read."""
    result = Taken()

    def take_one(message: str | bytes) -> None:
        result.messages.append(message)
        result.reader.paused = True

    result.reader = Reader(LIMITS, take_one, result._answer, result._pong, result._turn)
    result.reader.feed(client_frame(TEXT, b"a") + client_frame(TEXT, b"b") + client_frame(TEXT, b"c"))
    assert result.messages == ["a"]
    for expected in (["a", "b"], ["a", "b", "c"]):
        result.reader.paused = False
        result.reader.feed(b"")
        assert result.messages == expected

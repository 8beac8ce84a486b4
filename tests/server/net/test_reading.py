"""Incoming bytes: the short path and the generic one are the same, and every bound holds."""

from __future__ import annotations

import itertools
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from server.net.reading import MESSAGES_PER_TURN, Reader, ReadLimits
from tests.support.net import client_frame

LIMITS = ReadLimits(frame_bytes=1000, message_bytes=2000, message_fragments=5)
NO_LIMITS = ReadLimits(0, 0, 0)
TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10


class Taken:
    """What came out of a reader."""

    def __init__(self, limits: ReadLimits = LIMITS, *, deflate: bool = False) -> None:
        self.messages: list[str | bytes] = []
        self.pongs = 0
        self.turns = 0
        self.answers: list[bytes] = []
        self.reader = Reader(limits, self.messages.append, self._answer, self._pong, self._turn, deflate=deflate)

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
        """The close code that was sent, if any; 1005 for a close without one."""
        closes = [answer for answer in self.answers if answer[:1] == b"\x88"]
        if not closes:
            return None
        return int.from_bytes(closes[0][2:4], "big") if len(closes[0]) >= 4 else 1005


def taken(*chunks: bytes, limits: ReadLimits = LIMITS, deflate: bool = False) -> Taken:
    result = Taken(limits, deflate=deflate)
    for chunk in chunks:
        result.reader.feed(chunk)
    return result


def generic(data: bytes, *, deflate: bool = False) -> tuple[list[Any], int | None]:
    """Return what websockets' own parser makes of a stream: whole messages, and the close code it sends."""
    protocol = ServerProtocol(state=OPEN, max_size=None)
    if deflate:
        protocol.extensions = [PerMessageDeflate(True, True, 15, 15)]
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


# Compressed messages.


def deflated(data: bytes, window: int = 15) -> bytes:
    """Compress a message as a client does."""
    deflater = zlib.compressobj(wbits=-window)
    return (deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")


def compressed_frames(opcode: int, payload: bytes, *cuts: int, between: bytes = b"") -> bytes:
    """Return the frames of a compressed message, cut at some places, with something between them."""
    parts = cut(payload, list(cuts))
    frames = [
        client_frame(CONTINUATION if i else opcode, part, fin=i == len(parts) - 1, rsv=0 if i else 4)
        for i, part in enumerate(parts)
    ]
    return between.join(frames)


payloads = st.one_of(
    st.builds(lambda text, window: deflated(text.encode(), window), st.text(max_size=200), st.sampled_from([9, 15])),
    st.builds(deflated, st.binary(max_size=300)),
    st.builds(lambda byte, size: deflated(bytes([byte]) * size), st.integers(0, 255), st.integers(0, 5000)),
    st.binary(max_size=60),
)
compressed = st.builds(
    lambda opcode, payload, cuts, between: compressed_frames(opcode, payload, *cuts, between=between),
    st.sampled_from([TEXT, BINARY]), payloads, st.lists(st.integers(0, 400), max_size=3),
    st.sampled_from([b"", client_frame(PING, b"between"), client_frame(PONG)]),
)  # fmt: skip


@settings(max_examples=400)
@given(st.lists(valid_frames | odd_frames | compressed, max_size=8), st.lists(st.integers(0, 5000), max_size=6))
def test_with_deflate_too_both_ways_are_the_same(frames: list[bytes], places: list[int]) -> None:
    """Any sequence of frames, compressed or not, cut anywhere, gives what websockets' parser with its extension gives.

    What is broken is found when the message is whole, or as soon as it shows; the code may be another.
    """
    data = b"".join(frames)
    messages, code = generic(data, deflate=True)
    ours = taken(*cut(data, places), limits=NO_LIMITS, deflate=True)
    if code is not None and ours.code is None:
        # It cannot be inflated, which we find at its end.
        ours.reader.feed(client_frame(CONTINUATION))
        assert ours.code == 1007
    elif ours.code == 1007 or (code == 1007 and ours.code == 1002):
        # Broken text is found as soon as it is broken: everything before it is the same.
        assert ours.messages == messages[: len(ours.messages)]
    else:
        assert ours.messages == messages
        assert ours.code == code


@given(st.lists(compressed, max_size=4), st.binary(max_size=50), st.lists(st.integers(0, 2000), max_size=5))
def test_where_it_is_cut_makes_no_difference(frames: list[bytes], behind: bytes, places: list[int]) -> None:
    """Compressed messages and whatever comes behind them end alike, within all bounds, wherever a network cuts them."""
    data = b"".join(frames) + behind
    whole, pieces = taken(data, deflate=True), taken(*cut(data, places), deflate=True)
    assert (whole.messages, whole.code) == (pieces.messages, pieces.code)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (client_frame(CONTINUATION, deflated(b"x"), rsv=4), 1002),
        (client_frame(TEXT, deflated(b"x"), fin=False, rsv=4) + client_frame(CONTINUATION, b"", rsv=4), 1002),
        (client_frame(TEXT, b"x", fin=False) + client_frame(CONTINUATION, b"", rsv=4), 1002),
        (client_frame(TEXT, b"x", fin=False) + client_frame(TEXT, deflated(b"y"), rsv=4), 1002),
        (client_frame(PING, deflated(b"x"), rsv=4), 1002),
        (client_frame(PONG, deflated(b"x"), rsv=4), 1002),
        (client_frame(CLOSE, b"\x03\xe8", rsv=4), 1002),
        (client_frame(TEXT, deflated(b"x"), rsv=6), 1002),
        (client_frame(TEXT, deflated(b"x"), rsv=5), 1002),
        (client_frame(TEXT, deflated(b"x"), rsv=2), 1002),
        (client_frame(TEXT, deflated(b"x"), rsv=4, mask=None), 1002),
        (client_frame(TEXT, b"\xff" * 9, rsv=4), 1007),
        (client_frame(TEXT, deflated(b"\xff"), rsv=4), 1007),
        (client_frame(TEXT, deflated(b"\xed\xa0\x80"), rsv=4), 1007),
        (compressed_frames(TEXT, deflated(b"\xc3("), 1), 1007),
        (compressed_frames(TEXT, deflated("\u00fc".encode()[:1]), 0, 2), 1007),
        (client_frame(BINARY, deflated(bytes(2001)), rsv=4), 1009),
        (client_frame(BINARY, deflated(bytes(1_000_000)), rsv=4)[:10_000], 1009),
        (compressed_frames(BINARY, deflated(bytes(2001)), 1, 2), 1009),
        (compressed_frames(BINARY, deflated(bytes(900_000)), 300, 600), 1009),
        (compressed_frames(TEXT, deflated(b""), 0, 0, 0, 0, 0), 1009),
        (client_frame(BINARY, bytes(1001), rsv=4)[:8], 1009),
    ],
)  # fmt: skip
def test_violations_with_deflate_have_their_codes(data: bytes, code: int) -> None:
    """RSV1 stands on the first frame of a message and nowhere else; what is inflated has the bounds of all messages."""
    result = taken(data, deflate=True)
    assert result.code == code
    assert result.messages == []
    assert result.reader.closing


def test_what_was_not_agreed_on_is_a_violation() -> None:
    """Without permessage-deflate, RSV1 is a reserved bit, and found by the header."""
    assert taken(client_frame(TEXT, deflated(b"x" * 500), rsv=4)[:2]).code == 1002


def test_the_bound_is_for_what_is_inflated() -> None:
    """A message of exactly the bound passes, though its frame is small, whole or in parts."""
    text = "a" * 2000
    data = client_frame(TEXT, deflated(text.encode()), rsv=4) + compressed_frames(TEXT, deflated(text.encode()), 3, 5)
    assert taken(data, deflate=True).messages == [text, text]


def test_no_message_refers_to_another() -> None:
    """Compressed and other messages mix freely, and between them no parser is kept."""
    data = [
        client_frame(TEXT, deflated("gr\u00fcn".encode()), rsv=4),
        client_frame(TEXT, b"plain"),
        compressed_frames(BINARY, deflated(b"in parts"), 2, 5, between=client_frame(PING)),
        client_frame(TEXT, b"", rsv=4),
        client_frame(BINARY, deflated(b""), rsv=4),
    ]
    result = Taken(deflate=True)
    for frames in data:
        result.reader.feed(frames)
        assert result.reader.protocol is None
    assert result.messages == ["gr\u00fcn", "plain", b"in parts", "", b""]
    assert len(result.answers) == 2


# Floods are taken in turns.


def test_a_flood_is_taken_in_turns() -> None:
    """One read with many messages gives a turn's worth, asks for another turn, and goes on where it stopped."""
    count = 3 * MESSAGES_PER_TURN + 5
    result = taken(b"".join(client_frame(TEXT, b"%d" % number) for number in range(count)), limits=NO_LIMITS)
    expected = [str(number) for number in range(count)]
    for turn in (1, 2, 3):
        assert result.messages == expected[: turn * MESSAGES_PER_TURN]
        assert result.turns == turn
        result.reader.feed(b"")
    assert result.messages == expected
    assert result.turns == 3


def test_exactly_a_turns_worth_needs_no_other() -> None:
    """Whoever has sent no more than a turn takes is not kept waiting."""
    result = taken(client_frame(TEXT, b"x") * MESSAGES_PER_TURN)
    assert (len(result.messages), result.turns) == (MESSAGES_PER_TURN, 0)
    result.reader.feed(client_frame(TEXT, b"more"))
    assert result.messages[-1] == "more"


@pytest.mark.parametrize(
    "frame",
    [
        client_frame(PING, b"x"),
        client_frame(PONG),
        client_frame(TEXT, deflated(b"x"), rsv=4),
        client_frame(BINARY, b"", fin=False) + client_frame(CONTINUATION, fin=False) * (MESSAGES_PER_TURN - 1),
    ],
)
def test_every_kind_of_frame_counts(frame: bytes) -> None:
    """Pings, empty fragments and compressed messages are taken in turns too."""
    result = taken(frame * 2 * MESSAGES_PER_TURN, limits=NO_LIMITS, deflate=True)
    assert result.turns == 1
    assert len(result.answers) + len(result.messages) + result.pongs <= MESSAGES_PER_TURN


@given(
    st.lists(st.sampled_from(["text", "parts", "ping", "deflated"]), min_size=1, max_size=300),
    st.lists(st.integers(0, 10_000), max_size=5),
    st.sets(st.integers(0, 300), max_size=5),
)
def test_turns_and_pauses_lose_nothing(kinds: list[str], places: list[int], pauses: set[int]) -> None:
    """Paused in the middle of a turn or between two, with more coming all the time: all arrive once, and in order."""
    frames, expected = [], []
    for number, kind in enumerate(kinds):
        text = b"%d" % number
        if kind == "ping":
            frames.append(client_frame(PING, text))
            continue
        expected.append(text.decode())
        if kind == "text":
            frames.append(client_frame(TEXT, text))
        elif kind == "deflated":
            frames.append(client_frame(TEXT, deflated(text), rsv=4))
        else:
            frames.append(client_frame(TEXT, text, fin=False) + client_frame(CONTINUATION))
    result = Taken(NO_LIMITS, deflate=True)

    def take(message: str | bytes) -> None:
        result.messages.append(message)
        result.reader.paused = len(result.messages) in pauses

    result.reader = Reader(NO_LIMITS, take, result._answer, result._pong, result._turn, deflate=True)
    for chunk in cut(b"".join(frames), places):
        before = len(result.messages)
        result.reader.feed(chunk)
        assert len(result.messages) - before <= MESSAGES_PER_TURN
    for _ in range(len(kinds) + len(pauses)):
        result.reader.paused = False
        result.reader.feed(b"")
    assert result.messages == expected
    assert len(result.answers) == kinds.count("ping")


def test_a_close_behind_a_flood_comes_after_it() -> None:
    """Who floods and then says goodbye is heard to the end."""
    count = 2 * MESSAGES_PER_TURN
    result = taken(client_frame(TEXT, b"x") * count + client_frame(CLOSE, b"\x03\xe8"))
    assert not result.reader.closing
    while result.turns and not result.reader.closing:
        result.reader.feed(b"")
    assert len(result.messages) == count
    assert result.code == 1000


def test_nothing_comes_after_the_connection_is_gone() -> None:
    """A connection that is lost between two turns has none of what it still had."""
    result = taken(client_frame(TEXT, b"x") * 2 * MESSAGES_PER_TURN)
    result.reader.release()
    result.reader.feed(b"")
    assert len(result.messages) == MESSAGES_PER_TURN


@given(st.integers(0, 3), st.binary(max_size=30))
def test_what_we_have_closed_still_hears_the_close(messages: int, payload: bytes) -> None:
    """When we closed first, what was in flight is not heard, and the client's part of the closing is (5.5.1)."""
    result = Taken()
    result.reader.expect_close().send_close(1000)
    for frame in [*[client_frame(BINARY, payload)] * messages, client_frame(CLOSE, b"\x03\xe8")]:
        assert not result.reader.closing
        result.reader.feed(frame)
    assert result.messages == []
    assert result.reader.closing
    assert result.reader.protocol is not None
    assert result.reader.protocol.close_rcvd is not None

"""permessage-deflate: what we compress others can read, what others compress we can read, and bombs do not go off."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame as TheirFrame
from websockets.frames import Opcode
from websockets.streams import StreamReader

from server.net.deflate import TooLarge, compressor, inflate
from server.net.frames import encode, ping

LEAST = 40
compress = compressor(LEAST)


def theirs(window: int = 15) -> PerMessageDeflate:
    """Return websockets' client side, without context takeover, as it is negotiated."""
    return PerMessageDeflate(
        remote_no_context_takeover=True,
        local_no_context_takeover=True,
        remote_max_window_bits=12,
        local_max_window_bits=window,
    )


def parsed(data: bytes) -> list[TheirFrame]:
    """Read frames with websockets' parser, inflated by its client side."""
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    frames, extension = [], theirs()
    while not _at_end(reader):
        parser = TheirFrame.parse(reader.read_exact, mask=False, extensions=[extension])
        with pytest.raises(StopIteration) as done:
            next(parser)
        frames.append(done.value.value)
    return frames


def _at_end(reader: StreamReader) -> bool:
    try:
        next(reader.at_eof())
    except StopIteration as done:
        return bool(done.value)
    raise AssertionError


def heads(data: bytes) -> list[int]:
    """Return the first byte of each frame."""
    found, position = [], 0
    while position < len(data):
        found.append(data[position])
        size = data[position + 1]
        wide = {126: 2, 127: 8}.get(size, 0)
        if wide:
            size = int.from_bytes(data[position + 2 : position + 2 + wide], "big")
        position += 2 + wide + size
    assert position == len(data)
    return found


sizes = st.sampled_from([0, 1, LEAST - 1, LEAST, 125, 126, 127, 300, 4097, 65535, 65536, 70000])
messages = st.one_of(
    st.text(max_size=200),
    st.binary(max_size=400),
    st.builds(lambda size: "ab" * (size // 2) + "c" * (size % 2), sizes),
    st.builds(lambda size, seed: (seed * (size // len(seed) + 1))[:size], sizes, st.binary(min_size=1, max_size=99)),
)


def test_this_parser_sees_every_frame() -> None:
    """The helpers of these tests are worth something: frames that are not compressed come out as they went in."""
    data = encode("a") + encode(b"b" * 70000) + ping(b"c")
    assert [(frame.opcode, frame.data) for frame in parsed(data)] == [
        (Opcode.TEXT, b"a"),
        (Opcode.BINARY, b"b" * 70000),
        (Opcode.PING, b"c"),
    ]
    assert heads(data) == [0x81, 0x82, 0x89]


@given(st.lists(st.one_of(messages, st.builds(ping, st.binary(max_size=125))), max_size=5))
def test_others_read_what_we_compress(sent: Sequence[str | bytes]) -> None:
    """Any frames, joined as a topic joins them, come out of websockets' client side as they went in, in order."""
    frames = [encode(message) for message in sent]
    assert [(frame.opcode, bytes(frame.data)) for frame in parsed(compress(b"".join(frames)))] == [
        (frame.opcode, bytes(frame.data)) for frame in parsed(b"".join(frames))
    ]


@given(st.lists(messages, max_size=5))
def test_messages_are_compressed_one_by_one(sent: Sequence[str | bytes]) -> None:
    """What is compressed with others is the same as alone: no message refers to another, so any client can read it."""
    frames = [encode(message) for message in sent]
    assert compress(b"".join(frames)) == b"".join(map(compress, frames))


@pytest.mark.parametrize("kind", [str, bytes])
def test_where_compressing_begins(kind: type) -> None:
    """Exactly from the given number of bytes on, a message has RSV1 and is shorter; below, it stays as it is."""
    small = encode("x" * (LEAST - 1) if kind is str else b"x" * (LEAST - 1))
    large = encode("x" * LEAST if kind is str else b"x" * LEAST)
    assert compress(small) == small
    assert heads(compress(large)) == [0xC1 if kind is str else 0xC2]
    assert len(compress(large)) < len(large)
    assert heads(compress(small + large + small)) == [small[0], large[0] | 0x40, small[0]]


@given(
    st.builds(lambda byte, size: bytes([byte]) * size, st.integers(0, 255), st.integers(LEAST, 125)),
    st.sampled_from([0x88, 0x89, 0x8A]),
)
def test_control_frames_are_never_compressed(payload: bytes, head: int) -> None:
    """RFC 7692, section 6.1: they stay as they are, whatever their size."""
    frame = bytes((head, len(payload))) + payload
    assert compress(frame + encode("x" * 1000) + frame).startswith(frame)
    assert heads(compress(frame + encode("x" * 1000) + frame)) == [head, 0xC1, head]


@given(st.integers(126, 1000), st.sampled_from([0x01, 0x02, 0x80, 0xC1, 0xC2]))
def test_fragments_and_what_is_compressed_stay(size: int, head: int) -> None:
    """A frame that is not a whole message, or is compressed already, is not touched."""
    frame = bytes((head, 126)) + size.to_bytes(2, "big") + b"x" * size
    assert compress(frame) == frame


def noise(size: int) -> bytes:
    """Return what cannot be compressed."""
    return b"".join(zlib.crc32(number.to_bytes(4, "big")).to_bytes(4, "big") for number in range(size // 4))


def test_the_window_is_what_clients_may_ask_for() -> None:
    """A client that keeps 4 KiB, the least that is agreed on, can read what repeats after more than that."""
    repeated = noise(6000) * 2 + noise(3000) * 2
    sent = compress(encode(repeated))
    assert heads(sent) == [0xC2]
    # In pieces, for in one go zlib finds what is older in what it has just written.
    inflater = zlib.decompressobj(-12)
    assert b"".join(inflater.decompress(sent[i : i + 20]) for i in range(4, len(sent), 20)) == repeated


def test_nothing_gets_longer() -> None:
    """What cannot be made smaller, such as an image, is sent as it is."""
    image = noise(1024)
    frame = encode(image)
    assert len(compress(frame)) <= len(frame)
    assert parsed(compress(frame))[0].data == image


@given(messages, st.sampled_from([9, 12, 15]), st.booleans())
def test_we_read_what_others_compress(message: str | bytes, window: int, exact: bool) -> None:
    """Whatever websockets' client side compresses, with whatever window, comes out as it was, up to the bound."""
    data = message.encode() if isinstance(message, str) else message
    sent = theirs(window).encode(TheirFrame(Opcode.BINARY, data))
    assert inflate(bytes(sent.data), len(data) if exact else 0) == data


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.integers(0, 9))
def test_a_message_of_any_blocks_is_read(parts: Sequence[bytes], level: int) -> None:
    """RFC 7692, section 7.2.1: a sender may use several blocks of any kind, with flushes between, and a final one."""
    deflater = zlib.compressobj(level, wbits=-15)
    blocks = b"".join(deflater.compress(part) + deflater.flush(zlib.Z_SYNC_FLUSH) for part in parts)
    assert inflate(blocks.removesuffix(b"\x00\x00\xff\xff"), 0) == b"".join(parts)
    final = zlib.compressobj(level, wbits=-15)
    assert inflate(final.compress(parts[0]) + final.flush(zlib.Z_FINISH) + b"\x00", 0) == parts[0]


@given(st.integers(1, 5000), st.integers(-3, 3))
def test_the_bound_is_exact(most: int, more: int) -> None:
    """A message of the bound's size is taken, one byte more is not."""
    data = b"x" * max(most + more, 0)
    payload = theirs().encode(TheirFrame(Opcode.BINARY, data)).data
    if len(data) <= most:
        assert inflate(bytes(payload), most) == data
    else:
        with pytest.raises(TooLarge):
            inflate(bytes(payload), most)


def test_bombs_do_not_go_off() -> None:
    """FAULTS 19: of a bomb no more than the bound is ever in memory, however much it would be."""
    bomb = zlib.compressobj(9, wbits=-15)
    payload = b"".join(bomb.compress(bytes(1_000_000)) for _ in range(50)) + bomb.flush(zlib.Z_SYNC_FLUSH)
    assert len(payload) < 60_000
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            inflate(payload, 10_000)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # zlib's own window and state, the payload with its tail, and what is left of it, come on top of the bound.
    assert most < 10_000 + 2 * len(payload) + 60_000


def test_no_more_than_the_bound_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """zlib is told the bound and one byte, by which it is known that there is more."""
    asked: list[int] = []
    decompressobj = zlib.decompressobj

    class Watched:
        def __init__(self, wbits: int) -> None:
            self._inflater = decompressobj(wbits)

        def decompress(self, data: bytes, most: int) -> bytes:
            message = self._inflater.decompress(data, most)
            asked.append(len(message))
            return message

    monkeypatch.setattr(zlib, "decompressobj", Watched)
    payload = theirs().encode(TheirFrame(Opcode.BINARY, bytes(100_000))).data
    with pytest.raises(TooLarge):
        inflate(bytes(payload), 1000)
    assert asked == [1001]


@pytest.mark.parametrize("payload", [b"\xff", b"\x07", b"garbage", b"\x06\x00", b"\x01\x01\x00\x00\x00x"])
def test_garbage_raises(payload: bytes) -> None:
    """What no deflater writes is an error, not a message."""
    with pytest.raises(zlib.error):
        inflate(payload, 1000)


@given(st.binary(max_size=200), st.integers(1, 300))
def test_arbitrary_bytes_end_in_one_of_three_ways(payload: bytes, most: int) -> None:
    """Whatever is inflated gives a message within the bound, or one of two errors."""
    try:
        message = inflate(payload, most)
    except (TooLarge, zlib.error):
        return
    assert len(message) <= most

"""Frames as bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame as TheirFrame
from websockets.frames import Opcode
from websockets.streams import StreamReader

from server.net.frames import Frame, encode, encode_once, encode_text, header, ping


def parsed(data: bytes) -> TheirFrame:
    """Read a frame with websockets' parser."""
    reader = StreamReader()
    reader.feed_data(data)
    parser = TheirFrame.parse(reader.read_exact, mask=False)
    with pytest.raises(StopIteration) as done:
        next(parser)
    frame: TheirFrame = done.value.value
    return frame


@given(st.text())
def test_text_is_a_text_frame(message: str) -> None:
    """Whatever can be said in UTF-8 arrives as it was."""
    frame = parsed(encode(message))
    assert (frame.opcode, frame.fin, frame.data) == (Opcode.TEXT, True, message.encode())


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 100000])
def test_every_length_form(size: int) -> None:
    """The three ways to write a length (RFC 6455, 5.2) are used where they have to be."""
    message = b"x" * size
    frame = parsed(encode(message))
    assert (frame.opcode, frame.data) == (Opcode.BINARY, message)


def test_an_encoded_frame_stays_as_it_is() -> None:
    """A frame is encoded once, however often it is passed on."""
    frame = encode("x")
    assert encode(frame) is frame
    assert isinstance(frame, Frame)


def test_bytes_that_are_text_already() -> None:
    """JSON encoders give UTF-8: it need not be decoded to be sent as text."""
    assert encode_text("é".encode()) == encode("é")


def test_ping() -> None:
    """A ping is a ping."""
    assert parsed(ping(b"x")).opcode is Opcode.PING


def test_half_a_surrogate_pair_cannot_be_sent() -> None:
    """What UTF-8 cannot carry is the author's error, not a broken frame."""
    with pytest.raises(UnicodeEncodeError):
        encode("\ud800")


@given(st.text(max_size=300) | st.binary(max_size=300))
def test_for_one_connection_it_is_the_same_bytes(message: str | bytes) -> None:
    """What is encoded for one connection is what many would get, and a frame is not encoded twice."""
    once = encode_once(message)
    assert once == encode(message)
    assert not isinstance(once, Frame)
    frame = encode(message)
    assert encode_once(frame) is frame


@pytest.mark.parametrize("size", [0, 1, 124, 125, 126, 127, 65535, 65536, 100000])
def test_every_length_of_text(size: int) -> None:
    """Short texts, whose headers are kept, and long ones are text frames of that length."""
    for data in (encode("x" * size), encode_text(b"x" * size)):
        frame = parsed(data)
        assert (frame.opcode, frame.fin, frame.data) == (Opcode.TEXT, True, b"x" * size)


@given(st.sampled_from([0x81, 0x82, 0xC1, 0xC2, 0x89]), st.binary(max_size=70000))
def test_headers_say_what_follows(head: int, payload: bytes) -> None:
    """A header has the given first byte, is not masked, and tells the payload's size in the shortest way."""
    encoded = header(head, len(payload))
    assert encoded[0] == head
    assert encoded[1] < 0x80
    assert len(encoded) == (2 if len(payload) < 126 else 4 if len(payload) < 65536 else 10)
    assert int.from_bytes(encoded[2:] or encoded[1:2], "big") == len(payload)

"""Frames as bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame as TheirFrame
from websockets.frames import Opcode
from websockets.streams import StreamReader

from server.net.frames import Frame, encode, encode_text, ping


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

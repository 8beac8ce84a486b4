"""Incoming bytes become messages, without I/O and without a clock.

Most frames are whole, small and unfragmented: they are unmasked and decoded right here. Everything unusual (control
frames, fragments, violations) goes to websockets' Sans-I/O `ServerProtocol`, which is made when it is first needed
and dropped when it is not needed any more, so that an idle connection costs no parser.

A message that was compressed (RFC 7692) is inflated here, within the same bounds; websockets' parser never learns
of it.

The guards that websockets leaves to its users are here: a frame that is too large is refused by its header, before
its payload is buffered; fragments are counted; UTF-8 is checked across fragments as they arrive.
"""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Callable

import msgspec
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import OPEN, State
from websockets.server import ServerProtocol
from websockets.speedups import apply_mask

from server.net.deflate import COMPRESSED, TooLarge, inflate

_UTF8 = codecs.getincrementaldecoder("utf-8")
_FIN_TEXT = 0x81
_FIN_BINARY = 0x82
_USUAL = (_FIN_TEXT, _FIN_BINARY)
_DATA = (0x01, 0x02, _FIN_TEXT, _FIN_BINARY)
_MASKED = 0x80
_CONTROL_PAYLOAD_BYTES = 125

MESSAGES_PER_TURN = 64
"""Messages of one client that are taken in one turn of the event loop, so that a flood delays nobody else for long."""
LARGE_BYTES = 16384
"""A compressed message counts as another one for each so many bytes that it becomes."""


class ReadLimits(msgspec.Struct, frozen=True):
    """Bounds of what a client may send; 0 switches one off.

    Args:
        frame_bytes: payload of one frame.
        message_bytes: payload of one message, all its frames.
        message_fragments: frames of one message.
    """

    frame_bytes: int
    message_bytes: int
    message_fragments: int


class Violation(Exception):
    """The client broke a rule; the connection has to fail with a close code."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Reader:
    """Turns the bytes of one client into messages.

    Args:
        limits: bounds of what the client may send.
        on_message: called with each message, in order.
        on_control: called with the protocol after it took a frame that wants an answer: a ping, a close, or a
            violation; `data_to_send` of the protocol has the answer.
        on_pong: called when the client answers a ping.
        on_turn: called when there is more than is taken in one turn: feed nothing (`b""`) in another.
        deflate: whether the client may compress its messages.
    """

    __slots__ = ("_deflate", "_limits", "_need", "_on_control", "_on_message", "_on_pong", "_on_turn", "_partial",
                 "_tail", "closing", "paused", "protocol")  # fmt: skip

    def __init__(
        self,
        limits: ReadLimits,
        on_message: Callable[[str | bytes], None],
        on_control: Callable[[ServerProtocol], None],
        on_pong: Callable[[], None],
        on_turn: Callable[[], None],
        *,
        deflate: bool = False,
    ) -> None:
        self._limits = limits
        self._on_message = on_message
        self._on_control = on_control
        self._on_pong = on_pong
        self._on_turn = on_turn
        self._deflate = deflate
        self._tail: bytearray | None = None
        self._need = 0
        self._partial: _Partial | None = None
        self.protocol: ServerProtocol | None = None
        self.closing = False
        self.paused = False

    def feed(self, data: bytes) -> None:
        """Take bytes from the client.

        While `paused` is set, complete frames wait; feed nothing (`b""`) to go on with them.
        """
        if self._tail is not None:
            self._tail += data
            if len(self._tail) < self._need or self.paused:
                return
            data, self._tail = bytes(self._tail), None
        try:
            position = self._take_frames(data)
        except Violation as violation:
            self._fail(violation)
            return
        if position < len(data) and not self.closing:
            self._tail = bytearray(data[position:])

    def expect_close(self) -> ServerProtocol:
        """Return the protocol that goes through the closing handshake."""
        if self.protocol is None:
            self.protocol = ServerProtocol(state=OPEN, max_size=None)
        return self.protocol

    def release(self) -> None:
        """Let go of the connection, so that no circle of references keeps it in memory."""
        self.closing = True
        self._tail = self.protocol = None
        self._on_message = self._on_control = self._on_pong = self._on_turn = _nothing

    def _take_frames(self, data: bytes) -> int:
        """Take every complete frame; return where the incomplete rest begins, and set what it needs."""
        position, end, most = 0, len(data), self._limits.frame_bytes
        self._need = 0
        left = MESSAGES_PER_TURN
        while not self.paused:
            if left <= 0 and position < end:
                self._on_turn()
                break
            begin = position + 2
            if end < begin:
                self._need = 2
                break
            head, second = data[position], data[position + 1]
            size = second & 0x7F
            if size >= 126:
                begin += 2 if size == 126 else 8
                if end < begin:
                    self._need = begin - position
                    break
                size = int.from_bytes(data[position + 2 : begin], "big")
            usual = second >= _MASKED and self.protocol is None and head in _USUAL
            if not usual:
                self._check_header(head, second, size)
            if most and size > most:
                raise Violation(CloseCode.MESSAGE_TOO_BIG, f"a frame may have {most} bytes")
            payload = begin + 4
            stop = payload + size
            if end < stop:
                self._need = stop - position
                break
            left -= 1
            if usual:
                message = apply_mask(data[payload:stop], data[begin:payload])
                position = stop
                self._on_message(_text(message) if head == _FIN_TEXT else message)
            elif head & COMPRESSED and head & 0x80 and self.protocol is None:
                message = _inflated(apply_mask(data[payload:stop], data[begin:payload]), self._limits.message_bytes)
                position = stop
                left -= len(message) // LARGE_BYTES
                self._on_message(_text(message) if head & ~COMPRESSED == _FIN_TEXT else message)
            else:
                frame = data[position:stop]
                position = stop
                self._take_unusual(frame)
            if self.closing:
                break
        return position

    def _check_header(self, head: int, second: int, size: int) -> None:
        """Refuse by its header what no payload can mend (RFC 6455 sections 5.1, 5.2 and 5.5)."""
        if second < _MASKED:
            raise Violation(CloseCode.PROTOCOL_ERROR, "a client's frames are masked")
        reserved = head & 0x70
        if reserved and not (reserved == COMPRESSED and self._deflate and head & 0x8F in _DATA):
            raise Violation(CloseCode.PROTOCOL_ERROR, "reserved bits must be 0")
        opcode = head & 0x0F
        if opcode > Opcode.PONG or Opcode.BINARY < opcode < Opcode.CLOSE:
            raise Violation(CloseCode.PROTOCOL_ERROR, "invalid opcode")
        if opcode >= Opcode.CLOSE and (head < 0x80 or size > _CONTROL_PAYLOAD_BYTES):
            raise Violation(CloseCode.PROTOCOL_ERROR, "a control frame is whole and short")

    def _take_unusual(self, frame: bytes) -> None:
        """Let websockets' protocol judge a frame, and act on what it says."""
        protocol = self.expect_close()
        compressed = bool(frame[0] & COMPRESSED)
        if compressed:
            frame = bytes((frame[0] & ~COMPRESSED,)) + frame[1:]
        protocol.receive_data(frame)
        for event in protocol.events_received():
            if isinstance(event, Frame) and protocol.close_sent is None:
                self._take_event(event, compressed=compressed)
        if protocol.close_rcvd is not None or protocol.parser_exc is not None:
            self.closing = True  # while only we have closed, the client's part of it is still to come
        if protocol.writes or self.closing:
            self._on_control(protocol)
        elif self._partial is None and protocol.state is OPEN:
            self.protocol = None  # between messages nothing of it is needed

    def _take_event(self, frame: Frame, *, compressed: bool) -> None:
        if frame.opcode is Opcode.PONG:
            self._on_pong()
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            if self._partial is None:
                self._partial = _Partial(self._limits, text=frame.opcode is Opcode.TEXT, compressed=compressed)
            self._partial.add(bytes(frame.data), last=frame.fin)
            if frame.fin:
                message, self._partial = self._partial.message(), None
                self._on_message(message)

    def _fail(self, violation: Violation) -> None:
        """Fail the connection (RFC 6455 section 7.1.7)."""
        self.closing = True
        protocol = self.expect_close()
        if protocol.state is State.OPEN:
            protocol.fail(violation.code, violation.reason)
        self._on_control(protocol)


class _Partial:
    """A message whose frames are still coming (RFC 6455 section 5.4)."""

    __slots__ = ("_compressed", "_decoder", "_fragments", "_limits", "_parts", "_size", "_text")

    def __init__(self, limits: ReadLimits, *, text: bool, compressed: bool) -> None:
        self._limits = limits
        self._text = text
        self._compressed = compressed
        # What is compressed can be checked at the end only, and is inflated within the bound then.
        self._decoder = _UTF8() if text and not compressed else None
        self._parts: list[str | bytes] = []
        self._size = 0
        self._fragments = 0

    def add(self, data: bytes, *, last: bool) -> None:
        """Take the payload of the next frame."""
        self._fragments += 1
        self._size += len(data)
        limits = self._limits
        if limits.message_fragments and self._fragments > limits.message_fragments:
            raise Violation(CloseCode.MESSAGE_TOO_BIG, f"a message may have {limits.message_fragments} frames")
        if limits.message_bytes and self._size > limits.message_bytes:
            raise _too_big(limits.message_bytes)
        try:
            self._parts.append(data if self._decoder is None else self._decoder.decode(data, last))
        except UnicodeDecodeError:
            raise _not_utf8() from None

    def message(self) -> str | bytes:
        """Return the whole of it."""
        if self._decoder is not None:
            return "".join(self._parts)  # type: ignore[arg-type]  # all that was decoded is text
        message = b"".join(self._parts)  # type: ignore[arg-type]  # and the rest is bytes
        if self._compressed:
            message = _inflated(message, self._limits.message_bytes)
        return _text(message) if self._text else message


def _inflated(payload: bytes, most: int) -> bytes:
    try:
        return inflate(payload, most)
    except TooLarge:
        raise _too_big(most) from None
    except zlib.error:
        raise Violation(CloseCode.INVALID_DATA, "this is not compressed as agreed on") from None


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise _not_utf8() from None


def _not_utf8() -> Violation:
    return Violation(CloseCode.INVALID_DATA, "a text message is UTF-8")


def _too_big(most: int) -> Violation:
    return Violation(CloseCode.MESSAGE_TOO_BIG, f"a message may have {most} bytes")


def _nothing(*_: object) -> None:
    """Stand in for a callback after the end."""

"""Frames as bytes: what the server writes (RFC 6455 section 5.2; a server never masks)."""

from __future__ import annotations

_FIN_TEXT = 0x81
_FIN_BINARY = 0x82
_FIN_PING = 0x89
_SHORT_BYTES = 126
_TEXT_HEADS = tuple(bytes((_FIN_TEXT, size)) for size in range(_SHORT_BYTES))
"""The headers of short text frames, which most answers are."""


class Frame(bytes):
    """One or more complete frames, encoded once and ready for any number of connections."""

    __slots__ = ()


def encode(message: str | bytes) -> Frame:
    """Encode a message that many may get.

    Args:
        message: text becomes a text frame, bytes become a binary frame; a `Frame` is returned as it is.

    Raises:
        UnicodeEncodeError: when the text has lone surrogates, which UTF-8 cannot carry.
    """
    return message if isinstance(message, Frame) else Frame(encode_once(message))


def encode_once(message: str | bytes) -> bytes:
    """Encode a message for one connection, without the `Frame` that says it is encoded.

    Raises:
        UnicodeEncodeError: as `encode`.
    """
    if isinstance(message, str):
        return _text(message.encode())
    if isinstance(message, Frame):
        return message
    return header(_FIN_BINARY, len(message)) + message


def encode_text(payload: bytes) -> Frame:
    """Encode a text message that is UTF-8 already, as JSON encoders give it."""
    return Frame(_text(payload))


def ping(payload: bytes = b"") -> Frame:
    """Encode a ping (RFC 6455 section 5.5.2)."""
    return Frame(header(_FIN_PING, len(payload)) + payload)


def header(head: int, size: int) -> bytes:
    """Encode a frame's header.

    Args:
        head: its first byte.
        size: of the payload, in bytes.
    """
    if size < _SHORT_BYTES:
        return bytes((head, size))
    if size < 65536:
        return bytes((head, 126)) + size.to_bytes(2, "big")
    return bytes((head, 127)) + size.to_bytes(8, "big")


def _text(payload: bytes) -> bytes:
    size = len(payload)
    return (_TEXT_HEADS[size] if size < _SHORT_BYTES else header(_FIN_TEXT, size)) + payload

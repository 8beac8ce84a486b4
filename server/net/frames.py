"""Frames as bytes: what the server writes (RFC 6455 section 5.2; a server never masks)."""

from __future__ import annotations

_FIN_TEXT = 0x81
_FIN_BINARY = 0x82
_FIN_PING = 0x89


class Frame(bytes):
    """One or more complete frames, encoded once and ready for any number of connections."""

    __slots__ = ()


def encode(message: str | bytes) -> Frame:
    """Encode a message.

    Args:
        message: text becomes a text frame, bytes become a binary frame; a `Frame` is returned as it is.

    Raises:
        UnicodeEncodeError: when the text has lone surrogates, which UTF-8 cannot carry.
    """
    if isinstance(message, str):
        return _frame(_FIN_TEXT, message.encode())
    if isinstance(message, Frame):
        return message
    return _frame(_FIN_BINARY, message)


def encode_text(payload: bytes) -> Frame:
    """Encode a text message that is UTF-8 already, as JSON encoders give it."""
    return _frame(_FIN_TEXT, payload)


def ping(payload: bytes = b"") -> Frame:
    """Encode a ping (RFC 6455 section 5.5.2)."""
    return _frame(_FIN_PING, payload)


def _frame(head: int, payload: bytes) -> Frame:
    size = len(payload)
    if size < 126:
        return Frame(bytes((head, size)) + payload)
    if size < 65536:
        return Frame(bytes((head, 126)) + size.to_bytes(2, "big") + payload)
    return Frame(bytes((head, 127)) + size.to_bytes(8, "big") + payload)

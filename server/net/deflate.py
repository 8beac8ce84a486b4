"""permessage-deflate (RFC 7692), always without context takeover.

A message that refers to no earlier one is compressed once for everybody, and neither side keeps a window of 32 KiB
for a connection that says nothing. Messages under a size are not worth the time and stay as they are, which the
RFC leaves to the sender (section 6).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

from websockets.exceptions import NegotiationError
from websockets.extensions.base import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.typing import ExtensionParameter

from server.net.frames import header

WINDOW_BITS = 12
MEMORY_LEVEL = 5
"""A window of 4 KiB, which is more than a message has: a compressor takes 20 KiB of memory, and not 260."""
READ_WINDOW_BITS = 15
"""What a client may use."""

COMPRESSED = 0x40
"""RSV1 of a frame's first byte: the message is compressed (RFC 7692 section 6)."""
_WHOLE_MESSAGES = (0x81, 0x82)
"""Heads of unfragmented messages, text and binary, that are not compressed yet; control frames never are."""
_TAIL = b"\x00\x00\xff\xff"
"""What every block ends with that was flushed; it is not sent (section 7.2.1)."""


class _Offers(ServerPerMessageDeflateFactory):
    """Takes the first offer that allows to share compressed frames with others; a smaller window does not."""

    def process_request_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> tuple[list[ExtensionParameter], PerMessageDeflate]:
        answer, extension = super().process_request_params(params, accepted_extensions)
        if extension.local_max_window_bits < WINDOW_BITS:
            raise NegotiationError(f"a window of {WINDOW_BITS} bits is needed")
        return answer, extension


OFFERS = _Offers(server_no_context_takeover=True, client_no_context_takeover=True)

Compress = Callable[[bytes], bytes]
"""Takes one or more frames, and returns them with those compressed that are worth it."""


class TooLarge(ValueError):
    """A message is longer than it may be once it is inflated."""


def inflate(payload: bytes, most: int) -> bytes:
    """Return a message as it was before its sender compressed it (section 7.2.2).

    Args:
        payload: of all the message's frames.
        most: bytes that it may have; 0 for any number. No more than that is ever inflated.

    Raises:
        TooLarge: it has more.
        zlib.error: it is not compressed.
    """
    inflater = zlib.decompressobj(-READ_WINDOW_BITS)
    message = inflater.decompress(payload + _TAIL, most + 1 if most else 0)
    if most and len(message) > most:
        raise TooLarge(f"a message may have {most} bytes")
    return message


def compressor(least: int) -> Compress:
    """Return what compresses the messages of at least so many bytes."""

    def compress_frames(frames: bytes) -> bytes:
        parts: list[bytes] = []
        position = 0
        while position < len(frames):
            begin, stop = _extent(frames, position)
            payload = b""
            if stop - begin >= least and frames[position] in _WHOLE_MESSAGES:
                payload = _compress(frames[begin:stop])
            if 0 < len(payload) < stop - begin:  # else it was no use: an image, say
                parts += [header(frames[position] | COMPRESSED, len(payload)), payload]
            else:
                parts.append(frames[position:stop])
            position = stop
        return b"".join(parts)

    return compress_frames


def _compress(payload: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-WINDOW_BITS, memLevel=MEMORY_LEVEL)
    return (deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH)).removesuffix(_TAIL)


def _extent(frames: bytes, position: int) -> tuple[int, int]:
    """Return where a frame's payload begins, and where it ends."""
    size = frames[position + 1]
    begin = position + (2 if size < 126 else 4 if size == 126 else 10)
    if size >= 126:
        size = int.from_bytes(frames[position + 2 : begin], "big")
    return begin, begin + size

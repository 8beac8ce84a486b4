"""The server's answers, without I/O: bytes go in as they come, results come out.

This reads the text protocol's response to COM_QUERY as CLIENT_PROTOCOL_41 has it, without CLIENT_DEPRECATE_EOF
(neither is aiomysql's to choose otherwise). Rows are read in one tight loop: they are what takes the time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from server.db.backends import Result, Row

LARGEST_PART = 0xFFFFFF
"""A packet of this size goes on in the next one."""
MOST_COLUMNS = 4096
"""That a table can have."""
IN_TRANSACTION = 0x0001
MORE_RESULTS = 0x0008
NO_BACKSLASH_ESCAPES = 0x0200

_EOF, _ERROR = 0xFE, 0xFF
_LONGEST_EOF = 8
"""Longer packets that begin like an EOF are rows whose first value is huge."""
_NULL = 0xFB
_WIDTHS = {0xFC: 2, 0xFD: 3, 0xFE: 8}
"""How many bytes a length takes, by its first byte, where it is not that byte."""
_BINARY = 63
_MATCHED = re.compile(rb"Rows matched: (\d+)")

Decode = Callable[[Any], Any]

_INTEGER_TYPES = {1, 2, 3, 8, 9, 13}
_FLOAT_TYPES = {4, 5}
_STRING_TYPES = {15, 247, 248, 249, 250, 251, 252, 253, 254}
_BYTES_TYPES = {16, 255}
"""BIT and GEOMETRY."""


class ServerError(Exception):
    """The server answered with an error. What it said may quote values, so it does not stand in the text.

    Args:
        code: its number.
        message: what it said.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"error {code}")
        self.code = code
        self.message = message


class ProtocolError(Exception):
    """What the server sends makes no sense; the connection cannot be used any more."""


class Answer:
    """The answer to one command, which may have consisted of several statements.

    Args:
        status: the session's status flags before it.
        keeps_rows: whether rows stay in `rows`, for somebody who takes them while they come.

    Attributes:
        results: one for each statement that has succeeded.
        rows: those of the result that is being read.
        error: why the server did not go on.
        status: the session's status flags.
        complete: whether it was read to its end.
    """

    __slots__ = (
        "_chunks",
        "_columns",
        "_decoders",
        "_keeps_rows",
        "_missing",
        "_take",
        "complete",
        "error",
        "results",
        "rows",
        "status",
    )

    def __init__(self, status: int = 0, *, keeps_rows: bool = False) -> None:
        self.results: list[Result] = []
        self.rows: list[Row] = []
        self.error: ServerError | None = None
        self.status = status
        self.complete = False
        self._keeps_rows = keeps_rows
        self._chunks: list[bytes] = []
        self._missing = 0
        self._columns = 0
        self._decoders: list[Decode] = []
        # A function, not a method of this object: that would be a circle, and rows would wait for the collector.
        self._take: Callable[[Answer, bytes, int, int], None] = Answer._take_header

    def feed(self, chunk: bytes) -> None:
        """Read on.

        Raises:
            ProtocolError: this is no answer.
        """
        self._chunks.append(chunk)
        self._missing -= len(chunk)
        if self._missing > 0:
            return  # joined once, or a large value would be copied for each chunk
        buffer = b"".join(self._chunks)
        try:
            position, wanted = self._parse(buffer)
        except (LookupError, ValueError):
            raise ProtocolError("the server's answer is malformed") from None
        self._chunks = [buffer[position:]]
        self._missing = wanted - len(buffer)

    def _parse(self, buffer: bytes) -> tuple[int, int]:
        """Take whole packets; return where the first other one begins, and how far the buffer has to reach for it."""
        position, end = 0, len(buffer)
        while not self.complete:
            if self._take is Answer._take_row:
                position = self._take_rows(buffer, position)
            start, stop = position + 4, position + 4
            parts: list[bytes] = []
            while True:
                if end < start:
                    return position, start
                length = _integer(buffer, start - 4, 3)
                stop = start + length
                if end < stop:
                    return position, stop
                if length < LARGEST_PART:
                    break
                parts.append(buffer[start:stop])
                start = stop + 4
            if parts:
                payload = b"".join([*parts, buffer[start:stop]])
                self._take(self, payload, 0, len(payload))
            else:
                self._take(self, buffer, start, stop)
            position = stop
        if position != end:
            raise ProtocolError("the server sends more than it was asked for")
        return position, end

    def _take_rows(self, buffer: bytes, position: int) -> int:
        """Take rows up to something else; return where that begins."""
        end = len(buffer)
        decoders = self._decoders
        add = self.rows.append
        while end - position > 4:
            length = buffer[position] | buffer[position + 1] << 8 | buffer[position + 2] << 16
            at = position + 4
            stop = at + length
            if stop > end or length == LARGEST_PART:
                break
            if (first := buffer[at]) >= _EOF and (first == _ERROR or length <= _LONGEST_EOF):
                break
            row: list[Any] = []
            for decode in decoders:
                size = buffer[at]
                at += 1
                if size >= _NULL:
                    if size == _NULL:
                        row.append(None)
                        continue
                    width = _WIDTHS[size]
                    size = int.from_bytes(buffer[at : at + width], "little")
                    at += width
                row.append(decode(buffer[at : (at := at + size)]))
            if at != stop:
                raise ProtocolError("a row does not fill its packet")
            add(tuple(row))
            position = stop
        return position

    def _take_header(self, buffer: bytes, at: int, stop: int) -> None:
        match buffer[at]:
            case 0x00:  # OK
                changed, at = _length(buffer, at + 1)
                last_key, at = _length(buffer, at)
                if matched := _MATCHED.search(buffer, at + 4, stop):
                    changed = int(matched[1])  # of an UPDATE: not only the rows that are different now
                self._end(Result([], changed, last_key), _integer(buffer, at, 2))
            case 0xFF:  # an error
                self._fail(buffer, at, stop)
            case 0xFB:  # LOCAL INFILE
                raise ProtocolError("the server asks for a file of this machine")
            case _:  # columns follow
                self._columns, _ = _length(buffer, at)
                if not 0 < self._columns <= MOST_COLUMNS:
                    raise ProtocolError("the server's answer is malformed")
                self._decoders = []
                self._take = Answer._take_column

    def _take_column(self, buffer: bytes, _at: int, stop: int) -> None:
        # Its names are not needed. Behind them: charset (2 bytes), length (4), type, flags (2), decimals, filler (2).
        self._decoders.append(_decoder(buffer[stop - 6], _integer(buffer, stop - 12, 2)))
        if len(self._decoders) == self._columns:
            self._take = Answer._take_columns_end

    def _take_columns_end(self, buffer: bytes, at: int, stop: int) -> None:
        if buffer[at] == _ERROR:
            self._fail(buffer, at, stop)
        elif buffer[at] == _EOF:
            self._take = Answer._take_row
        else:
            raise ProtocolError("more columns than announced")

    def _take_row(self, buffer: bytes, at: int, stop: int) -> None:
        """Take what is no ordinary row."""
        if buffer[at] == _ERROR:
            self._fail(buffer, at, stop)
        elif buffer[at] == _EOF and stop - at <= _LONGEST_EOF:
            rows = self.rows
            if self._keeps_rows:
                rows = []
            else:
                self.rows = []
            self._end(Result(rows), _integer(buffer, at + 3, 2))
        else:
            self.rows.append(self._row(buffer, at, stop))

    def _row(self, buffer: bytes, at: int, stop: int) -> Row:
        row: list[Any] = []
        for decode in self._decoders:
            if buffer[at] == _NULL:
                row.append(None)
                at += 1
                continue
            size, at = _length(buffer, at)
            row.append(decode(buffer[at : (at := at + size)]))
        if at != stop:
            raise ProtocolError("a row does not fill its packet")
        return tuple(row)

    def _end(self, result: Result, status: int) -> None:
        self.results.append(result)
        self.status = status
        self.complete = not status & MORE_RESULTS
        self._take = Answer._take_header

    def _fail(self, buffer: bytes, at: int, stop: int) -> None:
        text = buffer[at + 3 : stop]
        if text.startswith(b"#"):
            text = text[6:]  # behind the SQLSTATE
        self.error = ServerError(_integer(buffer, at + 1, 2), text.decode(errors="replace"))
        self.complete = True


def _integer(buffer: bytes, at: int, width: int) -> int:
    if at + width > len(buffer):
        raise IndexError
    return int.from_bytes(buffer[at : at + width], "little")


def _length(buffer: bytes, at: int) -> tuple[int, int]:
    """Read a length-encoded integer; return it, and what follows."""
    first = buffer[at]
    if first < _NULL:
        return first, at + 1
    width = _WIDTHS[first]
    return _integer(buffer, at + 1, width), at + 1 + width


def _decoder(type_code: int, charset: int) -> Decode:
    """Return what makes the value from a column's text."""
    if type_code in _INTEGER_TYPES:
        return int
    if type_code in _FLOAT_TYPES:
        return float
    if type_code in _BYTES_TYPES or (type_code in _STRING_TYPES and charset == _BINARY):
        return bytes
    return bytes.decode  # text; and decimal numbers, moments and JSON, which are ASCII or UTF-8

"""Logging: one line an event on standard error, `key=value`; JSON on request, priorities for the journal.

Nothing that a person wrote and no secret may be a field: no message text, password, cookie or token.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from typing import Any, Literal, TextIO

LogFormat = Literal["auto", "text", "journal", "json"]

_PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}
_COLOURS = {logging.ERROR: "31", logging.WARNING: "33", logging.INFO: "36", logging.DEBUG: "90"}
_RESERVED = frozenset('"= \\')


class Log:
    """A logger whose events carry fields.

    Args:
        name: the part of the product that speaks, as in `net` or `service.chat`.
    """

    __slots__ = ("_logger",)

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, **fields: object) -> None:
        """Log what only somebody who debugs wants to see."""
        self._emit(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Log a normal event of the server's life."""
        self._emit(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Log what an operator should look at some day."""
        self._emit(logging.WARNING, event, fields)

    def error(self, event: str, *, error: BaseException | None = None, **fields: object) -> None:
        """Log what an operator should look at now; `error` adds its traceback."""
        self._emit(logging.ERROR, event, fields, error)

    def _emit(self, level: int, event: str, fields: Mapping[str, object], error: BaseException | None = None) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", event, extra={"fields": fields}, exc_info=error)


def configure(level: str, form: LogFormat, stream: TextIO | None = None, *, process: str = "") -> None:
    """Send every log record of this process to one stream.

    Args:
        level: the lowest level that is written.
        form: `auto` is `journal` where systemd listens (JOURNAL_STREAM is set), else `text`.
        stream: by default standard error.
        process: what this process is called; each of its events says so then.
    """
    stream = sys.stderr if stream is None else stream
    if form == "auto":
        form = "journal" if "JOURNAL_STREAM" in os.environ and not stream.isatty() else "text"
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_formatter(form, colour=stream.isatty()))
    if process:
        handler.addFilter(_Signed(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Libraries speak up when something is wrong; their everyday talk is not ours.
    for name in ("uvicorn", "websockets", "asyncio", "nats"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


class _Signed(logging.Filter):
    """Adds the process's name to the fields of each record."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def filter(self, record: logging.LogRecord) -> bool:
        record.fields = {**_fields(record), "process": self._process}
        return True


class _LineFormatter(logging.Formatter):
    """`time level name event key=value`; a traceback follows, indented, so that an event stays one block."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        level = record.levelname.lower()
        if self._colour:
            level = f"\x1b[{_COLOURS.get(record.levelno, '0')}m{level}\x1b[0m"
        return f"{moment}.{int(record.msecs):03d}Z {level} {self.event(record)}"

    def event(self, record: logging.LogRecord) -> str:
        """Return the part of the line that every text form shares."""
        parts = [f"{record.name}: {_one_line(record.getMessage())}"]
        parts += [f"{key}={_quoted(value)}" for key, value in _fields(record).items()]
        line = " ".join(parts)
        if record.exc_info and record.exc_info[1]:
            line += "\n    " + self.formatException(record.exc_info).replace("\n", "\n    ")
        return line


class _JournalFormatter(_LineFormatter):
    """`<priority>name: event key=value` (sd-daemon(3)); the journal keeps the time itself."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{_PRIORITIES.get(record.levelno, 6)}>"
        return "\n".join(prefix + line for line in self.event(record).split("\n"))


class _JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry: dict[str, object] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "name": record.name,
            "event": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info and record.exc_info[1]:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str, ensure_ascii=False)


def _formatter(form: LogFormat, *, colour: bool) -> logging.Formatter:
    if form == "json":
        return _JsonFormatter()
    return _JournalFormatter(colour=False) if form == "journal" else _LineFormatter(colour=colour)


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    fields: Mapping[str, Any] = getattr(record, "fields", {})
    return fields


def _quoted(value: object) -> str:
    """Write a value so that its end is clear: quoted and escaped when it holds a space or anything odd."""
    text = value if isinstance(value, str) else str(value)
    plain = text.isprintable() and text.isascii() and not _RESERVED.intersection(text) and text != ""
    return text if plain else json.dumps(text)


def _one_line(text: str) -> str:
    """Escape what would break a line in two or steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)

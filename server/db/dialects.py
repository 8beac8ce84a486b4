"""What differs between databases, one object for each; nothing else asks which database it is."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import apsw
import msgspec

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


class Kind(enum.Enum):
    """What a column holds; a dialect has a type, an encoder and a decoder for each."""

    INTEGER = "integer"
    BIG_INTEGER = "big integer"
    FLOAT = "float"
    TEXT = "text"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"
    BYTES = "bytes"
    JSON = "json"


Codec = Callable[[Any], Any]


class Dialect(Protocol):
    """How one database wants things written and keeps values.

    Attributes:
        name: for people.
        placeholder: where an argument goes.
        types: the column type of each kind.
        encoders: how a Python value of a kind is kept, where it is not kept as it is.
        decoders: the way back.
    """

    name: str
    placeholder: str
    types: Mapping[Kind, str]
    encoders: Mapping[Kind, Codec]
    decoders: Mapping[Kind, Codec]

    def quote(self, name: str) -> str:
        """Write an identifier; quoted only where SQL would take it for something else."""


class SQLiteDialect:
    """SQLite 3.35 or newer (RETURNING)."""

    def __init__(self) -> None:
        self.name = "sqlite"
        self.placeholder = "?"
        self.types: Mapping[Kind, str] = {
            Kind.INTEGER: "INTEGER",
            Kind.BIG_INTEGER: "INTEGER",
            Kind.FLOAT: "REAL",
            Kind.TEXT: "TEXT",
            Kind.BOOLEAN: "INTEGER",
            Kind.TIMESTAMP: "INTEGER",
            Kind.BYTES: "BLOB",
            Kind.JSON: "TEXT",
        }
        self.encoders: Mapping[Kind, Codec] = {Kind.TIMESTAMP: to_microseconds, Kind.JSON: to_json}
        self.decoders: Mapping[Kind, Codec] = {Kind.TIMESTAMP: from_microseconds, Kind.BOOLEAN: bool}

    def quote(self, name: str) -> str:
        """Write an identifier; quoted only where SQL would take it for something else."""
        if name.isidentifier() and name.isascii() and name.upper() not in apsw.keywords:
            return name
        return '"' + name.replace('"', '""') + '"'


def to_microseconds(moment: dt.datetime) -> int:
    """Store a moment as whole microseconds since 1970 UTC: sorts right and is exact."""
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> dt.datetime:
    """Read what `to_microseconds` wrote."""
    return _EPOCH + dt.timedelta(microseconds=microseconds)


def to_json(value: Any) -> str:
    """Store a value as JSON text."""
    return msgspec.json.encode(value).decode()


SQLITE = SQLiteDialect()

"""What a value is, whatever the database: its kind, and what the kind leaves open."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import functools
import math
import uuid
from collections.abc import Callable
from typing import Any

import msgspec

Codec = Callable[[Any], Any]


class Kind(enum.Enum):
    """What a column holds; a dialect knows how it keeps each."""

    INTEGER = "whole number"
    FLOAT = "number"
    DECIMAL = "decimal number"
    TEXT = "text"
    BOOLEAN = "truth value"
    TIMESTAMP = "moment"
    DATE = "date"
    BYTES = "bytes"
    JSON = "JSON value"
    UUID = "UUID"
    ENUM = "member of an enumeration"


class ValueType:
    """The type of a column or of an expression. Two are the same only when they are one object.

    Args:
        kind: what it is.
        length: characters or bytes at the most; None when there is no bound.
        digits: of a decimal number, in all.
        places: of a decimal number, behind the point.
        python: the class of an enumeration, or the type of a JSON value.

    Attributes:
        checked: returns a value as this type has it; raises TypeError for one of another type, and ValueError for
            one that does not fit.
    """

    __slots__ = ("checked", "digits", "kind", "length", "places", "python")

    def __init__(
        self, kind: Kind, *, length: int | None = None, digits: int = 0, places: int = 0, python: Any = None
    ) -> None:
        self.kind = kind
        self.length = length
        self.digits = digits
        self.places = places
        self.python = python
        self.checked: Codec = functools.partial(_CHECKS[kind], self)


_SMALLEST, _LARGEST = -(2**63), 2**63 - 1


def _integer(_: ValueType, value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"is a whole number, not {type(value).__name__}")
    if not _SMALLEST <= value <= _LARGEST:
        raise ValueError("does not fit into 64 bits")
    return value


def _float(_: ValueType, value: Any) -> float:
    if type(value) not in (int, float):
        raise TypeError(f"is a number, not {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError("does not fit into a floating-point number") from None
    if not math.isfinite(number):
        raise ValueError("is a finite number")  # SQLite makes NULL of NaN, and MySQL has neither NaN nor infinity
    return number


def _decimal(value_type: ValueType, value: Any) -> decimal.Decimal:
    if type(value) is int:
        value = decimal.Decimal(value)
    if not isinstance(value, decimal.Decimal):
        raise TypeError(f"is a Decimal, not {type(value).__name__}")
    if not value.is_finite():
        raise ValueError("is a finite number")
    _, digits, exponent = value.normalize().as_tuple()
    assert isinstance(exponent, int)
    if -exponent > value_type.places:
        raise ValueError(f"has at most {value_type.places} digits behind the point")
    if len(digits) + exponent > value_type.digits - value_type.places:
        raise ValueError(f"has at most {value_type.digits - value_type.places} digits before the point")
    return value


def _text(value_type: ValueType, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"is text, not {type(value).__name__}")
    if value_type.length is not None and len(value) > value_type.length:
        raise ValueError(f"has at most {value_type.length} characters")
    if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
        raise ValueError("has no half of a surrogate pair")
    return value


def _boolean(_: ValueType, value: Any) -> bool:
    if type(value) is not bool:
        raise TypeError(f"is true or false, not {type(value).__name__}")
    return value


def _timestamp(_: ValueType, value: Any) -> dt.datetime:
    if not isinstance(value, dt.datetime):
        raise TypeError(f"is a moment, not {type(value).__name__}")
    if value.tzinfo is None:
        raise ValueError("needs a time zone: datetime.now(UTC)")
    try:
        return value.astimezone(dt.UTC)
    except OverflowError:
        raise ValueError("is between the years 1 and 9999") from None


def _date(_: ValueType, value: Any) -> dt.date:
    if type(value) is not dt.date:
        raise TypeError(f"is a date, not {type(value).__name__}")
    return value


def _bytes(value_type: ValueType, value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"is bytes, not {type(value).__name__}")
    if value_type.length is not None and len(value) > value_type.length:
        raise ValueError(f"has at most {value_type.length} bytes")
    return value


def _json(value_type: ValueType, value: Any) -> Any:
    return msgspec.convert(value, value_type.python)


def _uuid(_: ValueType, value: Any) -> uuid.UUID:
    if not isinstance(value, uuid.UUID):
        raise TypeError(f"is a UUID, not {type(value).__name__}")
    return value


def _enum(value_type: ValueType, value: Any) -> Any:
    if not isinstance(value, value_type.python):
        raise TypeError(f"is a {value_type.python.__name__}, not {type(value).__name__}")
    return value


_CHECKS: dict[Kind, Callable[[ValueType, Any], Any]] = {
    Kind.INTEGER: _integer,
    Kind.FLOAT: _float,
    Kind.DECIMAL: _decimal,
    Kind.TEXT: _text,
    Kind.BOOLEAN: _boolean,
    Kind.TIMESTAMP: _timestamp,
    Kind.DATE: _date,
    Kind.BYTES: _bytes,
    Kind.JSON: _json,
    Kind.UUID: _uuid,
    Kind.ENUM: _enum,
}

INTEGER = ValueType(Kind.INTEGER)
FLOAT = ValueType(Kind.FLOAT)
TEXT = ValueType(Kind.TEXT)
BOOLEAN = ValueType(Kind.BOOLEAN)
TIMESTAMP = ValueType(Kind.TIMESTAMP)
DATE = ValueType(Kind.DATE)
UUID = ValueType(Kind.UUID)


def text_beyond(text: str) -> str | None:
    """Return the smallest text that is larger than all that begin with `text`; None when there is none."""
    while text:
        last = ord(text[-1])
        if last < 0x10FFFF:
            # Surrogates are no characters.
            return text[:-1] + chr(0xE000 if last == 0xD7FF else last + 1)
        text = text[:-1]
    return None

"""A statement as text: arguments become literals, so that each statement is one round trip and nothing is kept.

Only a backslash and a quote end or change a literal in an utf8mb4 session whose sql_mode is ours; everything else,
zero bytes and line breaks included, stands for itself.
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Callable
from typing import Any

from server.db.backends import Statement
from server.db.errors import QueryError


def rendered(statement: Statement) -> bytes:
    """Return what the server is sent for a statement.

    Raises:
        QueryError: an argument cannot be written, or there are too few or too many; never shows an argument.
    """
    text = statement.sql
    if statement.arguments:
        try:
            text %= tuple(map(literal, statement.arguments))
        except (TypeError, ValueError):
            raise QueryError("the arguments of the query do not match its placeholders") from None
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise QueryError("the query contains half of a surrogate pair, which is no text") from None


def literal(value: Any) -> str:
    """Write a value as a literal.

    Raises:
        QueryError: it is of a type that the dialect's encoders do not give, or no number.
    """
    write = _WRITERS.get(type(value))
    if write is None:
        raise QueryError(f"an argument of the query is of type {type(value).__name__}")
    return write(value)


def _float(value: float) -> str:
    if not math.isfinite(value):
        raise QueryError("an argument of the query is no finite number")
    # Without an exponent it would be a decimal number, which is rounded differently.
    text = repr(value)
    return text if "e" in text else text + "e0"


def _decimal(value: decimal.Decimal) -> str:
    if not value.is_finite():
        raise QueryError("an argument of the query is no finite number")
    return format(value, "f")  # with an exponent it would be a floating-point number


_WRITERS: dict[type, Callable[[Any], str]] = {
    str: lambda value: "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'",
    int: int.__repr__,
    float: _float,
    bytes: lambda value: "x'" + value.hex() + "'",
    decimal.Decimal: _decimal,
    bool: lambda value: "1" if value else "0",
    type(None): lambda _: "NULL",
}

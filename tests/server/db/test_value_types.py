"""What a value has to be to be one of a type, whatever the database."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid
from typing import Any

import pytest

from server.db.value_types import BOOLEAN, DATE, FLOAT, INTEGER, TEXT, TIMESTAMP, UUID, Kind, ValueType
from tests.server.db.tables import MOMENT, Color, Level, Place

PRICE = ValueType(Kind.DECIMAL, digits=5, places=2)
SHORT = ValueType(Kind.TEXT, length=3)
FEW = ValueType(Kind.BYTES, length=3)
COLOR = ValueType(Kind.ENUM, python=Color)
LEVEL = ValueType(Kind.ENUM, python=Level)
PLACE = ValueType(Kind.JSON, python=Place)
NEW_YORK = dt.timezone(dt.timedelta(hours=-5))


class OtherColor(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value_type", "given", "kept"),
    [
        (INTEGER, -(2**63), -(2**63)),
        (INTEGER, 2**63 - 1, 2**63 - 1),
        (FLOAT, 3, 3.0),
        (FLOAT, 1e308, 1e308),
        (PRICE, decimal.Decimal("999.99"), decimal.Decimal("999.99")),
        (PRICE, decimal.Decimal("1.500"), decimal.Decimal("1.5")),
        (PRICE, -7, decimal.Decimal(-7)),
        (PRICE, decimal.Decimal("1E2"), decimal.Decimal(100)),
        (PRICE, decimal.Decimal("0E+9"), decimal.Decimal(0)),
        (TEXT, "\0 😀", "\0 😀"),
        (SHORT, "😀😀😀", "😀😀😀"),
        (BOOLEAN, False, False),
        (TIMESTAMP, MOMENT.astimezone(NEW_YORK), MOMENT),
        (DATE, dt.date(1, 1, 1), dt.date(1, 1, 1)),
        (FEW, b"\0\xff", b"\0\xff"),
        (COLOR, Color.RED, Color.RED),
        (LEVEL, Level.HIGH, Level.HIGH),
        (UUID, uuid.UUID(int=5), uuid.UUID(int=5)),
        (PLACE, Place("Oslo", [1]), Place("Oslo", [1])),
    ],
)
def test_what_fits(value_type: ValueType, given: Any, kept: Any) -> None:
    """It is kept as the type has it."""
    checked = value_type.checked(given)
    assert checked == kept
    assert type(checked) is type(kept)


@pytest.mark.parametrize(
    ("value_type", "value", "reason"),
    [
        (INTEGER, 2**63, "64 bits"),
        (INTEGER, -(2**63) - 1, "64 bits"),
        (INTEGER, True, "not bool"),
        (INTEGER, 1.0, "not float"),
        (FLOAT, float("nan"), "finite"),
        (FLOAT, float("-inf"), "finite"),
        (FLOAT, 10**400, "does not fit"),
        (FLOAT, True, "not bool"),
        (FLOAT, "1", "not str"),
        (PRICE, 1.5, "not float"),
        (PRICE, True, "not bool"),
        (PRICE, decimal.Decimal("0.001"), "2 digits behind the point"),
        (PRICE, decimal.Decimal(1000), "3 digits before the point"),
        (PRICE, 1000, "3 digits before the point"),
        (PRICE, decimal.Decimal("NaN"), "finite"),
        (PRICE, decimal.Decimal("Infinity"), "finite"),
        (TEXT, b"a", "not bytes"),
        (TEXT, "a\udfff", "surrogate"),
        (SHORT, "abcd", "at most 3 characters"),
        (BOOLEAN, 0, "not int"),
        (TIMESTAMP, dt.datetime(2026, 1, 1), "time zone"),
        (TIMESTAMP, dt.date(2026, 1, 1), "not date"),
        (TIMESTAMP, dt.datetime.min.replace(tzinfo=dt.timezone(dt.timedelta(hours=1))), "years 1 and 9999"),
        (TIMESTAMP, dt.datetime.max.replace(tzinfo=NEW_YORK), "years 1 and 9999"),
        (DATE, MOMENT, "not datetime"),
        (FEW, b"abcd", "at most 3 bytes"),
        (FEW, bytearray(b"a"), "not bytearray"),
        (COLOR, "red", "is a Color, not str"),
        (COLOR, OtherColor.RED, "is a Color"),
        (UUID, "00000000-0000-0000-0000-000000000005", "not str"),
        (PLACE, {"floors": []}, "city"),
    ],
)
def test_what_does_not_fit(value_type: ValueType, value: Any, reason: str) -> None:
    """It is refused with a reason, and never bent until it fits."""
    with pytest.raises((TypeError, ValueError), match=reason):
        value_type.checked(value)

"""The kinds of columns."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

from server.db.columns import Column, Default, Options, Table
from server.db.dialects import moment
from server.db.errors import QueryError
from server.db.value_types import BOOLEAN, DATE, FLOAT, INTEGER, TIMESTAMP, UUID, Kind, ValueType

T = TypeVar("T")
E = TypeVar("E", bound=enum.Enum)
MOST_DIGITS = 18
"""Of a decimal number: what a whole number of 64 bits holds, because SQLite has no decimal numbers."""


class Integer(Column[T]):
    """A whole number of 64 bits. As the only primary key it is counted by the database."""

    @overload
    def __init__(self: Integer[int], *, nullable: Literal[False] = ..., default: Default[int] = ...,
                 **options: Unpack[Options]) -> None: ...  # fmt: skip
    @overload
    def __init__(self: Integer[int | None], *, nullable: Literal[True], default: Default[int] = ...,
                 **options: Unpack[Options]) -> None: ...  # fmt: skip
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.value_type = INTEGER


BigInteger = Integer
"""The same, for those who look for it under this name: every whole number here has 64 bits."""


class Float(Column[T]):
    """A floating-point number of 64 bits, finite."""

    @overload
    def __init__(self: Float[float], *, nullable: Literal[False] = ..., default: Default[float] = ...,
                 **options: Unpack[Options]) -> None: ...  # fmt: skip
    @overload
    def __init__(self: Float[float | None], *, nullable: Literal[True], default: Default[float] = ...,
                 **options: Unpack[Options]) -> None: ...  # fmt: skip
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.value_type = FLOAT


class Decimal(Column[T]):
    """A decimal number, exact.

    Args:
        digits: in all, at the most 18.
        places: of them behind the point.
    """

    @overload
    def __init__(self: Decimal[decimal.Decimal], digits: int, places: int, *, nullable: Literal[False] = ...,
                 default: Default[decimal.Decimal] = ..., **options: Unpack[Options]) -> None: ...  # fmt: skip
    @overload
    def __init__(self: Decimal[decimal.Decimal | None], digits: int, places: int, *, nullable: Literal[True],
                 default: Default[decimal.Decimal] = ..., **options: Unpack[Options]) -> None: ...  # fmt: skip
    def __init__(self, digits: int, places: int, **options: Any) -> None:
        super().__init__(**options)
        if not 0 <= places <= digits <= MOST_DIGITS or digits == 0:
            raise QueryError(f"a Decimal has 1 to {MOST_DIGITS} digits, and no more places than digits")
        self.value_type = ValueType(Kind.DECIMAL, digits=digits, places=places)


class Boolean(Column[T]):
    """True or false."""

    @overload
    def __init__(self: Boolean[bool], *, nullable: Literal[False] = ..., default: Default[bool] = ...,
                 **options: Unpack[Options]) -> None: ...  # fmt: skip
    @overload
    def __init__(self: Boolean[bool | None], *, nullable: Literal[True], default: Default[bool] = ...,
                 **options: Unpack[Options]) -> None: ...  # fmt: skip
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.value_type = BOOLEAN


class Text(Column[T]):
    """Text, compared by code points: case and trailing spaces count.

    Args:
        max_length: characters at the most; MySQL needs a bound of at most 768 where the column has an index.
    """

    @overload
    def __init__(self: Text[str], *, max_length: int | None = ..., nullable: Literal[False] = ...,
                 default: Default[str] = ..., **options: Unpack[Options]) -> None: ...  # fmt: skip
    @overload
    def __init__(self: Text[str | None], *, max_length: int | None = ..., nullable: Literal[True],
                 default: Default[str] = ..., **options: Unpack[Options]) -> None: ...  # fmt: skip
    def __init__(self, *, max_length: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.value_type = ValueType(Kind.TEXT, length=max_length)


class Timestamp(Column[T]):
    """A moment: an aware datetime, kept in UTC to the microsecond."""

    @overload
    def __init__(self: Timestamp[dt.datetime], *, nullable: Literal[False] = ...,
                 default: Default[dt.datetime] = ..., **options: Unpack[Options]) -> None: ...  # fmt: skip
    @overload
    def __init__(self: Timestamp[dt.datetime | None], *, nullable: Literal[True],
                 default: Default[dt.datetime] = ..., **options: Unpack[Options]) -> None: ...  # fmt: skip
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.value_type = TIMESTAMP
        # Rows are full of moments that nobody looks at, and to make one takes as long as all else of an object.
        self.late = not self.primary_key

    if not TYPE_CHECKING:  # for mypy it is as every column

        def __get__(self, instance: Any, owner: Any) -> Any:
            return owner.dbo_expressions[self.position] if instance is None else self.of(instance)

    def of(self, instance: Table) -> Any:
        value = instance.dbo_values[self.position]
        return value if value is None or isinstance(value, dt.datetime) else moment(value)


class Date(Column[T]):
    """A day of the calendar."""

    @overload
    def __init__(self: Date[dt.date], *, nullable: Literal[False] = ..., default: Default[dt.date] = ...,
                 **options: Unpack[Options]) -> None: ...  # fmt: skip
    @overload
    def __init__(self: Date[dt.date | None], *, nullable: Literal[True], default: Default[dt.date] = ...,
                 **options: Unpack[Options]) -> None: ...  # fmt: skip
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.value_type = DATE


class Bytes(Column[T]):
    """Bytes.

    Args:
        max_length: bytes at the most; MySQL needs a bound where the column has an index.
    """

    @overload
    def __init__(self: Bytes[bytes], *, max_length: int | None = ..., nullable: Literal[False] = ...,
                 default: Default[bytes] = ..., **options: Unpack[Options]) -> None: ...  # fmt: skip
    @overload
    def __init__(self: Bytes[bytes | None], *, max_length: int | None = ..., nullable: Literal[True],
                 default: Default[bytes] = ..., **options: Unpack[Options]) -> None: ...  # fmt: skip
    def __init__(self, *, max_length: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.value_type = ValueType(Kind.BYTES, length=max_length)


class Json(Column[T]):
    """A value of a type that msgspec knows, kept as JSON text. Changes in place are noticed when it is saved.

    Args:
        type_: the type, such as `list[str]` or a msgspec Struct.
    """

    @overload
    def __init__(self: Json[T], type_: type[T], *, nullable: Literal[False] = ..., default: Default[T] = ...,
                 **options: Unpack[Options]) -> None: ...  # fmt: skip
    @overload
    def __init__(self: Json[T | None], type_: type[T], *, nullable: Literal[True], default: Default[T] = ...,
                 **options: Unpack[Options]) -> None: ...  # fmt: skip
    def __init__(self, type_: Any, **options: Any) -> None:
        super().__init__(**options)
        self.value_type = ValueType(Kind.JSON, python=type_)


class Uuid(Column[T]):
    """A UUID, kept as 16 bytes; `default=uuid.uuid4` makes one."""

    @overload
    def __init__(self: Uuid[uuid.UUID], *, nullable: Literal[False] = ..., default: Default[uuid.UUID] = ...,
                 **options: Unpack[Options]) -> None: ...  # fmt: skip
    @overload
    def __init__(self: Uuid[uuid.UUID | None], *, nullable: Literal[True], default: Default[uuid.UUID] = ...,
                 **options: Unpack[Options]) -> None: ...  # fmt: skip
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.value_type = UUID


class Enum(Column[T]):
    """A member of an enumeration, kept as its value: all of them text, or all of them whole numbers.

    Args:
        enumeration: the class.
    """

    @overload
    def __init__(self: Enum[E], enumeration: type[E], *, nullable: Literal[False] = ..., default: Default[E] = ...,
                 **options: Unpack[Options]) -> None: ...  # fmt: skip
    @overload
    def __init__(self: Enum[E | None], enumeration: type[E], *, nullable: Literal[True], default: Default[E] = ...,
                 **options: Unpack[Options]) -> None: ...  # fmt: skip
    def __init__(self, enumeration: Any, **options: Any) -> None:
        # A member that is callable is no function that makes a value.
        super().__init__(**options)
        values = [member.value for member in enumeration]
        kinds = {type(value) for value in values}
        if kinds == {str}:
            self.value_type = ValueType(Kind.ENUM, length=max(map(len, values)), python=enumeration)
        elif kinds == {int}:
            self.value_type = ValueType(Kind.ENUM, python=enumeration)
        else:
            raise QueryError(f"the values of {enumeration.__name__} have to be all text, or all whole numbers")


class Version(Column[int]):
    """A number that every save raises: an object that somebody else has changed meanwhile cannot be saved.

    The save of a stale object raises StaleObject. Name it as you like; a table has at most one.
    """

    def __init__(self) -> None:
        super().__init__(default=1, immutable=True)  # but for the saves themselves
        self.value_type = INTEGER

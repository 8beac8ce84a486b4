"""Columns: on the class an expression for queries, on an object a value that was checked when it was set."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, ClassVar, Generic, Literal, TypeVar, overload

import msgspec

from server.db.dialects import Codec, Dialect, Kind
from server.db.errors import QueryError, ValidationError
from server.db.expressions import Compiler, Expression

T = TypeVar("T")
OnDelete = Literal["cascade", "restrict", "set null"]

_INTEGER_RANGE = range(-(2**63), 2**63)


def now() -> dt.datetime:
    """Return the present moment, aware, in UTC: the usual default of a `Timestamp`."""
    return dt.datetime.now(dt.UTC)


class Table:
    """What columns and queries know of a table and its rows; `DbObject` is what one subclasses.

    Attributes:
        dbo_tablename: the table's name.
        dbo_columns: the columns, in order.
        dbo_keys: those of the primary key.
        dbo_expressions: the columns as expressions, in the same order.
        dbo_prefix: the name that a prefix has in queries; None for the class itself.
        dbo_values: a row's values, in the order of the columns.
        dbo_changed: the columns that were set since the row was read or written.
        dbo_stored: whether the object has a row; the key's value does not tell.
    """

    dbo_tablename: ClassVar[str] = ""
    dbo_columns: ClassVar[tuple[Column[Any], ...]] = ()
    dbo_keys: ClassVar[tuple[Column[Any], ...]] = ()
    dbo_expressions: ClassVar[tuple[ColumnExpression[Any], ...]] = ()
    dbo_prefix: ClassVar[str | None] = None
    dbo_values: list[Any]
    dbo_changed: set[Column[Any]]
    dbo_stored: bool

    __slots__ = ("__dict__", "dbo_changed", "dbo_stored", "dbo_values")


class ColumnExpression(Expression[T]):
    """A column of a table, or of one of its prefixes, in a query.

    Attributes:
        owner: the table's class, or its prefix.
        column: the column itself.
    """

    __slots__ = ("column", "kind", "owner")

    def __init__(self, owner: type[Table], column: Column[T]) -> None:
        self.owner = owner
        self.column = column
        self.kind = column.kind

    def compile(self, out: Compiler) -> None:
        prefix = self.owner.dbo_prefix
        if prefix is not None or out.qualified:
            out.name(prefix or self.owner.dbo_tablename)
            out.text(".")
        out.name(self.column.name)

    def __repr__(self) -> str:
        return f"<{self.owner.__name__}.{self.column.name}>"


class Column(Generic[T]):
    """What every column has. Use one of the subclasses.

    Args:
        primary_key: part of the table's key.
        nullable: may be without a value.
        default: a value, or a function that makes one, for objects that are made without it.
        unique: no two rows have the same value.
        index: the database keeps an index.
        immutable: is never written after the insert.

    Attributes:
        name: the attribute's and the column's name.
        position: its place among the class's columns.
    """

    kind: Kind

    def __init__(
        self,
        *,
        primary_key: bool = False,
        nullable: bool = False,
        default: Any = None,
        unique: bool = False,
        index: bool = False,
        immutable: bool = False,
    ) -> None:
        self.primary_key = primary_key
        self.nullable = nullable
        self.default = default
        self.unique = unique
        self.index = index
        self.immutable = immutable or primary_key
        self.name = ""
        self.position = -1
        self.table = ""

    def __set_name__(self, owner: type[Table], name: str) -> None:
        self.name = name
        self.table = owner.dbo_tablename

    @overload
    def __get__(self, instance: None, owner: type[Table]) -> ColumnExpression[T]: ...
    @overload
    def __get__(self, instance: Table, owner: type[Table]) -> T: ...
    def __get__(self, instance: Table | None, owner: type[Table]) -> Any:
        if instance is None:
            return owner.dbo_expressions[self.position]
        return instance.dbo_values[self.position]

    def __set__(self, instance: Table, value: T) -> None:
        if instance.dbo_stored and self.immutable:
            raise ValidationError(self.table, self.name, "is immutable")
        self.assign(instance, value)

    def assign(self, instance: Table, value: Any) -> None:
        """Check a value and set it, and note that it changed."""
        value = self.validated(value)
        if instance.dbo_values[self.position] != value:
            instance.dbo_values[self.position] = value
            instance.dbo_changed.add(self)

    def validated(self, value: Any) -> Any:
        """Return the value as the column keeps it.

        Raises:
            ValidationError: it does not fit.
        """
        if value is None:
            if self.nullable or self.generated:
                return None
            raise self.invalid("needs a value")
        return self.checked(value)

    def checked(self, value: Any) -> Any:
        """Check a value that is not None; subclasses say what fits."""
        return value

    def invalid(self, reason: str) -> ValidationError:
        """Make the error that names table, column and reason."""
        return ValidationError(self.table, self.name, reason)

    @property
    def generated(self) -> bool:
        """Whether the database makes the value when there is none."""
        return False

    def initial(self) -> Any:
        """Return the value of a new object that was made without one."""
        return self.default() if callable(self.default) else self.default

    def decoder(self, dialect: Dialect) -> Codec | None:
        """Return what makes the Python value of what the database keeps; None where it is the same."""
        return dialect.decoders.get(self.kind)


class Integer(Column[T]):
    """A whole number of 64 bits. As the only primary key it is made by the database."""

    kind = Kind.INTEGER

    @overload
    def __init__(self: Integer[int], *, primary_key: bool = ..., nullable: Literal[False] = ...,
                 default: int | Callable[[], int] | None = ..., unique: bool = ..., index: bool = ...,
                 immutable: bool = ...) -> None: ...  # fmt: skip
    @overload
    def __init__(self: Integer[int | None], *, nullable: Literal[True],
                 default: int | Callable[[], int] | None = ..., unique: bool = ..., index: bool = ...,
                 immutable: bool = ...) -> None: ...  # fmt: skip
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    def checked(self, value: Any) -> int:
        if type(value) is not int:
            raise self.invalid(f"is a whole number, not {type(value).__name__}")
        if value not in _INTEGER_RANGE:
            raise self.invalid("does not fit into 64 bits")
        return value

    @property
    def generated(self) -> bool:
        return self.primary_key


class BigInteger(Integer[T]):
    """A whole number of 64 bits where a database also has shorter ones."""

    kind = Kind.BIG_INTEGER


class Float(Column[T]):
    """A floating-point number of 64 bits."""

    kind = Kind.FLOAT

    @overload
    def __init__(self: Float[float], *, nullable: Literal[False] = ...,
                 default: float | Callable[[], float] | None = ..., unique: bool = ..., index: bool = ...,
                 immutable: bool = ...) -> None: ...  # fmt: skip
    @overload
    def __init__(self: Float[float | None], *, nullable: Literal[True],
                 default: float | Callable[[], float] | None = ..., unique: bool = ..., index: bool = ...,
                 immutable: bool = ...) -> None: ...  # fmt: skip
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    def checked(self, value: Any) -> float:
        if type(value) not in (int, float):
            raise self.invalid(f"is a number, not {type(value).__name__}")
        return float(value)


class Boolean(Column[T]):
    """True or false."""

    kind = Kind.BOOLEAN

    @overload
    def __init__(self: Boolean[bool], *, nullable: Literal[False] = ..., default: bool | None = ...,
                 index: bool = ..., immutable: bool = ...) -> None: ...  # fmt: skip
    @overload
    def __init__(self: Boolean[bool | None], *, nullable: Literal[True], default: bool | None = ...,
                 index: bool = ..., immutable: bool = ...) -> None: ...  # fmt: skip
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    def checked(self, value: Any) -> bool:
        if type(value) is not bool:
            raise self.invalid(f"is true or false, not {type(value).__name__}")
        return value


class Text(Column[T]):
    """Text.

    Args:
        max_length: characters at the most; needed where the column is indexed and the database is MySQL.
    """

    kind = Kind.TEXT

    @overload
    def __init__(self: Text[str], *, max_length: int | None = ..., primary_key: bool = ...,
                 nullable: Literal[False] = ..., default: str | Callable[[], str] | None = ...,
                 unique: bool = ..., index: bool = ..., immutable: bool = ...) -> None: ...  # fmt: skip
    @overload
    def __init__(self: Text[str | None], *, max_length: int | None = ..., nullable: Literal[True],
                 default: str | Callable[[], str] | None = ..., unique: bool = ..., index: bool = ...,
                 immutable: bool = ...) -> None: ...  # fmt: skip
    def __init__(self, *, max_length: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.max_length = max_length

    def checked(self, value: Any) -> str:
        if not isinstance(value, str):
            raise self.invalid(f"is text, not {type(value).__name__}")
        if self.max_length is not None and len(value) > self.max_length:
            raise self.invalid(f"has at most {self.max_length} characters")
        if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
            raise self.invalid("has no half of a surrogate pair")
        return value


class Timestamp(Column[T]):
    """A moment: an aware datetime, kept in UTC to the microsecond."""

    kind = Kind.TIMESTAMP

    @overload
    def __init__(self: Timestamp[dt.datetime], *, nullable: Literal[False] = ...,
                 default: dt.datetime | Callable[[], dt.datetime] | None = ..., unique: bool = ...,
                 index: bool = ..., immutable: bool = ...) -> None: ...  # fmt: skip
    @overload
    def __init__(self: Timestamp[dt.datetime | None], *, nullable: Literal[True],
                 default: dt.datetime | Callable[[], dt.datetime] | None = ..., unique: bool = ...,
                 index: bool = ..., immutable: bool = ...) -> None: ...  # fmt: skip
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    def checked(self, value: Any) -> dt.datetime:
        if not isinstance(value, dt.datetime):
            raise self.invalid(f"is a moment, not {type(value).__name__}")
        if value.tzinfo is None:
            raise self.invalid("needs a time zone: datetime.now(UTC)")
        return value.astimezone(dt.UTC)


class Bytes(Column[T]):
    """Bytes.

    Args:
        max_length: bytes at the most.
    """

    kind = Kind.BYTES

    @overload
    def __init__(self: Bytes[bytes], *, max_length: int | None = ..., primary_key: bool = ...,
                 nullable: Literal[False] = ..., default: bytes | None = ..., unique: bool = ...,
                 index: bool = ..., immutable: bool = ...) -> None: ...  # fmt: skip
    @overload
    def __init__(self: Bytes[bytes | None], *, max_length: int | None = ..., nullable: Literal[True],
                 default: bytes | None = ..., unique: bool = ..., index: bool = ...,
                 immutable: bool = ...) -> None: ...  # fmt: skip
    def __init__(self, *, max_length: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.max_length = max_length

    def checked(self, value: Any) -> bytes:
        if not isinstance(value, bytes):
            raise self.invalid(f"is bytes, not {type(value).__name__}")
        if self.max_length is not None and len(value) > self.max_length:
            raise self.invalid(f"has at most {self.max_length} bytes")
        return value


class Json(Column[T]):
    """A value of a type that msgspec knows, kept as JSON text.

    Args:
        type_: the type, such as `list[str]` or a msgspec Struct.
    """

    kind = Kind.JSON

    def __init__(self, type_: type[T], **options: Any) -> None:
        super().__init__(**options)
        self.type = type_
        self._decoder = msgspec.json.Decoder(type_)

    def decoder(self, dialect: Dialect) -> Codec | None:  # noqa: ARG002 JSON is JSON in every dialect
        return self._decoder.decode

    def checked(self, value: Any) -> Any:
        try:
            return msgspec.convert(value, self.type)
        except msgspec.ValidationError as error:
            raise self.invalid(str(error)) from None


class ForeignKey(Column[T]):
    """The key of a row of another table.

    Args:
        target: the class of the other table; its primary key is one column.
        on_delete: what the database does when that row is deleted.
    """

    kind = Kind.BIG_INTEGER

    @overload
    def __init__(self: ForeignKey[int], target: type[Table], *, on_delete: OnDelete = ...,
                 primary_key: bool = ..., nullable: Literal[False] = ..., unique: bool = ..., index: bool = ...,
                 immutable: bool = ...) -> None: ...  # fmt: skip
    @overload
    def __init__(self: ForeignKey[int | None], target: type[Table], *, on_delete: OnDelete = ...,
                 nullable: Literal[True], unique: bool = ..., index: bool = ...,
                 immutable: bool = ...) -> None: ...  # fmt: skip
    def __init__(self, target: type[Table], *, on_delete: OnDelete = "restrict", **options: Any) -> None:
        super().__init__(**options)
        keys = target.dbo_keys
        if len(keys) != 1:
            raise QueryError(f"{target.__name__} has no single primary key to refer to")
        self.target = target
        self.on_delete = on_delete
        self.kind = keys[0].kind
        self._key = keys[0]

    def checked(self, value: Any) -> Any:
        if isinstance(value, self.target):
            value = value.dbo_values[self._key.position]
        if value is None:
            raise self.invalid(f"refers to a {self.target.__name__} that is not stored yet")
        try:
            return self._key.checked(value)
        except ValidationError as error:
            raise self.invalid(error.reason) from None

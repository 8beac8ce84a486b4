"""What every column has: on the class it is an expression, on an object a value that was checked when it was set."""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Generic, TypeAlias, TypedDict, TypeVar, overload

import msgspec

from server.db.compiler import Compiler
from server.db.errors import QueryError, ValidationError
from server.db.expressions import Expression
from server.db.value_types import Kind, ValueType

T = TypeVar("T")
Default: TypeAlias = T | Callable[[], T] | Expression[T] | None
"""A value, a function that makes one, or an expression that the database evaluates."""

NOTHING: frozenset[Any] = frozenset()


def now() -> dt.datetime:
    """Return the present moment, aware, in UTC: the usual default of a `Timestamp`."""
    return dt.datetime.now(dt.UTC)


class Table:
    """A table, when it is the class; a row, when it is an object. `DbObject` is what one subclasses.

    Attributes:
        dbo_tablename: the table's name.
        dbo_columns: the columns, in order.
        dbo_by_name: the same, by name.
        dbo_keys: those of the primary key.
        dbo_expressions: the columns as expressions, in the same order.
        dbo_prefix: the name that a prefix has in queries; None for the class itself.
        dbo_home: the class itself, also of a prefix.
        dbo_cache: what was worked out once for the class and a dialect.
        dbo_values: a row's values, in the order of the columns; a tuple until the first one is set. `Column.of` returns
            one of them as Python has it.
        dbo_changed: the columns that were set since the row was read or written.
        dbo_stored: whether the object has a row; the key's value does not tell.
        dbo_kept: what the database keeps for columns whose values can change in place, by position.
        dbo_loaded: related objects that were loaded, by the relation's name.
    """

    dbo_tablename: ClassVar[str] = ""
    dbo_columns: ClassVar[tuple[Column[Any], ...]] = ()
    dbo_by_name: ClassVar[dict[str, Column[Any]]] = {}
    dbo_keys: ClassVar[tuple[Column[Any], ...]] = ()
    dbo_expressions: ClassVar[tuple[ColumnExpression[Any], ...]] = ()
    dbo_prefix: ClassVar[str | None] = None
    dbo_home: ClassVar[type[Table]]
    dbo_cache: ClassVar[dict[Any, Any]] = {}
    dbo_values: Sequence[Any]

    # A row that was read and not touched has nothing but its values; the rest is the class's until it differs.
    dbo_changed: set[Column[Any]] | frozenset[Column[Any]] = NOTHING
    dbo_stored: bool = True
    dbo_kept: dict[int, str | None] | None = None
    dbo_loaded: dict[str, Any] | None = None

    __slots__ = ("__dict__", "dbo_values")


class ColumnExpression(Expression[T]):
    """A column of a table, or of one of its prefixes, in a query.

    Attributes:
        owner: the table's class, or its prefix.
        column: the column itself.
    """

    __slots__ = ("column", "owner")

    def __init__(self, owner: type[Table], column: Column[T]) -> None:
        self.owner = owner
        self.column = column

    @property
    def value_type(self) -> ValueType:  # type: ignore[override]  # read only
        """What the value is."""
        return self.column.value_type

    def compile(self, out: Compiler) -> None:
        if out.mentioned is not None:
            out.mentioned.add(self.column)
        if out.qualified or self.owner.dbo_prefix is not None:
            out.name(written_name(self.owner))
            out.text(".")
        elif out.home is not None and self.owner.dbo_home is not out.home:
            raise QueryError(f"{self!r} is of another table than the query; join it")
        out.name(self.column.name)

    def __repr__(self) -> str:
        return f"<{self.owner.__name__}.{self.column.name}>"


class Options(TypedDict, total=False):
    """What every column takes beside its own arguments; `Column` says what each means."""

    primary_key: bool
    unique: bool
    index: bool
    immutable: bool
    check: Callable[[Any], object] | None


class Column(Generic[T]):
    """What every column has. Use one of the subclasses.

    Args:
        primary_key: part of the table's key.
        nullable: may be without a value.
        default: a value, or a function that makes one, for objects that are made without it; an expression is
            evaluated by the database.
        unique: no two rows have the same value.
        index: the database keeps an index.
        immutable: is never written after the insert.
        check: is called with each value that is set, and raises ValueError with a reason for one that does not fit.

    Attributes:
        value_type: what the value is.
        name: the attribute's and the column's name.
        position: its place among the class's columns.
        table: the table's name.
        counting: whether the database counts the key by itself.
    """

    value_type: ValueType
    late = False
    """Whether an object has what the database gave until somebody looks at it."""

    def __init__(
        self,
        *,
        primary_key: bool = False,
        nullable: bool = False,
        default: Any = None,
        unique: bool = False,
        index: bool = False,
        immutable: bool = False,
        check: Callable[[Any], object] | None = None,
    ) -> None:
        self.primary_key = primary_key
        self.nullable = nullable
        self.default = default
        self.unique = unique
        self.index = index
        self.immutable = immutable or primary_key
        self.check = check
        self.name = ""
        self.position = -1
        self.table = ""
        self.counting = False

    def of(self, instance: Table) -> Any:
        """Return an object's value."""
        return instance.dbo_values[self.position]

    def bind(self, owner: type[Table], name: str, position: int) -> None:
        """Take a place in a table."""
        self.name = name
        self.position = position
        self.table = owner.dbo_tablename
        if self.default is not None and not callable(self.default) and not isinstance(self.default, Expression):
            self.default = self.validated(self.default)

    @overload
    def __get__(self, instance: None, owner: type[Table]) -> ColumnExpression[T]: ...
    @overload
    def __get__(self, instance: Table, owner: type[Table]) -> T: ...
    def __get__(self, instance: Table | None, owner: type[Table]) -> Any:
        if instance is None:
            return owner.dbo_expressions[self.position]
        return instance.dbo_values[self.position]

    def __set__(self, instance: Table, value: T) -> None:
        if self.immutable and instance.dbo_stored:
            raise self.invalid("is immutable")
        self.assign(instance, value)

    def assign(self, instance: Table, value: Any) -> None:
        """Check a value and set it, and note that it changed."""
        value = self.validated(value)
        if self.of(instance) == value:
            return
        self.put(instance, value)
        self.note(instance)

    def note(self, instance: Table) -> None:
        """Note that the value is not what the database has."""
        if isinstance(instance.dbo_changed, set):
            instance.dbo_changed.add(self)
        else:
            instance.dbo_changed = {self}

    def put(self, instance: Table, value: Any) -> None:
        """Set a value that the database has."""
        values = instance.dbo_values
        if not isinstance(values, list):
            values = instance.dbo_values = list(values)
        values[self.position] = value

    def validated(self, value: Any) -> Any:
        """Return the value as the column keeps it.

        Raises:
            ValidationError: it does not fit.
        """
        if value is None:
            if self.nullable or self.generated:
                return None
            raise self.invalid("needs a value")
        try:
            value = self.value_type.checked(value)
            if self.check is not None:
                self.check(value)
        except (TypeError, ValueError, msgspec.ValidationError) as error:
            raise self.invalid(str(error)) from None
        return value

    def validated_many(self, values: Iterable[Any]) -> list[Any]:
        """Return the values of many rows as the column keeps them, and expressions as they are.

        Raises:
            ValidationError: one does not fit.
        """
        value_type, own = self.value_type, self.check
        found = []
        for value in values:
            if value is None or own is not None or isinstance(value, Expression):
                found.append(value if isinstance(value, Expression) else self.validated(value))
                continue
            try:
                found.append(value_type.checked(value))
            except (TypeError, ValueError, msgspec.ValidationError):
                found.append(self.validated(value))  # raises, or takes what stands for the value, such as an object
        return found

    def invalid(self, reason: str) -> ValidationError:
        """Make the error that names table, column and reason."""
        return ValidationError(self.table, self.name, reason)

    @property
    def generated(self) -> bool:
        """Whether the database makes the value when there is none."""
        return self.counting or isinstance(self.default, Expression)

    @property
    def mutable(self) -> bool:
        """Whether a value can change in place, unnoticed."""
        return self.value_type.kind is Kind.JSON

    def initial(self) -> Any:
        """Return the value of a new object that was made without one."""
        default = self.default
        if default is None or isinstance(default, Expression):
            return None
        if callable(default):
            return self.validated(default())
        return copy.deepcopy(default) if self.mutable else default

    def unsaid(self) -> Any:
        """Return the value of a row beside others that name this column, and which does not."""
        return self.default if isinstance(self.default, Expression) else self.initial()

    def counts(self, keys: Sequence[Column[Any]]) -> bool:
        """Whether the database counts this column by itself: the only key, a whole number without a default."""
        return list(keys) == [self] and self.default is None and self.value_type.kind is Kind.INTEGER


def written_name(owner: type[Table]) -> str:
    """Return the name that stands before a column where names are qualified."""
    return owner.dbo_prefix or owner.dbo_tablename


def single_key(owner: type[Table]) -> Column[Any]:
    """Return the only column of a primary key.

    Raises:
        QueryError: the key has another number of columns.
    """
    if len(owner.dbo_keys) != 1:
        raise QueryError(f"{owner.__name__} has no primary key of one column")
    return owner.dbo_keys[0]

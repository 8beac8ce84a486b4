"""What differs between databases, one object for each; nothing else asks which database it is."""

from __future__ import annotations

import datetime as dt
import operator
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import msgspec

from server.db.errors import QueryError
from server.db.value_types import Codec, Kind, ValueType

Returning = Literal["insert", "update", "delete"]
ColumnCodec = Callable[[list[Any]], list[Any]]
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MOMENTS = list[dt.datetime | None]
_EXACT_MICROSECONDS = 2**33 * 1_000_000
"""The year 2242."""
_MICROSECOND = dt.timedelta(microseconds=1)


class Dialect(ABC):
    """How one database wants things written, and how it keeps values.

    Attributes:
        name: for people, and for what is written for one database only.
        placeholder: where an argument goes.
        returning: the statements that can give rows back; for the others it is emulated.
        transactional_ddl: whether a migration that fails leaves no trace.
        auto_key: what makes a key of one whole number count by itself.
        default_row: the values of a row that consists of defaults.
        no_limit: how many rows are all rows.
        concatenation: what stands before, between and behind texts that are joined.
        character_length: the function that counts characters.
        binary: the type that a text is cast to where its bytes are meant.
        division: how two numbers are divided as Python does, with places for both.
        remainder: how the remainder of a division is written, with places for both.
        average: how an average of whole numbers is written, with a place for the expression.
        present: the moment at which the statement runs.
        orders_nulls: whether NULLS FIRST and NULLS LAST can be written.
        locks_rows: whether rows can be locked; otherwise a transaction has the whole database.
        derives_limited: whether a subquery with a limit has to be wrapped to stand behind IN.
        derives_own: whether a write that reads its own table in a subquery has to wrap it.
        scales_decimals: whether decimal numbers are kept as whole ones, without their point.
        names_conflicts: whether an INSERT can say which key it expects to meet.
        assigns_in_order: whether an assignment of an UPDATE sees what those before it assigned.
        most_arguments: how many arguments a statement can have.
        names: its name, and the names of those whose SQL it takes too.
        column_decoders: decoders of kinds for the values of many rows at once, where that is faster.
        inline_references: whether a new column can refer to another table, and others cannot be changed in place.
    """

    name: ClassVar[str]
    placeholder: ClassVar[str]
    returning: ClassVar[frozenset[Returning]]
    transactional_ddl: ClassVar[bool]
    auto_key: ClassVar[str]
    default_row: ClassVar[str]
    no_limit: ClassVar[str]
    concatenation: ClassVar[tuple[str, str, str]]
    character_length: ClassVar[str]
    binary: ClassVar[str]
    division: ClassVar[str]
    remainder: ClassVar[str]
    average: ClassVar[str]
    present: ClassVar[str]
    orders_nulls: ClassVar[bool]
    locks_rows: ClassVar[bool]
    derives_limited: ClassVar[bool]
    derives_own: ClassVar[bool]
    scales_decimals: ClassVar[bool]
    names_conflicts: ClassVar[bool]
    assigns_in_order: ClassVar[bool]
    most_arguments: ClassVar[int]
    names: ClassVar[tuple[str, ...]]
    column_decoders: ClassVar[Mapping[Kind, ColumnCodec]]
    inline_references: ClassVar[bool]

    def __init__(self) -> None:
        self._encoders: dict[ValueType, Codec] = {}
        self._keepers: dict[ValueType, Codec | None] = {}
        self._decoders: dict[tuple[ValueType, bool], Codec | None] = {}
        self._quoted: dict[str, str] = {}
        self.rows_decoders: dict[Any, Any] = {}
        """What `decoding` has written for shapes of rows."""

    def quote(self, name: str) -> str:
        """Write an identifier; quoted only where SQL would take it for something else.

        Raises:
            QueryError: it is no identifier.
        """
        quoted = self._quoted.get(name)
        if quoted is None:
            if not name.isidentifier():
                raise QueryError(f"{name!r} cannot be the name of a table or a column")
            quoted = self._quoted[name] = self.make_quoted(name)
        return quoted

    def encoder(self, value_type: ValueType) -> Codec:
        """Return what turns a Python value into what the driver takes; it refuses values of another type.

        The function raises TypeError, ValueError or msgspec.ValidationError.
        """
        encoder = self._encoders.get(value_type)
        if encoder is None:
            check, keep = comparable(value_type), self.keeper(value_type)
            encoder = self._encoders[value_type] = check if keep is None else lambda value: keep(check(value))
        return encoder

    def keeper(self, value_type: ValueType) -> Codec | None:
        """Return the same for values that were checked already; None where the driver takes them as they are."""
        if value_type not in self._keepers:
            self._keepers[value_type] = self.make_keeper(value_type)
        return self._keepers[value_type]

    def decoder(self, value_type: ValueType, *, computed: bool = False) -> Codec | None:
        """Return what turns what the driver gives into the Python value; None where it is that already.

        Args:
            value_type: the type of the value.
            computed: whether the database computed it, so that its form may be another than a column's.
        """
        key = (value_type, computed)
        if key not in self._decoders:
            self._decoders[key] = self.make_decoder(value_type, computed=computed)
        return self._decoders[key]

    @abstractmethod
    def make_quoted(self, name: str) -> str:
        """Write what `quote` returns."""

    @abstractmethod
    def column_type(self, value_type: ValueType) -> str:
        """Return the type of a column in CREATE TABLE."""

    def make_keeper(self, value_type: ValueType) -> Codec | None:
        """Make what `keeper` returns; here, for what all databases keep alike."""
        match value_type.kind:
            case Kind.DATE:
                return dt.date.isoformat
            case Kind.UUID:
                return operator.attrgetter("bytes")
            case Kind.ENUM:
                return operator.attrgetter("value")
            case Kind.JSON:
                return to_json
        return None

    def make_decoder(self, value_type: ValueType, *, computed: bool) -> Codec | None:  # noqa: ARG002 some look at it
        """Make what `decoder` returns; here, for what all databases keep alike."""
        match value_type.kind:
            case Kind.TIMESTAMP:
                return moment
            case Kind.DATE:
                return dt.date.fromisoformat
            case Kind.UUID:
                return lambda value: uuid.UUID(bytes=value)
            case Kind.ENUM:
                enumeration: Codec = value_type.python
                return enumeration
            case Kind.JSON:
                return msgspec.json.Decoder(value_type.python).decode
            case Kind.BOOLEAN:
                return bool
        return None

    @abstractmethod
    def like(self, pattern: str) -> tuple[str, str]:
        """Return the operator, with its place for the pattern, and the pattern of a LIKE that heeds case.

        Args:
            pattern: `%` is any text, `_` any character, a backslash takes the next character as it is.
        """

    @abstractmethod
    def match(self, source: str, key: str, index: str, words: Sequence[str], *, prefix: bool) -> list[tuple[str, str]]:
        """Return the predicates that a row has all words: text with a place for an argument, and the argument.

        Args:
            source: the table, under the name that it has in the query.
            key: its key.
            index: the full-text index.
            words: at least one.
            prefix: whether the last word may go on.
        """

    @abstractmethod
    def on_conflict(self, keys: Sequence[str], own: str) -> tuple[str, str]:
        """Return the end of an INSERT that meets rows with the same keys: to change them, and to leave them.

        Args:
            keys: the unique columns; none stands for any.
            own: a column of the table that is not empty, for a change that changes nothing.
        """

    @abstractmethod
    def excluded(self, name: str) -> str:
        """Return the value that a conflicting INSERT has for a column."""

    @abstractmethod
    def literal(self, argument: Any) -> str:
        """Write a value, in the form that the encoders give, as SQL text: for the defaults of columns alone."""

    def literal_default(self, argument: Any) -> str:
        """Write a value as the default of a column."""
        return self.literal(argument)

    @abstractmethod
    def create_table(self, table: str, lines: Sequence[str]) -> str:
        """Return CREATE TABLE for the definitions of columns and constraints."""

    def means_done(self, error: Exception) -> bool:  # noqa: ARG002 for those that cannot undo a change
        """Tell whether a change of the schema failed because it was made before."""
        return False

    @abstractmethod
    def create_full_text(self, table: str, name: str, columns: Sequence[str], key: str) -> list[str]:
        """Return the statements that make a full-text index.

        Args:
            table: the table.
            name: the index's name.
            columns: what is searched.
            key: the table's key, one whole number.
        """

    @abstractmethod
    def drop_full_text(self, table: str, name: str) -> list[str]:
        """Return the statements that remove a full-text index."""

    @abstractmethod
    def drop_index(self, table: str, name: str) -> str:
        """Return the statement that removes an index."""


def comparable(value_type: ValueType) -> Codec:
    """Return what checks a value that is compared with one of a type: its kind, and not the bounds of a column."""
    if value_type.kind in (Kind.DECIMAL, Kind.ENUM):
        return value_type.checked
    if value_type.kind is Kind.JSON:
        return lambda value: value
    return ValueType(value_type.kind).checked


def to_microseconds(moment: dt.datetime) -> int:
    """Keep a moment as whole microseconds since 1970 UTC: sorts right and is exact."""
    return (moment - EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> dt.datetime:
    """Read what `to_microseconds` wrote."""
    return EPOCH + dt.timedelta(microseconds=microseconds)


def many_from_microseconds(values: list[int | None]) -> list[dt.datetime | None]:
    """Read what `to_microseconds` wrote in many rows: exact, and four times as fast.

    Seconds as a floating-point number are exact to less than half a microsecond up to `_EXACT_MICROSECONDS`.
    """
    known = [value for value in values if value is not None]
    if known and not 0 <= min(known) <= max(known) < _EXACT_MICROSECONDS:
        return [None if value is None else from_microseconds(value) for value in values]
    seconds = [value / 1e6 for value in known]
    if len(known) < len(values):
        rest = iter(seconds)
        return msgspec.convert([value if value is None else next(rest) for value in values], _MOMENTS, strict=False)
    return msgspec.convert(seconds, _MOMENTS, strict=False)


def moment(kept: Any) -> dt.datetime:
    """Read a moment in the form in which any database keeps it: whole microseconds, or text in UTC."""
    return from_microseconds(kept) if isinstance(kept, int) else dt.datetime.fromisoformat(f"{kept}+00:00")


def to_json(value: Any) -> str:
    """Keep a value as JSON text."""
    return msgspec.json.encode(value).decode()


def like_tokens(pattern: str) -> list[tuple[str, bool]]:
    """Take a LIKE pattern apart: each character, and whether it stands for others."""
    tokens = []
    characters = iter(pattern)
    for character in characters:
        if character == "\\":
            tokens.append((next(characters, "\\"), False))
        else:
            tokens.append((character, character in "%_"))
    return tokens

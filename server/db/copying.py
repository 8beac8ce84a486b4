"""Everything from one database into another, of whatever kind: resumable, and verified when it is done.

Each batch of rows is written together with the note of how far it goes, so that a copy that was killed goes on where it
was, with no row missing and none twice. Values are copied as the databases keep them: JSON stays the text that it is,
and a member of an enumeration its value, whether or not the classes of today still know it.
"""

from __future__ import annotations

import datetime as dt
import decimal
import hashlib
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, TypeAlias

import msgspec

from server.db.autogenerate import creation_order
from server.db.backends import Row, Statement
from server.db.column_types import Boolean, Bytes, Date, Decimal, Float, Integer, Json, Text, Timestamp, Uuid
from server.db.columns import Column, ColumnExpression
from server.db.database import Database
from server.db.errors import DatabaseError
from server.db.foreign_keys import ForeignKey
from server.db.objects import DbObject, table
from server.db.schema import TableDefinition, create_table
from server.db.value_types import Kind, ValueType
from server.db.writes import Insert, insert_rows

BATCH_ROWS = 1000
"""Rows that are written at once."""
BATCH_BYTES = 4 * 1024 * 1024
"""Characters and bytes of text in rows that are written at once: a server takes only so much in one statement."""
PAGE_ROWS = 100
"""Rows that are read at once."""
WHOLE_SECONDS = 24 * 3600.0
"""How long a table may take that can only be written as a whole."""
LOCK_SECONDS = 1.0


class CopyFailed(DatabaseError):
    """The copy was not begun, or what is in the target is not what is in the source."""


class Copied(DbObject):
    """How far the copy of a table is; it is in the target, and goes when all is done.

    Attributes:
        part: the table's name, or that with `.references` for the second look at rows that refer to later ones.
        last_key: the key of the last row that was written, in the form that the source's rows have.
        rows: how many were written.
        done: whether there are no more.
    """

    dbo_tablename = "db_copies"
    part = Text(max_length=200, primary_key=True)
    last_key = Json(list[Any], nullable=True)
    rows = Integer(default=0)
    done = Boolean(default=False)


class Progress(msgspec.Struct, frozen=True):
    """How far everything is.

    Args:
        doing: what is done to which table.
        done: rows that were copied or compared.
        total: how many there are of both.
    """

    doing: str
    done: int
    total: int


class Verified(msgspec.Struct, frozen=True):
    """A table that is the same in both databases.

    Args:
        table: its name.
        rows: how many it has.
        checksum: BLAKE2b over the values of all rows in the order of their keys, as hexadecimal digits.
    """

    table: str
    rows: int
    checksum: str


Report: TypeAlias = Callable[[Progress], None]


class _Plain(msgspec.Struct, frozen=True):
    """A table with the columns that a database sees.

    Args:
        rows: the table as a class of its own.
        later: columns that refer to rows which may be written only afterwards, and are without a value till then.
        whole: whether it can only be written as a whole, because each row needs one that may come later.
    """

    rows: type[DbObject]
    later: tuple[str, ...]
    whole: bool

    @property
    def name(self) -> str:
        return self.rows.dbo_tablename

    @property
    def keys(self) -> list[int]:
        return [key.position for key in self.rows.dbo_keys]


async def copy_all(
    source: Database, target: Database, tables: Sequence[type[DbObject]], progress: Report
) -> list[Verified]:
    """Copy all rows of tables, and verify them.

    Both databases have been migrated to the same schema. What was copied by an earlier call that was stopped is not
    copied again.

    Args:
        source: where from; nobody may write to it meanwhile.
        target: where to; it has no rows but those that a copy wrote.
        tables: their classes, in any order.
        progress: is told now and then how far it is.

    Raises:
        CopyFailed: the target has rows of its own, or it differs from the source afterwards.
        DatabaseError: a database is away, or a value does not fit; the next call goes on there.
    """
    async with target.lock("copy", LOCK_SECONDS):
        plain = in_order(tables)
        copy = _Copy(source, target, progress)
        await copy.prepare(plain)
        for one in plain:
            await copy.write(one)
        for one in plain:
            await copy.write_references(one)
        verified = [await copy.verify(one) for one in plain]
        await target.execute(Statement(f"DROP TABLE {target.dialect.quote(Copied.dbo_tablename)}"))
        return verified


def in_order(tables: Sequence[type[DbObject]]) -> list[_Plain]:
    """Put tables into an order in which the rows that are referred to come first.

    Raises:
        QueryError: tables refer to each other in a circle of columns that need a value.
    """
    by_name = {cls.dbo_tablename: cls for cls in tables}
    ordered, postponed = creation_order([TableDefinition.of(cls) for cls in by_name.values()])
    plain = []
    for definition in ordered:
        own = [name for name, column in definition.columns.items() if _refers_to(column, definition.name)]
        later = [name for name in own if definition.columns[name].nullable]
        later += [name for other, name in postponed if other is definition]
        plain.append(_Plain(_plain_class(by_name[definition.name]), tuple(later), len(own) > _count(later, own)))
    return plain


class _Copy:
    """One run of a copy."""

    def __init__(self, source: Database, target: Database, progress: Report) -> None:
        self._source = source
        self._target = target
        self._progress = progress
        self._done = 0
        self._total = 0

    async def prepare(self, tables: Sequence[_Plain]) -> None:
        """Look at what there is to do, and whether the target is what we have made of it.

        Raises:
            CopyFailed: the target has rows of its own.
        """
        target = self._target
        for sql in create_table(target.dialect, Copied.dbo_tablename, Copied.dbo_by_name):
            await target.execute(Statement(sql.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1)))
        for one in tables:
            written = await Copied.get(target, one.name)
            rows = await one.rows.select(target).count()
            if rows != (0 if written is None else written.rows):
                raise CopyFailed(
                    f"the target has rows in {one.name} that no copy has written: {rows} in all; nothing was copied. "
                    "Copy into a database that is empty"
                )
            self._total += 3 * await one.rows.select(self._source).count()  # written, and read on both sides

    async def write(self, one: _Plain) -> None:
        """Write the rows that are not in the target yet."""
        state = await self._state(one.name)
        self._advance(one, "copying", state.rows)
        if state.done:
            return
        if one.whole:
            await self._write_whole(one, state)
            return
        async for rows in self._batches(one, state.last_key):
            await self._keep(one, state, rows, _inserted(one, rows))
        await self._finish(state)

    async def write_references(self, one: _Plain) -> None:
        """Give rows the references that were left out because the other row was not there yet."""
        if not one.later:
            return
        state = await self._state(f"{one.name}.references")
        expressions = one.rows.dbo_expressions
        changed = [expression for expression in expressions if expression.column.name in one.later]
        keys = [expressions[position] for position in one.keys]
        if not state.done:
            async for rows in self._batches(one, state.last_key):
                # All columns stand there, because the database looks at them before it sees that the row is there.
                rest = Insert[int](None, one.rows, one.rows.dbo_columns, rows).on_conflict(*keys, update=changed)
                await self._keep(one, state, rows, rest, counted=False)
            await self._finish(state)

    async def verify(self, one: _Plain) -> Verified:
        """Compare a table on both sides.

        Raises:
            CopyFailed: it is not the same.
        """
        rows, checksum = await self._checksum(self._source, one)
        copied, other = await self._checksum(self._target, one)
        if rows != copied:
            reason = f"{rows} rows in the source and {copied} in the target"
        elif checksum != other:
            reason = f"the checksum {checksum} in the source and {other} in the target"
        else:
            return Verified(one.name, rows, checksum)
        raise CopyFailed(
            f"{one.name} has {reason}: somebody has changed it meanwhile. Stop whatever writes to either database, "
            "empty the target, and copy again"
        )

    # Reading.

    async def _pages(self, db: Database, one: _Plain, last_key: list[Any] | None = None) -> AsyncGenerator[list[Row]]:
        """Yield rows, as of one moment, in the order of their keys, from behind one of them."""
        keys = [one.rows.dbo_expressions[position] for position in one.keys]
        query = one.rows.select(db, *one.rows.dbo_expressions)
        if last_key is None:
            query = query.order_by(*keys)
        else:
            values = [_read_key(key.column, value) for key, value in zip(keys, last_key, strict=True)]
            pairs = [part for pair in zip(keys, values, strict=True) for part in pair]
            query = query.after(pairs[0], pairs[1], *pairs[2:])
        load = query.loader(db.dialect)
        async with aclosing(db.stream(query.statement(db.dialect), PAGE_ROWS)) as pages:
            async for page in pages:
                yield load(page)

    async def _batches(self, one: _Plain, last_key: list[Any] | None) -> AsyncGenerator[list[Row]]:
        """Yield the rows of the source in portions that can be written at once."""
        batch: list[Row] = []
        size = 0
        async with aclosing(self._pages(self._source, one, last_key)) as pages:
            async for page in pages:
                for row in page:
                    batch.append(row)
                    size += sum(len(value) for value in row if isinstance(value, str | bytes))
                    if len(batch) >= BATCH_ROWS or size >= BATCH_BYTES:
                        yield batch
                        batch, size = [], 0
        if batch:
            yield batch

    async def _checksum(self, db: Database, one: _Plain) -> tuple[int, str]:
        """Return how many rows a table has, and the checksum over them."""
        encode = msgspec.msgpack.Encoder(decimal_format="string").encode
        numbers = [c.position for c in one.rows.dbo_columns if c.value_type.kind is Kind.FLOAT]
        digest = hashlib.blake2b(digest_size=16)
        rows = 0
        async with aclosing(self._pages(db, one)) as pages:
            async for page in pages:
                for row in page:
                    digest.update(encode(_without_negative_zero(row, numbers) if numbers else row))
                rows += len(page)
                self._advance(one, "comparing", len(page))
        return rows, digest.hexdigest()

    # Writing.

    async def _state(self, part: str) -> Copied:
        return await Copied.get(self._target, part) or Copied(part=part)

    async def _keep(
        self, one: _Plain, state: Copied, rows: Sequence[Row], query: Insert[int], *, counted: bool = True
    ) -> None:
        """Write a batch, and how far it goes."""
        state.rows += len(rows)
        state.last_key = _written_key(one, rows[-1])
        await self._target.atomic([query, _noted(state)])
        if counted:
            self._advance(one, "copying", len(rows))

    async def _finish(self, state: Copied) -> None:
        state.done = True
        await self._target.atomic([_noted(state)])

    async def _write_whole(self, one: _Plain, state: Copied) -> None:
        """Write a table in one transaction, in which references are looked at only at the end, if at all."""
        async with self._target.transaction(WHOLE_SECONDS, schema=True) as tx:
            async for rows in self._batches(one, None):
                state.rows += len(rows)
                await tx.run(_inserted(one, rows))
                self._advance(one, "copying", len(rows))
            state.done = True
            await tx.run(_noted(state))

    def _advance(self, one: _Plain, doing: str, rows: int) -> None:
        self._done += rows
        self._progress(Progress(f"{doing} {one.name}", self._done, max(self._total, self._done)))


def _noted(state: Copied) -> Insert[int]:
    """Return the query that writes down how far the copy of a table is."""
    values: dict[ColumnExpression[Any], Any] = {
        Copied.part: state.part,
        Copied.last_key: state.last_key,
        Copied.rows: state.rows,
        Copied.done: state.done,
    }
    query = insert_rows(None, Copied, [values])
    return query.on_conflict(Copied.part, update=[Copied.last_key, Copied.rows, Copied.done])


def _plain_class(cls: type[DbObject]) -> type[DbObject]:
    """Return a class for the same table that knows only what the database keeps."""
    return table(cls.dbo_tablename, **{name: _plain_column(column) for name, column in cls.dbo_by_name.items()})


def _plain_column(column: Column[Any]) -> Column[Any]:
    plain = _plain_type(column.value_type)
    plain.nullable, plain.primary_key = column.nullable, column.primary_key
    return plain


def _plain_type(value_type: ValueType) -> Column[Any]:
    match value_type.kind:
        case Kind.INTEGER:
            return Integer()
        case Kind.FLOAT:
            return Float()
        case Kind.DECIMAL:
            return Decimal(value_type.digits, value_type.places)
        case Kind.BOOLEAN:
            return Boolean()
        case Kind.TIMESTAMP:
            return Timestamp()
        case Kind.DATE:
            return Date()
        case Kind.BYTES:
            return Bytes()
        case Kind.UUID:
            return Uuid()
        case Kind.ENUM if value_type.length is None:
            return Integer()
    return Text()


def _refers_to(column: Column[Any], name: str) -> bool:
    return isinstance(column, ForeignKey) and column.target.dbo_tablename == name


def _count(names: Sequence[str], among: Sequence[str]) -> int:
    return sum(name in among for name in names)


def _inserted(one: _Plain, rows: Sequence[Row]) -> Insert[int]:
    """Return the query that writes rows, without what refers to rows that may not be there yet."""
    columns = one.rows.dbo_columns
    if one.later:
        rows = [tuple(None if c.name in one.later else v for c, v in zip(columns, row, strict=True)) for row in rows]
    return Insert(None, one.rows, columns, rows)


def _without_negative_zero(row: Row, positions: Sequence[int]) -> Row:
    """SQLite keeps no negative zero."""
    values = list(row)
    for position in positions:
        values[position] = None if values[position] is None else values[position] + 0.0
    return tuple(values)


def _written_key(one: _Plain, row: Row) -> list[Any]:
    key: list[Any] = msgspec.to_builtins([row[position] for position in one.keys])
    return key


def _read_key(column: Column[Any], value: Any) -> Any:
    return msgspec.convert(value, _PYTHON[column.value_type.kind])


_PYTHON: dict[Kind, Any] = {
    Kind.INTEGER: int,
    Kind.FLOAT: float,
    Kind.DECIMAL: decimal.Decimal,
    Kind.TEXT: str,
    Kind.BOOLEAN: bool,
    Kind.TIMESTAMP: dt.datetime,
    Kind.DATE: dt.date,
    Kind.BYTES: bytes,
    Kind.UUID: uuid.UUID,
}
"""What a key is that was written down as JSON."""

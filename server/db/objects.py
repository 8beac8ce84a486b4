"""DbObject: a class is a table, an object is a row."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, TypeVar, overload

import msgspec

from server.db.backends import Statement
from server.db.columns import NOTHING, Column, ColumnExpression, Table
from server.db.decoding import object_loader
from server.db.dialects import to_json
from server.db.errors import NotStored, QueryError, StaleObject
from server.db.expressions import Expression
from server.db.foreign_keys import ForeignKey, ForeignKeyExpression
from server.db.fulltext import FullText
from server.db.queries import Executor
from server.db.rows import DeleteRow, GetRow, InsertRow, UpdateRow, statement_for
from server.db.schema import Index
from server.db.select import Select
from server.db.writes import Assigned, Delete, Insert, Update, insert_rows

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")


class DbObject(Table):
    """A row of a table. Subclass it, name the table, and give it columns:

        class Message(DbObject):
            dbo_tablename = "chat_messages"
            id = Integer(primary_key=True)
            text = Text(max_length=4000)

    A class without a `dbo_tablename` is no table; its columns are for the classes below it.

    Attributes:
        dbo_indexes: indexes over several columns.
        dbo_fulltexts: the full-text indexes.
    """

    dbo_indexes: ClassVar[Sequence[Index]] = ()
    dbo_fulltexts: ClassVar[tuple[FullText, ...]] = ()
    dbo_prefixes: ClassVar[dict[str, Any]] = {}

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        cls.dbo_cache = {}
        if cls.dbo_prefix is None:
            cls.dbo_home = cls
            cls.dbo_prefixes = {}
            cls._bind_columns()
        cls.dbo_expressions = tuple(_expression(cls, column) for column in cls.dbo_columns)

    @classmethod
    def _bind_columns(cls) -> None:
        # A table has columns of its own, also where it inherits their definition.
        columns = {column.name: copy.copy(column) for column in cls.dbo_columns}
        columns |= {name: value for name, value in vars(cls).items() if isinstance(value, Column)}
        for position, (name, column) in enumerate(columns.items()):
            if hasattr(DbObject, name):
                raise QueryError(f"{cls.__name__}: a column cannot be called {name}, which every table has already")
            setattr(cls, name, column)
            column.bind(cls, name, position)
        cls.dbo_columns = tuple(columns.values())
        cls.dbo_by_name = columns
        cls.dbo_keys = tuple(column for column in cls.dbo_columns if column.primary_key)
        for column in cls.dbo_keys:
            column.counting = column.counts(cls.dbo_keys)
        own = [value for value in vars(cls).values() if isinstance(value, FullText)]
        cls.dbo_fulltexts = (*cls.dbo_fulltexts, *own)

    def __init__(self, **values: Any) -> None:
        self.dbo_stored = False
        self.dbo_values = [None if column.name in values else column.initial() for column in self.dbo_columns]
        columns = self.dbo_by_name
        for name, value in values.items():
            column = columns.get(name)
            if column is None:
                raise QueryError(f"{type(self).__name__} has no column {name}")
            column.assign(self, value)

    def __repr__(self) -> str:
        keys = ", ".join(f"{key.name}={self.dbo_values[key.position]!r}" for key in self.dbo_keys)
        return f"<{type(self).__name__} {keys}>"

    # Queries over the table.

    @classmethod
    def prefix(cls, name: str) -> type[Self]:
        """Return the class under another name, for joins, above all with itself."""
        prefixed: type[Self] | None = cls.dbo_prefixes.get(name)
        if prefixed is None:
            prefixed = type(cls.__name__, (cls,), {"dbo_prefix": name, "__slots__": (), "__module__": cls.__module__})
            cls.dbo_prefixes[name] = prefixed
        return prefixed

    @overload
    @classmethod
    def select(cls, db: Executor | None = ...) -> Select[Self]: ...  # type: ignore[overload-overlap]  # without columns
    @overload
    @classmethod
    def select(cls, db: Executor | None, a: Expression[A], /) -> Select[tuple[A]]: ...
    @overload
    @classmethod
    def select(cls, db: Executor | None, a: Expression[A], b: Expression[B], /) -> Select[tuple[A, B]]: ...
    @overload
    @classmethod
    def select(
        cls, db: Executor | None, a: Expression[A], b: Expression[B], c: Expression[C], /
    ) -> Select[tuple[A, B, C]]: ...
    @overload
    @classmethod
    def select(
        cls, db: Executor | None, a: Expression[A], b: Expression[B], c: Expression[C], d: Expression[D], /
    ) -> Select[tuple[A, B, C, D]]: ...
    @overload
    @classmethod
    def select(cls, db: Executor | None, /, *columns: Expression[Any]) -> Select[tuple[Any, ...]]: ...
    @classmethod
    def select(cls, db: Executor | None = None, *columns: Expression[Any]) -> Select[Any]:
        """Query rows: as objects, or only some columns, as tuples."""
        return Select(db, cls, columns)

    @classmethod
    async def get(cls, db: Executor, *key: Any) -> Self | None:
        """Return the object with a primary key; None when there is none."""
        plan = statement_for(GetRow, cls.dbo_home, db.dialect)
        result = await db.execute(plan.statement(key))
        rows: list[Self] = object_loader(cls.dbo_home, db.dialect)(result.rows)
        return rows[0] if rows else None

    @classmethod
    def insert_many(cls, db: Executor | None, rows: Sequence[Assigned | Self]) -> Insert[int]:
        """Insert rows in one unit: objects, or for each a mapping of columns to values or expressions.

        Objects stay as they are: the keys that the database makes are not read.
        """
        return insert_rows(db, cls, rows)

    @classmethod
    def update(cls, db: Executor | None = None) -> Update[int]:
        """Change rows by a predicate, without objects."""
        return Update(db, cls)

    @classmethod
    def delete_from(cls, db: Executor | None = None) -> Delete[int]:
        """Delete rows by a predicate, without objects."""
        return Delete(db, cls)

    # One object's own row.

    async def insert(self, db: Executor) -> Self:
        """Write the object as a new row, and read what the database made.

        Raises:
            QueryError: it has a row already.
            ValidationError: a value is missing or does not fit.
        """
        if self.dbo_stored:
            raise QueryError(f"{self!r} is stored already; save it")
        made = [c for c in self.dbo_columns if c.generated and self.dbo_values[c.position] is None]
        plan = statement_for(InsertRow, type(self), db.dialect, made)
        statement = plan.statement([column.of(self) for column in self.dbo_columns])
        self.dbo_changed = NOTHING  # what is set from now on is a change
        if all(column.counting for column in made):
            result = await db.execute(statement)
            generated = [result.last_key] * len(made)
        else:
            values = {e: e.column.of(self) for e in self.dbo_expressions if e.column not in made}
            query = insert_rows(db, type(self), [values])
            ((*generated,),) = await query.returning(*(self.dbo_expressions[c.position] for c in made))
        for column, value in zip(made, generated, strict=True):
            column.put(self, value)
        self.dbo_stored = True
        self._keep(plan.written, statement)
        return self

    async def save(self, db: Executor) -> Self:
        """Write exactly the columns that changed; without a change, without a query. A new object is inserted.

        Raises:
            NotStored: the row is gone.
            StaleObject: the table has a `Version`, and somebody else has saved the row meanwhile.
        """
        if not self.dbo_stored:
            return await self.insert(db)
        changed = self.changed_columns()
        if changed:
            plan = statement_for(UpdateRow, type(self), db.dialect, changed)
            statement = plan.statement(self.dbo_values)
            self.dbo_changed = NOTHING  # what is set from now on is another change
            try:
                if not (await db.execute(statement)).changed:
                    await self._explain(db)
            except BaseException:
                self.dbo_changed = {*changed, *self.dbo_changed}
                raise
            if plan.version is not None:
                plan.version.put(self, self.dbo_values[plan.version.position] + 1)
            self._keep(changed, statement)
        return self

    async def delete(self, db: Executor) -> None:
        """Delete the row; the object can be inserted again.

        Raises:
            NotStored: it has no row.
            StaleObject: the table has a `Version`, and somebody else has saved the row meanwhile.
        """
        if not self.dbo_stored:
            raise NotStored(f"{self!r} has no row")
        plan = statement_for(DeleteRow, type(self), db.dialect)
        if not (await db.execute(plan.statement(self.dbo_values))).changed:
            await self._explain(db)
        self.dbo_stored = False

    async def refresh(self, db: Executor) -> Self:
        """Read the row again; changes that were not saved are lost, and related objects are no longer loaded.

        Raises:
            NotStored: it has no row.
        """
        keys = [self.dbo_values[key.position] for key in self.dbo_keys]
        fresh = await type(self).get(db, *keys) if self.dbo_stored else None
        if fresh is None:
            raise NotStored(f"{self!r} has no row")
        self.dbo_values, self.dbo_kept = fresh.dbo_values, fresh.dbo_kept
        self.dbo_changed, self.dbo_loaded = NOTHING, None
        return self

    def changed_columns(self) -> list[Column[Any]]:
        """Return the columns that a save would write, values that changed in place among them."""
        for position, kept in (self.dbo_kept or {}).items():
            column = self.dbo_columns[position]
            if column not in self.dbo_changed and _differs(column, self.dbo_values[position], kept):
                column.note(self)
        if not self.dbo_changed:
            return []
        return [column for column in self.dbo_columns if column in self.dbo_changed]

    @classmethod
    def dbo_read(cls, values: Sequence[Any]) -> Self:
        """Make the object of a row that a query has read."""
        instance = object.__new__(cls)
        instance.dbo_values = values
        instance.dbo_kept = {c.position: _kept(values[c.position]) for c in cls.dbo_columns if c.mutable} or None
        return instance

    def _keep(self, columns: Sequence[Column[Any]], statement: Statement) -> None:
        """Remember what the database now has of values that can change in place."""
        for column, argument in zip(columns, statement.arguments, strict=False):
            if column.mutable:
                self.dbo_kept = {**(self.dbo_kept or {}), column.position: argument}

    async def _explain(self, db: Executor) -> None:
        """Say why a write found no row."""
        keys = [self.dbo_values[key.position] for key in self.dbo_keys]
        if await type(self).get(db, *keys) is not None:
            raise StaleObject(f"{self!r} was changed by somebody else meanwhile")
        self.dbo_stored = False
        raise NotStored(f"{self!r} has no row any more")


def table(tablename: str, /, **columns: Column[Any]) -> type[DbObject]:
    """Return a class for a table that exists, with some of its columns: what the steps of a migration refer to.

    A migration describes tables as they were when it was written, so it does not import the classes of today.
    """
    return type(tablename, (DbObject,), {"dbo_tablename": tablename, "__slots__": (), **columns})


def values_of(instance: DbObject) -> Mapping[str, Any]:
    """Return an object's values by column name."""
    return {column.name: column.of(instance) for column in instance.dbo_columns}


def _kept(value: Any) -> str | None:
    return None if value is None else to_json(value)


def _differs(column: Column[Any], value: Any, kept: str | None) -> bool:
    """Tell whether a value is another than what the database keeps, which may be written in another way."""
    if value is None or kept is None:
        return value is not kept
    return to_json(value) != kept and bool(msgspec.json.decode(kept, type=column.value_type.python) != value)


def _expression(owner: type[Table], column: Column[Any]) -> ColumnExpression[Any]:
    kind = ForeignKeyExpression if isinstance(column, ForeignKey) else ColumnExpression
    return kind(owner, column)

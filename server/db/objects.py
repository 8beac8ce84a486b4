"""DbObject: a class is a table, an object is a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, TypeVar, overload

from server.db.columns import Column, ColumnExpression, Table
from server.db.errors import NotStored, QueryError
from server.db.expressions import Expression, Predicate, Value
from server.db.queries import Executor
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

    Attributes:
        dbo_indexes: indexes over several columns.
    """

    dbo_indexes: ClassVar[Sequence[Index]] = ()

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        own = [value for value in vars(cls).values() if isinstance(value, Column)]
        for position, column in enumerate(own, start=len(cls.dbo_columns)):
            column.position = position
        cls.dbo_columns = (*cls.dbo_columns, *own)
        cls.dbo_keys = tuple(column for column in cls.dbo_columns if column.primary_key)
        cls.dbo_expressions = tuple(ColumnExpression(cls, column) for column in cls.dbo_columns)

    def __init__(self, **values: Any) -> None:
        self.dbo_stored = False
        self.dbo_changed = set()
        self.dbo_values = [column.initial() for column in self.dbo_columns]
        columns = {column.name: column for column in self.dbo_columns}
        for name, value in values.items():
            if name not in columns:
                raise QueryError(f"{type(self).__name__} has no column {name}")
            columns[name].assign(self, value)

    def __repr__(self) -> str:
        keys = ", ".join(f"{key.name}={self.dbo_values[key.position]!r}" for key in self.dbo_keys)
        return f"<{type(self).__name__} {keys}>"

    # Queries over the table.

    @classmethod
    def prefix(cls, name: str) -> type[Self]:
        """Return the class under another name, for joins, above all with itself."""
        return type(cls.__name__, (cls,), {"dbo_prefix": name, "__slots__": ()})

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
        return await cls.select(db).where(cls._key_is(key)).first()

    @classmethod
    def insert_many(cls, db: Executor | None, rows: Sequence[Assigned]) -> Insert[int]:
        """Insert rows without objects: for each a mapping of columns to values or expressions."""
        return insert_rows(db, cls, rows)

    @classmethod
    def update(cls, db: Executor | None = None) -> Update[int]:
        """Change rows by a predicate, without objects."""
        return Update(db, cls)

    @classmethod
    def delete_from(cls, db: Executor | None = None) -> Delete:
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
        values = {e: self.dbo_values[e.column.position] for e in self.dbo_expressions if self._is_written(e.column)}
        generated = [e for e in self.dbo_expressions if not self._is_written(e.column)]
        query: Any = insert_rows(db, type(self), [values])
        if generated:
            ((*made,),) = await query.returning(*generated)
            for expression, value in zip(generated, made, strict=True):
                self.dbo_values[expression.column.position] = value
        else:
            await query
        self.dbo_stored = True
        self.dbo_changed.clear()
        return self

    async def save(self, db: Executor) -> Self:
        """Write exactly the columns that changed; without a change, without a query. A new object is inserted.

        Raises:
            NotStored: the row is gone.
        """
        if not self.dbo_stored:
            return await self.insert(db)
        changed = [column for column in self.dbo_columns if column in self.dbo_changed]
        if changed:
            query = Update[int](db, type(self)).where(self._is_me())
            for column in changed:
                query = query.set(self.dbo_expressions[column.position], self.dbo_values[column.position])
            if not await query:
                self.dbo_stored = False
                raise NotStored(f"{self!r} has no row any more")
            self.dbo_changed.clear()
        return self

    async def delete(self, db: Executor) -> None:
        """Delete the row; the object can be inserted again.

        Raises:
            NotStored: it has no row.
        """
        if not self.dbo_stored or not await type(self).delete_from(db).where(self._is_me()):
            raise NotStored(f"{self!r} has no row")
        self.dbo_stored = False

    async def refresh(self, db: Executor) -> Self:
        """Read the row again; changes that were not saved are lost.

        Raises:
            NotStored: it has no row.
        """
        fresh = await type(self).select(db).where(self._is_me()).first() if self.dbo_stored else None
        if fresh is None:
            raise NotStored(f"{self!r} has no row")
        self.dbo_values = fresh.dbo_values
        self.dbo_changed.clear()
        return self

    def _is_written(self, column: Column[Any]) -> bool:
        return self.dbo_values[column.position] is not None or not column.generated

    def _is_me(self) -> Predicate:
        return self._key_is([self.dbo_values[key.position] for key in self.dbo_keys])

    @classmethod
    def _key_is(cls, key: Sequence[Any]) -> Predicate:
        if not cls.dbo_keys or len(key) != len(cls.dbo_keys):
            raise QueryError(f"the primary key of {cls.__name__} has {len(cls.dbo_keys)} columns")
        predicate: Predicate | None = None
        for column, value in zip(cls.dbo_keys, key, strict=True):
            same = cls.dbo_expressions[column.position] == Value(value, column.kind)
            predicate = same if predicate is None else predicate & same
        assert predicate is not None
        return predicate


def values_of(instance: DbObject) -> Mapping[str, Any]:
    """Return an object's values by column name."""
    return {column.name: instance.dbo_values[column.position] for column in instance.dbo_columns}

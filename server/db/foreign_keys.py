"""Foreign keys: from a row to the row it refers to, and what all relations share.

A target is a class, or the name of one that is defined later in the same module, or `package.module.Name`. It is looked
up once, when it is first needed.
"""

from __future__ import annotations

import importlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, Literal, TypeVar, Unpack, cast, overload

from server.db.columns import Column, ColumnExpression, Options, Table, single_key
from server.db.errors import NotLoaded, QueryError
from server.db.queries import Executor
from server.db.value_types import ValueType

T = TypeVar("T", bound=Table)
R = TypeVar("R")
OnDelete = Literal["cascade", "restrict", "set null"]
MOST_KEYS = 5000
"""Keys in one query that loads related objects; more are loaded in several."""


class Relation(ABC):
    """What `with_` takes.

    Attributes:
        name: the attribute's name.
        home: the class that it starts at.
    """

    __slots__ = ()
    name: str
    home: type[Table]

    @property
    @abstractmethod
    def target(self) -> type[Table]:
        """The class that it leads to."""

    @abstractmethod
    async def load(self, db: Executor, objects: Sequence[Any]) -> list[Any]:
        """Load what belongs to objects of the class, and return all that was loaded."""


async def load_related(db: Executor, objects: Sequence[Any], relations: Iterable[Relation]) -> None:
    """Load relations of objects, and of what the relations before them loaded.

    Raises:
        QueryError: a relation starts at a class of which there is no object to be found.
    """
    found: dict[type[Table], list[Any]] = {}
    for instance in objects:
        if not isinstance(instance, Table):
            raise QueryError("with_ needs a query for objects, without columns")
        found.setdefault(type(instance), []).append(instance)
    reached = set(found)
    for relation in relations:
        home = relation.home.dbo_home
        if objects and home not in reached:
            raise QueryError(f"with_: nothing loads a {home.__name__} to start {relation.name} at")
        related = await relation.load(db, found.get(home, [])) if home in found else []
        for instance in related:
            found.setdefault(type(instance), []).append(instance)
        reached.add(relation.target.dbo_home)


class Reference(Generic[T]):
    """What a foreign key is on an object: the key, and the way to the object behind it.

    It equals the key, and an object with that key.

    Attributes:
        key: the key itself.
    """

    __slots__ = ("_column", "_instance", "key")

    def __init__(self, instance: Table, column: ForeignKey[Any, Any], key: Any) -> None:
        self._instance = instance
        self._column = column
        self.key = key

    async def get(self, db: Executor) -> T:
        """Return the object, loaded if it was not.

        Raises:
            NoResult: there is none any more.
        """
        loaded = self._loaded()
        if loaded is None:
            target: Any = self._column.target
            loaded = await target.select(db).where(single_expression(target) == self.key).one()
            remember(self._instance, self._column.name, loaded)
        return cast("T", loaded)

    @property
    def loaded(self) -> T:
        """The object that was loaded.

        Raises:
            NotLoaded: it was not.
        """
        loaded = self._loaded()
        if loaded is None:
            raise NotLoaded(f"{self._column.table}.{self._column.name} was not loaded: use with_, or await get(db)")
        return cast("T", loaded)

    def _loaded(self) -> Any:
        return (self._instance.dbo_loaded or {}).get(self._column.name)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Reference):
            return bool(self.key == other.key)
        if isinstance(other, Table):
            return isinstance(other, self._column.target) and bool(self.key == key_of(other))
        return bool(self.key == other)

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"<Reference {self._column.name}={self.key!r}>"


class ForeignKeyExpression(ColumnExpression[Any], Relation, Generic[T]):
    """A foreign key in a query, and a relation that `with_` loads."""

    __slots__ = ()

    def foreign_key(self) -> ForeignKey[Any, Any]:
        """The column, as what it is."""
        return cast("ForeignKey[Any, Any]", self.column)

    @property
    def name(self) -> str:  # type: ignore[override]  # read only
        """The attribute's name."""
        return self.column.name

    @property
    def home(self) -> type[Table]:  # type: ignore[override]  # read only
        """The class that has the column."""
        return self.owner.dbo_home

    @property
    def target(self) -> type[Table]:
        """The class that it refers to."""
        return self.foreign_key().target

    def operand(self, value: Any) -> Any:
        """Take an object, or a reference, for its key."""
        if isinstance(value, Table):
            value = key_of(value)
        elif isinstance(value, Reference):
            value = value.key
        return super().operand(value)

    async def load(self, db: Executor, objects: Sequence[Any]) -> list[Any]:
        position, target = self.column.position, cast("Any", self.target)
        keys = {key for instance in objects if (key := instance.dbo_values[position]) is not None}
        rows = await in_parts(keys, lambda part: target.select(db).where(single_expression(target).in_(part)))
        by_key = {key_of(row): row for row in rows}
        for instance in objects:
            row = by_key.get(instance.dbo_values[position])
            if row is not None:
                remember(instance, self.column.name, row)
        return rows


class ForeignKey(Column[Any], Generic[T, R]):
    """The key of a row of another table. On an object it is a `Reference`, or None where there is no value.

    Args:
        target: the class of the other table, a function that returns it, or its name; its primary key is one column.
        on_delete: what the database does when that row is deleted.
    """

    @overload
    def __init__(self: ForeignKey[T, Reference[T]], target: type[T] | Callable[[], type[T]] | str, *,
                 on_delete: OnDelete = ..., nullable: Literal[False] = ...,
                 **options: Unpack[Options]) -> None: ...  # fmt: skip
    @overload
    def __init__(self: ForeignKey[T, Reference[T] | None], target: type[T] | Callable[[], type[T]] | str, *,
                 on_delete: OnDelete = ..., nullable: Literal[True],
                 **options: Unpack[Options]) -> None: ...  # fmt: skip
    def __init__(self, target: Any, *, on_delete: OnDelete = "restrict", **options: Any) -> None:
        super().__init__(**options)
        if on_delete == "set null" and not self.nullable:
            raise QueryError('on_delete="set null" needs a column that is nullable')
        self.on_delete = on_delete
        self._target = target
        self._key: Column[Any] | None = None
        self._module = ""

    def bind(self, owner: type[Table], name: str, position: int) -> None:
        super().bind(owner, name, position)
        self._module = owner.__module__
        if self._target == "self":
            self._target = owner

    @property
    def target(self) -> type[T]:
        """The class that it refers to.

        Raises:
            QueryError: there is no such class, or its key is not one column.
        """
        return cast("type[T]", self._resolved()[0])

    def key_column(self) -> Column[Any]:
        """The column that it refers to."""
        return self._resolved()[1]

    @property
    def value_type(self) -> ValueType:  # type: ignore[override]  # read only
        """What the key is."""
        return self._resolved()[1].value_type

    def _resolved(self) -> tuple[type[Table], Column[Any]]:
        if self._key is None:
            self._target = resolve(self._target, self._module, f"{self.table}.{self.name}")
            self._key = single_key(self._target)
        return self._target, self._key

    @overload
    def __get__(self, instance: None, owner: type[Table]) -> ForeignKeyExpression[T]: ...
    @overload
    def __get__(self, instance: Table, owner: type[Table]) -> R: ...
    def __get__(self, instance: Table | None, owner: type[Table]) -> Any:
        if instance is None:
            return owner.dbo_expressions[self.position]
        key = instance.dbo_values[self.position]
        return None if key is None else Reference(instance, self, key)

    def assign(self, instance: Table, value: Any) -> None:
        super().assign(instance, value)
        loaded = instance.dbo_loaded
        if loaded is not None:
            loaded.pop(self.name, None)
        if isinstance(value, Table):
            remember(instance, self.name, value)

    def validated(self, value: Any) -> Any:
        if isinstance(value, Reference):
            value = value.key
        elif isinstance(value, Table):
            if not isinstance(value, self.target):
                raise self.invalid(f"refers to a {self.target.__name__}, not to a {type(value).__name__}")
            value = key_of(value)
            if value is None:
                raise self.invalid(f"refers to a {self.target.__name__} that is not stored yet")
        return super().validated(value)

    @property
    def mutable(self) -> bool:
        return False

    def counts(self, keys: Sequence[Column[Any]]) -> bool:  # noqa: ARG002 it never does
        return False


def key_of(instance: Table) -> Any:
    """Return an object's key of one column."""
    return instance.dbo_values[single_key(type(instance)).position]


def single_expression(owner: type[Table]) -> ColumnExpression[Any]:
    """Return the key of one column as an expression."""
    return owner.dbo_expressions[single_key(owner).position]


def remember(instance: Table, name: str, related: Any) -> None:
    """Keep what a relation has loaded."""
    if instance.dbo_loaded is None:
        instance.dbo_loaded = {}
    instance.dbo_loaded[name] = related


def resolve(target: Any, module: str, about: str) -> type[Table]:
    """Return the class that is meant by a name.

    Args:
        target: a class, the name of one in the module, `package.module.Name`, or a function that returns a class.
        module: the module of whoever names it.
        about: who names it, for errors.

    Raises:
        QueryError: there is no such class.
    """
    found = target
    if isinstance(target, str):
        path, _, name = target.rpartition(".")
        try:
            found = getattr(importlib.import_module(path) if path else sys.modules[module], name, None)
        except ImportError:
            found = None
        if found is None:
            raise QueryError(f"{about} refers to {target}, and there is no such class in {path or module}")
    elif not isinstance(target, type) and callable(target):
        found = target()
    if not (isinstance(found, type) and issubclass(found, Table)):
        raise QueryError(f"{about} refers to {target!r}, which is no table")
    return found


async def in_parts(keys: set[Any], query: Callable[[list[Any]], Any]) -> list[Any]:
    """Run a query for keys; only very many need more than one."""
    ordered = list(keys)
    rows: list[Any] = []
    for start in range(0, len(ordered), MOST_KEYS):
        rows += await query(ordered[start : start + MOST_KEYS])
    return rows

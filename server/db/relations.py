"""Relations that lead to many rows: back to all that refer to one, and through a table to the other side."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Generic, Self, TypeVar, cast, overload

from server.db.columns import ColumnExpression, Table, single_key
from server.db.errors import NotLoaded, QueryError
from server.db.foreign_keys import (
    ForeignKeyExpression,
    Relation,
    in_parts,
    key_of,
    remember,
    resolve,
    single_expression,
)
from server.db.queries import Executor

T = TypeVar("T", bound=Table)


class Many(Relation, Generic[T]):
    """What leads to several objects; on an object it is a `Related`."""

    def __init__(self) -> None:
        self.name = ""
        self._module = ""

    def __set_name__(self, owner: type[Table], name: str) -> None:
        self.name = name
        self.home = owner
        self._module = owner.__module__

    @overload
    def __get__(self, instance: None, owner: type[Table]) -> Self: ...
    @overload
    def __get__(self, instance: Table, owner: type[Table]) -> Related[T]: ...
    def __get__(self, instance: Table | None, owner: type[Table]) -> Any:
        return self if instance is None else Related(instance, self)

    @property
    @abstractmethod
    def target(self) -> type[T]:
        """The class that it leads to."""

    @abstractmethod
    def select(self, db: Executor | None, instance: Table) -> Any:
        """Return the query for the objects that belong to one."""

    def link(self) -> tuple[type[Table], ColumnExpression[Any], ColumnExpression[Any]]:
        """Return the table between, and its columns for this side and for the other.

        Raises:
            QueryError: there is no table between.
        """
        raise QueryError(f"{self.home.__name__}.{self.name} has no table between: set the foreign key instead")


class Related(Generic[T]):
    """The objects that a relation leads to from one object."""

    __slots__ = ("_instance", "_relation")

    def __init__(self, instance: Table, relation: Many[T]) -> None:
        self._instance = instance
        self._relation = relation

    def select(self, db: Executor) -> Any:
        """Return the query for them, to be narrowed, ordered or counted."""
        return self._relation.select(db, self._instance)

    async def get(self, db: Executor) -> list[T]:
        """Return them, loaded if they were not."""
        loaded = (self._instance.dbo_loaded or {}).get(self._relation.name)
        if loaded is None:
            loaded = await self.select(db)
            remember(self._instance, self._relation.name, loaded)
        return cast("list[T]", loaded)

    @property
    def loaded(self) -> list[T]:
        """Those that were loaded.

        Raises:
            NotLoaded: they were not.
        """
        loaded = (self._instance.dbo_loaded or {}).get(self._relation.name)
        if loaded is None:
            relation = self._relation
            raise NotLoaded(f"{relation.home.__name__}.{relation.name} was not loaded: use with_, or await get(db)")
        return cast("list[T]", loaded)

    async def add(self, db: Executor, *objects: T) -> None:
        """Link objects of the other side; those that are linked already stay so."""
        table, own, other = self._relation.link()
        if objects:
            rows = [{own: key_of(self._instance), other: key_of(row)} for row in objects]
            await cast("Any", table).insert_many(db, rows).on_conflict_ignore(own, other)
        self._forget()

    async def remove(self, db: Executor, *objects: T) -> None:
        """Unlink objects of the other side; the objects themselves stay."""
        table, own, other = self._relation.link()
        which = (own == key_of(self._instance)) & other.in_([key_of(row) for row in objects])
        await cast("Any", table).delete_from(db).where(which)
        self._forget()

    def _forget(self) -> None:
        if self._instance.dbo_loaded is not None:
            self._instance.dbo_loaded.pop(self._relation.name, None)


class Reverse(Many[T]):
    """All rows whose foreign key refers to this one.

    Args:
        foreign_key: the class and its column, as in `Reverse("Member.room")` or `Reverse(lambda: Member.room)`.
    """

    def __init__(self, foreign_key: str | Callable[[], Any]) -> None:
        super().__init__()
        self._given = foreign_key
        self._expression: ForeignKeyExpression[Any] | None = None

    @property
    def expression(self) -> ForeignKeyExpression[Any]:
        """The foreign key.

        Raises:
            QueryError: there is no such column, or it refers to another class.
        """
        if self._expression is None:
            about = f"{self.home.__name__}.{self.name}"
            found = foreign_key(self._given, self._module, about)
            if found.target is not self.home:
                raise QueryError(f"{about}: {found!r} does not refer to {self.home.__name__}")
            self._expression = found
        return self._expression

    @property
    def target(self) -> type[T]:
        return cast("type[T]", self.expression.owner)

    def select(self, db: Executor | None, instance: Table) -> Any:
        target: Any = self.target
        return target.select(db).where(self.expression == key_of(instance)).order_by(*_key_order(target))

    async def load(self, db: Executor, objects: Sequence[Any]) -> list[Any]:
        target, position = cast("Any", self.target), self.expression.column.position
        rows = await in_parts(
            {key_of(instance) for instance in objects},
            lambda part: target.select(db).where(self.expression.in_(part)).order_by(*_key_order(target)),
        )
        groups: dict[Any, list[Any]] = {}
        for row in rows:
            groups.setdefault(row.dbo_values[position], []).append(row)
        for instance in objects:
            group = groups.get(key_of(instance), [])
            remember(instance, self.name, group)
            for row in group:
                remember(row, self.expression.column.name, instance)
        return rows


class ManyToMany(Many[T]):
    """Rows on the other side of a table that links both.

    Args:
        target: the class on the other side, or its name.
        through: the class of the table between, or its name; it has one foreign key to each side.
    """

    def __init__(self, target: type[T] | str, *, through: type[Table] | str) -> None:
        super().__init__()
        self._target: Any = target
        self._through: Any = through
        self._link: tuple[type[Table], ColumnExpression[Any], ColumnExpression[Any]] | None = None

    @property
    def target(self) -> type[T]:
        self._target = resolve(self._target, self._module, f"{self.home.__name__}.{self.name}")
        return cast("type[T]", self._target)

    def link(self) -> tuple[type[Table], ColumnExpression[Any], ColumnExpression[Any]]:
        if self._link is None:
            about = f"{self.home.__name__}.{self.name}"
            table = resolve(self._through, self._module, about)
            self._link = table, self._side(table, self.home, about), self._side(table, self.target, about)
        return self._link

    def _side(self, table: type[Table], side: type[Table], about: str) -> ColumnExpression[Any]:
        found = [e for e in table.dbo_expressions if isinstance(e, ForeignKeyExpression) and e.target is side]
        if len(found) != 1:
            raise QueryError(f"{about}: {table.__name__} needs exactly one foreign key to {side.__name__}")
        return found[0]

    def select(self, db: Executor | None, instance: Table) -> Any:
        table, own, other = self.link()
        target: Any = self.target
        query = target.select(db).join(table, other == single_expression(target))
        return query.where(own == key_of(instance)).order_by(*_key_order(target))

    async def load(self, db: Executor, objects: Sequence[Any]) -> list[Any]:
        table, own, other = self.link()
        target: Any = self.target
        keys = {key_of(instance) for instance in objects}
        # One query: the links' columns beside the target's, split again below.
        columns = (own, *target.dbo_expressions)
        rows = await in_parts(
            keys,
            lambda part: (
                target.select(db, *columns)
                .join(table, other == single_expression(target))
                .where(own.in_(part))
                .order_by(*_key_order(target))
            ),
        )
        made: dict[Any, Any] = {}
        groups: dict[Any, list[Any]] = {}
        key_position = single_key(target).position
        for key, *values in rows:
            row = made.get(values[key_position])
            if row is None:
                row = made[values[key_position]] = target.dbo_read(values)
            groups.setdefault(key, []).append(row)
        for instance in objects:
            remember(instance, self.name, groups.get(key_of(instance), []))
        return list(made.values())


def foreign_key(given: str | Callable[[], Any], module: str, about: str) -> ForeignKeyExpression[Any]:
    """Return the foreign key that is meant by `Class.column`.

    Raises:
        QueryError: there is no such column, or it is no foreign key.
    """
    if isinstance(given, str):
        target, _, name = given.rpartition(".")
        owner = resolve(target, module, about)
        found = next((e for e in owner.dbo_expressions if e.column.name == name), None)
    else:
        found = given()
    if not isinstance(found, ForeignKeyExpression):
        raise QueryError(f"{about} needs a foreign key such as Class.column, not {given!r}")
    return found


def _key_order(owner: type[Table]) -> list[ColumnExpression[Any]]:
    return [owner.dbo_expressions[key.position] for key in owner.dbo_keys]

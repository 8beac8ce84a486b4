"""The difference between classes and migrations, as the steps of the next migration.

A person reviews what comes of it: that a name was changed looks like one thing that is gone and another that is new.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from server.db.columns import Column
from server.db.errors import QueryError
from server.db.expressions import Expression
from server.db.foreign_keys import ForeignKey
from server.db.migrations import load, schema_after
from server.db.objects import DbObject
from server.db.rendering import rendered
from server.db.schema import TableDefinition, default_text
from server.db.sqlite.dialect import SQLITE
from server.db.steps import (
    AddColumn,
    AlterColumn,
    CreateFullText,
    CreateIndex,
    CreateTable,
    DropColumn,
    DropFullText,
    DropIndex,
    DropTable,
    Schema,
    Step,
)
from server.db.value_types import Kind, ValueType

LONGEST_NAME = 60
"""Characters of a file's name that is made of its steps."""
Storage = tuple[Kind, int | None, int, int]


class Reference(msgspec.Struct, frozen=True):
    """What a foreign key refers to, as the database knows it.

    Args:
        table: the other table.
        column: its key.
        on_delete: what becomes of the row when the other one is deleted.
    """

    table: str
    column: str
    on_delete: str


class Shape(msgspec.Struct, frozen=True):
    """All of a column that is part of the schema: whatever else differs needs no migration.

    Args:
        storage: how values are kept.
        nullable: whether it may be without a value.
        key: whether it is part of the primary key.
        unique: whether no two rows have the same value.
        index: whether it has an index for any other reason.
        default: what the database evaluates, as SQL.
        reference: what it refers to.
    """

    storage: Storage
    nullable: bool
    key: bool
    unique: bool
    index: bool
    default: str | None
    reference: Reference | None


class Made(msgspec.Struct, frozen=True):
    """A migration that was written.

    Args:
        path: the file.
        steps: what it does.
    """

    path: Path
    steps: Sequence[Step]


def make(folder: Path, classes: Sequence[type[DbObject]], name: str | None = None) -> Made | None:
    """Write the next migration into a folder, which is made when it is not there; None when nothing has changed.

    Args:
        folder: the migrations so far.
        classes: all tables, as they are now.
        name: what the file is called, in words; by default what it does.

    Raises:
        MigrationFailed: a migration so far is broken.
        QueryError: a change that no step makes, such as that of a primary key.
    """
    migrations = load(folder)
    steps = difference(schema_after(migrations), classes)
    if not steps:
        return None
    title = name or (summary(steps) if migrations else "the first tables")
    words = title if name or migrations else "initial"
    slug = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_") or "changes"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{len(migrations) + 1:04}_{slug}.py"
    path.write_text(rendered(steps, title, _altered(steps, schema_after(migrations))), encoding="utf-8")
    return Made(path, steps)


def difference(before: Schema, classes: Iterable[type[DbObject]]) -> list[Step]:
    """Return the steps from a schema to the one that classes declare.

    What is new comes before what goes, so that a person can put statements between them that take values over.

    Args:
        before: the tables as the migrations so far have made them.
        classes: all tables, as they are now.

    Raises:
        QueryError: a change that no step makes.
    """
    after = {cls.dbo_tablename: TableDefinition.of(cls) for cls in classes}
    new = [table for name, table in after.items() if name not in before]
    gone = [table for name, table in before.items() if name not in after]
    kept = [(before[name], table) for name, table in after.items() if name in before]
    for old, table in kept:
        _check_key(old, table)
    created, postponed = creation_order(new)
    steps: list[Step] = [step for old, table in kept for step in _indexes_gone(old, table)]
    steps += [CreateTable(table.name, _without(table, postponed)) for table in created]
    steps += [AddColumn(table.name, name, table.columns[name]) for table, name in postponed]
    steps += [step for old, table in kept for step in _columns_new(old, table)]
    steps += [step for old, table in kept for step in _columns_gone(old, table)]
    steps += _tables_gone(gone)
    steps += [step for table in created for step in _indexes_new(TableDefinition(table.name, {}), table)]
    steps += [step for old, table in kept for step in _indexes_new(old, table)]
    return steps


def shape(column: Column[Any]) -> Shape:
    """Return what of a column is part of the schema."""
    reference = None
    if isinstance(column, ForeignKey):
        reference = Reference(column.target.dbo_tablename, column.key_column().name, column.on_delete)
    return Shape(
        storage=storage(column.value_type),
        nullable=column.nullable,
        key=column.primary_key,
        unique=column.unique,
        index=column.index and not column.unique,
        default=default_text(SQLITE, column.default) if isinstance(column.default, Expression) else None,
        reference=reference,
    )


def storage(value_type: ValueType) -> Storage:
    """Return how values are kept: a member of an enumeration is text or a whole number to the database."""
    kind = value_type.kind
    if kind is Kind.ENUM:
        kind = Kind.INTEGER if value_type.length is None else Kind.TEXT
    return kind, value_type.length, value_type.digits, value_type.places


def creation_order(
    tables: Sequence[TableDefinition], *, goes: bool = False
) -> tuple[list[TableDefinition], list[tuple[TableDefinition, str]]]:
    """Put tables into an order in which each refers only to those before it, to itself, and to others.

    Args:
        tables: the tables.
        goes: whether they are about to be dropped, so that a column that needs a value can be left out too.

    Returns:
        The tables, and the columns that cannot be there from the start, because tables refer to each other in a
        circle.

    Raises:
        QueryError: they do so with columns that need a value.
    """
    waiting = {table.name: table for table in tables}
    ordered: list[TableDefinition] = []
    postponed: list[tuple[TableDefinition, str]] = []
    while waiting:
        free = next((table for table in waiting.values() if not _blocked(table, waiting)), None)
        if free is None:
            free = next((t for t in waiting.values() if goes or _can_wait(t, waiting)), None)
            if free is None:
                raise QueryError(
                    f"{' and '.join(waiting)} refer to each other in a circle; one of the references has to be nullable"
                )
            postponed += [(free, name) for name in _blocked(free, waiting)]
        ordered.append(waiting.pop(free.name))
    return ordered, postponed


def summary(steps: Sequence[Step]) -> str:
    """Say in a few words what steps do, for the name of a file."""
    created = {step.table for step in steps if isinstance(step, CreateTable)}
    titles = dict.fromkeys(
        _title(step) for step in steps if isinstance(step, CreateTable) or _table(step) not in created
    )
    title = " and ".join(titles)
    if len(title) <= LONGEST_NAME:
        return title
    title = f"change {' and '.join(dict.fromkeys(_table(step) for step in steps))}"
    return title if len(title) <= LONGEST_NAME else "change several tables"


def _blocked(table: TableDefinition, waiting: Mapping[str, TableDefinition]) -> list[str]:
    """Return the columns that refer to tables which are not there yet."""
    return [name for name, target in _references(table) if target != table.name and target in waiting]


def _can_wait(table: TableDefinition, waiting: Mapping[str, TableDefinition]) -> bool:
    return all(table.columns[name].nullable for name in _blocked(table, waiting))


def _references(table: TableDefinition) -> Iterator[tuple[str, str]]:
    """Yield the foreign keys of a table, and the tables that they refer to."""
    for name, column in table.columns.items():
        if isinstance(column, ForeignKey):
            yield name, column.target.dbo_tablename


def _without(table: TableDefinition, postponed: Sequence[tuple[TableDefinition, str]]) -> dict[str, Column[Any]]:
    left_out = {name for other, name in postponed if other is table}
    return {name: column for name, column in table.columns.items() if name not in left_out}


def _check_key(old: TableDefinition, table: TableDefinition) -> None:
    """Refuse another primary key: other tables refer to it, and no step changes both."""
    keys = [{name: shape(d.columns[name]) for name in d.keys} for d in (old, table)]
    if keys[0] != keys[1]:
        raise QueryError(
            f"the primary key of {table.name} is another than before, and no step changes one: make a table under a "
            "new name, take the rows over with RunSql, and drop the old one in a later migration"
        )


def _columns_new(old: TableDefinition, table: TableDefinition) -> Iterator[Step]:
    for name, column in table.columns.items():
        if name not in old.columns:
            yield AddColumn(table.name, name, column)
        elif shape(old.columns[name]) != shape(column):
            yield AlterColumn(table.name, name, column)


def _columns_gone(old: TableDefinition, table: TableDefinition) -> Iterator[Step]:
    for name in old.columns:
        if name not in table.columns:
            yield DropColumn(table.name, name)


def _tables_gone(gone: Sequence[TableDefinition]) -> Iterator[Step]:
    """Drop tables, each before those that it refers to."""
    ordered, circles = creation_order(gone, goes=True)
    yield from (DropColumn(table.name, name) for table, name in circles)
    yield from (DropTable(table.name) for table in reversed(ordered))


def _indexes_gone(old: TableDefinition, table: TableDefinition) -> Iterator[Step]:
    for name, full_text in old.full_texts.items():
        declared = table.full_texts.get(name)
        if declared is None or tuple(declared.columns) != tuple(full_text.columns):
            yield DropFullText(table.name, name)
    yield from (DropIndex(table.name, index) for index in old.indexes if index not in table.indexes)


def _indexes_new(old: TableDefinition, table: TableDefinition) -> Iterator[Step]:
    yield from (CreateIndex(table.name, index) for index in table.indexes if index not in old.indexes)
    for name, full_text in table.full_texts.items():
        before = old.full_texts.get(name)
        if before is None or tuple(before.columns) != tuple(full_text.columns):
            yield CreateFullText(table.name, name, full_text)


def _altered(steps: Sequence[Step], before: Schema) -> dict[tuple[str, str], Column[Any]]:
    """Return what the columns were that are changed."""
    return {
        (step.table, step.name): before[step.table].columns[step.name]
        for step in steps
        if isinstance(step, AlterColumn)
    }


def _table(step: Step) -> str:
    table: str = getattr(step, "table", "")
    return table


def _title(step: Step) -> str:
    match step:
        case CreateTable(table=table):
            return f"create {table}"
        case DropTable(table=table):
            return f"drop {table}"
        case DropColumn(table=table, name=name):
            return f"drop {name} of {table}"
        case CreateIndex(table=table, index=index):
            return f"index {' '.join(index.columns)} of {table}"
        case DropIndex(table=table, index=index):
            return f"drop index {' '.join(index.columns)} of {table}"
        case CreateFullText(table=table, name=name):
            return f"index words {name} of {table}"
    return step.words

"""The steps of a migration: declarations, so that one file serves every database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from server.db.columns import Column
from server.db.dialects import Dialect
from server.db.errors import QueryError
from server.db.expressions import Expression
from server.db.foreign_keys import ForeignKey
from server.db.fulltext import full_text_name
from server.db.schema import (
    Index,
    TableDefinition,
    column_definition,
    column_indexes,
    create_full_text,
    create_index,
    create_table,
    drop_index,
    foreign_key,
    references,
)

Schema = dict[str, TableDefinition]
"""The tables as the steps so far have made them, by name."""


class Step(msgspec.Struct, frozen=True):
    """One change of the schema."""

    rebuilds = False
    """Whether it makes a table anew, so that foreign keys cannot be enforced meanwhile."""

    def statements(self, dialect: Dialect, schema: Schema) -> Iterator[str]:
        """Yield it as SQL, for the schema before it."""
        raise NotImplementedError

    def apply(self, schema: Schema) -> None:
        """Make the change in what is known of the schema."""

    @property
    def words(self) -> str:
        """What it does, for people."""
        raise NotImplementedError


class CreateTable(Step, frozen=True):
    """A new table with its columns and the indexes of single ones."""

    table: str
    columns: Mapping[str, Any]

    def statements(self, dialect: Dialect, schema: Schema) -> Iterator[str]:
        yield from create_table(dialect, self.table, self.columns)

    def apply(self, schema: Schema) -> None:
        schema[self.table] = TableDefinition(self.table, dict(self.columns), [], {})

    @property
    def words(self) -> str:
        return f"create {self.table} with {', '.join(self.columns)}"


class DropTable(Step, frozen=True):
    """A table that is no longer needed, with all its rows."""

    table: str

    def statements(self, dialect: Dialect, schema: Schema) -> Iterator[str]:
        for name in known(schema, self.table).full_texts:
            yield from dialect.drop_full_text(self.table, full_text_name(self.table, name))
        yield f"DROP TABLE {dialect.quote(self.table)}"

    def apply(self, schema: Schema) -> None:
        del schema[self.table]

    @property
    def words(self) -> str:
        return f"drop {self.table} with all its rows"


class AddColumn(Step, frozen=True):
    """A new column. Rows that are there get its default, or no value where it is nullable."""

    table: str
    name: str
    column: Any

    def statements(self, dialect: Dialect, schema: Schema) -> Iterator[str]:
        column: Column[Any] = self.column
        if isinstance(column.default, Expression) and dialect.inline_references:
            # A table with rows takes only constants as defaults of new columns there: it is made anew.
            before = known(schema, self.table)
            after = changed(before)
            after.columns[self.name] = column
            yield from rebuilt(dialect, before, after)
            return
        definition = column_definition(dialect, self.name, column, [])
        if not column.nullable and not isinstance(column.default, Expression):
            definition += f" DEFAULT {self._default(dialect)}"
        if isinstance(column, ForeignKey) and dialect.inline_references:
            definition += f" {references(dialect, column)}"
        yield f"ALTER TABLE {dialect.quote(self.table)} ADD COLUMN {definition}"
        if isinstance(column, ForeignKey) and not dialect.inline_references:
            line = foreign_key(dialect, self.table, self.name, column)
            yield f"ALTER TABLE {dialect.quote(self.table)} ADD {line}"
        yield from column_indexes(dialect, self.table, self.name, column)

    def apply(self, schema: Schema) -> None:
        known(schema, self.table).columns[self.name] = self.column

    @property
    def rebuilds(self) -> bool:  # type: ignore[override]  # a constant elsewhere
        # SQLite adds a reference that has a default only where foreign keys are not enforced.
        return isinstance(self.column, ForeignKey) or isinstance(self.column.default, Expression)

    @property
    def words(self) -> str:
        return f"add {self.name} to {self.table}"

    def _default(self, dialect: Dialect) -> str:
        if not has_plain_default(self.column):
            raise QueryError(
                f"{self.table}.{self.name}: rows that are there need a value: make it nullable, or give it a default "
                "that is a plain value"
            )
        return dialect.literal_default(_kept_default(dialect, self.column))


class DropColumn(Step, frozen=True):
    """A column that is no longer needed, with its values and its own index."""

    table: str
    name: str

    def statements(self, dialect: Dialect, schema: Schema) -> Iterator[str]:
        column = known(schema, self.table).columns[self.name]
        table, name = dialect.quote(self.table), dialect.quote(self.name)
        if isinstance(column, ForeignKey) and not dialect.inline_references:
            yield f"ALTER TABLE {table} DROP FOREIGN KEY {dialect.quote(f'fk_{self.table}_{self.name}')}"
        if isinstance(column, ForeignKey) and dialect.inline_references:
            # Such a column cannot be dropped there: the table is made anew without it.
            after = changed(known(schema, self.table))
            del after.columns[self.name]
            yield from rebuilt(dialect, known(schema, self.table), after)
            return
        if column.unique or column.index:
            yield drop_index(dialect, self.table, Index((self.name,)))
        yield f"ALTER TABLE {table} DROP COLUMN {name}"

    def apply(self, schema: Schema) -> None:
        del known(schema, self.table).columns[self.name]

    @property
    def words(self) -> str:
        return f"drop {self.name} of {self.table} with all its values"

    @property
    def rebuilds(self) -> bool:  # type: ignore[override]  # a constant elsewhere
        return True


class AlterColumn(Step, frozen=True):
    """A column that is defined otherwise from now on; its values stay, and have to fit."""

    table: str
    name: str
    column: Any

    def statements(self, dialect: Dialect, schema: Schema) -> Iterator[str]:
        before = known(schema, self.table)
        after = changed(before)
        after.columns[self.name] = self.column
        if dialect.inline_references:
            yield from rebuilt(dialect, before, after)
            return
        yield from self._in_place(dialect, before, after)

    def _in_place(self, dialect: Dialect, before: TableDefinition, after: TableDefinition) -> Iterator[str]:
        """Yield the statements where columns can be changed as they are."""
        old: Column[Any] = before.columns[self.name]
        new: Column[Any] = self.column
        indexed, index = (old.unique, old.index), (new.unique, new.index)
        table, name = dialect.quote(self.table), dialect.quote(self.name)
        # The foreign key goes first, because it needs the index.
        if isinstance(old, ForeignKey):
            yield f"ALTER TABLE {table} DROP FOREIGN KEY {dialect.quote(f'fk_{self.table}_{self.name}')}"
        if indexed != index and any(indexed):
            yield drop_index(dialect, self.table, Index((self.name,)))
        if old.nullable and not new.nullable and has_plain_default(new):
            yield f"UPDATE {table} SET {name} = {_literal(dialect, new)} WHERE {name} IS NULL"
        definition = column_definition(dialect, self.name, new, [])
        if new.primary_key and new.counts([after.columns[key] for key in after.keys]):
            definition += dialect.auto_key
        yield f"ALTER TABLE {table} MODIFY COLUMN {definition}"
        if isinstance(new, ForeignKey):
            yield f"ALTER TABLE {table} ADD {foreign_key(dialect, self.table, self.name, new)}"
        if indexed != index:
            yield from column_indexes(dialect, self.table, self.name, new)

    def apply(self, schema: Schema) -> None:
        known(schema, self.table).columns[self.name] = self.column

    @property
    def words(self) -> str:
        return f"change {self.name} of {self.table}"

    @property
    def rebuilds(self) -> bool:  # type: ignore[override]  # a constant elsewhere
        return True


class CreateIndex(Step, frozen=True):
    """A new index over several columns."""

    table: str
    index: Index

    def statements(self, dialect: Dialect, schema: Schema) -> Iterator[str]:
        yield create_index(dialect, self.table, self.index)

    def apply(self, schema: Schema) -> None:
        known(schema, self.table).indexes.append(self.index)

    @property
    def words(self) -> str:
        kind = "keep unique" if self.index.unique else "index"
        return f"{kind} {' and '.join(self.index.columns)} of {self.table}"


class DropIndex(Step, frozen=True):
    """An index over several columns that is no longer needed."""

    table: str
    index: Index

    def statements(self, dialect: Dialect, schema: Schema) -> Iterator[str]:
        table, first = known(schema, self.table), self.index.columns[0]
        column = table.columns[first]
        if isinstance(column, ForeignKey) and not dialect.inline_references and not self._spare(table, first):
            # The foreign key has no other index: it gets one when it is made anew.
            quoted = dialect.quote(self.table)
            yield f"ALTER TABLE {quoted} DROP FOREIGN KEY {dialect.quote(f'fk_{self.table}_{first}')}"
            yield drop_index(dialect, self.table, self.index)
            yield f"ALTER TABLE {quoted} ADD {foreign_key(dialect, self.table, first, column)}"
        else:
            yield drop_index(dialect, self.table, self.index)

    def _spare(self, table: TableDefinition, first: str) -> bool:
        """Tell whether another index begins with the same column."""
        column = table.columns[first]
        others = [declared for declared in table.indexes if declared != self.index]
        return column.unique or column.index or table.keys[:1] == [first] or any(o.columns[0] == first for o in others)

    def apply(self, schema: Schema) -> None:
        known(schema, self.table).indexes.remove(self.index)

    @property
    def words(self) -> str:
        return f"drop the index over {' and '.join(self.index.columns)} of {self.table}"


class CreateFullText(Step, frozen=True):
    """A new full-text index; `name` is the attribute's."""

    table: str
    name: str
    full_text: Any

    def statements(self, dialect: Dialect, schema: Schema) -> Iterator[str]:
        yield from create_full_text(dialect, known(schema, self.table), self.name, self.full_text)

    def apply(self, schema: Schema) -> None:
        known(schema, self.table).full_texts[self.name] = self.full_text

    @property
    def words(self) -> str:
        return f"index the words in {' and '.join(self.full_text.columns)} of {self.table} as {self.name}"


class DropFullText(Step, frozen=True):
    """A full-text index that is no longer needed."""

    table: str
    name: str

    def statements(self, dialect: Dialect, schema: Schema) -> Iterator[str]:
        yield from dialect.drop_full_text(self.table, full_text_name(self.table, self.name))

    def apply(self, schema: Schema) -> None:
        del known(schema, self.table).full_texts[self.name]

    @property
    def words(self) -> str:
        return f"drop the words {self.name} of {self.table}"


class RunSql(Step, frozen=True):
    """Statements as they are, for each database by its name, as in `{"sqlite": [...], "mysql": [...]}`.

    MariaDB takes those of `mysql` where there are none of its own.
    """

    sql: Mapping[str, Sequence[str]]

    def statements(self, dialect: Dialect, schema: Schema) -> Iterator[str]:
        for name in dialect.names:
            if name in self.sql:
                yield from self.sql[name]
                return
        raise QueryError(f"RunSql has no statements for {dialect.name}")

    @property
    def words(self) -> str:
        return f"run SQL as it is, for {' and '.join(self.sql)}"


def known(schema: Schema, table: str) -> TableDefinition:
    """Return a table that earlier steps have made.

    Raises:
        QueryError: they have not.
    """
    if table not in schema:
        raise QueryError(f"no step before has made a table {table}")
    return schema[table]


def changed(definition: TableDefinition) -> TableDefinition:
    """Return a copy to be changed."""
    return TableDefinition(
        definition.name, dict(definition.columns), list(definition.indexes), dict(definition.full_texts)
    )


def rebuilt(dialect: Dialect, before: TableDefinition, after: TableDefinition) -> Iterator[str]:
    """Yield the statements that make a table anew and take its rows over, where columns cannot be changed in place."""
    table, fresh = dialect.quote(before.name), dialect.quote(f"{before.name}_new")
    for name in before.full_texts:
        yield from dialect.drop_full_text(before.name, full_text_name(before.name, name))
    # Its indexes have the names of the old ones, so they come when those are gone.
    yield next(create_table(dialect, f"{before.name}_new", after.columns))
    kept = [name for name in after.columns if name in before.columns]
    values = [_taken_over(dialect, name, after.columns[name]) for name in kept]
    yield f"INSERT INTO {fresh} ({', '.join(map(dialect.quote, kept))}) SELECT {', '.join(values)} FROM {table}"
    yield f"DROP TABLE {table}"
    yield f"ALTER TABLE {fresh} RENAME TO {table}"
    for name, column in after.columns.items():
        yield from column_indexes(dialect, after.name, name, column)
    for declared in after.indexes:
        yield create_index(dialect, after.name, declared)
    for name, full_text in after.full_texts.items():
        yield from create_full_text(dialect, after, name, full_text)


def has_plain_default(column: Column[Any]) -> bool:
    """Tell whether a column has a default that can be given to rows that are there already."""
    default = column.default
    return default is not None and default is not ... and not isinstance(default, Expression) and not callable(default)


def _taken_over(dialect: Dialect, name: str, column: Column[Any]) -> str:
    if column.nullable or not has_plain_default(column):
        return dialect.quote(name)
    return f"coalesce({dialect.quote(name)}, {_literal(dialect, column)})"


def _literal(dialect: Dialect, column: Column[Any]) -> str:
    return dialect.literal(_kept_default(dialect, column))


def _kept_default(dialect: Dialect, column: Column[Any]) -> Any:
    """Return a plain default as the database keeps it."""
    value, keep = column.validated(column.default), dialect.keeper(column.value_type)
    return value if keep is None else keep(value)

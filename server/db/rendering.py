"""Steps as a Python file that a person reviews, laid out as ruff would do it."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import keyword
import textwrap
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from server.db import steps as kinds
from server.db.columns import Column
from server.db.expressions import Expression
from server.db.foreign_keys import ForeignKey
from server.db.functions import Present
from server.db.schema import Index, default_text
from server.db.source_text import Call, Node, Rows, Text, laid_out, literal
from server.db.sqlite.dialect import SQLITE
from server.db.steps import AddColumn, AlterColumn, CreateTable, DropColumn, DropTable, Step, has_plain_default
from server.db.value_types import Kind, ValueType

WIDTH = 120
_CLASSES = {
    Kind.INTEGER: "Integer",
    Kind.FLOAT: "Float",
    Kind.DECIMAL: "Decimal",
    Kind.TEXT: "Text",
    Kind.BOOLEAN: "Boolean",
    Kind.TIMESTAMP: "Timestamp",
    Kind.DATE: "Date",
    Kind.BYTES: "Bytes",
    Kind.JSON: "Json",
    Kind.UUID: "Uuid",
}
_MODULES = {dt.datetime: "import datetime as dt", dt.date: "import datetime as dt",
            decimal.Decimal: "import decimal", uuid.UUID: "import uuid"}  # fmt: skip
_FILL_IN = (
    "FILL IN: rows that are there already need a value. Write it instead of the dots, or make the column nullable, "
    "give it values with RunSql, and change it in a later step."
)
_RENAMED_COLUMN = (
    "If a column of {table} only has a new name, take its values over before the old one goes:\n"
    '    RunSql({{"sqlite": ["UPDATE {table} SET new = old"], "mysql": ["UPDATE {table} SET new = old"]}}),'
)
_RENAMED_TABLE = (
    "If a table only has a new name, take its rows over before the old one goes:\n"
    '    RunSql({{"sqlite": ["INSERT INTO new (...) SELECT ... FROM {table}"], "mysql": ["..."]}}),'
)


def rendered(steps: Sequence[Step], title: str, before: Mapping[tuple[str, str], Column[Any]]) -> str:
    """Return the text of a migration's file.

    Args:
        steps: what it does.
        title: the same in a few words.
        before: what the columns were that are changed, by table and name.
    """
    return _File(before).text(steps, title)


class _File:
    """Collects what a file needs while its steps are written."""

    def __init__(self, before: Mapping[tuple[str, str], Column[Any]]) -> None:
        self._before = before
        self._names: set[str] = set()
        self._modules: set[str] = set()
        self._tables: dict[tuple[str, str, str], Node] = {}

    def text(self, steps: Sequence[Step], title: str) -> str:
        """Return the whole file."""
        lines: list[str] = []
        for step in steps:
            lines += [f"    # {line}" for remark in self._remarks(step, steps) for line in _wrapped(remark)]
            lines.append(f"    {laid_out(self._step(step), 4, ',')},")
        parts = [f'"""{_sentence(title)}"""']
        tables = [f"{name} = {laid_out(node, 0)}" for (name, _, _), node in self._tables.items()]
        if self._modules:
            parts.append("\n".join(sorted(self._modules)))
        parts.append(_imports(sorted(self._names, key=_isort)))
        if tables:
            remark = "What foreign keys refer to: the tables as they are here, and not the classes of some later day."
            parts.append("\n".join([f"# {remark}", *tables]))
        parts.append("\n".join(["steps = [", *lines, "]"]))
        return "\n\n".join(parts) + "\n"

    # Steps.

    def _step(self, step: Step) -> Node:
        name = type(step).__name__
        self._names.add(name)
        match step:
            case CreateTable():
                columns = [(Text(literal(n)), self._column(c, filled=False)) for n, c in step.columns.items()]
                return Call(name, [Text(literal(step.table)), Rows("{", "}", columns)], explode=True)
            case AddColumn() | AlterColumn():
                adds, needed = isinstance(step, AddColumn), not step.column.nullable
                if not adds:  # only rows without a value are given one
                    needed = needed and self._before[step.table, step.name].nullable
                column = self._column(step.column, filled=needed, adds=adds)
                return Call(name, [Text(literal(step.table)), Text(literal(step.name)), column])
            case kinds.CreateIndex() | kinds.DropIndex():
                return Call(name, [Text(literal(step.table)), self._index(step.index)])
            case kinds.CreateFullText():
                self._names.add("FullText")
                words = Call("FullText", [Text(literal(column)) for column in step.full_text.columns])
                return Call(name, [Text(literal(step.table)), Text(literal(step.name)), words])
        return Call(name, [Text(literal(getattr(step, field))) for field in step.__struct_fields__])

    def _index(self, index: Index) -> Node:
        function = "unique" if index.unique else "index"
        self._names.add(function)
        return Call(function, [Text(literal(column)) for column in index.columns])

    # Columns.

    def _column(self, column: Column[Any], *, filled: bool, adds: bool = False) -> Node:
        """Write a column; `filled` says whether rows may need its default, `adds` whether they surely do."""
        if isinstance(column, ForeignKey):
            arguments: list[Node] = [self._target(column)]
            self._names.add("ForeignKey")
            name = "ForeignKey"
            if column.on_delete != "restrict":
                arguments.append(Text(f"on_delete={literal(column.on_delete)}"))
        else:
            name, arguments = self._type(column.value_type)
        for option in ("nullable", "primary_key", "unique", "index"):
            if getattr(column, option) and not (option == "index" and column.unique):
                arguments.append(Text(f"{option}=True"))
        default = self._default(column, filled=filled, adds=adds)
        if default is not None:
            arguments.append(default)
        return Call(name, arguments)

    def _type(self, value_type: ValueType) -> tuple[str, list[Node]]:
        kind = value_type.kind
        if kind is Kind.ENUM:  # its members are the class's affair
            kind = Kind.INTEGER if value_type.length is None else Kind.TEXT
        name = _CLASSES[kind]
        self._names.add(name)
        arguments: list[Node] = []
        if kind is Kind.DECIMAL:
            arguments += [Text(str(value_type.digits)), Text(str(value_type.places))]
        elif kind is Kind.JSON:
            arguments.append(Text("object"))
        elif value_type.length is not None:
            arguments.append(Text(f"max_length={value_type.length}"))
        return name, arguments

    def _default(self, column: Column[Any], *, filled: bool, adds: bool) -> Node | None:
        default = column.default
        if isinstance(default, Present):
            self._names.add("current_timestamp")
            return Text("default=current_timestamp()")
        if isinstance(default, Expression) or (adds and filled and not has_plain_default(column)):
            return Text("default=...")
        if not filled or not has_plain_default(column):
            return None
        return self._plain(column.value_type, default)

    def _plain(self, value_type: ValueType, default: Any) -> Node:
        if value_type.kind is Kind.JSON:
            default = msgspec.to_builtins(default)
        elif isinstance(default, enum.Enum):
            default = default.value
        module = _MODULES.get(type(default))
        if module is not None:
            self._modules.add(module)
        return Text(f"default={literal(default)}")

    def _target(self, column: ForeignKey[Any, Any]) -> Node:
        """Name the table that a foreign key refers to, which is written once."""
        key, table = column.key_column(), column.target.dbo_tablename
        inner: Any = key
        while isinstance(inner, ForeignKey):
            inner = inner.key_column()
        type_name, arguments = self._type(inner.value_type)
        definition = Call(type_name, [*arguments, Text("primary_key=True")])
        name = f"{table}_table" if table in _TAKEN or keyword.iskeyword(table) else table
        self._names.add("table")
        self._tables[name, table, key.name] = Call(
            "table", [Text(literal(table)), Text(f"{key.name}=", after=definition)]
        )
        return Text(name)

    # Remarks.

    def _remarks(self, step: Step, steps: Sequence[Step]) -> Iterator[str]:
        if isinstance(step, DropTable):
            yield f"This loses all rows of {step.table}."
            first = next(other for other in steps if isinstance(other, DropTable))
            if step is first and any(isinstance(other, CreateTable) for other in steps):
                yield _RENAMED_TABLE.format(table=step.table)
        elif isinstance(step, DropColumn):
            yield f"This loses all values of {step.name}."
            own = [other for other in steps if getattr(other, "table", "") == step.table]
            first_gone = next(other for other in own if isinstance(other, DropColumn))
            if step is first_gone and any(isinstance(other, AddColumn) for other in own):
                yield _RENAMED_COLUMN.format(table=step.table)
        elif isinstance(step, AddColumn | AlterColumn):
            column = step.column
            if isinstance(step, AlterColumn):
                yield from _misfits(self._before[step.table, step.name], column)
            elif not column.nullable and not has_plain_default(column) and not isinstance(column.default, Expression):
                yield _FILL_IN
            if isinstance(step, AddColumn) and column.unique and not column.nullable:
                yield "Rows that are there already would all get the same value, and it is to be unique."
        columns = step.columns.values() if isinstance(step, CreateTable) else [getattr(step, "column", None)]
        for column in columns:
            default = getattr(column, "default", None)
            if isinstance(default, Expression) and not isinstance(default, Present):
                yield f"FILL IN: the default that is {default_text(SQLITE, default)} as SQL, instead of the dots."


def _misfits(old: Column[Any], new: Column[Any]) -> Iterator[str]:
    """Say what values of a changed column may not fit any more."""
    before, after = old.value_type, new.value_type
    if before.kind is not after.kind and {before.kind, after.kind} != {Kind.TEXT, Kind.ENUM}:
        yield f"It was a {before.kind.value} and becomes a {after.kind.value}; what does not fit stops the migration."
    elif after.length is not None and (before.length is None or before.length > after.length):
        yield f"Values that are longer than {after.length} do not fit any more."
    elif (after.places, after.digits - after.places) < (before.places, before.digits - before.places):
        yield "Numbers with more digits than that are rounded, or stop the migration."
    if old.nullable and not new.nullable:
        yield (
            "Rows without a value get the default."
            if has_plain_default(new)
            else "Rows without a value stop the migration: give them one before, with RunSql."
        )
    if new.unique and not old.unique:
        yield "Rows with the same value stop the migration."
    if isinstance(new, ForeignKey):
        target = new.target.dbo_tablename
        if not isinstance(old, ForeignKey) or old.target.dbo_tablename != target:
            yield f"Values that are no key of {target} stop the migration."


def _imports(names: Sequence[str]) -> str:
    line = f"from server.db import {', '.join(names)}"
    if len(line) <= WIDTH:
        return line
    return "\n".join(["from server.db import (", *(f"    {name}," for name in names), ")"])


def _isort(name: str) -> tuple[bool, str]:
    return name[0].islower(), name


def _sentence(title: str) -> str:
    title = title.strip().rstrip(".").replace("\\", " ").replace('"', "'")
    return f"{title[:1].upper()}{title[1:]}."


def _wrapped(remark: str) -> list[str]:
    """Break a remark into lines; what stands in it on a line of its own is code."""
    text, *code = remark.split("\n")
    return [*textwrap.wrap(text, WIDTH - len("    # "), break_long_words=False, break_on_hyphens=False), *code]


_TAKEN = {"steps", "table", "index", "unique", "current_timestamp", "dt", "decimal", "uuid", "object", "int", "str"}
"""Names that mean something else in such a file."""

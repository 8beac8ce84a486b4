"""SQLite's dialect."""

from __future__ import annotations

import decimal
from collections.abc import Sequence
from typing import Any, ClassVar

import apsw

from server.db.dialects import (
    Dialect,
    Returning,
    like_tokens,
    many_from_microseconds,
    to_microseconds,
)
from server.db.value_types import Codec, Kind, ValueType

_TYPES = {
    Kind.INTEGER: "INTEGER",
    Kind.FLOAT: "REAL",
    Kind.DECIMAL: "INTEGER",
    Kind.TEXT: "TEXT",
    Kind.BOOLEAN: "INTEGER",
    Kind.TIMESTAMP: "INTEGER",
    Kind.DATE: "TEXT",
    Kind.BYTES: "BLOB",
    Kind.JSON: "TEXT",
    Kind.UUID: "BLOB",
}


class SQLiteDialect(Dialect):
    """SQLite 3.42 or newer. Moments are microseconds since 1970, decimal numbers whole ones, dates ISO 8601."""

    name: ClassVar = "sqlite"
    placeholder: ClassVar = "?"
    returning: ClassVar[frozenset[Returning]] = frozenset({"insert", "update", "delete"})
    transactional_ddl: ClassVar = True
    auto_key: ClassVar = ""  # every INTEGER PRIMARY KEY does
    default_row: ClassVar = " DEFAULT VALUES"
    no_limit: ClassVar = "-1"
    concatenation: ClassVar = ("(", " || ", ")")
    character_length: ClassVar = "length"
    binary: ClassVar = "BLOB"
    division: ClassVar = "(CAST({} AS REAL) / {})"
    remainder: ClassVar = "({} % {})"
    average: ClassVar = "avg({})"
    present: ClassVar = "CAST(unixepoch('subsec') * 1000000 AS INTEGER)"
    orders_nulls: ClassVar = True
    locks_rows: ClassVar = False
    derives_limited: ClassVar = False
    derives_own: ClassVar = False
    scales_decimals: ClassVar = True
    names_conflicts: ClassVar = True
    assigns_in_order: ClassVar = False
    most_arguments: ClassVar = 32_766
    names: ClassVar = ("sqlite",)
    column_decoders: ClassVar = {Kind.TIMESTAMP: many_from_microseconds}
    inline_references: ClassVar = True

    def make_quoted(self, name: str) -> str:
        if name.isascii() and name.upper() not in apsw.keywords:
            return name
        return '"' + name.replace('"', '""') + '"'

    def column_type(self, value_type: ValueType) -> str:
        if value_type.kind is Kind.ENUM:
            return "TEXT" if value_type.length is not None else "INTEGER"
        return _TYPES[value_type.kind]

    def make_keeper(self, value_type: ValueType) -> Codec | None:
        match value_type.kind:
            case Kind.TIMESTAMP:
                return to_microseconds
            case Kind.DECIMAL:
                return lambda value: int(value.scaleb(value_type.places))
        return super().make_keeper(value_type)

    def make_decoder(self, value_type: ValueType, *, computed: bool) -> Codec | None:
        if value_type.kind is Kind.DECIMAL:
            return lambda value: decimal.Decimal(value).scaleb(-value_type.places)
        return super().make_decoder(value_type, computed=computed)

    def like(self, pattern: str) -> tuple[str, str]:
        # GLOB heeds case, and LIKE does not.
        special = {"%": "*", "_": "?"}
        glob = [special[c] if stands else f"[{c}]" if c in "*?[" else c for c, stands in like_tokens(pattern)]
        return " GLOB {}", "".join(glob)

    def match(self, source: str, key: str, index: str, words: Sequence[str], *, prefix: bool) -> list[tuple[str, str]]:
        query = " ".join(f'"{word}"' for word in words) + ("*" if prefix else "")
        name = self.quote(index)
        found = f"(SELECT rowid FROM {name} WHERE {name} MATCH {{}})"
        return [(f"{self.quote(source)}.{self.quote(key)} IN {found}", query)]

    def on_conflict(self, keys: Sequence[str], own: str) -> tuple[str, str]:
        del own
        target = f" ({', '.join(map(self.quote, keys))})" if keys else ""
        return f" ON CONFLICT{target} DO UPDATE SET ", f" ON CONFLICT{target} DO NOTHING"

    def excluded(self, name: str) -> str:
        return f"excluded.{self.quote(name)}"

    def literal(self, argument: Any) -> str:
        return str(apsw.format_sql_value(argument))

    def create_table(self, table: str, lines: Sequence[str]) -> str:
        body = ",\n    ".join(lines)
        # Strict: a sum beyond 64 bits, which is a floating-point number, does not get into a column of whole ones.
        return f"CREATE TABLE {self.quote(table)} (\n    {body}\n) STRICT"

    def create_full_text(self, table: str, name: str, columns: Sequence[str], key: str) -> list[str]:
        # The index has no texts of its own: it reads the table's, and triggers keep it as the table is.
        index, source, rowid = self.quote(name), self.quote(table), self.quote(key)
        names = ", ".join(map(self.quote, columns))
        new = ", ".join(f"new.{self.quote(column)}" for column in columns)
        old = ", ".join(f"old.{self.quote(column)}" for column in columns)
        add = f"INSERT INTO {index} (rowid, {names}) VALUES (new.{rowid}, {new});"
        remove = f"INSERT INTO {index} ({index}, rowid, {names}) VALUES ('delete', old.{rowid}, {old});"
        made = (
            f"CREATE VIRTUAL TABLE {index} USING fts5({names}, content={source}, content_rowid={rowid}, "
            "tokenize='unicode61 remove_diacritics 2')"
        )
        return [
            made,
            f"CREATE TRIGGER {name}_insert AFTER INSERT ON {source} BEGIN {add} END",
            f"CREATE TRIGGER {name}_delete AFTER DELETE ON {source} BEGIN {remove} END",
            f"CREATE TRIGGER {name}_update AFTER UPDATE OF {rowid}, {names} ON {source} BEGIN {remove} {add} END",
            f"INSERT INTO {index} ({index}) VALUES ('rebuild')",
        ]

    def drop_full_text(self, table: str, name: str) -> list[str]:
        del table
        triggers = [f"DROP TRIGGER {name}_{event}" for event in ("insert", "delete", "update")]
        return [*triggers, f"DROP TABLE {self.quote(name)}"]

    def drop_index(self, table: str, name: str) -> str:
        del table
        return f"DROP INDEX {self.quote(name)}"


SQLITE = SQLiteDialect()

"""The dialects of MySQL and of MariaDB."""

from __future__ import annotations

import decimal
from collections.abc import Sequence
from typing import Any, ClassVar

from server.db.dialects import Dialect, Returning, like_tokens
from server.db.mysql.keywords import KEYWORDS
from server.db.value_types import Codec, Kind, ValueType

LONGEST_VARCHAR = 1000
"""Characters; longer text is kept apart from the row, which has room for 65,535 bytes in all."""
SHORTEST_WORD, LONGEST_WORD = 3, 84
"""Characters of the words that InnoDB's index has, as it comes."""
_TYPES = {
    Kind.INTEGER: "BIGINT",
    Kind.FLOAT: "DOUBLE",
    Kind.BOOLEAN: "TINYINT",
    Kind.TIMESTAMP: "DATETIME(6)",
    Kind.DATE: "DATE",
    Kind.JSON: "LONGTEXT",
    Kind.UUID: "BINARY(16)",
}


class MySQLDialect(Dialect):
    """MySQL 8.0.17 or newer. Moments are in UTC; text is compared as it is, case and trailing spaces included."""

    name: ClassVar = "mysql"
    placeholder: ClassVar = "%s"
    returning: ClassVar[frozenset[Returning]] = frozenset()
    transactional_ddl: ClassVar = False
    auto_key: ClassVar = " AUTO_INCREMENT"
    default_row: ClassVar = " () VALUES ()"
    no_limit: ClassVar = "18446744073709551615"
    concatenation: ClassVar = ("concat(", ", ", ")")
    character_length: ClassVar = "char_length"
    binary: ClassVar = "BINARY"
    division: ClassVar = "(({} + 0e0) / {})"  # as floating-point numbers; else the result has four decimal places
    remainder: ClassVar = "({} MOD {})"
    average: ClassVar = "avg({} + 0e0)"
    present: ClassVar = "utc_timestamp(6)"
    orders_nulls: ClassVar = False
    locks_rows: ClassVar = True
    derives_limited: ClassVar = True
    derives_own: ClassVar = True
    scales_decimals: ClassVar = False
    names_conflicts: ClassVar = False
    assigns_in_order: ClassVar = True
    most_arguments: ClassVar = 65_535
    names: ClassVar[tuple[str, ...]] = ("mysql",)
    column_decoders: ClassVar = {}
    inline_references: ClassVar = False
    collation: ClassVar = "utf8mb4_0900_bin"
    """By code points, without padding: the order and the equality of SQLite and of Python."""
    words_collation: ClassVar = "utf8mb4_0900_ai_ci"
    """For what is searched by words: case and accents do not count."""

    def make_quoted(self, name: str) -> str:
        if name.isascii() and name.upper() not in KEYWORDS:
            return name
        return "`" + name.replace("`", "``") + "`"

    def column_type(self, value_type: ValueType) -> str:
        kind, length = value_type.kind, value_type.length
        match kind:
            case Kind.TEXT if length is not None and length <= LONGEST_VARCHAR:
                return f"VARCHAR({length})"
            case Kind.TEXT:
                return "LONGTEXT"
            case Kind.BYTES if length is not None and length <= LONGEST_VARCHAR:
                return f"VARBINARY({length})"
            case Kind.BYTES:
                return "LONGBLOB"
            case Kind.DECIMAL:
                return f"DECIMAL({value_type.digits}, {value_type.places})"
            case Kind.ENUM:
                return f"VARCHAR({length})" if length is not None else "BIGINT"
        return _TYPES[kind]

    def make_keeper(self, value_type: ValueType) -> Codec | None:
        match value_type.kind:
            case Kind.TIMESTAMP:
                return lambda value: value.replace(tzinfo=None).isoformat(" ")
            case Kind.BOOLEAN:
                return int
        return super().make_keeper(value_type)

    def make_decoder(self, value_type: ValueType, *, computed: bool) -> Codec | None:
        match value_type.kind:
            case Kind.INTEGER if computed:
                return int  # a sum is a decimal number
            case Kind.FLOAT if computed:
                return float
            case Kind.DECIMAL:
                return decimal.Decimal
        return super().make_decoder(value_type, computed=computed)

    def like(self, pattern: str) -> tuple[str, str]:
        # Another escape than the backslash, which some servers are told to take for itself.
        escaped = ["|" + c if not stands and c in "%_|" else c for c, stands in like_tokens(pattern)]
        return " LIKE {} ESCAPE '|'", "".join(escaped)

    def match(self, source: str, key: str, index: str, words: Sequence[str], *, prefix: bool) -> list[tuple[str, str]]:
        del key
        text = f"{self.quote(source)}.{self.quote(index)}"
        indexed, others = [], []
        for number, word in enumerate(words, start=1):
            open_ended = prefix and number == len(words)
            if SHORTEST_WORD <= len(word) <= LONGEST_WORD:
                indexed.append(f"+{word}*" if open_ended else f'+"{word}"')
            else:  # the index has no words so short or so long
                others.append((f"{text} REGEXP {{}}", f"\\b{word}" if open_ended else f"\\b{word}\\b"))
        match = (f"MATCH ({text}) AGAINST ({{}} IN BOOLEAN MODE)", " ".join(indexed))
        return [match, *others] if indexed else others

    def on_conflict(self, keys: Sequence[str], own: str) -> tuple[str, str]:
        del keys
        change = " ON DUPLICATE KEY UPDATE "
        return change, f"{change}{self.quote(own)} = {self.quote(own)}"

    def excluded(self, name: str) -> str:
        return f"VALUES({self.quote(name)})"

    def literal(self, argument: Any) -> str:
        if isinstance(argument, bytes):
            return f"x'{argument.hex()}'"
        if isinstance(argument, str):
            escaped = argument.replace("\\", "\\\\").replace("'", "''")
            return f"'{escaped}'"
        return "NULL" if argument is None else str(argument)

    def literal_default(self, argument: Any) -> str:
        return f"({self.literal(argument)})"  # long text has no other default

    def create_table(self, table: str, lines: Sequence[str]) -> str:
        body = ",\n    ".join(lines)
        options = f"ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE={self.collation}"
        return f"CREATE TABLE {self.quote(table)} (\n    {body}\n) {options}"

    def means_done(self, error: Exception) -> bool:
        # A table, column or index that is there already, or that is gone already. MariaDB has no code of its own for a
        # foreign key that is there.
        code = getattr(error, "code", None)
        return code in {1050, 1051, 1060, 1061, 1091, 1826} or (code == 1005 and "errno: 121" in str(error))

    def create_full_text(self, table: str, name: str, columns: Sequence[str], key: str) -> list[str]:
        # The columns themselves are compared by code points; words are found in any case, so they have a column.
        del key
        words, texts = self.quote(name), ", ".join(map(self.quote, columns))
        definition = f"LONGTEXT CHARACTER SET utf8mb4 COLLATE {self.words_collation}"
        made = f"{words} {definition} GENERATED ALWAYS AS (concat_ws(' ', {texts})) STORED"
        return [
            f"ALTER TABLE {self.quote(table)} ADD COLUMN {made}",
            f"CREATE FULLTEXT INDEX {words} ON {self.quote(table)} ({words})",
        ]

    def drop_full_text(self, table: str, name: str) -> list[str]:
        return [self.drop_index(table, name), f"ALTER TABLE {self.quote(table)} DROP COLUMN {self.quote(name)}"]

    def drop_index(self, table: str, name: str) -> str:
        return f"DROP INDEX {self.quote(name)} ON {self.quote(table)}"


class MariaDBDialect(MySQLDialect):
    """MariaDB 10.11 or newer."""

    name: ClassVar = "mariadb"
    derives_own: ClassVar = False  # since 10.3 it reads a table that it writes
    names: ClassVar[tuple[str, ...]] = ("mariadb", "mysql")
    returning: ClassVar[frozenset[Returning]] = frozenset({"insert", "delete"})
    collation: ClassVar = "utf8mb4_nopad_bin"
    words_collation: ClassVar = "utf8mb4_uca1400_ai_ci"


MYSQL = MySQLDialect()
MARIADB = MariaDBDialect()

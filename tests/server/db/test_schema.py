"""Tables and indexes as SQL, and that the databases take it."""

from __future__ import annotations

from typing import Any

import pytest

from server.db import (
    Database,
    DbObject,
    ForeignKey,
    Index,
    Integer,
    QueryError,
    Text,
    Timestamp,
    UniqueViolation,
    Uuid,
    coalesce,
    current_timestamp,
    index,
    now,
    table,
    unique,
)  # fmt: skip
from server.db.expressions import Value
from server.db.mysql.dialect import MARIADB, MYSQL
from server.db.schema import TableDefinition, create_index, default_text, drop_index, index_name
from server.db.sqlite.dialect import SQLITE
from server.db.value_types import TEXT
from tests.server.db.golden import SERVERS
from tests.server.db.tables import (
    TABLES,
    Author,
    Department,
    Employee,
    Label,
    Made,
    Note,
    NoteLabel,
    create_all,
    drop_all,
)  # fmt: skip

OPTIONS = "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin"


@pytest.mark.parametrize(
    ("declared", "statements"),
    [
        (
            Author,
            """
            CREATE TABLE authors (
                id BIGINT NOT NULL PRIMARY KEY AUTO_INCREMENT,
                name VARCHAR(20) NOT NULL,
                born DATETIME(6)
            ) {options};
            CREATE UNIQUE INDEX authors_name ON authors (name)
            """,
        ),
        (
            NoteLabel,
            """
            CREATE TABLE note_labels (
                note BIGINT NOT NULL,
                label VARCHAR(20) NOT NULL,
                PRIMARY KEY (note, label),
                CONSTRAINT fk_note_labels_note FOREIGN KEY (note) REFERENCES notes (id) ON DELETE CASCADE,
                CONSTRAINT fk_note_labels_label FOREIGN KEY (label) REFERENCES labels (name) ON DELETE CASCADE
            ) {options};
            CREATE INDEX note_labels_label ON note_labels (label)
            """,
        ),
        (
            Label,
            """
            CREATE TABLE labels (
                name VARCHAR(20) NOT NULL PRIMARY KEY,
                color VARCHAR(4) NOT NULL
            ) {options}
            """,
        ),
        (
            Employee,
            """
            CREATE TABLE employees (
                id BIGINT NOT NULL PRIMARY KEY AUTO_INCREMENT,
                name VARCHAR(20) NOT NULL,
                boss BIGINT,
                department BINARY(16),
                CONSTRAINT fk_employees_boss FOREIGN KEY (boss) REFERENCES employees (id) ON DELETE SET NULL,
                CONSTRAINT fk_employees_department FOREIGN KEY (department)
                    REFERENCES departments (id) ON DELETE RESTRICT
            ) {options}
            """,
        ),
        (
            Made,
            """
            CREATE TABLE made (
                id BIGINT NOT NULL PRIMARY KEY AUTO_INCREMENT,
                at DATETIME(6) NOT NULL DEFAULT (utc_timestamp(6)),
                number BIGINT NOT NULL
            ) {options}
            """,
        ),
    ],
)
def test_golden_tables(declared: type[DbObject], statements: str) -> None:
    """What MySQL is told; MariaDB is told the same, with its own name for the same collation."""
    wanted = statements.format(options=OPTIONS)
    assert words(";".join(TableDefinition.of(declared).create(MYSQL))) == words(wanted)
    mariadb = wanted.replace("utf8mb4_0900_bin", "utf8mb4_nopad_bin")
    assert words(";".join(TableDefinition.of(declared).create(MARIADB))) == words(mariadb)


def words(sql: str) -> list[str]:
    return sql.replace(";", " ; ").replace("(", " ( ").replace(")", " ) ").split()


@pytest.mark.parametrize("dialect", [SQLITE, *SERVERS])
def test_golden_indexes(dialect: Any) -> None:
    """Indexes over several columns, unique or not, and how they go."""
    assert create_index(dialect, "notes", unique("author", "number")) == (
        "CREATE UNIQUE INDEX notes_author_number ON notes (author, number)"
    )
    assert create_index(dialect, "notes", index("score")) == "CREATE INDEX notes_score ON notes (score)"
    ending = "" if dialect is SQLITE else " ON notes"
    assert drop_index(dialect, "notes", index("score")) == f"DROP INDEX notes_score{ending}"
    assert index_name("notes", ("a", "b")) == "notes_a_b"
    assert index("a") == Index(("a",))


def test_defaults() -> None:
    """Values of an expression that is a default are written out, and quoted."""
    expression = coalesce(Value[str | None](None, TEXT), "it's ?")
    assert default_text(SQLITE, expression) == "coalesce(NULL, 'it''s ?')"
    for dialect in SERVERS:
        assert default_text(dialect, expression) == "coalesce(NULL, 'it''s ?')"
    assert default_text(MYSQL, Value("a\\'b", TEXT)) == "'a\\\\''b'"


async def test_every_table_can_be_made_and_removed(db: Database) -> None:
    """All of the tests' tables go and come again."""
    await drop_all(db, TABLES)
    await create_all(db)
    await Author(name="a").insert(db)
    await Note(author=1).insert(db)
    assert await Note.select(db).count() == 1


RESERVED = (
    "select", "from", "where", "order", "group", "limit", "index", "key", "table", "values", "rank", "system", "groups",
    "lead", "lag", "window", "interval", "of", "over", "row", "rows", "recursive", "lateral", "empty", "cube", "offset",
    "value", "read", "write", "condition", "exists", "match", "left", "right", "join", "natural", "using", "default",
    "check", "unique", "primary", "references", "foreign", "column", "add", "all", "and", "or", "not", "null", "true",
    "false",
    "case", "when", "then", "else", "end", "between", "like", "in", "is", "as", "on", "by", "to", "desc", "asc",
    "distinct", "union", "intersect", "except", "having", "set", "update", "delete", "insert", "into", "create", "drop",
    "alter", "trigger", "begin", "commit", "rollback", "returning", "conflict", "do", "nothing", "excluded", "glob",
    "regexp", "escape", "collate", "cast", "current_timestamp", "current_date", "utc_timestamp", "char", "integer",
    "text", "blob", "int", "float", "double", "bigint", "schema", "database", "user", "function", "virtual", "rowid",
    "generated", "always", "stored", "partition", "nth_value", "percent_rank", "vector", "intersects", "sequence",
    "period", "manual", "parallel", "qualify", "tablesample", "library", "external", "session_user", "period_add",
)  # fmt: skip


async def test_any_word_can_be_a_name(db: Database) -> None:
    """FAULTS 30: words that a database reserves are names all the same, of columns, of tables and of prefixes."""
    columns = {name: Integer(nullable=True) for name in RESERVED if not hasattr(DbObject, name)}
    strange = table("select", id=Integer(primary_key=True), **columns)
    await create_all(db, [strange])
    row = await strange(**dict.fromkeys(columns, 1)).insert(db)
    for name in columns:
        setattr(row, name, 2)
    await row.save(db)
    for owner in (strange, strange.prefix("where"), strange.prefix("order")):
        expressions = [expression for expression in owner.dbo_expressions if expression.column.name != "id"]
        query = owner.select(db, *expressions).where(*(expression == 2 for expression in expressions))
        assert await query.order_by(*expressions).group_by(*expressions) == [(2,) * len(columns)]
        labelled = [expression.label(expression.column.name) for expression in expressions]
        assert await owner.select(db, *labelled).count() == 1


@pytest.mark.parametrize("word", ["group", "table", "from"])
async def test_any_word_can_be_a_table(db: Database, word: str) -> None:
    """With indexes, foreign keys and all."""

    class Target(DbObject):
        dbo_tablename = word
        dbo_indexes = (unique("by", "to"),)
        id = Integer(primary_key=True)
        by = Integer(index=True)
        to = Text(max_length=5, unique=True)

    class Source(DbObject):
        dbo_tablename = f"{word}s"
        id = Integer(primary_key=True)
        key = ForeignKey(Target, index=True)

    await create_all(db, [Target, Source])
    target = await Target(by=1, to="x").insert(db)
    await Source(key=target).insert(db)
    joined = Source.select(db, Source.id, Target.to).join(Target, Target.id == Source.key)
    assert await joined == [(1, "x")]
    with pytest.raises(UniqueViolation):
        await Target(by=2, to="x").insert(db)


async def test_foreign_keys_of_every_kind_of_key(db: Database) -> None:
    """A key refers to a column of its own type."""
    columns = {column.name: column for column in Employee.dbo_columns}
    for dialect in (SQLITE, *SERVERS):
        assert dialect.column_type(columns["department"].value_type) == dialect.column_type(Uuid().value_type)
    department = await Department(name="d").insert(db)
    assert (await Employee(name="e", department=department).insert(db)).department == department


async def test_moments_made_by_the_database_do_not_stand_still(db: Database) -> None:
    """The default of a column is computed for each row."""

    class Stamped(DbObject):
        dbo_tablename = "stamped"
        id = Integer(primary_key=True)
        at = Timestamp(default=current_timestamp())

    await create_all(db, [Stamped])
    before = now()
    moments = [(await Stamped().insert(db)).at for _ in range(3)]
    assert moments == sorted(moments)
    assert abs((moments[0] - before).total_seconds()) < 60


def test_a_definition_is_what_the_class_declares() -> None:
    """Columns in order, indexes, and full-text indexes."""
    definition = TableDefinition.of(Note)
    assert (definition.name, list(definition.columns)[:3], definition.keys) == (
        "notes", ["id", "author", "number"], ["id"],
    )  # fmt: skip
    assert definition.indexes == [unique("author", "number"), index("score")]
    with pytest.raises(QueryError, match="cannot be the name"):
        list(TableDefinition("a b", {"id": Integer(primary_key=True)}).create(SQLITE))

"""The steps of migrations: each of them on every kind of database, with rows that are there already."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.db import Database, ForeignKeyViolation, Integer, MigrationFailed, Statement, Timestamp, now, table
from server.db.migrations import load, plan
from server.db.sqlite.dialect import SQLITE
from tests.support.mariadb import MariaDb

IMPORTS = """
from server.db import *

def everywhere(*statements):
    return RunSql({"sqlite": statements, "mysql": statements})

people = table("people", id=Integer(primary_key=True))
"""
START = """
steps = [
    CreateTable("people", {"id": Integer(primary_key=True), "name": Text(max_length=40)}),
    CreateTable("notes", {
        "id": Integer(primary_key=True),
        "person": ForeignKey(people, on_delete="cascade", index=True),
        "text": Text(max_length=40, nullable=True),
        "size": Integer(unique=True),
        "old": Text(nullable=True),
    }),
    CreateIndex("notes", index("person", "size")),
    CreateFullText("notes", "words", FullText("text")),
    everywhere(
        "INSERT INTO people VALUES (1, 'Ada'), (2, 'Bob')",
        "INSERT INTO notes (id, person, text, size, old) VALUES (1, 1, 'hello world', 10, 'x'), (2, 2, NULL, 20, NULL)",
    ),
]
"""
SAME: list[tuple[object, ...]] = [(1, 7), (2, 7)]
"""What the rows have in `more` where a change is not about that."""
CHANGES: dict[str, tuple[str, list[tuple[object, ...]]]] = {
    "a column": ("""AddColumn("notes", "more", Text(max_length=5, nullable=True))""", [(1, None), (2, None)]),
    "a default": ("""AddColumn("notes", "more", Text(default="it's"))""", [(1, "it's"), (2, "it's")]),
    "a unique one": ("""AddColumn("notes", "more", Integer(nullable=True, unique=True))""", [(1, None), (2, None)]),
    "a reference": ("""AddColumn("notes", "more", ForeignKey(people, nullable=True))""", [(1, None), (2, None)]),
    "a reference to a row": ("""AddColumn("notes", "more", ForeignKey(people, default=2))""", [(1, 2), (2, 2)]),
    "a column that goes": ("""DropColumn("notes", "old")""", SAME),
    "an index that goes": ("""DropIndex("notes", index("person", "size")), DropColumn("notes", "size")""", SAME),
    "a reference that goes": ("""DropIndex("notes", index("person", "size")), DropColumn("notes", "person")""", SAME),
    "a column that needs a value": (
        """AlterColumn("notes", "old", Text(default="none")), AddColumn("notes", "more", Integer(default=0)),
           everywhere("UPDATE notes SET more = length(old)")""",
        [(1, 1), (2, 4)],
    ),
    "another type": (
        """AlterColumn("notes", "size", Text(max_length=20)), AddColumn("notes", "more", Text(nullable=True)),
           everywhere("UPDATE notes SET more = size")""",
        [(1, "10"), (2, "20")],
    ),
    "a text that is searched": ("""AlterColumn("notes", "text", Text(max_length=80, nullable=True))""", SAME),
    "another index": (
        """CreateIndex("notes", unique("size", "person")), DropIndex("notes", index("person", "size"))""", SAME,
    ),
    "a reference without an index": (
        """AlterColumn("notes", "person", ForeignKey(people, on_delete="cascade")),
           DropIndex("notes", index("person", "size"))""",
        SAME,
    ),
    "a reference that becomes a number": ("""AlterColumn("notes", "person", Integer(nullable=True))""", SAME),
    "a number that becomes a reference": (
        """everywhere("UPDATE notes SET size = id"), AlterColumn("notes", "size", ForeignKey(people))""", SAME,
    ),
    "no words": ("""DropFullText("notes", "words")""", SAME),
    "other words": (
        """AddColumn("notes", "title", Text(default="")), DropFullText("notes", "words"),
           CreateFullText("notes", "words", FullText("title", "text"))""",
        SAME,
    ),
    "another table": (
        """DropTable("notes"), CreateTable("notes", {"id": Integer(primary_key=True), "more": Text()})""", [],
    ),
    "a key that still counts": (
        """AlterColumn("notes", "id", Integer(primary_key=True)),
           everywhere("INSERT INTO notes (person, size) VALUES (1, 30)")""",
        [*SAME, (3, 7)],
    ),
}  # fmt: skip


@pytest.fixture(params=("sqlite", "mariadb"))
async def db(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """A database without any table, of each kind."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'empty.db'}"
    else:
        server: MariaDb = request.getfixturevalue("mariadb")
        url = server.url(server.new_database())
    async with await Database.open(url) as database:
        yield database


def write(folder: Path, change: str) -> Path:
    """Write two migrations: one that makes tables with rows, and one that changes them."""
    folder.mkdir()
    (folder / "0001_start.py").write_text(IMPORTS + START)
    (folder / "0002_change.py").write_text(f"{IMPORTS}steps = [{change}]\n")
    return folder


@pytest.mark.parametrize("change", CHANGES)
async def test_every_step_keeps_the_rows(db: Database, tmp_path: Path, change: str) -> None:
    """Each step makes what it says on every database, and leaves the other values as they were."""
    text, wanted = CHANGES[change]
    if "more" not in text:
        text += """, AddColumn("notes", "more", Integer(default=7))"""
    await db.migrate("svc", write(tmp_path / "m", text))
    rows = await db.execute(Statement("SELECT id, more FROM notes ORDER BY id", (), writes=False))
    assert rows.rows == wanted
    people = await db.execute(Statement("SELECT id, name FROM people ORDER BY id", (), writes=False))
    assert people.rows == [(1, "Ada"), (2, "Bob")]


@pytest.mark.parametrize("change", CHANGES)
def test_every_step_says_in_words_what_it_does(tmp_path: Path, change: str) -> None:
    """`switchboard db plan` has a line for each, with the name of its table."""
    for migration in load(write(tmp_path / "m", CHANGES[change][0])):
        for step in migration.steps:
            assert getattr(step, "table", "SQL") in step.words


async def test_a_moment_of_the_database_is_given_to_rows_that_are_there(db: Database, tmp_path: Path) -> None:
    """A column whose default the database evaluates can be added to a table with rows."""
    change = 'AddColumn("notes", "at", Timestamp(default=current_timestamp()))'
    await db.migrate("svc", write(tmp_path / "m", change))
    notes = table("notes", id=Integer(primary_key=True), at=Timestamp())
    moments = [row[0] for row in await notes.select(db, notes.dbo_expressions[1])]
    assert len(moments) == 2
    assert all(abs((now() - moment).total_seconds()) < 3600 for moment in moments)


async def test_references_are_true_afterwards(db: Database, tmp_path: Path) -> None:
    """A column becomes a reference only where all of its values are keys of the other table."""
    change = 'AlterColumn("notes", "size", ForeignKey(people))'
    with pytest.raises(MigrationFailed, match="0002_change"):
        await db.migrate("svc", write(tmp_path / "m", change))


async def test_references_hold_after_a_table_was_made_anew(db: Database, tmp_path: Path) -> None:
    """A table that others refer to can be made anew, and they still refer to it."""
    change = 'AlterColumn("people", "name", Text(max_length=80, nullable=True))'
    await db.migrate("svc", write(tmp_path / "m", change))
    with pytest.raises(ForeignKeyViolation):
        await db.execute(Statement("INSERT INTO notes (person, size) VALUES (99, 99)"))
    await db.execute(Statement("DELETE FROM people WHERE id = 1"))
    rows = await db.execute(Statement("SELECT id FROM notes", (), writes=False))
    assert rows.rows == [(2,)]


def test_a_hole_is_no_default(tmp_path: Path) -> None:
    """A generated migration in which nobody has filled in the default is not applied to any database."""
    change = 'AddColumn("notes", "more", Integer(default=...))'
    migrations = load(write(tmp_path / "m", change))
    with pytest.raises(MigrationFailed, match="rows that are there need a value"):
        plan(SQLITE, "svc", migrations)

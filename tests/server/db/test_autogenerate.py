"""Migrations that are made from classes: complete, readable, and the same when they are read again."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import itertools
import subprocess
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import server.auth.accounts
from server.auth.models import Session, User
from server.db import (
    AddColumn,
    AlterColumn,
    Boolean,
    Bytes,
    Column,
    CreateFullText,
    CreateIndex,
    CreateTable,
    Database,
    Date,
    DbObject,
    Decimal,
    DropColumn,
    DropFullText,
    DropIndex,
    DropTable,
    Enum,
    Float,
    ForeignKey,
    FullText,
    Index,
    Integer,
    Json,
    QueryError,
    Statement,
    Text,
    Timestamp,
    Uuid,
    current_timestamp,
    index,
    now,
    table,
    unique,
)
from server.db.autogenerate import difference, make, summary
from server.db.migrations import Migration, load, schema_after
from server.db.objects import values_of
from services.chat.models import Member, Message, Room
from tests.server.db.tables import TABLES
from tests.support.mariadb import MariaDb

ROOT = Path(__file__).parents[3]


class State(enum.Enum):
    """A choice, kept as text."""

    OPEN = "open"
    CLOSED = "closed"


class Level(enum.Enum):
    """A choice, kept as a whole number."""

    LOW = 1


def a_class(name: str, indexes: Sequence[Index] = (), /, **members: Any) -> type[DbObject]:
    """Return the class of a table with a counting key."""
    made = table(name, id=Integer(primary_key=True), **members)
    made.dbo_indexes = indexes
    return made


def again(folder: Path, *classes: type[DbObject]) -> list[Any]:
    """Write the next migration, and return what is still missing when it is read."""
    make(folder, classes)
    return difference(schema_after(load(folder)), classes)


def changes(before: Sequence[type[DbObject]], after: Sequence[type[DbObject]]) -> list[Any]:
    """Return the steps from some classes to others."""
    return difference(schema_after([Migration(1, "0001", difference({}, before))]), after)


def formatted(file: Path) -> None:
    """Fail where ruff would write a file otherwise, or finds something in it."""
    for command in (["format", "--diff"], ["check", "--ignore", "E501"]):
        config = str(ROOT / "pyproject.toml")
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--config", config, str(file)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_shipped_migrations_are_complete() -> None:
    """The classes of accounts and chat have nothing that their migrations have not made."""
    chat = ROOT / "services" / "chat" / "migrations"
    assert difference(schema_after(load(chat)), [Room, Member, Message]) == []
    assert difference(schema_after(load(server.auth.accounts.MIGRATIONS)), [User, Session]) == []


def test_a_first_migration_has_every_kind_of_column(tmp_path: Path) -> None:
    """The tables of these tests, written, laid out well and read again, are the tables of these tests."""
    assert again(tmp_path, *TABLES) == []
    (file,) = tmp_path.iterdir()
    assert file.name == "0001_initial.py"
    formatted(file)


def test_nothing_is_written_where_nothing_has_changed(tmp_path: Path) -> None:
    """A second time there is no second file."""
    made = make(tmp_path, TABLES)
    assert made is not None
    assert make(tmp_path, TABLES) is None
    assert list(tmp_path.iterdir()) == [made.path]


@pytest.mark.parametrize("kind", ["sqlite", "mariadb"])
async def test_what_is_written_can_be_applied(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """A database that was migrated by generated files takes the classes' rows."""
    if kind == "mariadb":
        server: MariaDb = request.getfixturevalue("mariadb")
        url = server.url(server.new_database())
    else:
        url = f"sqlite:///{tmp_path / 'made.db'}"
    folder = tmp_path / "m"
    people = a_class("people", name=Text(max_length=10))
    make(folder, [people, a_class("rests", person=ForeignKey(people))])
    groups = a_class("groups", title=Text())
    people = a_class(
        "people", (unique("name", "group"),), name=Text(max_length=20), at=Timestamp(default=current_timestamp()),
        state=Enum(State, default=State.OPEN), group=ForeignKey(groups, nullable=True), words=FullText("name"),
    )  # fmt: skip
    make(folder, [people, groups])
    async with await Database.open(url) as db:
        assert len(await db.migrate("svc", folder)) == 2
        one = await people(name="Ada Lovelace").insert(db)
        assert values_of(await people.select(db).one()) == values_of(one)


def test_steps_for_columns() -> None:
    """New, changed and dropped columns: what is new stands before what goes, so that values can be taken over."""
    before = [a_class("notes", old=Text(), size=Integer(), same=Float())]
    after = [a_class("notes", new=Text(nullable=True), size=Integer(index=True), same=Float(default=2.0))]
    steps = changes(before, after)
    assert [(type(step), step.name) for step in steps] == [
        (AddColumn, "new"), (AlterColumn, "size"), (DropColumn, "old"),
    ]  # fmt: skip
    assert summary(steps) == "change notes"
    assert summary(steps[:1]) == "add new to notes"


def test_steps_for_indexes() -> None:
    """Indexes go before the columns, and come after them."""
    before = [a_class("notes", (index("a", "b"),), a=Text(), b=Text(), words=FullText("a"), others=FullText("a"))]
    after = [a_class("notes", (unique("a", "c"),), a=Text(), c=Text(), words=FullText("a", "c"), others=FullText("a"))]
    kinds = [type(step) for step in changes(before, after)]
    assert kinds == [DropFullText, DropIndex, AddColumn, DropColumn, CreateIndex, CreateFullText]


def test_tables_come_in_the_order_of_their_references() -> None:
    """Each table stands behind those that it refers to, and goes before them."""
    first = a_class("first")
    second = a_class("second", first=ForeignKey(first))
    third = a_class("third", second=ForeignKey(second), own=ForeignKey("self", nullable=True))
    made = changes([], [third, second, first])
    assert [(type(step), step.table) for step in made] == [
        (CreateTable, "first"), (CreateTable, "second"), (CreateTable, "third"),
    ]  # fmt: skip
    gone = changes([third, second, first], [])
    assert [(type(step), step.table) for step in gone] == [
        (DropTable, "third"), (DropTable, "second"), (DropTable, "first"),
    ]  # fmt: skip


def circle(*, nullable: bool) -> list[type[DbObject]]:
    """Return two tables that refer to each other."""
    made: list[type[DbObject]] = []
    made.append(a_class("hens", egg=ForeignKey(lambda: made[1], nullable=nullable)))  # type: ignore[call-overload]  # not a literal
    made.append(a_class("eggs", hen=ForeignKey(made[0])))
    return made


def test_tables_in_a_circle(tmp_path: Path) -> None:
    """One reference is added when both tables are there; where none can wait, that is said."""
    hens, eggs = circle(nullable=True)
    steps = changes([], [eggs, hens])
    assert [(type(step), step.table) for step in steps] == [
        (CreateTable, "hens"), (CreateTable, "eggs"), (AddColumn, "hens"),
    ]  # fmt: skip
    assert again(tmp_path, eggs, hens) == []
    assert [type(step) for step in changes([hens, eggs], [])] == [DropColumn, DropTable, DropTable]
    with pytest.raises(QueryError, match="refer to each other in a circle"):
        changes([], circle(nullable=False))


def test_another_key_is_refused() -> None:
    """No step changes a primary key, which other tables refer to; the error says what to do."""
    with pytest.raises(QueryError, match="the primary key of notes is another than before"):
        changes([a_class("notes")], [table("notes", id=Text(max_length=9, primary_key=True))])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (Text(max_length=6), Enum(State)),
        (Integer(), Enum(Level)),
        (Json(list[int]), Json(dict[str, str])),
        (Text(), Text(default="x", check=str.isupper)),
        (Timestamp(), Timestamp(default=now, immutable=True)),
        (Integer(unique=True), Integer(unique=True, index=True)),
        (Timestamp(default=current_timestamp()), Timestamp(default=current_timestamp())),
    ],
)
def test_what_is_no_part_of_the_schema_needs_no_migration(old: Column[Any], new: Column[Any]) -> None:
    """Defaults of Python, checks, and the class of an enumeration or of JSON are no affair of the database."""
    assert changes([a_class("notes", x=old)], [a_class("notes", x=new)]) == []


DIFFERENT: list[Column[Any]] = [
    Text(), Text(max_length=5), Text(max_length=6), Text(nullable=True), Text(max_length=5, unique=True),
    Text(max_length=5, index=True), Integer(), Float(), Boolean(), Decimal(5, 2), Decimal(6, 2), Decimal(6, 3),
    Timestamp(), Timestamp(default=current_timestamp()), Date(), Bytes(), Bytes(max_length=5), Uuid(), Json(list[int]),
    ForeignKey(a_class("people")), ForeignKey(a_class("people"), on_delete="cascade"), ForeignKey(a_class("groups")),
]  # fmt: skip


def test_what_the_database_sees_needs_a_migration() -> None:
    """Every other difference is a change of the column."""
    for old, new in itertools.permutations(DIFFERENT, 2):
        (step,) = changes([a_class("notes", x=old)], [a_class("notes", x=new)])
        assert isinstance(step, AlterColumn)


def test_every_change_is_gone_once_it_is_written_and_read(tmp_path: Path) -> None:
    """A column that becomes each of these in turn has a migration for each."""
    for column in DIFFERENT:
        assert again(tmp_path, a_class("notes", x=column)) == []
    assert len(load(tmp_path)) == len(DIFFERENT)


def text_of(folder: Path, *classes: type[DbObject]) -> str:
    """Write the next migration, and return its text."""
    made = make(folder, classes)
    assert made is not None
    formatted(made.path)
    return made.path.read_text()


def test_what_loses_something_says_so(tmp_path: Path) -> None:
    """Dropping, what may not fit, and what looks like a new name: a person reads that before it runs."""
    make(tmp_path, [a_class("notes", a=Text(max_length=9), b=Text(nullable=True)), a_class("others")])
    text = text_of(tmp_path, a_class("notes", a=Text(max_length=5), c=Text(default="")), a_class("more"))
    assert "# This loses all values of b." in text
    assert "# If a column of notes only has a new name" in text
    assert "# This loses all rows of others." in text
    assert "# If a table only has a new name" in text
    assert "# Values that are longer than 5 do not fit any more." in text


def test_a_value_that_only_a_person_knows_is_left_open(tmp_path: Path) -> None:
    """A new column that needs a value and has no plain default has a hole, and nothing runs before it is filled."""
    make(tmp_path, [a_class("notes")])
    text = text_of(tmp_path, a_class("notes", at=Timestamp(default=now)))
    assert "# FILL IN: rows that are there already need a value." in text
    assert 'AddColumn("notes", "at", Timestamp(default=...)),' in text


def test_plain_defaults_are_written(tmp_path: Path) -> None:
    """A new column has the class's default, whatever its kind, for the rows that are there."""
    make(tmp_path, [a_class("notes")])
    moment = dt.datetime(2026, 2, 3, 4, 5, 6, 7, tzinfo=dt.UTC)
    text = text_of(tmp_path, a_class(
        "notes", a=Text(default="it's \"here\""), b=Integer(default=3), c=Boolean(default=True),
        d=Bytes(default=b"\x00'"),
        e=Decimal(5, 2, default=decimal.Decimal("1.50")), f=Timestamp(default=moment), g=Date(default=moment.date()),
        h=Uuid(default=uuid.UUID(int=5)), i=Enum(State, default=State.OPEN), j=Json(list[str], default=["x", "y"]),
        k=Float(default=-0.5),
    ))  # fmt: skip
    assert "default=..." not in text
    (_, second) = load(tmp_path)
    defaults = {step.name: step.column.default for step in second.steps if isinstance(step, AddColumn)}
    assert defaults == {
        "a": "it's \"here\"", "b": 3, "c": True, "d": b"\x00'", "e": decimal.Decimal("1.50"), "f": moment,
        "g": moment.date(), "h": uuid.UUID(int=5), "i": "open", "j": ["x", "y"], "k": -0.5,
    }  # fmt: skip


def test_a_file_has_the_name_of_what_it_does(tmp_path: Path) -> None:
    """The name is made of the steps, or of somebody's words."""
    notes = a_class("notes")
    make(tmp_path, [notes])
    make(tmp_path, [a_class("notes", edited_at=Timestamp(nullable=True))])
    make(tmp_path, [a_class("notes", **{f"column_{n}": Text(nullable=True) for n in range(9)})])
    make(tmp_path, [notes], 'Back to "one" thing!')
    assert sorted(file.name for file in tmp_path.glob("*.py")) == [
        "0001_initial.py", "0002_add_edited_at_to_notes.py", "0003_change_notes.py", "0004_back_to_one_thing.py",
    ]  # fmt: skip


NAMES = ["a", "class_", "order", "value", "steps", "index"]


def options(**more: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Return what every column can have."""
    flags = {name: st.booleans() for name in ("nullable", "unique", "index")}
    return st.fixed_dictionaries({}, optional={**flags, **more})


def columns(targets: Sequence[str]) -> st.SearchStrategy[Column[Any]]:
    """Return every kind of column."""
    lengths = st.none() | st.integers(1, 100)
    kinds: list[st.SearchStrategy[Column[Any]]] = [
        options(max_length=lengths, default=st.none() | st.text(max_size=1)).map(lambda o: Text(**o)),
        options(max_length=lengths, default=st.none() | st.binary(max_size=1)).map(lambda o: Bytes(**o)),
        options(default=st.none() | st.integers(-9, 9)).map(lambda o: Integer(**o)),
        options(default=st.none() | st.just(State.OPEN)).map(lambda o: Enum(State, **o)),
        options(default=st.sampled_from([None, now, current_timestamp()])).map(lambda o: Timestamp(**o)),
        st.tuples(st.integers(3, 9), st.integers(0, 3), options()).map(lambda o: Decimal(o[0], o[1], **o[2])),
        options().map(lambda o: Json(list[str], **o)),
        st.tuples(st.sampled_from(targets), options()).map(lambda o: ForeignKey(a_class(o[0]), **o[1])),
    ]
    return st.one_of(kinds)


@st.composite
def classes(draw: st.DrawFn) -> list[type[DbObject]]:
    """Return tables that refer to each other, or to themselves, without a circle."""
    made = []
    names = draw(st.lists(st.sampled_from(["one", "two", "steps", "unique", "table"]), unique=True, max_size=4))
    for number, name in enumerate(names):
        members = draw(st.dictionaries(st.sampled_from(NAMES), columns(["users", *names[: number + 1]]), max_size=4))
        own = list(members)
        lists = st.lists(st.sampled_from(own), min_size=2, max_size=3, unique=True) if len(own) > 1 else st.nothing()
        indexes = draw(st.lists(lists.map(lambda c: index(*c)), max_size=2, unique=True)) if len(own) > 1 else []
        texts = [n for n, column in members.items() if isinstance(column, Text)]
        words = {"words": FullText(*texts)} if texts and draw(st.sampled_from([False, True])) else {}
        made.append(a_class(name, indexes, **members, **words))
    return made


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(classes(), min_size=1, max_size=3))
def test_what_is_written_and_read_again_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, history: list[list[type[DbObject]]]
) -> None:
    """Whatever the classes become, the migrations make exactly that, and are laid out as ruff wants them."""
    folder = tmp_path_factory.mktemp("m")
    for tables in history:
        assert again(folder, *tables) == []
    for file in folder.glob("*.py"):
        compile(file.read_text(), str(file), "exec")
    formatted(folder)


async def test_a_generated_history_runs(tmp_path: Path) -> None:
    """Tables that come, change and go are made and dropped by the database as the files say."""
    folder = tmp_path / "m"
    hens, eggs = circle(nullable=True)
    make(folder, [hens, eggs, *TABLES])
    make(folder, [eggs, hens])
    make(folder, [])
    async with await Database.open(f"sqlite:///{tmp_path / 'made.db'}") as db:
        assert len(await db.migrate("svc", folder)) == 3
        rows = await db.execute(Statement("SELECT name FROM sqlite_schema WHERE type = 'table'", (), writes=False))
        assert rows.rows == [("db_migrations",)]

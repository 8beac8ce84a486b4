"""Foreign keys: references to other rows, their targets, and what happens when those are deleted."""

from __future__ import annotations

from typing import Any

import pytest

from server.db import (
    Database,
    DbObject,
    ForeignKey,
    ForeignKeyViolation,
    Integer,
    NoResult,
    NotLoaded,
    QueryError,
    Reference,
    Text,
    ValidationError,
)  # fmt: skip
from server.db.foreign_keys import MOST_KEYS
from tests.server.db.tables import Author, Department, Employee, Label, Note, NoteLabel, Pair, create_all


@pytest.fixture
async def ann(db: Database) -> Author:
    return await Author(name="ann").insert(db)


class Counting:
    """A database that counts what it is asked."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.dialect = db.dialect
        self.asked = 0

    async def run(self, query: Any) -> Any:
        self.asked += 1
        result = query.finish([await self._db.execute(query.statement(self.dialect))], self.dialect)
        return await query.complete(result, self) if query.completes else result

    async def execute(self, statement: Any) -> Any:
        self.asked += 1
        return await self._db.execute(statement)

    def stream(self, statement: Any, page_rows: int) -> Any:
        self.asked += 1
        return self._db.stream(statement, page_rows)


async def test_a_reference_is_the_key(db: Database, ann: Author) -> None:
    """It equals the key, another reference to it, and the object; it has the key's hash."""
    note = await Note(author=ann).insert(db)
    reference = note.author
    assert isinstance(reference, Reference)
    assert reference.key == ann.id
    assert reference == ann.id
    assert reference == ann
    assert reference == Note(author=ann.id).author
    assert reference != ann.id + 1
    assert reference != Author(id=ann.id + 1, name="x")
    assert reference != Note(id=ann.id, author=1)
    assert hash(reference) == hash(ann.id)
    assert {ann.id: "x"}[reference] == "x"  # type: ignore[index]  # it stands for the key
    assert repr(reference) == f"<Reference author={ann.id}>"


async def test_what_can_be_set(db: Database, ann: Author) -> None:
    """A key, an object or a reference; an object of another class, or without a row, is refused."""
    ben = await Author(name="ben").insert(db)
    note = Note(author=ann)
    for value in (ben.id, ben, Note(author=ben).author):
        note.author = ann
        note.author = value
        assert note.author == ben
    with pytest.raises(ValidationError, match=r"notes\.author: refers to a Author, not to a Pair"):
        note.author = Pair(left=1, order="x")
    with pytest.raises(ValidationError, match="not stored yet"):
        note.author = Author(name="new")
    with pytest.raises(ValidationError, match=r"notes\.author: needs a value"):
        note.author = None
    with pytest.raises(ValidationError, match=r"notes\.author: is a whole number"):
        note.author = "1"


async def test_the_object_behind_it(db: Database, ann: Author) -> None:
    """It is loaded when it is asked for, once; before, asking without waiting is an error."""
    await Note(author=ann).insert(db)
    counting = Counting(db)
    (note,) = await Note.select(db)
    with pytest.raises(NotLoaded, match=r"notes\.author was not loaded"):
        _ = note.author.loaded
    loaded = await note.author.get(counting)
    assert (loaded.id, loaded.name) == (ann.id, "ann")
    assert await note.author.get(counting) is loaded
    assert note.author.loaded is loaded
    assert counting.asked == 1
    await note.refresh(db)
    with pytest.raises(NotLoaded):
        _ = note.author.loaded


async def test_an_object_that_was_set_is_there(db: Database, ann: Author) -> None:
    """Whoever set an object needs not load it; whoever sets another key has another object."""
    ben = await Author(name="ben").insert(db)
    note = await Note(author=ann).insert(db)
    assert note.author.loaded is ann
    note.author = ben.id
    with pytest.raises(NotLoaded):
        _ = note.author.loaded
    assert (await note.author.get(db)).name == "ben"


async def test_an_object_that_is_gone(db: Database) -> None:
    """A reference to a row that another program deleted meanwhile says so."""
    department = await Department(name="d").insert(db)
    await Employee(name="e", department=department).insert(db)
    (employee,) = await Employee.select(db)
    await Employee.update(db).set(Employee.department, None).all_rows()
    await department.delete(db)
    assert employee.department is not None
    with pytest.raises(NoResult):
        await employee.department.get(db)


async def test_no_reference(db: Database) -> None:
    """Where there is no value there is no reference."""
    employee = await Employee(name="e").insert(db)
    assert employee.boss is None
    (read,) = await Employee.select(db)
    assert read.boss is None
    assert read.department is None


async def test_keys_of_other_kinds(db: Database, ann: Author) -> None:
    """A key may be a UUID or text, and is kept as its target's."""
    department = await Department(name="d").insert(db)
    employee = await Employee(name="e", department=department).insert(db)
    (read,) = await Employee.select(db).where(Employee.department == department)
    assert read.department == department.id
    assert read.department is not None
    assert (await read.department.get(db)).name == "d"
    label = await Label(name="l").insert(db)
    note = await Note(author=ann).insert(db)
    await NoteLabel(note=note, label=label).insert(db)
    link = await NoteLabel.get(db, note, label)
    assert link is not None
    assert link.label == "l"
    assert await NoteLabel.get(db, note.id, "x") is None
    assert await Employee.select(db, Employee.department).where(Employee.id == employee.id).scalar() == department.id


async def test_rows_that_are_not_there(db: Database) -> None:
    """The database refuses a key without a row."""
    with pytest.raises(ForeignKeyViolation):
        await Note(author=99).insert(db)
    with pytest.raises(ForeignKeyViolation):
        await Note.insert_many(db, [{Note.author: 99}])
    employee = await Employee(name="e").insert(db)
    employee.boss = 99
    with pytest.raises(ForeignKeyViolation):
        await employee.save(db)


async def test_on_delete(db: Database, ann: Author) -> None:
    """The database deletes, empties or refuses, as the column says."""
    note = await Note(author=ann).insert(db)
    await Label(name="l").insert(db)
    await NoteLabel(note=note, label="l").insert(db)
    await ann.delete(db)
    assert await Note.select(db).count() == 0
    assert await NoteLabel.select(db).count() == 0
    assert await Label.select(db).count() == 1
    department = await Department(name="d").insert(db)
    boss = await Employee(name="boss", department=department).insert(db)
    await Employee(name="worker", boss=boss).insert(db)
    with pytest.raises(ForeignKeyViolation):
        await department.delete(db)
    with pytest.raises(ForeignKeyViolation):
        await Department.delete_from(db).all_rows()
    await boss.delete(db)
    (worker,) = await Employee.select(db)
    assert worker.boss is None
    await department.delete(db)


async def test_loading_many(db: Database) -> None:
    """However many rows there are, what they refer to is one query more, and each target is one object."""
    authors = [await Author(name=name).insert(db) for name in ("ann", "ben")]
    await Note.insert_many(db, [{Note.author: authors[n % 2], Note.number: n} for n in range(10)])
    counting = Counting(db)
    notes = await Note.select(counting).with_(Note.author).order_by(Note.id)
    assert counting.asked == 2
    assert [note.author.loaded.name for note in notes] == ["ann", "ben"] * 5
    assert notes[0].author.loaded is notes[2].author.loaded
    assert await Note.select(counting).with_(Note.author).where(Note.number > 50) == []
    assert counting.asked == 3
    await Employee(name="e").insert(db)
    (employee,) = await Employee.select(counting).with_(Employee.boss, Employee.department)
    assert counting.asked == 4
    assert employee.boss is None


async def test_loading_along_a_path(db: Database) -> None:
    """A relation may start at what another one has loaded."""
    department = await Department(name="d").insert(db)
    boss = await Employee(name="boss", department=department).insert(db)
    await Employee(name="worker", boss=boss).insert(db)
    query = Employee.select(db).with_(Employee.boss, Employee.department).where(Employee.name == "worker")
    (worker,) = await query
    assert worker.boss is not None
    above = worker.boss.loaded
    assert above.department is not None
    assert above.department.loaded.name == "d"


async def test_one_by_one_and_streamed(db: Database, ann: Author) -> None:
    """`first`, `one`, and a stream load what belongs to the rows, too."""
    await Note.insert_many(db, [{Note.author: ann, Note.number: n} for n in range(5)])
    query = Note.select(db).with_(Note.author).order_by(Note.id)
    first = await query.first()
    assert first is not None
    assert first.author.loaded.name == "ann"
    assert (await query.where(Note.number == 3).one()).author.loaded.name == "ann"
    assert [note.author.loaded.name async for note in query.stream(2)] == ["ann"] * 5


async def test_more_than_one_statement_takes(db: Database) -> None:
    """So many keys that they need several statements are found all the same."""
    authors = MOST_KEYS + 3
    await Author.insert_many(db, [{Author.name: f"a{n}"} for n in range(authors)])
    await Note.insert_many(db, [{Note.author: n + 1} for n in range(authors)])
    counting = Counting(db)
    notes = await Note.select(counting).with_(Note.author)
    assert counting.asked == 3
    assert all(note.author.loaded.id == note.author.key for note in notes)


async def test_what_cannot_be_loaded(db: Database, ann: Author) -> None:
    """A relation that starts nowhere, or rows that are no objects, are an error and not silence."""
    await Note(author=ann).insert(db)
    with pytest.raises(QueryError, match="nothing loads a Employee to start boss at"):
        await Note.select(db).with_(Employee.boss)
    with pytest.raises(QueryError, match="without columns"):
        await Note.select(db, Note.id).with_(Note.author)


class Shelf(DbObject):
    """Refers to what is defined below."""

    dbo_tablename = "shelves"
    id = Integer(primary_key=True)
    case: ForeignKey[Case, Reference[Case]] = ForeignKey("Case")
    elsewhere: ForeignKey[Author, Reference[Author] | None] = ForeignKey("tests.server.db.tables.Author", nullable=True)


class Case(DbObject):
    """Defined after what refers to it."""

    dbo_tablename = "cases"
    id = Integer(primary_key=True)


async def test_targets_by_name(db: Database, ann: Author) -> None:
    """A target may be defined later, or in another module; it is looked up once."""
    await create_all(db, [Case, Shelf])
    case = await Case().insert(db)
    shelf = await Shelf(case=case, elsewhere=ann).insert(db)
    (read,) = await Shelf.select(db).with_(Shelf.case, Shelf.elsewhere)
    assert read.id == shelf.id
    assert type(read.case.loaded) is Case
    assert read.elsewhere is not None
    assert read.elsewhere.loaded.name == "ann"
    assert Shelf.case.target is Case


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("Nothing", "refers to Nothing, and there is no such class in tests.server.db.test_foreign_keys"),
        ("tests.server.db.tables.Nothing", "no such class in tests.server.db.tables"),
        ("no.such.module.Nothing", "no such class in no.such.module"),
        ("Counting", "no table"),
        (lambda: int, "no table"),
        (int, "no table"),
        (Pair, "has no primary key of one column"),
    ],
)
def test_targets_that_are_not_there(target: Any, reason: str) -> None:
    """The error says who refers to what, when it is first needed."""

    class Lost(DbObject):
        dbo_tablename = "lost"
        id = Integer(primary_key=True)
        other: ForeignKey[Any, Any] = ForeignKey(target)

    with pytest.raises(QueryError, match=reason):
        Lost(other=1)


def test_declarations_that_make_no_sense() -> None:
    """What is emptied has to be able to be empty."""
    with pytest.raises(QueryError, match="nullable"):
        ForeignKey(Author, on_delete="set null")


async def test_comparisons(db: Database, ann: Author) -> None:
    """An object, a reference or a key stand for the key in a query."""
    note = await Note(author=ann).insert(db)
    for value in (ann, ann.id, note.author):
        assert await Note.select(db, Note.id).where(Note.author == value).scalars() == [1]
        assert await Note.select(db, Note.id).where(Note.author.in_([value])).scalars() == [1]
        assert await Note.update(db).set(Note.author, value).where(Note.author == value) == 1
        assert await Note.insert_many(db, [{Note.author: value, Note.number: 9}]) == 1
        await Note.delete_from(db).where(Note.number == 9)
    with pytest.raises(QueryError, match="null"):
        _ = Note.author == None  # noqa: E711 what is tested


def test_text_keys_have_the_bounds_of_their_targets() -> None:
    """What cannot be a key there cannot be one here."""

    class Tagged(DbObject):
        dbo_tablename = "tagged"
        id = Integer(primary_key=True)
        label = ForeignKey(Label)
        text = Text(max_length=5)

    with pytest.raises(ValidationError, match=r"tagged\.label: has at most 20 characters"):
        Tagged(label="x" * 21)

"""Relations that lead to many rows: back to all that refer to one, and through a table to the other side."""

from __future__ import annotations

from typing import Any

import pytest

from server.db import (
    Database,
    DbObject,
    ForeignKey,
    Integer,
    ManyToMany,
    NotLoaded,
    QueryError,
    Reference,
    Related,
    Reverse,
    count,
)  # fmt: skip
from tests.server.db.tables import Author, Department, Employee, Label, Note, NoteLabel
from tests.server.db.test_foreign_keys import Counting


@pytest.fixture
async def notes(db: Database) -> Database:
    """Ann's three notes with labels, Ben's one without, and Cat's none."""
    authors = [await Author(name=name).insert(db) for name in ("ann", "ben", "cat")]
    for number, author in enumerate([0, 0, 0, 1]):
        await Note(author=authors[author], number=number, text=f"{number}").insert(db)
    await Label.insert_many(db, [{Label.name: name} for name in ("red", "green", "blue")])
    links = [(1, "red"), (1, "green"), (2, "red")]
    await NoteLabel.insert_many(db, [{NoteLabel.note: note, NoteLabel.label: label} for note, label in links])
    return db


async def author(db: Database, name: str) -> Author:
    return await Author.select(db).where(Author.name == name).one()


async def test_reverse(notes: Database) -> None:
    """All rows that refer to one, in the order of their keys; loaded once, and never without being asked for."""
    ann = await author(notes, "ann")
    assert isinstance(ann.notes, Related)
    with pytest.raises(NotLoaded, match=r"Author\.notes was not loaded"):
        _ = ann.notes.loaded
    counting = Counting(notes)
    found = await ann.notes.get(counting)
    assert [note.text for note in found] == ["0", "1", "2"]
    assert await ann.notes.get(counting) is found
    assert ann.notes.loaded is found
    assert counting.asked == 1
    assert await (await author(notes, "cat")).notes.get(notes) == []


async def test_a_relation_can_be_narrowed(notes: Database) -> None:
    """What belongs to an object is a query like any other."""
    ann = await author(notes, "ann")
    assert await ann.notes.select(notes).where(Note.number > 0).count() == 2
    last = await ann.notes.select(notes).order_by(Note.number.desc()).limit(1)
    assert len(last) == 1
    note = await Note.select(notes).where(Note.number == 0).one()
    assert await note.labels.select(notes).where(Label.name != "red").count() == 1


async def test_loading_many(notes: Database) -> None:
    """However many objects there are, each relation is one query more; what has nothing has an empty list."""
    counting = Counting(notes)
    authors = await Author.select(counting).with_(Author.notes, Note.labels).order_by(Author.id)
    assert counting.asked == 3
    loaded = [[note.text for note in author.notes.loaded] for author in authors]
    assert loaded == [["0", "1", "2"], ["3"], []]
    labels = [[label.name for label in note.labels.loaded] for note in authors[0].notes.loaded]
    assert labels == [["green", "red"], ["red"], []]
    assert all(note.author.loaded is authors[0] for note in authors[0].notes.loaded)
    red = [label for note in authors[0].notes.loaded for label in note.labels.loaded if label.name == "red"]
    assert red[0] is red[1]


async def test_through_a_table(notes: Database) -> None:
    """The other side is reached from both sides."""
    red = await Label.get(notes, "red")
    assert red is not None
    assert [note.id for note in await red.notes.get(notes)] == [1, 2]
    labels = await Label.select(notes).with_(Label.notes).order_by(Label.name)
    found = {label.name: [note.id for note in label.notes.loaded] for label in labels}
    assert found == {"blue": [], "green": [1], "red": [1, 2]}
    assert [note.text for label in labels for note in label.notes.loaded] == ["0", "0", "1"]


async def test_linking(notes: Database) -> None:
    """Objects are linked and unlinked; what is linked already, or is not, is no error; the objects stay."""
    note = await Note.select(notes).where(Note.number == 2).one()
    assert await note.labels.get(notes) == []
    red, green = [await Label.get(notes, name) for name in ("red", "green")]
    assert red is not None
    assert green is not None
    await note.labels.add(notes, red, green)
    await note.labels.add(notes, red)
    await note.labels.add(notes)
    assert [label.name for label in await note.labels.get(notes)] == ["green", "red"]
    assert await NoteLabel.select(notes).count() == 5
    await note.labels.remove(notes, red)
    await note.labels.remove(notes, red)
    await note.labels.remove(notes)
    assert [label.name for label in await note.labels.get(notes)] == ["green"]
    assert await Label.select(notes).count() == 3
    await red.notes.add(notes, note)
    assert await NoteLabel.select(notes).where(NoteLabel.note == note).count() == 2


async def test_linking_in_a_transaction(notes: Database) -> None:
    """Links are written like everything else: all or nothing."""
    note = await Note.select(notes).where(Note.number == 2).one()
    red = await Label.get(notes, "red")
    assert red is not None
    with pytest.raises(KeyError):
        async with notes.transaction() as tx:
            await note.labels.add(tx, red)
            assert await note.labels.select(tx).count() == 1
            raise KeyError
    assert await NoteLabel.select(notes).where(NoteLabel.note == note).count() == 0


async def test_self_reference(db: Database) -> None:
    """A table that refers to itself has both directions."""
    boss = await Employee(name="boss").insert(db)
    for name in ("a", "b"):
        await Employee(name=name, boss=boss).insert(db)
    (read, *others) = await Employee.select(db).with_(Employee.reports, Employee.boss).order_by(Employee.id)
    assert [employee.name for employee in read.reports.loaded] == ["a", "b"]
    assert read.boss is None
    for other in others:
        assert other.boss is not None
        assert other.boss.loaded.name == "boss"
        assert other.reports.loaded == []


async def test_keys_of_other_kinds(db: Database) -> None:
    """The reverse of a key that is a UUID."""
    departments = [await Department(name=name).insert(db) for name in "ab"]
    await Employee(name="e", department=departments[0]).insert(db)
    found = await Department.select(db).with_(Department.members).order_by(Department.name)
    assert [[member.name for member in department.members.loaded] for department in found] == [["e"], []]


async def test_related_objects_can_be_saved(notes: Database) -> None:
    """An object that a relation loaded is as good as any other."""
    note = await Note.select(notes).with_(Note.author, Note.labels).where(Note.number == 0).one()
    note.author.loaded.name = "renamed"
    await note.author.loaded.save(notes)
    label = note.labels.loaded[0]
    assert label.changed_columns() == []
    await label.delete(notes)
    assert await Author.select(notes).where(Author.name == "renamed").count() == 1
    assert await Label.select(notes).count() == 2


async def test_loading_nothing(db: Database) -> None:
    """Without a row, nothing is asked for."""
    counting = Counting(db)
    assert await Author.select(counting).with_(Author.notes, Note.labels, Note.author) == []
    assert counting.asked == 1


async def test_relations_in_joins(notes: Database) -> None:
    """What a relation says can be written as a join, too."""
    query = Author.select(notes, Author.name, count(Note.id)).left_join(Note, Note.author == Author.id)
    assert await query.group_by(Author.id, Author.name).order_by(Author.id) == [("ann", 3), ("ben", 1), ("cat", 0)]


class Left(DbObject):
    """Relations that lead nowhere."""

    dbo_tablename = "lefts"
    id = Integer(primary_key=True)
    nothing: Reverse[Any] = Reverse("Nothing.left")
    no_column: Reverse[Any] = Reverse("Right.nothing")
    no_key: Reverse[Any] = Reverse("Right.id")
    no_expression: Reverse[Any] = Reverse(lambda: 3)
    another: Reverse[Any] = Reverse("Right.pair")
    unlinked: ManyToMany[Any] = ManyToMany("Right", through="Between")
    no_table: ManyToMany[Any] = ManyToMany("Right", through="Nothing")
    no_target: ManyToMany[Any] = ManyToMany("Nothing", through="Right")
    lambdas: Reverse[Right] = Reverse(lambda: Right.left)


class Right(DbObject):
    """Refers to one of them."""

    dbo_tablename = "rights"
    id = Integer(primary_key=True)
    left: ForeignKey[Left, Reference[Left]] = ForeignKey(Left)
    pair: ForeignKey[Any, Any] = ForeignKey("Right")


class Between(DbObject):
    """Refers twice to one side, and never to the other."""

    dbo_tablename = "between_"
    id = Integer(primary_key=True)
    one = ForeignKey(Right)
    two = ForeignKey(Right)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nothing", r"Left\.nothing refers to Nothing, and there is no such class"),
        ("no_column", r"Left\.no_column needs a foreign key such as Class\.column"),
        ("no_key", r"Left\.no_key needs a foreign key such as Class\.column"),
        ("no_expression", r"Left\.no_expression needs a foreign key"),
        ("another", r"Left\.another: <Right\.pair> does not refer to Left"),
        ("unlinked", r"Left\.unlinked: Between needs exactly one foreign key to Left"),
        ("no_table", r"Left\.no_table refers to Nothing"),
        ("no_target", r"Left\.no_target refers to Nothing"),
    ],
)
async def test_relations_that_lead_nowhere(db: Database, name: str, reason: str) -> None:
    """The error says which relation refers to what, when it is first needed."""
    related: Related[Any] = getattr(Left(id=1), name)
    for _ in range(2):
        with pytest.raises(QueryError, match=reason):
            await related.get(db)
    assert Left.lambdas.target is Right


async def test_a_reverse_cannot_be_linked(notes: Database) -> None:
    """Without a table between, the foreign key itself is what is set."""
    ann = await author(notes, "ann")
    note = await Note.select(notes).where(Note.number == 3).one()
    for change in (ann.notes.add(notes, note), ann.notes.remove(notes, note)):
        with pytest.raises(QueryError, match=r"Author\.notes has no table between: set the foreign key instead"):
            await change


@pytest.mark.parametrize("in_a_unit", [False, True])
async def test_loading_however_it_is_run(notes: Database, in_a_unit: bool) -> None:
    """What belongs to rows is loaded, or refused, also where the query is given to the database or to a unit."""
    query = Author.select(None).with_(Author.notes).order_by(Author.id)
    (authors,) = await notes.atomic([query]) if in_a_unit else [await notes.run(query)]
    assert len(authors[0].notes.loaded) == 3

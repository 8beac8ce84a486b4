"""Objects write their own rows, know what changed, and notice what others changed."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from server.db import (
    Database,
    DbObject,
    ForeignKeyViolation,
    Integer,
    IntegrityError,
    Json,
    NotStored,
    QueryError,
    StaleObject,
    Text,
    UniqueViolation,
    ValidationError,
    now,
    table,
)
from server.db.objects import values_of
from tests.server.db.tables import MOMENT, Author, Department, Document, Label, Made, Note, Pair, Place, create_all


@pytest.fixture
async def ann(db: Database) -> Author:
    return await Author(name="ann").insert(db)


class NoDatabase:
    """Refuses to be asked anything."""

    def __init__(self, db: Database) -> None:
        self.dialect = db.dialect

    async def execute(self, statement: Any) -> Any:
        raise AssertionError("nothing was to be done")

    run = execute

    def stream(self, statement: Any, page_rows: int) -> Any:
        raise AssertionError("nothing was to be done")


async def test_everything_comes_back_as_it_was(db: Database, ann: Author) -> None:
    """Each kind of value survives the database, to the microsecond and the byte."""
    note = Note(author=ann.id, number=-(2**63), text="grün 😀 \0", comment=None, score=0.1, done=True,
                data=b"\x00\xff", tags=["a", "b"], made_at=MOMENT)  # fmt: skip
    await note.insert(db)
    (read,) = await Note.select(db)
    assert values_of(read) == values_of(note)
    assert read.made_at == MOMENT
    assert read.made_at.tzinfo is dt.UTC
    assert read.done is True
    assert read.author == note.author == ann


async def test_insert_reads_what_the_database_made(db: Database) -> None:
    """Keys and defaults come from the database where it makes them, and else from the class."""
    first, second = await Author(name="a").insert(db), await Author(name="b").insert(db)
    assert (first.id, second.id) == (1, 2)
    assert first.dbo_stored
    given = await Author(id=77, name="c").insert(db)
    assert given.id == 77
    made = await Made(number=4).insert(db)
    assert made.id == 1
    assert abs(made.at - now()) < dt.timedelta(minutes=1)
    assert (await Made.select(db).one()).at == made.at
    assert (await Made(at=MOMENT).insert(db)).at == MOMENT
    department = await Department(name="d").insert(db)
    assert await Department.get(db, department.id) is not None


async def test_an_object_is_inserted_once(db: Database, ann: Author) -> None:
    """An object that has a row does not get another one."""
    with pytest.raises(QueryError, match="stored already"):
        await ann.insert(db)
    (read,) = await Author.select(db)
    with pytest.raises(QueryError, match="stored already"):
        await read.insert(db)


async def test_a_failed_insert_leaves_the_object_new(db: Database, ann: Author) -> None:
    """It can be mended and inserted."""
    twin = Author(name="ann")
    with pytest.raises(UniqueViolation):
        await twin.insert(db)
    assert not twin.dbo_stored
    twin.name = "ben"
    await twin.insert(db)
    assert await Author.select(db).count() == 2


async def test_save_writes_what_changed_and_nothing_else(db: Database, ann: Author) -> None:
    """Another's change of another column survives; without a change there is no query."""
    note = await Note(author=ann.id, text="one").insert(db)
    await Note.update(db).set(Note.comment, "by somebody else").where(Note.id == note.id)
    note.text = "two"
    assert [column.name for column in note.changed_columns()] == ["text"]
    await note.save(db)
    assert note.changed_columns() == []
    await note.refresh(db)
    assert (note.text, note.comment) == ("two", "by somebody else")
    note.text = "two"
    note.author = ann
    assert note.changed_columns() == []
    await note.save(NoDatabase(db))


async def test_save_inserts_a_new_object(db: Database) -> None:
    """Saving is enough for objects without a row."""
    assert (await Author(name="new").save(db)).id == 1


async def test_a_failed_save_is_still_to_be_done(db: Database, ann: Author) -> None:
    """What could not be written is not forgotten."""
    ben = await Author(name="ben").insert(db)
    ben.name = "ann"
    with pytest.raises(UniqueViolation):
        await ben.save(db)
    assert [column.name for column in ben.changed_columns()] == ["name"]
    await ann.delete(db)
    await ben.save(db)
    assert await Author.select(db, Author.name).scalars() == ["ann"]


async def test_changes_in_place_are_noticed(db: Database, ann: Author) -> None:
    """A list that grew, or a Struct whose attribute was set, is saved; one that is the same again is not."""
    note = await Note(author=ann, tags=["a"]).insert(db)
    note.tags.append("b")
    assert [column.name for column in note.changed_columns()] == ["tags"]
    await note.save(db)
    assert note.changed_columns() == []
    (read,) = await Note.select(db)
    assert read.tags == ["a", "b"]
    read.tags.remove("b")
    read.tags.append("b")
    assert read.changed_columns() == []
    read.tags.clear()
    await read.save(db)
    assert (await note.refresh(db)).tags == []
    got = await Note.get(db, note.id)
    assert got is not None
    got.tags.append("c")
    assert [column.name for column in got.changed_columns()] == ["tags"]

    document = await Document(title="d", place=Place("Oslo")).insert(db)
    assert document.place is not None
    document.place.floors.append(3)
    await document.save(db)
    document.place.city = "Bergen"
    await document.save(db)
    (again,) = await Document.select(db)
    assert again.place == Place("Bergen", [3])
    again.place = None
    await again.save(db)
    assert (await Document.select(db).one()).place is None


async def test_a_value_that_changed_in_place_is_checked(db: Database, ann: Author) -> None:
    """What does not fit any more is not written."""
    note = await Note(author=ann, tags=["a"]).insert(db)
    note.tags.append(3)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ValidationError, match=r"notes\.tags: Expected `str`"):
        await note.save(db)
    fresh = Note(author=ann, number=2)
    fresh.tags.append(3)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ValidationError, match=r"notes\.tags: Expected `str`"):
        await fresh.insert(db)
    assert await Note.select(db, Note.tags).scalars() == [["a"]]


async def test_json_is_compared_as_a_value(db: Database) -> None:
    """Text that says the same in another way, as another program may have written it, is no change."""

    class Loose(DbObject):
        dbo_tablename = "loose"
        id = Integer(primary_key=True)
        data = Json(dict[str, int])

    await create_all(db, [Loose])
    loose = await Loose(data={"a": 1, "b": 2}).insert(db)
    loose.data = {"b": 2, "a": 1}
    assert loose.changed_columns() == []
    loose.data["a"] = 1
    assert loose.changed_columns() == []
    loose.data["a"] = 3
    assert [column.name for column in loose.changed_columns()] == ["data"]


async def test_objects_share_no_default(db: Database) -> None:
    """A list that is a default belongs to one object alone."""
    one, two = Note(), Note()
    one.tags.append("a")
    assert two.tags == []


async def test_immutable_columns_are_never_written_again(db: Database, ann: Author) -> None:
    """What is immutable can be set until the insert, and not after it."""
    note = Note(author=ann.id)
    note.made_at = MOMENT
    await note.insert(db)
    with pytest.raises(ValidationError, match=r"notes\.made_at: is immutable"):
        note.made_at = now()
    (read,) = await Note.select(db)
    with pytest.raises(ValidationError, match=r"notes\.id: is immutable"):
        read.id = 8


async def test_delete_and_refresh_need_a_row(db: Database, ann: Author) -> None:
    """An object knows whether it is stored; what is gone is said to be gone."""
    twin, other = [await Author.get(db, ann.id) for _ in range(2)]
    assert twin is not None
    assert other is not None
    await ann.delete(db)
    assert await Author.get(db, ann.id) is None
    other.name = "other"
    for gone in (twin.refresh(db), twin.delete(db), ann.delete(db), ann.refresh(db), other.save(db)):
        with pytest.raises(NotStored):
            await gone
    assert await Author.select(db).count() == 0
    assert (await ann.insert(db)).dbo_stored
    assert await Author.select(db).count() == 1


async def test_refresh_forgets_changes(db: Database, ann: Author) -> None:
    """An object that is read again is as the row is."""
    note = await Note(author=ann, text="one", tags=["a"]).insert(db)
    note.text = "two"
    note.tags.append("b")
    await note.refresh(db)
    assert (note.text, note.tags) == ("one", ["a"])
    assert note.changed_columns() == []


async def test_composite_keys(db: Database) -> None:
    """A key of several columns, one of them named like a word of SQL, works everywhere."""
    pair = await Pair(left=1, order="a", value=5).insert(db)
    await Pair(left=1, order="b", value=5).insert(db)
    pair.value = 6
    await pair.save(db)
    read = await Pair.get(db, 1, "a")
    assert read is not None
    assert read.value == 6
    assert (await read.refresh(db)).value == 6
    await read.delete(db)
    assert await Pair.select(db, Pair.order).scalars() == ["b"]
    with pytest.raises(QueryError, match="has 2 columns"):
        await Pair.get(db, 1)
    with pytest.raises(UniqueViolation):
        await Pair(left=1, order="b").insert(db)


async def test_keys_are_never_null(db: Database) -> None:
    """A key without a value finds nothing and writes nothing: it is refused."""
    for key in ((None, "a"), (1, None)):
        with pytest.raises(QueryError, match="the key of Pair"):
            await Pair.get(db, *key)
    with pytest.raises(QueryError, match="the key of Author"):
        await Author.get(db, None)
    with pytest.raises(ValidationError, match=r"pairs\.order: needs a value"):
        await Pair(left=1).insert(db)
    with pytest.raises(ValidationError, match=r"labels\.name: needs a value"):
        await Label().insert(db)


async def test_natural_keys(db: Database) -> None:
    """A key that is text is as good as a number: case and trailing spaces count."""
    for name in ("a", "A", "a ", ""):
        await Label(name=name).insert(db)
    for name in ("a", "A", "a ", ""):
        label = await Label.get(db, name)
        assert label is not None
        assert label.name == name
    assert await Label.get(db, "A ") is None


async def test_the_database_keeps_its_promises(db: Database, ann: Author) -> None:
    """Unique and foreign keys are the database's, and have errors of their own that tell no value."""
    with pytest.raises(UniqueViolation, match=r"authors[._]name is taken") as taken:
        await Author(name="ann").insert(db)
    assert "'ann'" not in str(taken.value)
    with pytest.raises(ForeignKeyViolation):
        await Note(author=999).insert(db)
    await Note(author=ann, number=1).insert(db)
    with pytest.raises(UniqueViolation, match="number"):
        await Note(author=ann, number=1).insert(db)
    with pytest.raises(IntegrityError):
        await db.run(Author.insert_many(None, [{Author.name: Author.select(None, Author.name).limit(0)}]))


async def test_optimistic_versions(db: Database) -> None:
    """Of two that read the same, the second to save is told; it reads again and decides again."""
    document = await Document(title="first").insert(db)
    assert document.version == 1
    other = await Document.get(db, document.id)
    assert other is not None
    other.title = "other"
    await other.save(db)
    assert other.version == 2
    document.title = "mine"
    with pytest.raises(StaleObject):
        await document.save(db)
    with pytest.raises(StaleObject):
        await document.delete(db)
    assert await Document.select(db, Document.title, Document.version).one() == ("other", 2)
    await document.refresh(db)
    document.title = "mine"
    await document.save(db)
    assert (document.version, document.title) == (3, "mine")
    document.title = "again"
    await document.save(db)
    assert document.version == 4
    await document.delete(db)
    with pytest.raises(NotStored):
        await other.refresh(db)


async def test_a_stale_object_stays_as_it_is(db: Database) -> None:
    """What could not be saved is still there, to be saved after a look."""
    document = await Document(title="first").insert(db)
    await (await Document.get(db, document.id) or document).delete(db)
    await Document(id=document.id, title="other", version=2).insert(db)
    document.title = "mine"
    with pytest.raises(StaleObject):
        await document.save(db)
    assert document.title == "mine"
    assert document.dbo_stored
    assert [column.name for column in document.changed_columns()] == ["title"]


def test_unknown_columns_and_unstored_targets() -> None:
    """A mistyped name is an error, and so is a reference to what has no key yet."""
    with pytest.raises(QueryError, match="Note has no column txt"):
        Note(txt="x")
    with pytest.raises(ValidationError, match="not stored yet"):
        Note(author=Author(name="new"))


async def test_missing_values_are_named(db: Database) -> None:
    """An insert without a required value says which."""
    with pytest.raises(ValidationError, match=r"notes\.author: needs a value"):
        await Note().insert(db)


async def test_a_transaction_is_as_good_as_a_database(db: Database) -> None:
    """Objects are written inside of transactions, and are gone with them."""
    with pytest.raises(KeyError):
        async with db.transaction() as tx:
            author = await Author(name="x").insert(tx)
            author.name = "y"
            await author.save(tx)
            assert (await Author.get(tx, author.id)) is not None
            await (await Author(name="z").insert(tx)).delete(tx)
            raise KeyError
    assert await Author.select(db).count() == 0


async def test_columns_are_inherited(db: Database) -> None:
    """A class without a table lends its columns; each table has its own."""

    class Named(DbObject):
        id = Integer(primary_key=True)
        name = Text(max_length=20, unique=True)

    class Cat(Named):
        dbo_tablename = "cats"
        lives = Integer(default=9)

    class Dog(Named):
        dbo_tablename = "dogs"

    await create_all(db, [Cat, Dog])
    await Cat(name="c").insert(db)
    await Dog(name="d").insert(db)
    assert await Cat.select(db, Cat.id, Cat.name, Cat.lives) == [(1, "c", 9)]
    with pytest.raises(UniqueViolation, match="dogs"):
        await Dog(name="d").insert(db)
    with pytest.raises(ValidationError, match=r"cats\.name: needs a value"):
        await Cat().insert(db)


async def test_a_class_for_a_table_that_exists(db: Database, ann: Author) -> None:
    """What a migration refers to has only the columns that it names."""
    authors = table("authors", id=Integer(primary_key=True), name=Text())
    rows = await authors.select(db)
    assert [values_of(row) for row in rows] == [{"id": ann.id, "name": "ann"}]


def test_objects_are_readable() -> None:
    """An object in a traceback says which it is, and no value but its key."""
    assert repr(Note(text="secret")) == "<Note id=None>"
    assert repr(Pair(left=1, order="x", value=3)) == "<Pair left=1, order='x'>"


async def test_zero_is_a_key(db: Database) -> None:
    """A key that is given is the key, whatever number it is."""
    for key in (-1, 0, 7):
        await Author(id=key, name=f"a{key}").insert(db)
    assert await Author.select(db, Author.id).order_by(Author.id).scalars() == [-1, 0, 7]


def test_columns_named_like_methods_are_refused() -> None:
    """A column `select` would take the place of what every table can do: that is an error."""
    for name in ("select", "get", "save", "dbo_values"):
        with pytest.raises(QueryError, match=name):
            table("strange", id=Integer(primary_key=True), **{name: Integer(nullable=True)})


async def test_moments_are_what_they_were_whenever_they_are_looked_at(db: Database) -> None:
    """A moment that nobody has looked at yet is compared, kept, copied and written again as any other."""
    await Author(name="ann", born=MOMENT).insert(db)
    unseen = await Author.select(db).one()
    unseen.born = MOMENT
    assert unseen.changed_columns() == []
    assert values_of(await Author.select(db).one())["born"] == MOMENT
    await unseen.delete(db)
    await unseen.insert(db)
    again = await Author.select(db).one()
    await again.delete(db)
    assert await Author.insert_many(db, [again]) == 1
    assert (await Author.select(db).one()).born == MOMENT

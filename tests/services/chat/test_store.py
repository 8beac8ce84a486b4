"""The chat's queries use their indexes: their cost does not grow with the room."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from server import User
from server.auth.accounts import MIGRATIONS
from server.db import Database, Statement, UniqueViolation, now
from services.chat import store as store_module
from services.chat import wire
from services.chat.models import Room
from services.chat.store import Draft, Standing, Store
from services.chat.wire import EVERYTHING, Entry, Message

ANN, BEN = wire.User(1, "ann"), wire.User(2, "ben")


def draft(nonce: str, user: wire.User = ANN) -> Draft:
    return Draft(user, nonce, f"text of {nonce}", now(), None)


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    async with await Database.open(database_url) as db:
        await db.migrate("auth", MIGRATIONS)
        await db.migrate("chat", Path(store_module.__file__).parent / "migrations")
        for user in (ANN, BEN):
            await User(name=user.name).insert(db)
        yield db


@pytest.fixture
async def room(db: Database) -> Room:
    room = await Store(db).create_room(Room(name="lobby"), None)
    assert room is not None
    return room


async def plans(db: Database, monkeypatch: pytest.MonkeyPatch, work: Callable[[], Awaitable[object]]) -> list[str]:
    """Return the steps of the plans of every statement that something really runs."""
    statements: list[Statement] = []
    read = db._backend.read

    async def note(statement: Statement, load: Any = None) -> object:
        statements.append(statement)
        return await read(statement, load)

    with monkeypatch.context() as patch:
        patch.setattr(db._backend, "read", note)
        await work()
    assert statements
    steps = []
    for statement in statements:
        on_sqlite = db.dialect.name == "sqlite"
        explain = "EXPLAIN QUERY PLAN" if on_sqlite else "EXPLAIN"
        rows = (await db.execute(Statement(f"{explain} {statement.sql}", statement.arguments, writes=False))).rows
        steps += [row[-1] if on_sqlite else mysql_step(row) for row in rows]
    return steps


def mysql_step(row: tuple[Any, ...]) -> str:
    """Return a line of MySQL's EXPLAIN in the words of SQLite's."""
    table, access, extra = row[2], row[3], row[-1] or ""
    step = f"SCAN {table}" if access in ("ALL", "index") else f"SEARCH {table}"
    return step + (" USE TEMP B-TREE" if "filesort" in extra or "temporary" in extra else "")


@pytest.mark.parametrize(
    "which",
    ["page", "newest", "changed", "sent", "members", "room"],
)
async def test_indexes_are_used(db: Database, room: Room, which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read for a page, a catch-up, a nonce, a member, a room: each searches an index, and sorts nothing."""
    store = Store(db)
    # A database that looks at sizes scans what is small.
    await User.insert_many(db, [{User.name: f"user {number}"} for number in range(500)])
    for name in ("busy", "other", "lobby"):
        busy = await store.room(name) or await store.create_room(Room(name=name), None)
        assert busy is not None
        await store.append(busy.id, [draft(f"{name} {number}", wire.User(3 + number, "")) for number in range(500)])
    if db.dialect.name != "sqlite":
        await db.execute(Statement("ANALYZE TABLE users, chat_rooms, chat_members, chat_messages", (), writes=False))
    work: dict[str, Callable[[], Awaitable[object]]] = {
        "page": lambda: store.page(room, 100, 51),
        "newest": lambda: store.page(room, EVERYTHING, 51),
        "changed": lambda: store.changed(room, 9, EVERYTHING, 500),
        "sent": lambda: store.sent([draft("a"), draft("b", BEN)]),
        "members": lambda: store.members([(room.id, ANN.id)]),
        "room": lambda: store.room("lobby"),
    }
    steps = await plans(db, monkeypatch, work[which])
    assert steps
    assert not [step for step in steps if step.startswith("SCAN") or "TEMP B-TREE" in step], steps


def message_of(entry: Entry) -> Message:
    return msgspec.json.decode(entry.message, type=Message)


async def test_appending_numbers_from_the_rooms_counter(db: Database, room: Room) -> None:
    """A batch gets the next numbers, in its order, and another room has numbers of its own."""
    store = Store(db)
    other = await store.create_room(Room(name="other"), None)
    assert other is not None
    assert await store.append(room.id, [draft("a"), draft("b", BEN)]) == 2
    assert await store.append(other.id, [draft("c")]) == 1
    assert await store.append(room.id, [draft("d")]) == 3
    page = await store.page(room, EVERYTHING, 10)
    assert [(entry.seq, entry.rev, message_of(entry).text) for entry in page] == [
        (1, 1, "text of a"),
        (2, 2, "text of b"),
        (3, 3, "text of d"),
    ]


async def test_a_batch_is_written_whole_or_not_at_all(db: Database, room: Room) -> None:
    """One nonce that was used before refuses its whole batch, and uses up no number."""
    store = Store(db)
    await store.append(room.id, [draft("a")])
    with pytest.raises(UniqueViolation):
        await store.append(room.id, [draft("b"), draft("a"), draft("c")])
    assert await store.append(room.id, [draft("a", BEN)]) == 2
    assert [message_of(entry).user for entry in await store.page(room, EVERYTHING, 10)] == [ANN, BEN]
    assert set(await store.sent([draft("a"), draft("b"), draft("a", BEN)])) == {(1, "a"), (2, "a")}


async def test_read_marks_go_forwards_only(db: Database, room: Room) -> None:
    """An older mark that is written late changes nothing, and one of somebody who has left is no member."""
    store = Store(db)
    await store.add_members([(room.id, ANN.id)])
    for seq in (5, 3):
        await store.mark_read([(room.id, ANN.id, seq), (room.id, BEN.id, seq)])
    assert await store.members([(room.id, ANN.id), (room.id, BEN.id)]) == {(room.id, ANN.id): Standing("member", 5)}


async def test_becoming_a_member_twice_changes_nothing(db: Database, room: Room) -> None:
    """Whoever is a member stays what they are there."""
    store = Store(db)
    own = await store.create_room(Room(name="own"), ANN.id)
    assert own is not None
    assert await store.add_members([(own.id, ANN.id)]) == {(own.id, ANN.id): Standing("owner", 0)}
    assert await store.add_members([(room.id, ANN.id)]) == {(room.id, ANN.id): Standing("member", 0)}
    both = {(room.id, user.id): Standing("member", 0) for user in (ANN, BEN)}
    assert await store.add_members([(room.id, ANN.id), (room.id, BEN.id)]) == both
    await store.remove_members([(room.id, BEN.id)])
    assert await store.members([(room.id, ANN.id), (room.id, BEN.id)]) == {(room.id, ANN.id): Standing("member", 0)}
    assert await store.count_rooms_owned(ANN.id) == 1
    assert await store.create_room(Room(name="own"), BEN.id) is None
    assert await store.members([(own.id, BEN.id)]) == {}

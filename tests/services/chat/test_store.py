"""The chat's queries: what they write and find, and that they use their indexes: no cost grows with the room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from server import User
from server.auth.accounts import MIGRATIONS
from server.db import Database, Statement, UniqueViolation, now
from server.db.writes import Insert
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


async def test_batches_of_every_size(db: Database, room: Room) -> None:
    """Of one to forty messages in one go each has the next number, in the order given, with all that belongs to it."""
    store = Store(db)
    drafts: list[Draft] = []
    for size in range(1, 41):
        batch = [
            Draft(
                (ANN, BEN)[(size + n) % 2],
                f"{size}/{n}",
                f"tea {n} of {size} \N{TEACUP WITHOUT HANDLE}",
                now(),
                n or None,
            )
            for n in range(size)
        ]
        drafts += batch
        assert await store.append(room.id, batch) == len(drafts)
    messages = [message_of(entry) for entry in await store.changed(room, 0, EVERYTHING, 1000)]
    assert [(m.seq, m.rev, m.user, m.text, m.sent_at, m.reply_to, m.edited_at) for m in messages] == [
        (seq, seq, d.user, d.text, d.sent_at, d.reply_to, None) for seq, d in enumerate(drafts, start=1)
    ]
    sent = await store.sent(drafts)
    assert [sent[d.user.id, d.nonce].seq for d in drafts] == list(range(1, len(drafts) + 1))
    assert await Room.select(db, Room.last_rev).where(Room.id == room.id).scalar() == len(drafts)


async def test_rooms_at_once_keep_their_numbers(db: Database, room: Room) -> None:
    """Batches of two rooms that are written at the same time have their own rooms' numbers, each batch together."""
    store = Store(db)
    other = await store.create_room(Room(name="other"), None)
    assert other is not None
    batches = [
        (where.id, [draft(f"{where.name} {n}/{m}") for m in range(n)]) for n in range(1, 12) for where in (room, other)
    ]
    lasts = await asyncio.gather(*(store.append(room_id, batch) for room_id, batch in batches))
    for where in (room, other):
        page = await store.page(where, EVERYTHING, 1000)
        assert [entry.seq for entry in page] == list(range(1, 67))
        texts = [message_of(entry).text for entry in page]
        for (room_id, batch), last in zip(batches, lasts, strict=True):
            if room_id == where.id:
                assert texts[last - len(batch) : last] == [d.text for d in batch]


async def test_statements_are_written_once_for_each_size(
    db: Database, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch is as few inserts as there are ones in its size; of each size the text is written once for all."""
    store = Store(db)
    ran: list[Statement] = []
    write = db._backend.write

    async def note(statements: Sequence[Statement]) -> Any:
        ran.extend(statements)
        return await write(statements)

    monkeypatch.setattr(db._backend, "write", note)
    known: dict[int, str] = {}
    for turn in range(2):
        for size in (1, 2, 3, 7, 8, 21, 40):
            ran.clear()
            await store.append(room.id, [draft(f"{turn}/{size}/{n}") for n in range(size)])
            inserts = [statement for statement in ran if statement.sql.startswith("INSERT")]
            sizes = [1 << bit for bit in range(6, -1, -1) if size >> bit & 1]
            assert len(inserts) == len(sizes)
            for part, statement in zip(sizes, inserts, strict=True):
                assert known.setdefault(part, statement.sql) is statement.sql
                assert not any("text of" in text for text in known.values())
        if turn == 0:
            monkeypatch.setattr(Insert, "compile_statement", lambda *_: pytest.fail("it is written again"))
    assert sorted(known) == [1, 2, 4, 8, 16, 32]


async def test_many_memberships_in_one_query(db: Database, room: Room) -> None:
    """Of many pairs of rooms and users, just those are looked for, added and ended, whatever rooms they are of."""
    store = Store(db)
    other = await store.create_room(Room(name="other"), None)
    assert other is not None
    await User.insert_many(db, [{User.name: f"user {number}"} for number in range(3, 101)])
    pairs = [(where.id, user) for where in (room, other) for user in range(1, 101)]
    some, rest = pairs[::3], [pair for pair in pairs if pair not in pairs[::3]]
    assert await store.members(pairs) == {}
    assert await store.add_members(some) == {pair: Standing("member", 0) for pair in some}
    assert (await store.members(pairs)).keys() == set(some)
    assert (await store.add_members(pairs)).keys() == set(pairs)
    assert (await store.members([*rest, (10**6, 1), (room.id, 10**6)])).keys() == set(rest)
    await store.remove_members([*rest, (10**6, 1)])
    assert (await store.members(pairs)).keys() == set(some)
    await store.remove_members(pairs)
    assert await store.members(pairs) == {}


async def test_a_batch_is_written_whole_or_not_at_all(db: Database, room: Room) -> None:
    """One nonce that was used before refuses its whole batch, in which insert it ever is, and uses up no number."""
    store = Store(db)
    await store.append(room.id, [draft("a")])
    with pytest.raises(UniqueViolation):
        await store.append(room.id, [draft("b"), draft("a"), draft("c")])
    with pytest.raises(UniqueViolation):
        await store.append(room.id, [*(draft(f"b{number}") for number in range(6)), draft("a")])
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

"""Reading back: history, resuming after a break, joining while others talk, and read marks."""

from __future__ import annotations

import asyncio

import pytest

from server import Conflict, InvalidParams
from server.db import Unavailable, now
from server.service.harness import WAIT_SECONDS, Client, ServiceHarness
from services.chat import Chat, liveroom, recent, service, wire
from services.chat.liveroom import LiveRoom
from services.chat.pages import Pages
from services.chat.recent import Answer
from services.chat.store import Draft, Store
from tests.services.chat.people import Held, say, texts


@pytest.fixture(params=[256, 3, 0], ids=["memory", "little memory", "no memory"], autouse=True)
def memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many messages a room has in memory, the answers are the same."""
    monkeypatch.setattr(recent, "MOST_ENTRIES", request.param)
    monkeypatch.setattr(liveroom, "REMEMBERED", min(request.param, liveroom.REMEMBERED))


async def test_history_pages(ann: Client) -> None:
    """Pages go back from the newest or from a message, oldest first, without a gap, until there is no more."""
    await ann.call("rooms.join", room="lobby")
    await say(ann, *(str(number) for number in range(1, 26)))
    page = await ann.call("messages.history", room="lobby", limit=10)
    assert [message["seq"] for message in page["messages"]] == list(range(16, 26))
    assert page["more"]
    page = await ann.call("messages.history", room="lobby", before=16, limit=10)
    assert [message["seq"] for message in page["messages"]] == list(range(6, 16))
    page = await ann.call("messages.history", room="lobby", before=6, limit=10)
    assert [message["seq"] for message in page["messages"]] == list(range(1, 6))
    assert not page["more"]
    assert await ann.call("messages.history", room="lobby", before=1) == {"messages": [], "more": False}
    assert await ann.call("messages.history", room="lobby", limit=0) == {"messages": [], "more": True}
    assert len((await ann.call("messages.history", room="lobby", limit=10**6))["messages"]) == 25
    with pytest.raises(InvalidParams):
        await ann.call("messages.history", room="lobby", limit=-1)


# Resuming.


async def test_resume(ann: Client) -> None:
    """`after` gives what changed since, in the order of the changes, and says whether that is all."""
    await ann.call("rooms.join", room="lobby")
    await say(ann, *"abcde")

    async def resume(**params: int) -> tuple[list[str], bool, int]:
        joined = await ann.call("rooms.join", room="lobby", **params)
        return texts(joined["messages"]), joined["complete"], joined["last_rev"]

    assert await resume() == (list("abcde"), True, 5)
    assert await resume(limit=2) == (["d", "e"], False, 5)
    assert await resume(after=0) == (list("abcde"), True, 5)
    assert await resume(after=3) == (["d", "e"], True, 5)
    assert await resume(after=5) == ([], True, 5)
    assert await resume(after=1, limit=4) == (list("bcde"), True, 5)
    assert await resume(after=1, limit=3) == (list("cde"), False, 5)
    assert await resume(after=99) == (list("abcde"), False, 5)
    assert await resume(after=0, limit=0) == ([], False, 5)
    assert await resume(limit=0) == ([], False, 5)
    assert await resume(after=5, limit=0) == ([], True, 5)
    assert await resume(after=99, limit=2) == (["d", "e"], False, 5)


async def test_no_answer_has_more_than_the_most(ann: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever limit a client asks for, the server's own holds, and it says that there is more."""
    monkeypatch.setattr(service, "PAGE_MOST", 3)
    await ann.call("rooms.join", room="lobby")
    await say(ann, *"abcde")
    for params, wanted, complete in (
        ({"limit": 10**9}, "cde", False),
        ({"limit": 4, "after": 0}, "cde", False),
        ({"limit": 10**9, "after": 2}, "cde", True),
    ):
        joined = await ann.call("rooms.join", room="lobby", **params)
        assert (texts(joined["messages"]), joined["complete"]) == (list(wanted), complete)
    page = await ann.call("messages.history", room="lobby", limit=10**9)
    assert (texts(page["messages"]), page["more"]) == (list("cde"), True)


@pytest.mark.parametrize("params", [{"after": -1}, {"after": 2**63}, {"after": "1"}, {"limit": -1}, {"limit": 1.5}])
async def test_bad_resumption(ann: Client, params: dict[str, object]) -> None:
    """Numbers that are none are refused, the field is named, and nobody is in the room for that."""
    with pytest.raises(InvalidParams) as refused:
        await ann.call("rooms.join", room="lobby", **params)
    assert refused.value.path == next(iter(params))
    assert (await ann.call("rooms.list"))["rooms"][0]["role"] is None


class Gate:
    """Holds up whoever reads the messages for a join, until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()
        monkeypatch.setattr(Pages, "snapshot", self.snapshot)

    async def snapshot(self, live: LiveRoom, after: int | None, limit: int) -> Answer:
        self.reached.set()
        await self.open.wait()
        return Answer(wire.array([]), whole=True)


async def test_leaving_on_another_device_while_joining(
    chat: ServiceHarness[Chat], ann: Client, ben: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A join that a leave overtook is refused: who is no member receives nothing and is not present."""
    await ben.call("rooms.join", room="lobby")
    phone = await chat.connect(ann.user)
    gate = Gate(monkeypatch)
    joining = asyncio.create_task(ann.call("rooms.join", room="lobby"))
    await gate.reached.wait()
    await phone.call("rooms.leave", room="lobby")
    gate.open.set()
    with pytest.raises(Conflict):
        await joining
    await say(ben, "not for ann")
    (room,) = (await ann.call("rooms.list"))["rooms"]
    assert (room["role"], room["present"]) == (None, 1)
    assert (await ann.call("rooms.join", room="lobby"))["last_rev"] == 1
    await say(ben, "for ann")
    assert (await ann.event("message"))["message"]["text"] == "for ann"


async def test_a_connection_that_ends_while_joining_leaves_nobody_behind(
    chat: ServiceHarness[Chat], ann: Client, ben: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is cut off in the middle of a join is not present for ever."""
    gate = Gate(monkeypatch)
    ann.notify("rooms.join", room="lobby")
    await gate.reached.wait()
    await ann.leave(1006)
    gate.open.set()
    joined = await ben.call("rooms.join", room="lobby")
    assert [user["name"] for user in joined["present"]] == ["ben"]
    assert chat.incidents == []


@pytest.mark.parametrize("params", [{}, {"after": 0}, {"after": 0, "limit": 1}])
async def test_a_snapshot_ends_where_the_live_events_begin(
    chat: ServiceHarness[Chat], ann: Client, params: dict[str, int]
) -> None:
    """What another process has written and nobody here was given yet is no part of the answer: it follows it."""
    await ann.call("rooms.join", room="lobby")
    await say(ann, "a")
    store = Store(chat.db)
    room = await store.room("lobby")
    assert room is not None
    assert ann.user is not None
    await store.append(room.id, [Draft(wire.User(ann.user.id, "ann"), "elsewhere", "b", now(), None)])
    joined = await ann.call("rooms.join", room="lobby", **params)
    assert (texts(joined["messages"]), joined["last_rev"]) == (["a"], 1)
    await say(ann, "c")
    assert [(await ann.event("message"))["message"]["text"] for _ in range(3)] == ["a", "b", "c"]


async def test_joining_again_does_not_double(ann: Client, ben: Client) -> None:
    """A connection that joins twice hears everything once."""
    for _ in range(3):
        await ann.call("rooms.join", room="lobby")
    await ben.call("rooms.join", room="lobby")
    await say(ben, "a", "b", "c")
    assert [(await ann.event("message"))["rev"] for _ in range(3)] == [1, 2, 3]


async def test_joining_while_others_talk(chat: ServiceHarness[Chat], ben: Client) -> None:
    """At whatever moment one joins, the snapshot and what follows it are gapless and without a repeat."""
    await ben.call("rooms.join", room="lobby")
    count = 150

    async def talk() -> None:
        for number in range(count):
            await say(ben, str(number))

    async def listen(number: int) -> list[int]:
        client = await chat.connect(f"listener {number}")
        for _ in range(number):
            await asyncio.sleep(0)
        joined = await client.call("rooms.join", room="lobby", after=0, limit=200)
        revs = [message["rev"] for message in joined["messages"]]
        assert joined["last_rev"] == len(revs)
        while len(revs) < count:
            revs.append((await client.event("message"))["rev"])
        return revs

    talking = asyncio.create_task(talk())
    for revs in await asyncio.gather(*(listen(number) for number in range(0, 200, 10))):
        assert revs == list(range(1, count + 1))
    await talking


# Read marks.


async def test_read_marks(chat: ServiceHarness[Chat], ann: Client, ben: Client) -> None:
    """Marks go forwards only, not beyond the room's end, and one's other devices are told, nobody else."""
    await ann.call("rooms.join", room="lobby")
    await ben.call("rooms.join", room="lobby")
    phone = await chat.connect(ann.user)
    await say(ben, *"abc")
    await ann.call("read", room="lobby", seq=2)
    assert await phone.event("read") == {"room": "lobby", "seq": 2}
    await ann.call("read", room="lobby", seq=1)
    await ann.call("read", room="lobby", seq=99)
    assert await phone.event("read") == {"room": "lobby", "seq": 3}
    for client in (ann, phone):
        (room,) = (await client.call("rooms.list"))["rooms"]
        assert room["read_seq"] == 3
        assert (await client.call("rooms.join", room="lobby"))["room"]["read_seq"] == 3
    # Had the reader or somebody else been told of these, that would have come before what follows.
    await say(ben, "d")
    await phone.call("read", room="lobby", seq=4)
    assert await ann.event("read") == {"room": "lobby", "seq": 4}
    bens_phone = await chat.connect(ben.user)
    await bens_phone.call("read", room="lobby", seq=1)
    assert await ben.event("read") == {"room": "lobby", "seq": 1}


async def test_read_marks_and_history_survive_a_restart(database_url: str) -> None:
    """Another start on the same database knows who is a member, what they have read, and what was said."""
    async with ServiceHarness(Chat, database=database_url) as chat:
        ann = await chat.connect("ann")
        identity = ann.user
        await ann.call("rooms.join", room="lobby")
        (sent,) = await say(ann, "a")
        await say(ann, "b", "c")
        await ann.call("read", room="lobby", seq=2)
    async with ServiceHarness(Chat, database=database_url) as chat:
        ann = await chat.connect(identity)
        (room,) = (await ann.call("rooms.list"))["rooms"]
        assert (room["role"], room["read_seq"], room["last_rev"], room["present"]) == ("member", 2, 3, 0)
        await ann.call("read", room="lobby", seq=1)
        joined = await ann.call("rooms.join", room="lobby", after=1)
        assert (joined["room"]["read_seq"], texts(joined["messages"]), joined["complete"]) == (2, ["b", "c"], True)
        assert await say(ann, "a") == [sent]
        assert [result["seq"] for result in await say(ann, "d")] == [4]


async def test_read_marks_end_with_the_membership(ann: Client) -> None:
    """Who leaves a room and comes back has read nothing there."""
    await ann.call("rooms.join", room="lobby")
    await say(ann, "a")
    await ann.call("read", room="lobby", seq=1)
    await ann.call("rooms.leave", room="lobby")
    assert (await ann.call("rooms.join", room="lobby"))["room"]["read_seq"] == 0


async def test_a_mark_counts_while_it_is_being_written(
    chat: ServiceHarness[Chat], ann: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was acknowledged as read is read, also in the moment in which the database does not have it yet."""
    await ann.call("rooms.join", room="lobby")
    await say(ann, "a")
    writing = Held(monkeypatch, "mark_read", answered=False)
    await ann.call("read", room="lobby", seq=1)
    await writing.begun()
    (room,) = (await ann.call("rooms.list"))["rooms"]
    assert room["read_seq"] == 1
    writing.go_on()


@pytest.mark.parametrize("error", [None, Unavailable("not now")])
async def test_the_end_waits_for_marks_that_are_being_written(
    chat: ServiceHarness[Chat], ann: Client, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    """A mark of a write that was under way is durable when the service has stopped, if it has to be done again too."""
    assert ann.user is not None
    await ann.call("rooms.join", room="lobby")
    await say(ann, "a")
    writing = Held(monkeypatch, "mark_read", answered=False, error=error)
    await ann.call("read", room="lobby", seq=1)
    await writing.begun()
    await ann.leave()
    await chat.service.end_clients(WAIT_SECONDS)
    stopping = asyncio.create_task(chat.service.stop())
    await chat.db.ping()
    assert not stopping.done()
    writing.go_on()
    async with asyncio.timeout(WAIT_SECONDS):
        await stopping
    store = Store(chat.db)
    room = await store.room("lobby")
    assert room is not None
    assert (await store.members([(room.id, ann.user.id)]))[room.id, ann.user.id].read_seq == 1

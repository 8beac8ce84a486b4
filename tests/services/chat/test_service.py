"""The chat as its clients meet it: every method and event of the contract."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Sequence

import pytest

from server import Conflict, ConnectionClosed, InvalidParams, NotAllowed, NotFound, TooManyRequests
from server.errors import MethodNotFound
from server.pubsub import topics
from server.service.harness import Client, ServiceHarness
from services.chat import Chat, service
from services.chat.store import Pair, Standing, Store
from tests.services.chat.people import MESSAGE, ROOM, presence, say, texts

# Rooms.


async def test_a_fresh_chat_has_a_lobby(ann: Client) -> None:
    """Whoever comes first finds a room, complete in its fields, and is no member of it yet."""
    (room,) = (await ann.call("rooms.list"))["rooms"]
    assert set(room) == ROOM
    assert (room["room"], room["visibility"], room["role"], room["present"], room["last_rev"]) == (
        "lobby", "public", None, 0, 0,
    )  # fmt: skip


async def test_welcome_tells_the_limits(ann: Client) -> None:
    """The first notification says who one is and what one may send."""
    welcome = await ann.event("welcome")
    assert welcome["service"] == "chat"
    assert welcome["user"]["name"] == "ann"
    assert welcome["limits"] == {"frame_bytes": 65536, "message_chars": 4000, "messages_per_minute": 0}


async def test_creating_a_room(ann: Client, ben: Client) -> None:
    """The creator owns it, everybody learns of it, and its name is taken."""
    room = await ann.call("rooms.create", room="garden", title=" Garden ", topic="beds")
    assert set(room) == ROOM
    assert (room["title"], room["topic"], room["role"]) == ("Garden", "beds", "owner")
    told = await ben.event("room")
    assert set(told) == ROOM
    assert (told["room"], told["role"], told["read_seq"]) == ("garden", None, 0)
    with pytest.raises(Conflict):
        await ben.call("rooms.create", room="garden")
    assert {r["room"] for r in (await ben.call("rooms.list"))["rooms"]} == {"garden", "lobby"}
    assert (await ann.call("rooms.create", room="untitled"))["title"] == "untitled"


async def test_a_creators_devices_learn_last_that_they_own_it(
    chat: ServiceHarness[Chat], ann: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a room is to everybody never comes behind what it is to its owner, on whichever device."""
    monkeypatch.setattr(topics, "PART", 1)
    phone = await chat.connect(ann.user)
    for number in range(5):
        await chat.connect(f"somebody {number}")
    room = await ann.call("rooms.create", room="garden")
    assert room["role"] == "owner"
    assert (await ann.event("room"))["role"] is None  # it came before the answer: nothing follows that
    assert [(await phone.event("room"))["role"] for _ in range(2)] == [None, "owner"]
    await ann.call("rooms.create", room="shed")
    assert (await ann.event("room"))["room"] == "shed"


@pytest.mark.parametrize("name", ["", "-a", "A", "a b", "a" * 41, "ä", "a/b", "../x", "a\n", 3, None])
async def test_bad_room_names(ann: Client, name: object) -> None:
    """A room's short name is plain; anything else is refused, and the field is named."""
    for method in ("rooms.create", "rooms.join", "messages.history"):
        with pytest.raises(InvalidParams) as refused:
            await ann.call(method, room=name)
        assert refused.value.path == "room"


async def test_a_private_room_is_not_there_for_others(chat: ServiceHarness[Chat], ann: Client, ben: Client) -> None:
    """Only its members know of it: not in the list, not to join, to read, or to write to."""
    await ann.call("rooms.create", room="secret", visibility="private")
    await ann.call("rooms.join", room="secret")
    assert "secret" in [room["room"] for room in (await ann.call("rooms.list"))["rooms"]]
    assert "secret" not in [room["room"] for room in (await ben.call("rooms.list"))["rooms"]]
    for method, params in (
        ("rooms.join", {}),
        ("rooms.leave", {}),
        ("messages.history", {}),
        ("messages.send", {"text": "x", "nonce": "1"}),
        ("read", {"seq": 1}),
    ):
        with pytest.raises(NotFound):
            await ben.call(method, room="secret", **params)
    with pytest.raises(NotFound):
        await ben.call("rooms.join", room="nowhere")


async def test_rooms_per_user(chat: ServiceHarness[Chat]) -> None:
    """One user may own so many rooms."""
    async with ServiceHarness(Chat, {"rooms_per_user": 1}) as limited:
        ann = await limited.connect("ann")
        await ann.call("rooms.create", room="one")
        with pytest.raises(NotAllowed):
            await ann.call("rooms.create", room="two")


# Joining, presence, leaving.


async def test_joining(ann: Client, ben: Client) -> None:
    """Joining makes a member, tells who is there, and others are told."""
    await ann.call("rooms.join", room="lobby")
    joined = await ben.call("rooms.join", room="lobby")
    assert set(joined) == {"room", "present", "messages", "last_rev", "complete"}
    assert joined["room"]["role"] == "member"
    assert joined["room"]["present"] == 2
    assert [user["name"] for user in joined["present"]] == ["ann", "ben"]
    assert (joined["messages"], joined["last_rev"], joined["complete"]) == ([], 0, True)
    assert await presence(ann, 2) == {"joined": ["ann", "ben"], "left": []}
    await ben.leave()
    event = await ann.event("presence")
    assert set(event) == {"room", "joined", "left", "present"}
    assert (event["left"][0]["name"], event["joined"], event["present"]) == ("ben", [], 1)


async def test_presence_counts_people(chat: ServiceHarness[Chat], ann: Client, ben: Client) -> None:
    """Two devices of one person are one person, there until the last of them leaves."""
    await ben.call("rooms.join", room="lobby")
    phone = await chat.connect(ann.user)
    await ann.call("rooms.join", room="lobby")
    assert (await phone.call("rooms.join", room="lobby"))["room"]["present"] == 2
    assert (await presence(ben, 2))["left"] == []
    await ann.leave()
    assert (await ben.call("rooms.join", room="lobby"))["room"]["present"] == 2
    await phone.leave()
    assert await presence(ben, 1) == {"joined": [], "left": ["ann"]}


async def test_membership_outlives_the_connection(chat: ServiceHarness[Chat], ann: Client) -> None:
    """Who joined stays a member, until they leave the room; leaving stops all their devices."""
    await ann.call("rooms.join", room="lobby")
    phone = await chat.connect(ann.user)
    (room,) = (await phone.call("rooms.list"))["rooms"]
    assert room["role"] == "member"
    await phone.call("rooms.join", room="lobby")
    await phone.call("rooms.leave", room="lobby")
    (room,) = (await ann.call("rooms.list"))["rooms"]
    assert (room["role"], room["present"]) == (None, 0)
    ben = await chat.connect("ben")
    await ben.call("rooms.join", room="lobby")
    await say(ben, "after they left")
    await ben.event("message")
    with pytest.raises(NotAllowed):
        await say(ann, "still there?")
    for client in (ann, phone):
        await client.call("rooms.join", room="lobby")
    await say(ben, "after they came back")
    for client in (ann, phone):
        assert (await client.event("message"))["message"]["text"] == "after they came back"


async def test_everybody_learns_of_activity(chat: ServiceHarness[Chat], ann: Client, ben: Client) -> None:
    """Who is not in a room still sees its counts move, again and again; what differs by person is left out."""
    await ann.call("rooms.join", room="lobby")
    for number in range(1, 4):
        await say(ann, str(number))
        while True:
            room = await ben.event("room")
            assert set(room) == ROOM - {"role", "read_seq"}
            if room["last_rev"] == number:
                break
        assert room["present"] == 1


# Messages.


async def test_sending(ann: Client, ben: Client) -> None:
    """The sender is told the number, everybody hears the message, whole, and it is kept."""
    for client in (ann, ben):
        await client.call("rooms.join", room="lobby")
    (sent,) = await say(ann, "hello")
    assert set(sent) == {"seq", "rev", "sent_at"}
    assert (sent["seq"], sent["rev"]) == (1, 1)
    assert sent["sent_at"].endswith("Z")
    for client in (ann, ben):
        event = await client.event("message")
        assert set(event) == {"room", "rev", "message"}
        assert set(event["message"]) == MESSAGE
        assert event["message"]["user"] == {"id": ann.user.id if ann.user else 0, "name": "ann"}
        assert (event["message"]["text"], event["message"]["sent_at"]) == ("hello", sent["sent_at"])
    history = await ben.call("messages.history", room="lobby")
    assert history == {"messages": [event["message"]], "more": False}


@pytest.mark.parametrize(
    "text",
    ["<b>x</b>", "'; DROP TABLE chat_messages; --", "%_\\", "a\0b", "\u202eevil\u200b", "😀" * 99, " x ", "a\r\nb"],
)
async def test_text_is_literal(ann: Client, text: str) -> None:
    """FAULTS 29 and 30: whatever is said comes back as it was said."""
    await ann.call("rooms.join", room="lobby")
    await say(ann, text)
    assert (await ann.event("message"))["message"]["text"] == text
    assert texts((await ann.call("messages.history", room="lobby"))["messages"]) == [text]


async def test_half_a_character_is_no_text(ann: Client) -> None:
    """What no UTF-8 can hold is refused before it is numbered, and the connection goes on."""
    await ann.call("rooms.join", room="lobby")
    params = r'{"room":"lobby","text":"\ud800","nonce":"n"}'
    ann.send(f'{{"jsonrpc":"2.0","id":"half","method":"messages.send","params":{params}}}')
    while '"error"' not in (answer := str(await ann.receive())):
        pass
    assert json.loads(answer)["error"]["code"] in (-32700, -32602)
    await say(ann, "whole")
    assert texts((await ann.call("messages.history", room="lobby"))["messages"]) == ["whole"]


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({"text": ""}, "text"),
        ({"text": " \n\t "}, "text"),
        ({"text": "x" * 4001}, "text"),
        ({"text": 3}, "text"),
        ({"nonce": ""}, "nonce"),
        ({"nonce": "x" * 65}, "nonce"),
        ({"reply_to": 99}, "reply_to"),
        ({"reply_to": 0}, "reply_to"),
        ({"room": "No"}, "room"),
        ({"other": 1}, "other"),
    ],
)
async def test_bad_messages(ann: Client, params: dict[str, object], path: str) -> None:
    """What cannot be sent is refused, and the field is named."""
    await ann.call("rooms.join", room="lobby")
    with pytest.raises(InvalidParams) as refused:
        await ann.call("messages.send", **{"room": "lobby", "text": "x", "nonce": "n", **params})
    assert refused.value.path == path
    assert (await ann.call("messages.history", room="lobby"))["messages"] == []


async def test_who_is_no_member_may_not_write(ann: Client) -> None:
    """Writing, reading marks and typing are for members."""
    with pytest.raises(NotAllowed):
        await say(ann, "x")
    with pytest.raises(NotAllowed):
        await ann.call("read", room="lobby", seq=0)
    with pytest.raises(NotAllowed):
        await ann.call("typing", room="lobby")


async def test_replies(ann: Client) -> None:
    """A message can refer to an earlier one of its room."""
    await ann.call("rooms.join", room="lobby")
    await say(ann, "question")
    await ann.call("messages.send", room="lobby", text="answer", nonce="n", reply_to=1)
    messages = (await ann.call("messages.history", room="lobby"))["messages"]
    assert [message["reply_to"] for message in messages] == [None, 1]


async def test_a_nonce_is_one_message_for_ever(chat: ServiceHarness[Chat], ann: Client, ben: Client) -> None:
    """A retry gives the first result, at once or later, on any device, whatever else it says; others have their own."""
    await ann.call("rooms.join", room="lobby")
    await ann.call("rooms.create", room="other")
    await ben.call("rooms.join", room="lobby")
    same = {"room": "lobby", "text": "once", "nonce": "n"}
    first, twin = await asyncio.gather(ann.call("messages.send", **same), ann.call("messages.send", **same))
    assert first == twin
    phone = await chat.connect(ann.user)
    assert await phone.call("messages.send", **same) == first
    assert await ann.call("messages.send", room="lobby", text="else", nonce="n") == first
    assert await ann.call("messages.send", room="other", text="once", nonce="n") == first
    assert (await ben.call("messages.send", **same))["seq"] == 2
    assert texts((await ann.call("messages.history", room="lobby"))["messages"]) == ["once", "once"]
    assert (await ann.call("messages.history", room="other"))["messages"] == []


async def test_one_nonce_in_two_rooms_at_once(ann: Client) -> None:
    """Two rooms commit by themselves, and still only one of two messages under one nonce comes to be."""
    rooms = ["one", "two"]
    for room in rooms:
        await ann.call("rooms.create", room=room)
    sent = await asyncio.gather(
        *(ann.call("messages.send", room=room, text=room, nonce="n") for room in rooms for _ in range(3))
    )
    assert all(result == sent[0] for result in sent)
    pages = [await ann.call("messages.history", room=room) for room in rooms]
    assert sum(len(page["messages"]) for page in pages) == 1


async def test_retries_among_new_messages(ann: Client) -> None:
    """Retries and new messages that are sent together: the old keep their numbers, the new follow in order."""
    await ann.call("rooms.join", room="lobby")
    await say(ann, "a", "b")
    sent = await asyncio.gather(*(say(ann, text) for text in "abcde"))
    assert [result["seq"] for (result,) in sent] == [1, 2, 3, 4, 5]
    assert texts((await ann.call("messages.history", room="lobby"))["messages"]) == list("abcde")
    assert [(await ann.event("message"))["rev"] for _ in range(5)] == [1, 2, 3, 4, 5]


async def test_pipelined_messages_keep_their_order(chat: ServiceHarness[Chat], ann: Client, ben: Client) -> None:
    """An author who does not wait for answers is heard in the order in which they sent, from the first on."""
    await ann.call("rooms.join", room="lobby")
    await ben.call("rooms.join", room="lobby")
    wanted = [str(number) for number in range(200)]
    await asyncio.gather(*(asyncio.ensure_future(say(ann, text)) for text in wanted))
    heard = [(await ben.event("message"))["message"]["text"] for _ in wanted]
    assert heard == wanted


async def test_the_first_message_is_not_overtaken(
    chat: ServiceHarness[Chat], ann: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order holds even when the first message takes long to be let in and the next ones would not."""
    assert ann.user is not None
    store = Store(chat.db)
    room = await store.room("lobby")
    assert room is not None
    await store.add_members([(room.id, ann.user.id)])  # who is a member since an earlier start is not known by heart
    members, calls = Store.members, itertools.count()

    async def slow_at_first(self: Store, pairs: Sequence[Pair]) -> dict[Pair, Standing]:
        if next(calls) == 0:
            for _ in range(20):
                await chat.db.ping()
        return await members(self, pairs)

    monkeypatch.setattr(Store, "members", slow_at_first)
    await asyncio.gather(*(asyncio.ensure_future(say(ann, text)) for text in "abc"))
    assert texts((await ann.call("messages.history", room="lobby"))["messages"]) == list("abc")


async def test_typing(ann: Client, ben: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others in the room learn that one is writing, and not more often than makes sense."""
    monkeypatch.setattr(service, "TYPING_SECONDS", 5.0)
    await ann.call("rooms.join", room="lobby")
    await ben.call("rooms.join", room="lobby")
    for _ in range(20):
        ann.notify("typing", room="lobby")
    typing = await ben.event("typing")
    assert typing["room"] == "lobby"
    assert typing["user"]["name"] == "ann"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await ben.event("typing")


# Limits, and what is not there.


async def test_a_flood_is_refused() -> None:
    """FAULTS 22: too many messages are refused with the seconds to wait; a client that goes on is closed with 4429."""
    async with ServiceHarness(Chat, {"messages_per_minute": 20}) as chat:
        ann = await chat.connect("ann")
        await ann.call("rooms.join", room="lobby")
        accepted, waits = 0, []
        with pytest.raises(ConnectionClosed):
            for number in range(200):
                try:
                    await say(ann, str(number))
                    accepted += 1
                except TooManyRequests as refused:
                    waits.append(refused.retry_after)
        assert (await ann.closed()).code == 4429
        assert 1 <= accepted <= 20
        assert all(0 < wait <= 60 for wait in waits)


@pytest.mark.parametrize(
    "method", ["messages.edit", "messages.delete", "messages.react", "messages.search", "direct.open", "members.list"]
)
async def test_what_is_not_there_says_so(ann: Client, method: str) -> None:
    """Methods of later versions are unknown, not half there."""
    with pytest.raises(MethodNotFound):
        await ann.call(method, room="lobby")


async def test_the_document_names_everything(ann: Client) -> None:
    """rpc.discover describes every method and event of the contract that exists."""
    document = await ann.call("rpc.discover")
    assert {method["name"] for method in document["methods"]} == {
        "rooms.list", "rooms.create", "rooms.join", "rooms.leave", "messages.send", "messages.history", "typing",
        "read", "rpc.discover",
    }  # fmt: skip
    assert all(method["summary"] for method in document["methods"])


async def test_no_incident_in_any_of_this(chat: ServiceHarness[Chat], ann: Client) -> None:
    """An everyday conversation leaves nothing in the log."""
    await ann.call("rooms.join", room="lobby")
    await say(ann, "a")
    await ann.leave()
    assert chat.incidents == []

"""Whatever happens in a room, its history is sound: random programs against the real service and database.

Clients come, resume, leave and talk at random moments while commits are refused, hang, or end nobody knows how, and
another process writes between. What each client was given, in the order of the wire, is held against the contract, and
in the end against the database.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter, defaultdict
from typing import Any
from unittest import mock

import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from server import ConnectionClosed
from server.db import Database, now
from server.service.harness import Client, ServiceHarness
from services.chat import Chat, liveroom, service, wire
from services.chat.store import Draft, Store
from tests.services.chat.test_liveroom import FaultyStore
from tests.support.mariadb import MariaDb

DEVICES = 2
ACCOUNTS = 2
WHOLE_SECONDS = 60
"""Something hangs when a program takes longer."""
LIMIT = 6
"""Messages of one join: few, so that a resumption is now complete and now not."""
FAULTS = ["refused", "unknown", "hangs", "late"]
LATER, NO_MEMBER, LEFT_MEANWHILE = -32050, -32003, -32009

# What may happen: each step has two numbers, the client it is about, and one that not all of them need.
Step = tuple[str, int, int]
steps = st.lists(
    st.tuples(
        st.sampled_from([*["send"] * 4, "join", "resume", "resume", "leave", "pause", "other", *FAULTS]),
        st.integers(0, ACCOUNTS * DEVICES - 1),
        st.integers(0, 12),
    ),
    max_size=40,
)


class Person:
    """One connection, read in the order of the wire.

    Attributes:
        position: the last event that it knows; None while it is not in the room.
        held: what it holds of the room, by `rev`.
        acknowledged: what it was told of its messages: nonce and result.
    """

    def __init__(self, client: Client) -> None:
        assert client.user is not None
        self.id = client.user.id
        self.position: int | None = None
        self.held: dict[int, dict[str, Any]] = {}
        self.acknowledged: list[tuple[str, dict[str, Any]]] = []
        self.news = asyncio.Event()
        self._client = client
        self._numbers = itertools.count()
        self._requests: dict[str, tuple[str, dict[str, Any], asyncio.Future[None]]] = {}
        self.reading = asyncio.create_task(self._read())

    def request(self, method: str, **params: Any) -> asyncio.Future[None]:
        """Send a request; what is returned is done when its answer was taken and found in order."""
        # The harness keeps the answers to ids that are not its own between the events, where they came.
        request_id = f"own {next(self._numbers)}"
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests[request_id] = (method, params, done)
        self._client.send(json.dumps({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}))
        return done

    def join(self, *, resume: bool) -> asyncio.Future[None]:
        """Join, with `after` when there is something to go on from."""
        after = {"after": self.position} if resume and self.position is not None else {}
        return self.request("rooms.join", room="lobby", limit=LIMIT, **after)

    async def hear(self, rev: int) -> None:
        """Wait until an event has come."""
        async with asyncio.timeout(10):
            while (self.position or 0) < rev:
                self.news.clear()
                await self.news.wait()

    async def _read(self) -> None:
        try:
            while True:
                message = json.loads(await self._client.receive())
                if message.get("method") == "message":
                    self._heard(message["params"])
                elif "id" in message:
                    method, params, done = self._requests.pop(message["id"])
                    self._answered(method, params, message)
                    if not done.done():
                        done.set_result(None)
                self.news.set()
        except ConnectionClosed:
            return
        except BaseException as error:
            for _, _, done in self._requests.values():
                if not done.done():
                    done.set_exception(error)
            raise

    def _heard(self, event: dict[str, Any]) -> None:
        assert self.position is not None, "an event for somebody who is not in the room"
        assert event["rev"] == self.position + 1, (event["rev"], self.position)
        self.position += 1
        self.held[event["rev"]] = event["message"]

    def _answered(self, method: str, params: dict[str, Any], answer: dict[str, Any]) -> None:
        if "error" in answer:
            allowed = {"messages.send": {LATER, NO_MEMBER}, "rooms.join": {LEFT_MEANWHILE}}.get(method, set())
            assert answer["error"]["code"] in allowed, (method, answer["error"])
        elif method == "messages.send":
            self.acknowledged.append((params["nonce"], answer["result"]))
        elif method == "rooms.leave":
            self.position = None
        else:
            self._joined(params.get("after", 0), answer["result"])

    def _joined(self, after: int, joined: dict[str, Any]) -> None:
        last = joined["last_rev"]
        first = after + 1 if joined["complete"] else last - LIMIT + 1
        assert [message["rev"] for message in joined["messages"]] == list(range(first, last + 1)), (after, joined)
        if not joined["complete"]:
            self.held.clear()
        self.held.update({message["rev"]: message for message in joined["messages"]})
        self.position = last


@settings(max_examples=100, deadline=None)
@given(steps)
def test_any_history_is_sound(program: list[Step]) -> None:
    """Acknowledged is in the history, no nonce is there twice, numbers are dense, no stream has a gap or a repeat."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(run(program, "sqlite://:memory:"), WHOLE_SECONDS))


@settings(max_examples=20, deadline=None)
@given(program=steps)
def test_any_history_is_sound_on_mariadb(mariadb: MariaDb, program: list[Step]) -> None:
    """The same on a database server, where what was given up on may go through a moment later."""
    name = mariadb.new_database()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(run(program, mariadb.url(name)), WHOLE_SECONDS))
    mariadb.execute(f"DROP DATABASE {name}")


async def run(program: list[Step], database: str) -> None:
    stores: list[FaultyStore] = []

    def make_store(db: Database) -> FaultyStore:
        stores.append(FaultyStore(db))
        return stores[-1]

    with mock.patch.object(service, "Store", make_store), mock.patch.object(service, "TICK_SECONDS", 0.005):
        async with ServiceHarness(Chat, {"messages_per_minute": 0}, database=database) as chat:
            users = [await chat.user(name) for name in ("ann", "ben")[:ACCOUNTS]]
            people = [Person(await chat.connect(user)) for user in users for _ in range(DEVICES)]
            with mock.patch.object(liveroom, "COMMIT_SECONDS", 0.02):
                await perform(program, people, stores[0], chat.db)
            stores[0].faults.clear()
            for person in people:
                await person.join(resume=True)
            await people[0].request("messages.send", room="lobby", text="text of last", nonce="last")
            await asyncio.gather(*(person.hear(people[0].acknowledged[-1][1]["rev"]) for person in people))
            check(people, await whole_history(chat))
            assert chat.incidents == []
    await asyncio.gather(*(person.reading for person in people))


async def perform(program: list[Step], people: list[Person], store: FaultyStore, db: Database) -> None:
    """Do what a program says, without waiting for answers but where it pauses; then wait for all of them."""
    room = await store.room("lobby")
    assert room is not None
    begun = [person.join(resume=False) for person in people[::DEVICES]]
    await asyncio.gather(*begun)
    for place, (step, number, size) in enumerate(program):
        person = people[number]
        match step:
            case "send":
                nonce = f"n{size}"
                begun.append(person.request("messages.send", room="lobby", text=f"text of {nonce}", nonce=nonce))
            case "join" | "resume":
                begun.append(person.join(resume=step == "resume"))
            case "leave":
                begun.append(person.request("rooms.leave", room="lobby"))
            case "pause":
                for _ in range(size):
                    await db.ping()
            case "other":
                stranger = Draft(wire.User(person.id, ""), f"other {place}", f"text of other {place}", now(), None)
                await Store(db).append(room.id, [stranger])
            case fault:
                store.faults.append(fault)
    await asyncio.gather(*begun)


async def whole_history(chat: ServiceHarness[Chat]) -> list[dict[str, Any]]:
    """Read the room as somebody does who was never there."""
    reader = await chat.connect("reader")
    page = await reader.call("messages.history", room="lobby", limit=200)
    assert not page["more"]
    messages: list[dict[str, Any]] = page["messages"]
    return messages


def check(people: list[Person], history: list[dict[str, Any]]) -> None:
    assert [(message["seq"], message["rev"]) for message in history] == [(n, n) for n in range(1, len(history) + 1)]
    written = Counter((message["user"]["id"], message["text"]) for message in history)
    assert all(count == 1 for count in written.values()), written
    results: dict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
    for person in people:
        for nonce, result in person.acknowledged:
            results[person.id, nonce].append(result)
    for (user, nonce), given_results in results.items():
        assert all(result == given_results[0] for result in given_results), "one nonce, one result"
        message = history[given_results[0]["seq"] - 1]
        assert (message["user"]["id"], message["text"]) == (user, f"text of {nonce}")
        assert message["sent_at"] == given_results[0]["sent_at"]
    for person in people:
        first = min(person.held)
        assert [person.held[rev] for rev in sorted(person.held)] == history[first - 1 :]

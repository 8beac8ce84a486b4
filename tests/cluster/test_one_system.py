"""Several nodes are one system: the same accounts, sessions, rooms, limits and uniqueness from each of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import pytest_asyncio

from server.auth.accounts import Accounts
from server.config import AuthSettings, BrokerSettings
from server.db import Database
from server.pubsub.nats import NatsBroker
from server.pubsub.peers import Peers
from tests.support.chatclient import CallError, ChatClient, guest_cookie
from tests.support.cluster import Cluster, tell, until
from tests.support.mariadb import MariaDb
from tests.support.nats import Nats, private_nats

pytestmark = pytest.mark.asyncio(loop_scope="module")

ATTEMPTS_PER_MINUTE = 100
MESSAGES_PER_MINUTE = 60
BURST = MESSAGES_PER_MINUTE // 4
PASSWORD = "correct horse battery"
"""No secret."""
SOON_SECONDS = 10
NOT_ALLOWED, CONFLICT, TOO_MANY = -32003, -32009, -32029
NOT_LOGGED_IN, BANNED = 4401, 4403


class System(msgspec.Struct, frozen=True):
    """What the tests work with.

    Args:
        nodes: the URL of each node: one has two workers, one has one, and the last has none.
        nats: what is between them.
        database_url: what is under them.
    """

    nodes: list[str]
    nats: Nats
    database_url: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(mariadb: MariaDb, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    settings: dict[str, object] = {
        "auth.attempts_per_minute": ATTEMPTS_PER_MINUTE,
        "services.chat.messages_per_minute": MESSAGES_PER_MINUTE,
        "server.proxies": "127.0.0.1",
    }
    url = mariadb.url(mariadb.new_database())
    with private_nats() as nats:
        async with Cluster(tmp_path_factory.mktemp("system"), url, nats.url, settings=settings) as cluster:
            await _all_say(cluster.urls, "ok")
            yield System(cluster.urls, nats, url)


async def _all_say(nodes: list[str], status: str) -> None:
    async def so() -> bool:
        async with httpx.AsyncClient() as http:
            said = [(await http.get(f"{node}/health")).json()["status"] for node in nodes]
        return said == [status] * len(nodes)

    await until(f"every node is {status}", so, SOON_SECONDS)


async def _post(node: str, path: str, cookie: str = "", **body: str) -> httpx.Response:
    async with httpx.AsyncClient() as http:
        return await http.post(f"{node}{path}", json=body or None, headers={"Cookie": cookie} if cookie else {})


def _cookie(response: httpx.Response) -> str:
    response.raise_for_status()
    return response.headers["set-cookie"].partition(";")[0]


async def _register(node: str, name: str) -> str:
    return _cookie(await _post(node, "/auth/register", name=name, password=PASSWORD))


async def _devices(system: System, cookie: str) -> list[ChatClient]:
    """Connect somebody to every node."""
    devices = [ChatClient(node, cookie) for node in system.nodes]
    await asyncio.gather(*(device.open() for device in devices))
    return devices


async def _people(system: System, room: str = "") -> list[ChatClient]:
    """Let somebody in on every node, and into a room of theirs."""
    people = [
        await ChatClient.guest(node, f"{room or 'guest'} {number}") for number, node in enumerate(system.nodes, start=1)
    ]
    if room:
        await people[0].call("rooms.create", room=room)
        for person in people:
            await person.call("rooms.join", room=room)
    return people


async def _close(*clients: ChatClient) -> None:
    await asyncio.gather(*(client.close() for client in clients))


async def _closed(devices: list[ChatClient], code: int) -> float:
    """Wait until the system has closed somebody's sockets; returns how long it took, in seconds."""
    began = time.monotonic()
    assert all(await asyncio.gather(*(device.ended(SOON_SECONDS) for device in devices)))
    assert [device.close_code for device in devices] == [code] * len(devices)
    return time.monotonic() - began


# Accounts and sessions.


async def test_an_account_is_one_everywhere(system: System) -> None:
    """A name that is taken on one node is taken on all; an account and a session of one node are good on all."""
    first, second, third = system.nodes
    made = await _post(first, "/auth/register", name="Ann", password=PASSWORD)
    assert (await _post(second, "/auth/register", name="ann", password=PASSWORD)).status_code == 409
    assert (await _post(third, "/auth/guest", name="ANN")).status_code == 409
    known = await _post(second, "/auth/login", name="ann", password=PASSWORD)
    assert known.json()["user"] == made.json()["user"]
    async with httpx.AsyncClient() as http:
        for node, cookie in ((second, _cookie(made)), (third, _cookie(made)), (first, _cookie(known))):
            me = await http.get(f"{node}/auth/me", headers={"Cookie": cookie})
            assert me.json()["user"] == made.json()["user"]


async def test_of_those_who_take_a_name_at_the_same_time_on_all_nodes_one_gets_it(system: System) -> None:
    """The database decides who has a name, and not who asked which node."""
    answers = await asyncio.gather(
        *(_post(node, "/auth/register", name="Bob", password=PASSWORD) for node in system.nodes)
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]


async def test_logging_out_on_one_node_closes_the_sockets_on_all(system: System) -> None:
    """Sockets that a session brought to any node close when it ends on one, and it is good for nothing any more."""
    for node in system.nodes:
        cookie = await guest_cookie(node, "guest")
        devices = await _devices(system, cookie)
        assert (await _post(node, "/auth/logout", cookie)).status_code == 204
        tell(f"closed after {await _closed(devices, NOT_LOGGED_IN):.3f} s")
        async with httpx.AsyncClient() as http:
            for other in system.nodes:
                assert (await http.get(f"{other}/auth/me", headers={"Cookie": cookie})).status_code == 401
        await _close(*devices)


async def test_who_is_banned_or_given_another_password_is_out_on_all_nodes(system: System) -> None:
    """Sockets close everywhere when an operator, somewhere, says so; and who is banned does not get in anywhere."""
    cookie = await _register(system.nodes[0], "Eve")
    devices = await _devices(system, cookie)
    eve = devices[0].welcome["user"]["id"]
    broker = NatsBroker(BrokerSettings(url=system.nats.url), Path())
    await broker.start()
    peers = Peers(broker)
    async with await Database.open(system.database_url) as db:
        accounts = Accounts(db, AuthSettings(), peers=peers)

        async def connected() -> bool:
            return broker.health().connected

        await until("NATS is there", connected, SOON_SECONDS)
        assert await accounts.set_password(eve, "another " + PASSWORD)
        tell(f"password changed: closed after {await _closed(devices, NOT_LOGGED_IN):.3f} s")
        answers = [await _post(node, "/auth/login", name="Eve", password=PASSWORD) for node in system.nodes]
        assert [answer.status_code for answer in answers] == [401, 401, 401]
        again = _cookie(await _post(system.nodes[1], "/auth/login", name="Eve", password="another " + PASSWORD))
        devices += await _devices(system, again)
        assert await accounts.ban(eve)
        tell(f"banned: closed after {await _closed(devices[3:], BANNED):.3f} s")
        answers = [
            await _post(node, "/auth/login", name="Eve", password="another " + PASSWORD) for node in system.nodes
        ]
        assert [answer.status_code for answer in answers] == [401, 401, 401]
        await accounts.stop()
        accounts.close()
    await broker.stop()
    await _close(*devices)


# Rooms.


async def test_a_room_that_is_made_on_one_node_is_there_on_all(system: System) -> None:
    """Everybody is told of a new room, and can list it; its name is taken everywhere."""
    people = await _people(system)
    await people[0].call("rooms.create", room="new", title="A new room")
    for person in people:
        assert (await person.event("room", room="new"))["title"] == "A new room"
        assert "new" in {room["room"] for room in (await person.call("rooms.list"))["rooms"]}
    for person in people:
        with pytest.raises(CallError) as refused:
            await person.call("rooms.create", room="new")
        assert refused.value.code == CONFLICT
    made = await asyncio.gather(
        *(person.call("rooms.create", room="race") for person in people), return_exceptions=True
    )
    assert sum(isinstance(answer, dict) for answer in made) == 1
    await _close(*people)


async def test_who_is_in_a_room_is_known_on_every_node(system: System) -> None:
    """Those in a room on another node are told of and counted, also by nodes on which nobody is in that room."""
    one, other, looker = await _people(system)
    await one.call("rooms.create", room="crowd")
    for person in (one, other):
        await person.call("rooms.join", room="crowd")
    told: set[str] = set()
    while "guest 2" not in told:  # who came in the same moment as they did is told with them
        told |= {user["name"] for user in (await one.event("presence", room="crowd"))["joined"]}

    async def seen() -> bool:
        joined = await other.call("rooms.join", room="crowd")
        return {user["name"] for user in joined["present"]} == {"guest 1", "guest 2"}

    async def counted() -> int:
        rooms = {room["room"]: room["present"] for room in (await looker.call("rooms.list"))["rooms"]}
        count: int = rooms["crowd"]
        return count

    async def both() -> bool:
        return await counted() == 2

    async def none() -> bool:
        return await counted() == 0

    await until("they see each other", seen, SOON_SECONDS)
    await until("both are counted", both, SOON_SECONDS)
    await _close(one, other)
    await until("nobody is counted", none, SOON_SECONDS)
    await looker.close()


async def test_messages_cross_nodes_in_order(system: System) -> None:
    """What three people on three nodes say at once, each of them hears in one order, without a gap or a repeat."""
    people = await _people(system, "talk")
    count = BURST - 1

    async def say(person: ChatClient) -> None:
        for number in range(count):
            await person.call("messages.send", room="talk", text=f"{number}", nonce=f"{number}")

    await asyncio.gather(*(say(person) for person in people))
    heard = [[await person.event("message") for _ in range(count * len(people))] for person in people]
    assert [event["rev"] for event in heard[0]] == list(range(1, count * len(people) + 1))
    assert heard[0] == heard[1] == heard[2]
    await people[0].notify("typing", room="talk")
    for person in people[1:]:
        assert (await person.event("typing"))["user"]["name"] == "talk 1"
    await _close(*people)


async def test_a_nonce_is_one_message_on_whichever_nodes_it_is_tried(system: System) -> None:
    """A retry on another node, later or at the same time, gives the first result."""
    devices = await _devices(system, await guest_cookie(system.nodes[0], "guest"))
    await devices[0].call("rooms.create", room="once")
    for device in devices:
        await device.call("rooms.join", room="once")
    sent = [await device.call("messages.send", room="once", text="me", nonce="me") for device in devices]
    assert sent[0] == sent[1] == sent[2]
    raced = await asyncio.gather(
        *(device.call("messages.send", room="once", text="race", nonce="race") for device in devices)
    )
    assert raced[0]["seq"] == raced[1]["seq"] == raced[2]["seq"] == 2
    assert len((await devices[2].call("messages.history", room="once"))["messages"]) == 2
    await _close(*devices)


async def test_the_devices_of_one_person_are_one_person(system: System) -> None:
    """What somebody has read reaches their devices on other nodes, and a room that they leave is left on all."""
    people = await _people(system, "home")
    devices = await _devices(system, await guest_cookie(system.nodes[0], "guest"))
    for device in devices:
        await device.call("rooms.join", room="home")
    await people[0].call("messages.send", room="home", text="hello", nonce="1")
    for device in devices:
        await device.event("message")
    await devices[0].call("read", room="home", seq=1)
    for device in devices[1:]:
        assert await device.event("read") == {"room": "home", "seq": 1}
    await devices[0].call("rooms.leave", room="home")
    for device in devices[1:]:
        await device.event("room", room="home", role=None)

    async def out() -> bool:
        present = [(await person.call("rooms.join", room="home"))["room"]["present"] for person in people]
        return present == [3, 3, 3]

    await until("they are in the room nowhere", out, SOON_SECONDS)
    await people[1].call("messages.send", room="home", text="are they gone?", nonce="2")
    for person in people:
        await person.event("message", rev=2)
    for device in devices:
        with pytest.raises(CallError) as refused:
            await device.call("messages.send", room="home", text="no", nonce="3")
        assert refused.value.code == NOT_ALLOWED
        assert all(event["method"] != "message" for event in _taken(device))
    await _close(*people, *devices)


def _taken(client: ChatClient) -> list[dict[str, Any]]:
    """Return the notifications that came and were not looked at."""
    return [client.events.get_nowait() for _ in range(client.events.qsize())]


# Limits.


async def test_what_somebody_writes_counts_on_all_nodes(system: System) -> None:
    """Who has used up what they may write on one node may write on no other either."""
    first, *others = devices = await _devices(system, await guest_cookie(system.nodes[0], "guest"))
    for device in devices:
        await device.call("rooms.join", room="lobby")
    said = 0

    async def refused(device: ChatClient) -> bool:
        nonlocal said
        try:
            await device.call("messages.send", room="lobby", text="more", nonce=f"{said}")
        except CallError as error:
            assert error.code == TOO_MANY  # noqa: PT017 the others are told apart from the success
            return True
        said += 1
        return False

    await until("it is enough", lambda: refused(first), SOON_SECONDS)
    for device in others:
        said = 0
        await until("it is enough there too", lambda: refused(device), SOON_SECONDS)  # noqa: B023 waited for at once
        assert said < BURST // 2
    await _close(*devices)


async def test_attempts_count_on_all_nodes(system: System) -> None:
    """An address that has used up its attempts on one node has none on another either."""
    attempts = 0

    async def refused(http: httpx.AsyncClient, node: str) -> bool:
        nonlocal attempts
        answer = await http.post(f"{node}/auth/guest", json={"name": ""}, headers={"X-Forwarded-For": "198.51.100.7"})
        attempts += 1
        return answer.status_code == 429

    async with httpx.AsyncClient() as http:
        while not await refused(http, system.nodes[0]):
            assert attempts < 2 * ATTEMPTS_PER_MINUTE
        for node in system.nodes[1:]:
            attempts = 0
            await until("it is refused there too", lambda: refused(http, node), SOON_SECONDS)  # noqa: B023 as above
            assert attempts < ATTEMPTS_PER_MINUTE // 2


# Without NATS.


async def test_without_nats_it_takes_a_little_longer(system: System) -> None:
    """While NATS is away /health says so, the database carries messages, and a logout closes sockets all the same."""
    people = await _people(system, "apart")
    cookie = await guest_cookie(system.nodes[0], "guest")
    devices = await _devices(system, cookie)
    system.nats.kill()
    try:
        await _all_say(system.nodes, "degraded")
        await people[0].call("messages.send", room="apart", text="hello", nonce="1")
        for person in people:
            assert (await person.event("message"))["message"]["text"] == "hello"
        assert (await _post(system.nodes[0], "/auth/logout", cookie)).status_code == 204
        tell(f"without NATS: closed after {await _closed(devices, NOT_LOGGED_IN):.3f} s")
    finally:
        await asyncio.to_thread(system.nats.start)
    await _all_say(system.nodes, "ok")
    await people[1].call("messages.send", room="apart", text="together again", nonce="2")
    for person in people:
        assert (await person.event("message"))["rev"] == 2
    await _close(*people, *devices)

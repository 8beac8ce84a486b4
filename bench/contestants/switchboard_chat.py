"""Switchboard's chat: each message validated, numbered, committed, acknowledged, and only then delivered."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
from websockets.sync.client import ClientConnection, connect

from bench.contestant import Contestant, Load, Role, Task
from bench.contestants import switchboard_raw
from bench.generator import BenchError, generator

SECONDS = 10
CONNECTIONS = 8
"""Guests are made over so many connections, so that they share commits."""
PIPELINED = 16
"""Requests on their way at a time; a service runs up to 32 of one client."""
BEFORE = 50
"""Messages that a room has before anybody misses any."""


def command(_role: Role, port: int, folder: Path) -> list[str]:
    """Serve the chat from an empty folder, on SQLite as it comes."""
    return switchboard_raw.serve(folder, port, "chat", "messages_per_minute = 0\nrooms_per_user = 0")


def load(task: Task) -> Load:
    """Make a guest of each client, and the rooms; let them fall behind, if they are to."""
    cookies = guests(task.port, task.clients)
    prepared = Load(
        path="/bench",
        headers=tuple(f"Cookie: {cookie}" for cookie in cookies),
        join=_request("join", "rooms.join", room="bench-$R", limit=1),
        joined='"complete"',
        leave=_request("leave", "rooms.leave", room="bench-$R"),
        left='"id":"leave"',
        acknowledged='"result"',
        ignored='"method":"presence"',
        template=_request("$I", "messages.send", room="bench-$R", text="$T", nonce="$N"),
    )
    if task.rooms and cookies:
        with connect(f"ws://127.0.0.1:{task.port}/bench", additional_headers={"Cookie": cookies[0]}) as client:
            _call_all(client, (("rooms.create", {"room": f"bench-{number}"}) for number in range(task.rooms)))
    return _fall_behind(task, prepared, cookies[0]) if task.behind else prepared


def guests(port: int, count: int) -> list[str]:
    """Make guests; returns their cookies."""
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        shares = threads.map(lambda first: _some_guests(port, range(first, count, CONNECTIONS)), range(CONNECTIONS))
        return [cookie for share in shares for cookie in share]


def _some_guests(port: int, numbers: range) -> list[str]:
    server = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    cookies = []
    for number in numbers:
        server.request(
            "POST", "/auth/guest", json.dumps({"name": f"guest {number}"}), {"Content-Type": "application/json"}
        )
        answer = server.getresponse()
        body = answer.read()
        if answer.status != http.client.CREATED:
            raise BenchError(f"there is no guest {number}: {answer.status} {body.decode()}")
        cookies.append(str(answer.getheader("Set-Cookie")).partition(";")[0])
    server.close()
    return cookies


def _fall_behind(task: Task, prepared: Load, cookie: str) -> Load:
    """Let everybody join and go, and write what they miss; returns the load that catches up with it."""
    options: dict[str, object] = {"mode": "connect", "clients": task.clients, "rooms": task.rooms}
    with generator(options, prepared, task.port) as running:
        running.wait("result")
    with connect(f"ws://127.0.0.1:{task.port}/bench", additional_headers={"Cookie": cookie}) as client:
        for room in range(task.rooms):
            _call_all(client, _messages(f"bench-{room}", BEFORE + task.behind))
    join = _request("join", "rooms.join", room="bench-$R", after=BEFORE, limit=task.behind)
    return msgspec.structs.replace(prepared, join=join, item='"seq":')


def _messages(room: str, count: int) -> Iterator[tuple[str, dict[str, object]]]:
    for number in range(count):
        text = f"This is message {number} of those that somebody misses who is not there. " * 2
        yield "messages.send", {"room": room, "text": text, "nonce": f"{room}-{number}"}


def _call_all(client: ClientConnection, calls: Iterator[tuple[str, dict[str, object]]]) -> None:
    """Call one method after the other, some at a time.

    Raises:
        BenchError: one is answered with an error.
    """
    waiting = 0
    for number, (method, params) in enumerate(calls):
        client.send(_request(f"call-{number}", method, **params))
        waiting += 1
        while waiting >= PIPELINED:
            waiting -= _is_answer(client)
    while waiting:
        waiting -= _is_answer(client)


def _is_answer(client: ClientConnection) -> bool:
    answer = json.loads(client.recv(SECONDS))
    if "error" in answer:
        raise BenchError(f"refused: {answer['error']}")
    return str(answer.get("id")).startswith("call-")


def _request(number: str, method: str, **params: object) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}, separators=(",", ":"))


CONTESTANT = Contestant(
    name="Switchboard chat, committed",
    command=command,
    roles=("topic", "chat"),
    load=load,
    packages=("apsw",),
    too_slow=4008,
)

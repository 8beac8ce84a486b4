"""Switchboard's chat: each message validated, numbered, committed, acknowledged, and only then delivered."""

from __future__ import annotations

import http.client
import json
from pathlib import Path

from websockets.sync.client import connect

from bench.contestant import Contestant, Load, Role, Task
from bench.contestants import switchboard_raw
from bench.generator import BenchError

SECONDS = 10


def command(_role: Role, port: int, folder: Path) -> list[str]:
    """Serve the chat from an empty folder, on SQLite as it comes."""
    return switchboard_raw.serve(folder, port, "chat", "messages_per_minute = 0\nrooms_per_user = 0")


def load(task: Task) -> Load:
    """Make a guest of each client, and the rooms."""
    cookies = _guests(task.port, task.clients)
    _create_rooms(task.port, task.rooms, cookies[0])
    return Load(
        path="/bench",
        headers=tuple(f"Cookie: {cookie}" for cookie in cookies),
        join=_request("join", "rooms.join", room="bench-$R", limit=1),
        joined='"complete"',
        template=_request("$I", "messages.send", room="bench-$R", text="$T", nonce="$N"),
    )


def _guests(port: int, count: int) -> list[str]:
    server = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    cookies = []
    for number in range(count):
        server.request(
            "POST", "/auth/guest", json.dumps({"name": f"guest {number}"}), {"Content-Type": "application/json"}
        )
        answer = server.getresponse()
        body = answer.read()
        if answer.status != http.client.CREATED:
            raise BenchError(f"there is no guest {number}: {answer.status} {body.decode()}")
        cookies.append(str(answer.getheader("Set-Cookie")).partition(";")[0])
    return cookies


def _create_rooms(port: int, count: int, cookie: str) -> None:
    with connect(f"ws://127.0.0.1:{port}/bench", additional_headers={"Cookie": cookie}) as client:
        for number in range(count):
            client.send(_request(f"create-{number}", "rooms.create", room=f"bench-{number}"))
            answer: dict[str, object] = {}
            while answer.get("id") != f"create-{number}":
                answer = json.loads(client.recv(SECONDS))
            if "error" in answer:
                raise BenchError(f"there is no room: {answer['error']}")


def _request(number: str, method: str, **params: object) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}, separators=(",", ":"))


CONTESTANT = Contestant(
    name="Switchboard chat, committed", command=command, roles=("topic",), load=load, packages=("apsw",)
)

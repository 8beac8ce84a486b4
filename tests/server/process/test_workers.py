"""Services in processes of their own, in the whole server: clients, crashes, reloads, and the end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.chatclient import guest_cookie
from tests.support.server import SCALE, Server

WAIT_SECONDS = 30 * SCALE

WHO = '''
import asyncio, os
from pathlib import Path
import msgspec
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from server import Caller, RpcService, method

class Settings(msgspec.Struct, frozen=True):
    word: str = "hello"

class Who(RpcService):
    """Says which process one is connected to."""
    Settings = Settings

    @method
    async def pid(self, caller: Caller) -> int:
        """Tell the process's id."""
        return os.getpid()

    @method
    async def word(self, caller: Caller) -> str:
        """Tell the word of the settings."""
        return self.settings.word

    @method
    async def wait_for(self, caller: Caller, file: str) -> str:
        """Answer when there is a file."""
        Path(file + ".asked").touch()
        while not Path(file).exists():
            await asyncio.sleep(0.01)
        return "there it is"

    @method
    async def shout(self, caller: Caller, text: str) -> None:
        """Tell everybody."""
        self.topic("all").publish(text)

    def joined(self, caller: Caller) -> None:
        self.topic("all").subscribe(caller.connection)

    def routes(self):
        async def hello(request):
            return PlainTextResponse(f"{os.getpid()} {request.method} {(await request.body()).decode()}")
        return [Route("/hello", hello, methods=["GET", "POST"])]
'''


def server_with(folder: Path, config: str, settings: dict[str, object] | None = None, **files: str) -> Server:
    """Return a server whose services are these files."""
    (folder / "services").mkdir()
    for name, text in files.items():
        (folder / "services" / f"{name}.py").write_text(text)
    return Server(folder, settings, config=config)


async def call(client: ClientConnection, method: str, **params: Any) -> Any:
    """Call a method and return its result; notifications before it are dropped."""
    await client.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            answer = json.loads(await client.recv())
            if "id" in answer:
                return answer["result"]


async def health(server: Server) -> Any:
    async with httpx.AsyncClient() as http:
        return (await http.get(f"{server.url}/health")).json()


async def until(true: Callable[[], Any]) -> Any:
    """Wait until something is true; return what it is."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            found = true()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    """Tell whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def workers(server: Server, service: str = "who", state: str = "running") -> dict[str, Any]:
    """Return the processes of a service that are in a state, by their name."""
    processes = (await health(server))["services"][service]["processes"]
    return {process["name"]: process for process in processes if process["state"] == state}


async def test_clients_are_spread_over_processes(tmp_path: Path) -> None:
    """Each client is served by one worker, none by the main process, and they share the load equally."""
    async with server_with(tmp_path, "[services.who]\nworkers = 2\n", who=WHO) as server:
        clients = [await connect(server.websocket_url("/who")) for _ in range(10)]
        pids = [await call(client, "pid") for client in clients]
        assert server.pid not in pids
        assert sorted(pids.count(pid) for pid in set(pids)) == [5, 5]
        report = await health(server)
        assert report["status"] == "ok"
        assert report["services"]["who"]["clients"] == 10
        assert {process["pid"] for process in report["services"]["who"]["processes"]} == set(pids)
        for client in clients:
            await client.close()
        await until(lambda: _no_clients(server))
        assert await server.stop() == 0
        assert not any(alive(pid) for pid in pids)


async def _no_clients(server: Server) -> bool:
    return bool((await health(server))["services"]["who"]["clients"] == 0)


async def test_topics_reach_the_other_processes(tmp_path: Path) -> None:
    """What is published in one worker is heard in the other, once."""
    async with server_with(tmp_path, "[services.who]\nworkers = 2\n", who=WHO) as server:
        ann, bob = await connect(server.websocket_url("/who")), await connect(server.websocket_url("/who"))
        async with ann, bob:
            assert await call(ann, "pid") != await call(bob, "pid")
            first = asyncio.create_task(bob.recv())
            while not first.done():  # that somebody listens is known a moment later
                await call(ann, "shout", text=json.dumps({"said": -1}))
            for number in range(20):
                await call(ann, "shout", text=json.dumps({"said": number}))
            heard: list[int] = []
            async with asyncio.timeout(WAIT_SECONDS):
                while 19 not in heard:
                    message = json.loads(await bob.recv())
                    if "said" in message:
                        heard.append(message["said"])
            assert [number for number in heard if number >= 0] == list(range(20))


async def test_what_follows_the_handshake_at_once_is_not_lost(tmp_path: Path) -> None:
    """Frames that come in one packet with the request, and those that come while the socket changes hands, arrive."""
    config = "[services.echo]\nworkers = 1\n"
    async with Server(tmp_path, config=config) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        frames = [b"\x81\x82\0\0\0\0" + b"%02d" % number for number in range(100)]
        writer.write(
            b"GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n" + b"".join(frames[:50])
        )
        await writer.drain()
        writer.write(b"".join(frames[50:]))
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        echoed = await reader.readexactly(400)
        assert echoed == b"".join(b"\x81\x02%02d" % number for number in range(100))
        writer.close()


async def test_a_killed_worker_is_started_again(tmp_path: Path) -> None:
    """kill -9 of one worker: its clients are cut, those of the other notice nothing, and a new one serves."""
    async with server_with(tmp_path, "[services.who]\nworkers = 2\n", who=WHO) as server:
        clients = [await connect(server.websocket_url("/who")) for _ in range(4)]
        pids = [await call(client, "pid") for client in clients]
        os.kill(pids[0], signal.SIGKILL)
        for client, pid in zip(clients, pids, strict=True):
            if pid == pids[0]:
                with pytest.raises(ConnectionClosed):
                    await call(client, "pid")
            else:
                assert await call(client, "pid") == pid
        processes = await until(lambda: _both(server, without=pids[0]))
        assert [process["restarts"] for process in processes.values()].count(1) == 1
        async with connect(server.websocket_url("/who")) as client:
            assert await call(client, "pid") not in pids
        for client in clients:
            await client.close()


async def _both(server: Server, *, without: int) -> dict[str, Any]:
    processes = await workers(server)
    return processes if len(processes) == 2 and all(p["pid"] != without for p in processes.values()) else {}


async def test_the_end_of_the_main_process_ends_the_workers(tmp_path: Path) -> None:
    """kill -9 of the main process: workers notice, let their clients go, and exit; nothing is left running."""
    async with server_with(tmp_path, "[services.who]\nworkers = 2\n", who=WHO) as server:
        clients = [await connect(server.websocket_url("/who")) for _ in range(4)]
        pids = {await call(client, "pid") for client in clients}
        await server.kill()
        for client in clients:
            with pytest.raises(ConnectionClosed):
                async with asyncio.timeout(WAIT_SECONDS):
                    await client.recv()
            assert client.close_code == 1012
        await until(lambda: not any(alive(pid) for pid in pids))


async def test_a_worker_that_crashes_at_its_start_again_and_again(tmp_path: Path) -> None:
    """It is backed off and named as a crash loop in /health; other services serve; mended, it comes up on a reload."""
    head = "import os\nfrom server import Service\n\nclass Broken(Service):\n"
    broken = (
        f"{head}    async def start(self):\n        os._exit(1)\n    async def serve(self, connection):\n        pass\n"
    )
    config = "[services.echo]\n[services.broken]\nworkers = 1\n"
    async with server_with(tmp_path, config, broken=broken) as server:
        await until(lambda: _problem(server, "crash loop"))
        report = await health(server)
        assert report["status"] == "degraded"
        assert report["services"]["broken"]["state"] == "backoff"
        assert "ended with status 1" in report["services"]["broken"]["problem"]
        async with connect(server.websocket_url("/echo")) as client:
            await client.send("still here")
            assert await client.recv() == "still here"
        (tmp_path / "services" / "broken.py").write_text(broken.replace("os._exit(1)", "pass"))
        os.kill(server.pid, signal.SIGHUP)
        await until(lambda: _state(server, "broken", "running"))
        assert await server.stop() == 0


async def _problem(server: Server, text: str) -> bool:
    return text in (await health(server))["services"]["broken"]["problem"]


async def _state(server: Server, service: str, state: str) -> bool:
    return bool((await health(server))["services"][service]["state"] == state)


async def test_a_worker_that_cannot_serve_is_not_started_again(tmp_path: Path) -> None:
    """A file that cannot be imported there ends with a status of its own: named in /health, and tried no more."""
    only_here = (
        f"import sys\nif any('process.worker' in a for a in sys.orig_argv):\n    raise OSError('not here')\n{WHO}"
    )
    async with server_with(tmp_path, "[services.who]\nworkers = 1\n[services.echo]\n", who=only_here) as server:
        await until(lambda: _state(server, "who", "failed"))
        report = await health(server)
        [process] = report["services"]["who"]["processes"]
        assert process["state"] == "failed"
        assert process["restarts"] == 0
        assert "not here" in process["problem"]
        reply = await _refused(server)
        assert reply == 503


async def _refused(server: Server) -> int:
    async with httpx.AsyncClient() as http:
        headers = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version": "13",
        }
        return (await http.get(f"{server.url}/who", headers=headers)).status_code


async def test_a_reload_replaces_the_workers(tmp_path: Path) -> None:
    """SIGHUP: new processes with the new configuration; old clients get their answers, and then 1012."""
    config = '[services.who]\nworkers = 2\nword = "{word}"\n'
    async with server_with(tmp_path, config.format(word="before"), who=WHO) as server:
        async with connect(server.websocket_url("/who")) as client, connect(server.websocket_url("/who")) as other:
            old = {await call(client, "pid"), await call(other, "pid")}
            assert await call(client, "word") == "before"
            file = tmp_path / "file"
            asking = asyncio.create_task(call(client, "wait_for", file=str(file)))
            await until((tmp_path / "file.asked").exists)
            text = server.config_file.read_text()
            server.config_file.write_text(text.replace("before", "after"))
            os.kill(server.pid, signal.SIGHUP)
            await until(lambda: _one_is_new(server, old))
            file.touch()
            assert await asking == "there it is"
            for gone in (client, other):
                with pytest.raises(ConnectionClosed):
                    async with asyncio.timeout(WAIT_SECONDS):
                        await gone.recv()
                assert gone.close_code == 1012
        await until(lambda: "reloaded" in server.log)
        async with connect(server.websocket_url("/who")) as client:
            assert await call(client, "word") == "after"
            assert await call(client, "pid") not in old
        assert not any(alive(pid) for pid in old)


async def _one_is_new(server: Server, old: set[int]) -> bool:
    return any(process["pid"] not in old for process in (await workers(server)).values())


async def test_a_bad_configuration_changes_nothing(tmp_path: Path) -> None:
    """SIGHUP with mistakes in the file: each is named in the log, and everything goes on as it was."""
    async with server_with(tmp_path, "[services.who]\nworkers = 1\n", who=WHO) as server:
        before = await workers(server)
        text = server.config_file.read_text()
        server.config_file.write_text(text + 'wrod = "x"\n')
        os.kill(server.pid, signal.SIGHUP)
        await until(lambda: "is not taken" in server.log)
        assert "services.who.wrod: is not a setting; did you mean services.who.word?" in server.log
        assert await workers(server) == before


async def test_more_and_fewer_workers(tmp_path: Path) -> None:
    """A reload brings as many workers as are configured now."""
    async with server_with(tmp_path, "[services.who]\nworkers = 1\n", who=WHO) as server:
        text = server.config_file.read_text()
        for number in (3, 1):
            server.config_file.write_text(text.replace("workers = 1", f"workers = {number}"))
            os.kill(server.pid, signal.SIGHUP)
            await until(lambda number=number: _so_many(server, number))  # type: ignore[misc]  # a default is a type
        assert await server.stop() == 0


async def _so_many(server: Server, number: int) -> bool:
    processes = (await health(server))["services"]["who"]["processes"]
    return len(processes) == number and all(process["state"] == "running" for process in processes)


async def test_http_of_a_service_in_workers(tmp_path: Path) -> None:
    """Its OpenRPC document and its own routes are answered by a worker; what it has not is 404, as elsewhere."""
    async with server_with(tmp_path, "[services.who]\nworkers = 1\n", who=WHO) as server, httpx.AsyncClient() as http:
        [process] = (await workers(server)).values()
        document = await http.get(f"{server.url}/who/openrpc.json")
        assert document.json()["info"]["title"] == "who"
        answer = await http.post(f"{server.url}/who/hello", content=b"body")
        assert answer.text == f"{process['pid']} POST body"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert (await http.get(f"{server.url}/who/nothing")).status_code == 404
        assert (await http.delete(f"{server.url}/who/hello")).status_code == 405


async def test_limits_by_address_hold_over_processes(tmp_path: Path) -> None:
    """Clients in workers count for their address until they are gone."""
    limit: dict[str, object] = {"server.connections_per_address": 3}
    async with server_with(tmp_path, "[services.who]\nworkers = 2\n", limit, who=WHO) as server:
        clients = [await connect(server.websocket_url("/who")) for _ in range(3)]
        assert await until(lambda: _status(server)) == 429
        await clients[0].close()
        assert await until(lambda: _lets_in(server))
        for client in clients[1:]:
            await client.close()


async def _status(server: Server) -> int:
    async with httpx.AsyncClient() as http:
        return (await http.get(f"{server.url}/health")).status_code


async def _lets_in(server: Server) -> bool:
    return await _status(server) == 200


async def test_a_logout_closes_sockets_in_workers(tmp_path: Path) -> None:
    """Who logs out is gone from every process, with 4401."""
    async with server_with(tmp_path, "[services.who]\nworkers = 2\n", who=WHO) as server:
        cookie = await guest_cookie(server.url, "ann")
        headers = {"Cookie": cookie}
        async with connect(server.websocket_url("/who"), additional_headers=headers) as client:
            await call(client, "pid")
            async with httpx.AsyncClient() as http:
                assert (await http.post(f"{server.url}/auth/logout", headers=headers)).status_code == 204
            with pytest.raises(ConnectionClosed):
                async with asyncio.timeout(WAIT_SECONDS):
                    await client.recv()
            assert client.close_code == 4401


async def test_descriptors_do_not_pile_up(tmp_path: Path) -> None:
    """After hundreds of clients came and went through the main process, it has as many descriptors as before."""
    async with server_with(tmp_path, "[services.who]\nworkers = 2\n", who=WHO) as server:
        pids = [server.pid, *(process["pid"] for process in (await workers(server)).values())]
        before = [open_files(pid) for pid in pids]
        for _ in range(10):
            clients = await asyncio.gather(*(connect(server.websocket_url("/who")) for _ in range(40)))
            await asyncio.gather(*(client.close() for client in clients))
        await until(lambda: _no_clients(server))
        # A leak would be hundreds; a connection to the database may be opened or closed meanwhile.
        await until(lambda: all(open_files(pid) < files + 20 for pid, files in zip(pids, before, strict=True)))

"""The HTTP in front: what an open port meets (FAULTS 14 to 16, 24, 32)."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from server.config import decode
from server.errors import ListenError
from server.net.listener import Listener
from tests.support.net import RawClient, gate_to, hello, listening, upgrade_request


async def raw(data: bytes, **settings: float) -> str:
    """Send bytes; returns the head of the answer."""
    async with listening(None, **settings) as listener:
        client = await RawClient.connect(listener)
        client.writer.write(data)
        try:
            return await client.head()
        finally:
            await client.close()


def url(listener: Listener) -> str:
    return f"ws://127.0.0.1:{listener.port}/echo"


async def test_plain_http_reaches_the_application() -> None:
    """What is no upgrade is answered by the application, several requests on one socket."""
    async with listening() as listener, httpx.AsyncClient() as http:
        for _ in range(3):
            assert (await http.get(listener.url)).text == "127.0.0.1 http"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00", 400),
        (b"GET /" + b"x" * 20000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET /" + b"x" * 20000, 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 20000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: x\r\n" * 5000 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n", 400),
    ],
)
async def test_bad_requests(request_: bytes, status: int) -> None:
    """FAULTS 16: what is too large or no HTTP is refused, by its own status."""
    assert (await raw(request_)).startswith(f"HTTP/1.1 {status} ")


async def test_a_large_request_in_pieces_is_refused_too() -> None:
    """The bound is for all of a request's head, however it is cut."""
    async with listening(request_bytes=2000) as listener:
        client = await RawClient.connect(listener)
        client.writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
        answer = asyncio.create_task(client.head())
        for number in range(200):
            if answer.done():
                break
            client.writer.write(b"X-%d: some value\r\n" % number)
            await asyncio.sleep(0.001)
        assert (await answer).startswith("HTTP/1.1 431 ")
        await client.close()


async def test_slow_handshake_has_an_absolute_deadline() -> None:
    """FAULTS 14: a byte now and then does not keep a socket open; 408."""
    async with listening(handshake_seconds=0.3) as listener:
        client = await RawClient.connect(listener)
        answer = asyncio.create_task(client.head())
        for byte in upgrade_request():
            if answer.done():
                break
            client.writer.write(bytes([byte]))
            await asyncio.sleep(0.02)
        assert (await answer).startswith("HTTP/1.1 408 ")
        await client.close()


async def test_a_silent_socket_is_closed() -> None:
    """Who connects and says nothing is told so, and gone."""
    assert (await raw(b"", handshake_seconds=0.05)).startswith("HTTP/1.1 408 ")


async def test_addresses_have_a_cap() -> None:
    """FAULTS 15: one address gets so many sockets, and a place again when one is closed."""
    async with listening(connections_per_address=3) as listener:
        clients = [await connect(url(listener)) for _ in range(3)]
        with pytest.raises(InvalidStatus) as refused:
            await connect(url(listener))
        assert refused.value.response.status_code == 429
        await clients.pop().close()
        async with connect(url(listener)) as another:
            await another.send("in")
            assert await another.recv() == "in"
        for client in clients:
            await client.close()


async def test_the_cap_counts_the_client_behind_a_proxy() -> None:
    """Behind a trusted proxy each client has its own cap; what clients claim about themselves is not believed."""
    async with (
        listening(connections_per_address=1, proxies=["127.0.0.1"]) as listener,
        connect(url(listener), additional_headers={"X-Forwarded-For": "2001:db8::1"}),
        connect(url(listener), additional_headers={"X-Forwarded-For": "2001:db8:0:1::1"}),
    ):
        with pytest.raises(InvalidStatus):
            await connect(url(listener), additional_headers={"X-Forwarded-For": "2001:db8::2"})
    async with (
        listening(connections_per_address=1) as listener,
        connect(url(listener), additional_headers={"X-Forwarded-For": "2.2.2.2"}),
    ):
        with pytest.raises(InvalidStatus):
            await connect(url(listener), additional_headers={"X-Forwarded-For": "3.3.3.3"})


async def test_the_server_has_a_cap() -> None:
    """All sockets together have a bound too."""
    async with listening(connections=1) as listener, connect(url(listener)):
        with pytest.raises(InvalidStatus):
            await connect(url(listener))


async def test_forwarded_headers_are_believed_from_proxies_only() -> None:
    """Address and scheme of the client are the proxy's word, and nobody else's."""
    headers = {"X-Forwarded-For": "6.6.6.6, 7.7.7.7", "X-Forwarded-Proto": "https"}
    async with listening(proxies=["127.0.0.1"]) as listener, httpx.AsyncClient() as http:
        assert (await http.get(listener.url, headers=headers)).text == "7.7.7.7 https"
    async with listening() as listener, httpx.AsyncClient() as http:
        assert (await http.get(listener.url, headers=headers)).text == "127.0.0.1 http"


async def test_other_upgrades_are_ignored() -> None:
    """An upgrade to something else is a plain request (RFC 9110, 7.8)."""
    head = await raw(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 ")


async def test_places_are_given_back() -> None:
    """However a socket ends, its place is free again."""
    async with listening(gate_to(), connections_per_address=1) as listener:
        for _ in range(20):
            client = await RawClient.connect(listener)
            client.writer.write(upgrade_request("/nowhere"))
            assert (await client.head()).startswith("HTTP/1.1 404 ")
            assert await client.reader.read() == b"There is no such service.\n"
            await client.close()


async def test_a_taken_port_is_one_sentence() -> None:
    """The operator is told which port, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listener = Listener(decode({"server": {"port": port}}, Path()), hello, gate_to())
        with pytest.raises(ListenError, match=f"port {port} of 127.0.0.1 is taken"):
            await listener.start()


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
async def test_an_address_that_is_not_ours(host: str) -> None:
    """A host that is not this machine's is named."""
    listener = Listener(decode({"server": {"host": host}}, Path()), hello, gate_to())
    with pytest.raises(ListenError, match=host):
        await listener.start()


async def test_an_inherited_socket_is_served() -> None:
    """A socket that somebody else opened, such as systemd, is served as it is."""
    with socket.create_server(("127.0.0.1", 0)) as inherited:
        listener = Listener(decode({}, Path()), hello, gate_to(), inherited)
        await listener.start()
        async with httpx.AsyncClient() as http:
            assert (await http.get(f"http://127.0.0.1:{listener.port}/")).status_code == 200
        await listener.stop()


async def test_tls() -> None:
    """With a certificate, pages and sockets are encrypted, and the application knows it."""
    folder = Path(__file__).parents[2] / "support" / "tls"  # a self-signed pair that is good for tests alone
    files = {"tls_certificate": str(folder / "certificate.pem"), "tls_key": str(folder / "key.pem")}
    trust = ssl.create_default_context(cafile=folder / "certificate.pem")
    async with listening(None, **files) as listener:
        assert listener.url == f"https://127.0.0.1:{listener.port}/"
        async with httpx.AsyncClient(verify=trust) as http:
            assert (await http.get(listener.url)).text == "127.0.0.1 https"
        async with connect(f"wss://127.0.0.1:{listener.port}/echo", ssl=trust) as client:
            await client.send("x" * 50_000)
            assert await client.recv() == "x" * 50_000

"""/auth, request by request, as the contract has it."""

from __future__ import annotations

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from server.auth.accounts import Accounts
from server.auth.passwords import CHEAPEST, Passwords
from server.config import AuthSettings, Settings
from server.http.accounts import AccountRoutes
from server.pubsub.local import LocalBroker
from server.pubsub.peers import Peers
from tests.server.http.conftest import Serve, Site

PASSWORD = "correct horse battery"


def error(response: httpx.Response) -> dict[str, str]:
    body: dict[str, str] = response.json()["error"]
    assert body["message"].endswith(".")
    return body


async def test_guest(site: Site) -> None:
    """201, the user, and a cookie that scripts and other sites cannot get at."""
    response = await site.http.post("/auth/guest", json={"name": "ann"})
    assert response.status_code == 201
    assert response.json() == {"user": {"id": 1, "name": "ann", "role": "guest"}}
    cookie = response.headers["set-cookie"]
    assert cookie.startswith("switchboard_session=")
    assert {"HttpOnly", "SameSite=lax", "Path=/", "Max-Age=2592000"} <= {part.strip() for part in cookie.split(";")}
    assert "Secure" not in cookie
    assert response.headers["cache-control"] == "no-store"


async def test_register_login_me_logout(site: Site) -> None:
    """The life of an account: 201, 200, 200, 204, 401."""
    registered = await site.http.post("/auth/register", json={"name": "Ann", "password": PASSWORD})
    assert (registered.status_code, registered.json()["user"]["role"]) == (201, "member")
    assert (await site.http.get("/auth/me")).json() == registered.json()
    assert (await site.http.post("/auth/logout")).status_code == 204
    assert (await site.http.get("/auth/me")).status_code == 401
    logged_in = await site.http.post("/auth/login", json={"name": "ann", "password": PASSWORD})
    assert (logged_in.status_code, logged_in.json()) == (200, registered.json())
    assert (await site.http.get("/auth/me")).status_code == 200
    assert (await site.http.post("/auth/logout")).status_code == 204
    assert (await site.http.post("/auth/logout")).status_code == 204


async def test_refusals(site: Site) -> None:
    """409, 401 and 422, each with a sentence, and the field where one is to blame."""
    await site.http.post("/auth/register", json={"name": "Ann", "password": PASSWORD})
    site.http.cookies.clear()
    taken = await site.http.post("/auth/register", json={"name": "ANN", "password": PASSWORD})
    assert (taken.status_code, error(taken)["field"]) == (409, "name")
    assert (await site.http.post("/auth/guest", json={"name": "ann"})).status_code == 409
    wrong = await site.http.post("/auth/login", json={"name": "Ann", "password": "wrong password"})
    nobody = await site.http.post("/auth/login", json={"name": "Nobody", "password": "wrong password"})
    assert wrong.status_code == nobody.status_code == 401
    assert wrong.text == nobody.text


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/auth/guest", {"name": ""}, "name"),
        ("/auth/guest", {"name": "x" * 33}, "name"),
        ("/auth/guest", {"name": "\u202e"}, "name"),
        ("/auth/guest", {"name": 3}, "name"),
        ("/auth/guest", {}, "name"),
        ("/auth/register", {"name": "ann", "password": "short"}, "password"),
        ("/auth/register", {"name": "ann"}, "password"),
        ("/auth/login", {"name": "ann", "password": None}, "password"),
    ],
)
async def test_422_names_the_field(site: Site, path: str, body: dict[str, object], field: str) -> None:
    """A form can put the sentence beside the right field."""
    response = await site.http.post(path, json=body)
    assert (response.status_code, error(response)["field"]) == (422, field)


async def test_bodies(site: Site) -> None:
    """What is no JSON is 400, not called JSON 415, too large 413, too deep no crash."""
    headers = {"Content-Type": "application/json"}

    async def post(content: bytes, headers: dict[str, str] = headers) -> int:
        return (await site.http.post("/auth/guest", content=content, headers=headers)).status_code

    assert await post(b"{") == 400
    assert await post(b"\xff") == 400
    assert await post(b"[" * 10000) in (400, 422)
    assert await post(b'{"name":"ann"}', {"Content-Type": "text/plain"}) == 415
    assert await post(b"name=ann", {"Content-Type": "application/x-www-form-urlencoded"}) == 415
    assert await post(b'{"name":"' + b"x" * 70000 + b'"}') == 413
    assert await post(b'{"name":"ann","unknown":1}') == 201


async def test_closed_doors(serve: Serve) -> None:
    """Settings decide who may come: 403 with a sentence."""
    async with serve(auth={"guests": False, "registration": "closed"}) as site:
        for path, body in (("guest", {"name": "a"}), ("register", {"name": "a", "password": PASSWORD})):
            response = await site.http.post(f"/auth/{path}", json=body)
            assert (response.status_code, error(response)["code"]) == (403, "forbidden")


async def test_attempts_are_limited(serve: Serve) -> None:
    """Logins, registrations and guests of one address share a limit: 429 with Retry-After."""
    async with serve(auth={"attempts_per_minute": 3}) as site:
        for number in range(3):
            assert (await site.http.post("/auth/guest", json={"name": f"g{number}"})).status_code == 201
        for path in ("guest", "register", "login"):
            response = await site.http.post(f"/auth/{path}", json={"name": "a", "password": PASSWORD})
            assert response.status_code == 429
            assert 1 <= int(response.headers["retry-after"]) <= 60
            error(response)
    async with serve(auth={"attempts_per_minute": 0}) as site:
        for number in range(50):
            assert (await site.http.post("/auth/guest", json={"name": f"g{number}"})).status_code == 201


async def test_attempts_count_on_every_machine(site: Site) -> None:
    """What an address tried on one machine, it cannot try again on another."""
    broker, settings = LocalBroker(), Settings(auth=AuthSettings(attempts_per_minute=2))
    one, two = [Accounts(site.db, settings.auth, Passwords(CHEAPEST), Peers(broker)) for _ in range(2)]
    here, there = AccountRoutes(one, settings), AccountRoutes(two, settings)
    assert [here._attempts.take("192.0.2.1") for _ in range(2)] == [0.0, 0.0]
    await one.stop()  # it says the last
    assert there._attempts.take("192.0.2.1") > 0
    assert there._attempts.take("192.0.2.2") == 0
    await two.stop()
    one.close()
    two.close()


async def test_behind_tls_the_cookie_is_secure(serve: Serve) -> None:
    """Behind a trusted proxy that speaks TLS the cookie is Secure; anybody can claim to be one."""
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "9.9.9.9"}
    async with serve(server={"proxies": ["127.0.0.1"]}) as site:
        response = await site.http.post("/auth/guest", json={"name": "ann"}, headers=forwarded)
        assert "Secure" in response.headers["set-cookie"]
        assert "strict-transport-security" in response.headers
    async with serve() as site:
        response = await site.http.post("/auth/guest", json={"name": "ann"}, headers=forwarded)
        assert "Secure" not in response.headers["set-cookie"]


async def test_a_token_is_as_good_as_the_cookie(site: Site) -> None:
    """Programs send the token as a bearer; a wrong one is nobody, and beats the cookie."""
    token = await site.guest()
    async with httpx.AsyncClient(base_url=site.http.base_url) as program:
        assert (await program.get("/auth/me", headers={"Authorization": f"Bearer {token}"})).status_code == 200
        assert (await program.get("/auth/me", headers={"Authorization": f"Basic {token}"})).status_code == 401
    assert (await site.http.get("/auth/me", headers={"Authorization": "Bearer nonsense"})).status_code == 401


async def test_logout_closes_the_sessions_sockets(site: Site) -> None:
    """FAULTS 28: sockets of the session that ends close with 4401; those of others stay."""
    token = await site.guest("ann")
    headers = {"Authorization": f"Bearer {token}"}
    site.http.cookies.clear()
    other = {"Cookie": f"switchboard_session={await site.guest('ben')}"}
    url = site.websocket("/members")
    async with connect(url, additional_headers=headers) as ann, connect(url, additional_headers=other) as ben:
        assert await ann.recv() == "ann"
        assert await ben.recv() == "ben"
        site.http.cookies.clear()
        assert (await site.http.post("/auth/logout", headers=headers)).status_code == 204
        with pytest.raises(ConnectionClosed):
            await ann.recv()
        assert ann.close_code == 4401
        await ben.send("still here")
        assert await ben.recv() == "still here"

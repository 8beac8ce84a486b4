"""What protects a browser."""

from __future__ import annotations

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from server.http.security import CONTENT_SECURITY_POLICY
from tests.server.http.conftest import Serve, Site


@pytest.mark.parametrize("path", ["/", "/main.js", "/auth/me", "/health", "/metrics", "/nowhere", "/dice/openrpc.json"])
async def test_headers_stand_on_every_answer(site: Site, path: str) -> None:
    """Policy and the other headers are on pages, JSON and errors alike."""
    headers = (await site.http.get(path)).headers
    assert headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert "date" in headers
    assert "server" not in headers
    assert "strict-transport-security" not in headers


def test_the_policy_is_strict() -> None:
    """Scripts and styles come from this server's files only; nothing is inline, nothing may frame the page."""
    assert "default-src 'none'" in CONTENT_SECURITY_POLICY
    assert "script-src 'self';" in CONTENT_SECURITY_POLICY
    assert "frame-ancestors 'none'" in CONTENT_SECURITY_POLICY
    assert "unsafe" not in CONTENT_SECURITY_POLICY


async def test_foreign_pages_change_nothing(site: Site) -> None:
    """A state-changing request needs a matching origin, or none; reading is free."""
    own = f"http://127.0.0.1:{site.port}"
    for origin, status in (("http://evil.example", 403), ("null", 403), (own, 201), (f"{own}1", 403)):
        response = await site.http.post("/auth/guest", json={"name": "ann"}, headers={"Origin": origin})
        assert response.status_code == status, origin
    assert (await site.http.get("/health", headers={"Origin": "http://evil.example"})).status_code == 200
    assert "access-control-allow-origin" not in response.headers


async def test_foreign_pages_open_no_socket(site: Site) -> None:
    """FAULTS 27: a page of another site is refused with 403, whatever cookie the visitor has."""
    cookie = {"Cookie": f"switchboard_session={await site.guest()}"}
    with pytest.raises(InvalidStatus) as refused:
        await connect(site.websocket("/members"), origin=Origin("http://evil.example"), additional_headers=cookie)
    assert refused.value.response.status_code == 403
    own = Origin(f"http://127.0.0.1:{site.port}")
    async with connect(site.websocket("/members"), origin=own, additional_headers=cookie) as client:
        assert await client.recv() == "ann"


async def test_listed_origins_are_welcome(serve: Serve) -> None:
    """`server.origins` names other sites that may."""
    async with serve(server={"origins": ["https://friend.example"]}) as site:
        headers = {"Origin": "https://friend.example"}
        assert (await site.http.post("/auth/guest", json={"name": "ann"}, headers=headers)).status_code == 201
        async with connect(site.websocket("/echo"), origin=Origin("https://friend.example")) as client:
            await client.send("hi")
            assert await client.recv() == "hi"

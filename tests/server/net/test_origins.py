"""Which pages may talk to the server."""

from __future__ import annotations

import pytest

from server.net.origins import origin_allowed


@pytest.mark.parametrize(
    ("origin", "host", "secure", "allowed", "may"),
    [
        (None, "a.example", False, (), True),
        ("http://a.example", "a.example", False, (), True),
        ("http://A.example", "a.example", False, (), True),
        ("http://a.example:80", "a.example", False, (), True),
        ("https://a.example", "a.example", True, (), True),
        ("https://a.example", "a.example:443", True, (), True),
        ("http://127.0.0.1:8765", "127.0.0.1:8765", False, (), True),
        ("http://[::1]:8765", "[::1]:8765", False, (), True),
        ("http://a.example", "a.example", True, (), False),
        ("http://b.example", "a.example", False, (), False),
        ("http://a.example:81", "a.example", False, (), False),
        ("http://a.example.evil", "a.example", False, (), False),
        ("null", "a.example", False, (), False),
        ("", "a.example", False, (), False),
        ("http://a.example", None, False, (), False),
        ("http://a.example/path", "a.example", False, (), False),
        ("http://user@a.example", "a.example", False, (), False),
        ("http://a.example:x", "a.example", False, (), False),
        ("file://a.example", "a.example", False, (), False),
        ("https://b.example", "a.example", False, ("https://b.example",), True),
        ("http://b.example", "a.example", False, ("https://b.example",), False),
        ("https://anything.example", "a.example", False, ("*",), True),
    ],
)
def test_origins(origin: str | None, host: str | None, secure: bool, allowed: tuple[str, ...], may: bool) -> None:
    """The server's own pages and listed ones may; a program names no origin; everything else may not."""
    assert origin_allowed(origin, host, secure=secure, allowed=allowed) is may

"""Which web pages may talk to this server (RFC 6454; RFC 6455 section 10.2).

A browser sends a visitor's cookie with any page's request and names that page's origin. Programs name none.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}


def origin_allowed(origin: str | None, host: str | None, *, secure: bool, allowed: Sequence[str]) -> bool:
    """Tell whether a request may be served.

    Args:
        origin: the Origin header; None when the request has none, as a program's.
        host: the Host header, the server's name as the client knows it.
        secure: whether the client speaks TLS, to us or to a trusted proxy.
        allowed: further origins that are welcome, as in `https://example.org`; `*` welcomes all.
    """
    if origin is None or "*" in allowed:
        return True
    theirs = _parts(origin)
    if theirs is None or host is None:
        return False
    ours = _parts(f"{'https' if secure else 'http'}://{host}")
    return theirs == ours or any(theirs == _parts(entry) for entry in allowed)


def _parts(origin: str) -> tuple[str, str, int] | None:
    """Split an origin into scheme, host and port; None for an opaque one (`null`) and for nonsense."""
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or parts.path not in ("", "/"):
        return None
    if parts.query or parts.fragment or parts.username is not None:
        return None
    return parts.scheme, parts.hostname, _DEFAULT_PORTS[parts.scheme] if port is None else port

"""Where a request says who it is: the session cookie, or a bearer token."""

from __future__ import annotations

SESSION_COOKIE = "switchboard_session"


def token_of(authorization: str | None, cookie: str | None) -> str | None:
    """Return the token of a request.

    Args:
        authorization: the Authorization header, as in `Bearer TOKEN` (RFC 6750 section 2.1); it comes first.
        cookie: the session cookie.
    """
    if authorization is not None:
        scheme, _, token = authorization.partition(" ")
        return token.strip() if scheme.lower() == "bearer" and token.strip() else None
    return cookie or None

"""The names a service author imports.

They are loaded when they are first asked for (PEP 562), so that `import server.db` loads DbObject alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from server.version import __version__

if TYPE_CHECKING:
    from server.auth.models import User
    from server.errors import (
        Conflict,
        ConnectionClosed,
        InvalidParams,
        NotAllowed,
        NotFound,
        NotLoggedIn,
        RpcError,
        TooManyRequests,
        Unavailable,
    )
    from server.net.connection import Connection
    from server.net.frames import Frame
    from server.net.identity import Identity
    from server.net.limits import RateLimiter
    from server.pubsub.delivery import Delivery
    from server.pubsub.peers import Channel, Peers
    from server.pubsub.presence import Presence
    from server.pubsub.topics import Subscription, Topic
    from server.service.base import Service
    from server.service.rpc import Caller, RpcService, method, notification

_HOMES = {
    "Caller": "server.service.rpc",
    "Channel": "server.pubsub.peers",
    "Conflict": "server.errors",
    "Connection": "server.net.connection",
    "ConnectionClosed": "server.errors",
    "Delivery": "server.pubsub.delivery",
    "Frame": "server.net.frames",
    "Identity": "server.net.identity",
    "InvalidParams": "server.errors",
    "NotAllowed": "server.errors",
    "NotFound": "server.errors",
    "NotLoggedIn": "server.errors",
    "Peers": "server.pubsub.peers",
    "Presence": "server.pubsub.presence",
    "RateLimiter": "server.net.limits",
    "RpcError": "server.errors",
    "RpcService": "server.service.rpc",
    "Service": "server.service.base",
    "Subscription": "server.pubsub.topics",
    "TooManyRequests": "server.errors",
    "Topic": "server.pubsub.topics",
    "Unavailable": "server.errors",
    "User": "server.auth.models",
    "method": "server.service.rpc",
    "notification": "server.service.rpc",
}

__all__ = [
    "Caller",
    "Channel",
    "Conflict",
    "Connection",
    "ConnectionClosed",
    "Delivery",
    "Frame",
    "Identity",
    "InvalidParams",
    "NotAllowed",
    "NotFound",
    "NotLoggedIn",
    "Peers",
    "Presence",
    "RateLimiter",
    "RpcError",
    "RpcService",
    "Service",
    "Subscription",
    "TooManyRequests",
    "Topic",
    "Unavailable",
    "User",
    "__version__",
    "method",
    "notification",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value

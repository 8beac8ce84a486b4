"""The caller: limits by user or address, back-pressure, and when patience ends."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from server import Identity, RateLimiter, TooManyRequests
from server.errors import NotLoggedIn
from server.service.caller import MAX_IN_FLIGHT, MAX_REFUSALS, REFUSAL_SECONDS, Caller


class Line:
    """A connection that notes what is asked of it."""

    def __init__(self, identity: Identity | None = None, remote_address: str = "192.0.2.1") -> None:
        self.identity = identity
        self.remote_address = remote_address
        self.calls: list[Any] = []

    def write(self, message: Any) -> None:
        self.calls.append(message)

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")


def caller(line: Any) -> Caller:
    return Caller(line)


def test_limits_count_users_and_addresses() -> None:
    """A limit counts one user over all connections, and one address where nobody is logged in."""
    limiter = RateLimiter(60, burst=1, clock=lambda: 0.0)
    ann = Identity(1, "ann", "guest")
    caller(Line(ann)).limit(limiter)
    with pytest.raises(TooManyRequests, match="Slow down") as refused:
        caller(Line(ann, "192.0.2.2")).limit(limiter, "Slow down.")
    assert refused.value.retry_after == 1.0
    caller(Line(Identity(2, "bob", "guest"))).limit(limiter)
    caller(Line(remote_address="192.0.2.1")).limit(limiter)
    with pytest.raises(TooManyRequests):
        caller(Line(remote_address="192.0.2.1")).limit(limiter)
    caller(Line(remote_address="192.0.2.2")).limit(limiter)


def test_a_limit_of_zero_is_none() -> None:
    """A limit that is switched off never refuses."""
    limiter = RateLimiter(0)
    for _ in range(1000):
        caller(Line()).limit(limiter)


async def test_reading_pauses_and_goes_on_once() -> None:
    """Reading pauses at the bound and goes on at half of it: not at every request."""
    line = Line()
    busy = caller(line)
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(asyncio.sleep(0)) for _ in range(MAX_IN_FLIGHT + 5)]
    for task in tasks:
        busy.began(task)
    assert line.calls == ["pause"]
    for task in tasks[: len(tasks) - MAX_IN_FLIGHT // 2 - 1]:
        busy.finished(task)
    assert line.calls == ["pause"]
    for task in tasks[len(tasks) - MAX_IN_FLIGHT // 2 - 1 :]:
        busy.finished(task)
    assert line.calls == ["pause", "resume"]
    assert busy.running is None
    await asyncio.gather(*tasks)


def test_patience_ends_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many refusals in a minute are borne; one more is not; after a quiet minute it starts anew."""
    now = 1000.0
    monkeypatch.setattr("server.service.caller.time.monotonic", lambda: now)
    flooder = caller(Line())
    assert not any(flooder.refused() for _ in range(MAX_REFUSALS))
    assert flooder.refused()
    now += REFUSAL_SECONDS + 1
    assert not flooder.refused()


def test_who_it_is() -> None:
    """`identity` may be nobody; `user` is somebody, or the request is refused."""
    ann = Identity(1, "ann", "guest")
    assert caller(Line(ann)).user is ann
    assert caller(Line()).identity is None
    with pytest.raises(NotLoggedIn):
        _ = caller(Line()).user
    assert "ann" in repr(caller(Line(ann)))
    assert "nobody" in repr(caller(Line()))


def test_notify_writes_a_frame() -> None:
    """A notification is written at once."""

    class Hello(msgspec.Struct):
        text: str

    line = Line()
    caller(line).notify("hello", Hello("hi"))
    (frame,) = line.calls
    assert frame[2:] == b'{"method":"hello","params":{"text":"hi"},"jsonrpc":"2.0"}'

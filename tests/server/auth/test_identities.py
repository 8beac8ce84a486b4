"""Identities that are remembered."""

from __future__ import annotations

import pytest

from server.auth import identities as module
from server.auth.identities import Identities
from server.net.identity import Identity

ANN = Identity(1, "ann", "member", 10)
BEN = Identity(2, "ben", "member", 20)


def test_for_a_short_while() -> None:
    """Who was remembered is known for a minute, and then no more; the token decides."""
    now = [0.0]
    identities = Identities(lambda: now[0])
    assert identities.remember(b"a", ANN, identities.mark)
    assert (identities.get(b"a"), identities.get(b"b")) == (ANN, None)
    now[0] = module.CACHE_SECONDS
    assert identities.get(b"a") is None


def test_forgotten_users() -> None:
    """All tokens of a user are forgotten at once, and of nobody else; or those of everybody."""
    identities = Identities()
    for token, who in ((b"1", ANN), (b"2", ANN), (b"3", BEN)):
        identities.remember(token, who, identities.mark)
    identities.forget(ANN.id)
    assert [identities.get(token) for token in (b"1", b"2", b"3")] == [None, None, BEN]
    identities.forget_all()
    assert len(identities) == 0


def test_what_was_forgotten_meanwhile_is_not_remembered() -> None:
    """An answer of the database that may be older than what was said about its user is not believed."""
    identities = Identities()
    mark = identities.mark
    identities.forget(ANN.id)
    assert not identities.remember(b"a", ANN, mark)
    assert identities.remember(b"b", BEN, mark)
    assert identities.remember(b"a", ANN, identities.mark)
    mark = identities.mark
    identities.forget_all()
    assert not identities.remember(b"b", BEN, mark)
    assert identities.remember(b"b", BEN, identities.mark)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of sessions, or of ended ones, pushes out the oldest."""
    monkeypatch.setattr(module, "MAX_CACHED", 3)
    monkeypatch.setattr(module, "MAX_FORGOTTEN", 3)
    identities = Identities()
    for number in range(10):
        identities.remember(b"%d" % number, Identity(number, "x", "guest", number), identities.mark)
    assert len(identities) == 3
    assert identities.get(b"9") is not None
    for number in range(10):
        identities.forget(number)
    assert len(identities._forgotten) == 3

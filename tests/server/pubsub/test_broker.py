"""Subjects: what a broker sees of a topic's name (FAULTS 32)."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.pubsub.broker import subject


@given(st.text(min_size=1))
@example("chat/room.>")
@example("*")
@example("a b\r\n\t\u2028\x00")
@example("%2E")
def test_subject_is_one_harmless_token(name: str) -> None:
    """Nothing that a broker gives a meaning is left, and different names stay different."""
    escaped = subject(name)
    assert re.fullmatch(r"[A-Za-z0-9_%/:@~-]+", escaped)
    assert unquote(escaped, errors="strict") == name


def test_ordinary_names_stay_readable() -> None:
    """An operator who watches the broker recognises rooms."""
    assert subject("chat/room:lobby-2") == "chat/room:lobby-2"


def test_lone_surrogates_are_escaped() -> None:
    """A name that is not valid Unicode does not raise where it is published."""
    assert subject("\ud800") == "%ED%A0%80"


def test_empty_name_is_refused() -> None:
    """There is no subject without a name."""
    with pytest.raises(ValueError, match="needs a name"):
        subject("")

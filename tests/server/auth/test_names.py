"""Names: readable, inert, and not to be mistaken."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.auth.names import MAX_CHARACTERS, clean_name, name_key
from server.errors import InvalidField


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("ann", "ann"),
        ("  ann  ", "ann"),
        ("ann  b", "ann b"),
        ("Zoe\u0308", "Zoë"),
        ("李小龍", "李小龍"),
        ("<b>ann</b>", "<b>ann</b>"),
        ("'; DROP TABLE users", "'; DROP TABLE users"),
        ("😀", "😀"),
        ("x" * MAX_CHARACTERS, "x" * MAX_CHARACTERS),
    ],
)
def test_what_is_kept(typed: str, kept: str) -> None:
    """A name is trimmed and composed; signs are signs."""
    assert clean_name(typed) == kept


@pytest.mark.parametrize(
    "typed",
    ["", "   ", "x" * 33, "a\nb", "a\tb", "a\0b", "a\u200bb", "\u202eann", "a\u00a0b", "\ud800", "\u2028", "\u0301"],
)
def test_what_is_refused(typed: str) -> None:
    """FAULTS 29: what does not show, or turns the text around, is no name; the sentence says what to do."""
    with pytest.raises(InvalidField) as refused:
        clean_name(typed)
    assert refused.value.field == "name"
    assert str(refused.value).endswith(".")


@given(st.text(max_size=40))
def test_names_are_inert_and_stay_as_they_are(typed: str) -> None:
    """Whatever is accepted is visible on one line, and is accepted as the same name again."""
    try:
        name = clean_name(typed)
    except InvalidField:
        return
    assert clean_name(name) == name
    assert 0 < len(name) <= MAX_CHARACTERS
    assert all(unicodedata.category(c)[0] not in "CZ" or c == " " for c in name)


@pytest.mark.parametrize(
    ("one", "other"), [("Ann", "aNN"), ("straße", "STRASSE"), ("ﬁn", "fin"), ("Ａｎｎ", "ann"), ("Zoe\u0308", "zoë")]
)
def test_names_that_are_the_same(one: str, other: str) -> None:
    """Case, width and composition make no other name."""
    assert name_key(one) == name_key(other)


@given(st.text(max_size=32))
def test_keys_are_stable(name: str) -> None:
    """The key of a key is itself, and case never matters."""
    assert name_key(name_key(name)) == name_key(name)

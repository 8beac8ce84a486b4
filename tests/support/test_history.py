"""The history checker finds what it is there to find."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.history import Journal


def history(*texts: str) -> list[dict[str, Any]]:
    return [{"seq": n, "rev": n, "text": text} for n, text in enumerate(texts, start=1)]


def journal(*, acknowledged: dict[str, int] | None = None, heard: list[tuple[int, str]] | None = None) -> Journal:
    journal = Journal()
    for text in ("a", "b"):
        journal.sending("ann", f"nonce {text}", text)
    for text, seq in (acknowledged or {}).items():
        journal.acknowledged("ann", f"nonce {text}", seq)
    for rev, text in heard or []:
        journal.heard("ben", rev, 1, text)
    return journal


def test_a_sound_history_has_no_problems() -> None:
    """Everything acknowledged is there, in order, and was heard once."""
    sound = journal(acknowledged={"a": 1, "b": 2}, heard=[(1, "a"), (2, "b")])
    assert sound.problems(history("a", "b")) == []


@pytest.mark.parametrize(
    ("kept", "word", "written"),
    [
        (journal(acknowledged={"a": 1, "b": 2}), "not there", history("a")),
        (journal(acknowledged={"a": 1}), "not there", history("x", "a")),
        (journal(), "2 times", history("a", "a")),
        (journal(), "another order", history("b", "a")),
        (journal(heard=[(1, "a"), (3, "c")]), "gap or a repeat", history("a", "b", "c")),
        (journal(heard=[(1, "a"), (1, "a")]), "gap or a repeat", history("a")),
        (journal(heard=[(1, "b")]), "heard 'b'", history("a", "b")),
        (journal(), "the numbers", [{"seq": 1, "text": "x"}, {"seq": 3, "rev": 3, "text": "y"}]),
    ],
)
def test_each_kind_of_damage_is_found(kept: Journal, word: str, written: list[dict[str, Any]]) -> None:
    """Lost, repeated, reordered, skipped, misheard, badly numbered: each is named."""
    for number, message in enumerate(written, start=1):
        message.setdefault("rev", number)
    assert any(word in problem for problem in kept.problems(written))


def test_a_client_that_was_told_to_start_anew_may_skip() -> None:
    """`complete: false` means that what came before is dropped, not lost."""
    kept = journal()
    kept.heard("ben", 1, 1, "a")
    kept.skipped("ben", upto=3)
    kept.heard("ben", 4, 1, "d")
    assert kept.problems(history("a", "b", "c", "d")) == []

"""What a check of `switchboard doctor` finds."""

from __future__ import annotations

from enum import Enum

import msgspec


class Verdict(Enum):
    """How a thing is."""

    OK = "ok"
    WARN = "warn"
    """It works, and somebody should look at it."""
    FAIL = "fail"
    SKIP = "skip"
    """It was not looked at."""


class Finding(msgspec.Struct, frozen=True):
    """What a check found.

    Args:
        verdict: how the thing is.
        what: the thing, in one or two words.
        says: what was seen.
        todo: what to do about it; empty where nothing is.
    """

    verdict: Verdict
    what: str
    says: str
    todo: str = ""


def ok(what: str, says: str) -> Finding:
    """All is well."""
    return Finding(Verdict.OK, what, says)


def warn(what: str, says: str, todo: str) -> Finding:
    """Somebody should look at it."""
    return Finding(Verdict.WARN, what, says, todo)


def fail(what: str, says: str, todo: str) -> Finding:
    """It does not work."""
    return Finding(Verdict.FAIL, what, says, todo)


def skip(what: str, why: str) -> Finding:
    """It was not looked at."""
    return Finding(Verdict.SKIP, what, why)

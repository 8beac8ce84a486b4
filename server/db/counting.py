"""What a database counts: its commits, and how busy its connections are."""

from __future__ import annotations

from bisect import bisect_left

import msgspec

COMMIT_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds of the histogram of commits."""


class Commits:
    """Transactions that wrote something and were committed; one thread counts, and any may look.

    Attributes:
        counts: how many took up to each of `COMMIT_SECONDS`, from their beginning to their commit, and longer than
            the bound before; the last is for those that took longer.
        seconds: how long they took, all in all.
        rows: how many rows they wrote.
    """

    __slots__ = ("counts", "rows", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(COMMIT_SECONDS) + 1)
        self.seconds = 0.0
        self.rows = 0

    def add(self, seconds: float, rows: int) -> None:
        """Count one.

        Args:
            seconds: from its beginning to its commit.
            rows: how many it wrote.
        """
        self.counts[bisect_left(COMMIT_SECONDS, seconds)] += 1
        self.seconds += seconds
        self.rows += rows


class PoolUse(msgspec.Struct, frozen=True):
    """How busy the connections of a database are.

    Args:
        size: how many there are.
        in_use: those that do something.
        waiting: queries that wait for one.
    """

    size: int
    in_use: int
    waiting: int

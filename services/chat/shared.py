"""One query for all who ask the same at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Shared(Generic[K, V]):
    """Answers questions; who asks what is being answered already waits for that answer."""

    def __init__(self) -> None:
        self._turns: dict[K, _Turn[V]] = {}

    async def get(self, question: K, answer: Callable[[], Awaitable[V]]) -> V:
        """Return the answer to a question.

        Args:
            question: equal for all who may share the answer.
            answer: finds it; what it raises is raised for the one who found that, and the next one tries.
        """
        turn = self._turns.get(question)
        if turn is None:
            turn = self._turns[question] = _Turn()
        turn.waiting += 1
        try:
            async with turn.lock:
                if not turn.found:
                    turn.found.append(await answer())
                return turn.found[0]
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                del self._turns[question]


class _Turn(Generic[V]):
    """A question that is being answered, and how many wait for it."""

    __slots__ = ("found", "lock", "waiting")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.found: list[V] = []
        self.waiting = 0

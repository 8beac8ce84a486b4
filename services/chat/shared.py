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
        self._turns: dict[K, asyncio.Future[tuple[V, ...]]] = {}

    async def get(self, question: K, answer: Callable[[], Awaitable[V]]) -> V:
        """Return the answer to a question.

        Args:
            question: equal for all who may share the answer.
            answer: finds it; what it raises is raised for the one who found that, and the next one tries.
        """
        while (turn := self._turns.get(question)) is not None:
            found = await asyncio.shield(turn)  # all who wait go on in the same turn of the loop
            if found:
                return found[0]
        turn = self._turns[question] = asyncio.get_running_loop().create_future()
        found = ()
        try:
            found = (await answer(),)
            return found[0]
        finally:
            del self._turns[question]
            turn.set_result(found)

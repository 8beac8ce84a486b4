"""One answer for all who ask the same at the same time, whatever becomes of the one who looks for it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chat.shared import Shared
from tests.server.test_deadlines import run


class Database:
    """Answers questions when a test says so, or fails.

    Attributes:
        calls: how often each question was looked up.
        running: how many look-ups of a question are under way; never more than one.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.faults: list[BaseException] = []
        self.running: Counter[str] = Counter()
        self._gates: list[asyncio.Future[None]] = []

    def finds(self, question: str) -> Callable[[], Awaitable[str]]:
        async def answer() -> str:
            self.calls[question] += 1
            self.running[question] += 1
            assert self.running[question] == 1, "two look for the same at once"
            try:
                gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._gates.append(gate)
                await gate
                if self.faults:
                    raise self.faults.pop(0)
                return f"{question} {self.calls[question]}"
            finally:
                self.running[question] -= 1

        return answer

    def go_on(self) -> None:
        gates, self._gates = self._gates, []
        for gate in gates:
            if not gate.done():
                gate.set_result(None)


async def turn() -> None:
    """Let everything happen that can happen now."""
    for _ in range(30):
        await asyncio.sleep(0)


def test_one_look_up_for_all() -> None:
    """A hundred who ask before the answer is there share one look-up; who asks afterwards gets a new one."""

    async def main() -> None:
        shared, database = Shared[str, str](), Database()
        asked = [asyncio.create_task(shared.get("a", database.finds("a"))) for _ in range(50)]
        await turn()
        asked += [asyncio.create_task(shared.get("a", database.finds("a"))) for _ in range(50)]
        await turn()
        database.go_on()
        assert await asyncio.gather(*asked) == ["a 1"] * 100
        later = asyncio.create_task(shared.get("a", database.finds("a")))
        await turn()
        database.go_on()
        assert await later == "a 2"
        assert shared._turns == {}

    run(main)


def test_other_questions_do_not_wait() -> None:
    """Each question has a look-up of its own, at the same time."""

    async def main() -> None:
        shared, database = Shared[str, str](), Database()
        asked = [asyncio.create_task(shared.get(question, database.finds(question))) for question in "abab"]
        await turn()
        assert database.calls == {"a": 1, "b": 1}
        database.go_on()
        assert await asyncio.gather(*asked) == ["a 1", "b 1"] * 2

    run(main)


def test_all_go_on_at_once() -> None:
    """However many wait, a few turns of the event loop after the answer all of them have it."""

    async def main() -> None:
        shared, database = Shared[str, str](), Database()
        asked = [asyncio.create_task(shared.get("a", database.finds("a"))) for _ in range(200)]
        await turn()
        database.go_on()
        for _ in range(8):
            await asyncio.sleep(0)
        assert all(task.done() for task in asked)

    run(main)


@pytest.mark.parametrize("fault", [LookupError("away"), asyncio.CancelledError()], ids=repr)
def test_after_a_failure_the_next_one_tries(fault: BaseException) -> None:
    """Who finds an error has it alone; one of those who waited looks again, and the others get what that one finds."""

    async def main() -> None:
        shared, database = Shared[str, str](), Database()
        database.faults = [fault, LookupError("again")]
        asked = [asyncio.create_task(shared.get("a", database.finds("a"))) for _ in range(5)]
        for _ in range(3):
            await turn()
            database.go_on()
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes[:2]] == [type(fault), LookupError]
        assert outcomes[2:] == ["a 3"] * 3
        assert shared._turns == {}

    run(main)


@pytest.mark.parametrize("gone", [0, 1, 4])
def test_who_is_cancelled_harms_nobody(gone: int) -> None:
    """The one who looks, the next one, or the last one is cancelled: the others get an answer."""

    async def main() -> None:
        shared, database = Shared[str, str](), Database()
        asked = [asyncio.create_task(shared.get("a", database.finds("a"))) for _ in range(5)]
        await turn()
        asked[gone].cancel()
        for _ in range(2):
            await turn()
            database.go_on()
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(outcomes.pop(gone), asyncio.CancelledError)
        assert len(set(outcomes)) == 1
        assert outcomes[0] == ("a 2" if gone == 0 else "a 1")
        assert shared._turns == {}

    run(main)


def test_nothing_is_kept() -> None:
    """Neither question nor answer outlives those who wait for it, without the garbage collector."""

    class Thing:
        """What can be referred to."""

    async def main() -> None:
        shared = Shared[Thing, Thing]()
        made: list[weakref.ref[Thing]] = []

        async def make() -> Thing:
            await asyncio.sleep(0)
            thing = Thing()
            made.append(weakref.ref(thing))
            return thing

        question = Thing()
        asked = weakref.ref(question)
        found = await asyncio.gather(*(shared.get(question, make) for _ in range(3)))
        assert found[0] is found[1] is found[2] is made[0]()
        found.clear()
        del question
        await asyncio.sleep(0)
        assert (asked(), made[0](), len(made)) == (None, None, 1)

    gc.disable()
    try:
        run(main)
    finally:
        gc.enable()


steps = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "go", "turn", "fail", "cancel"]), st.sampled_from("ab"), st.integers(0, 9)
    ),
    max_size=40,
)


@settings(deadline=None)
@given(steps)
def test_everybody_comes_to_an_end(program: list[tuple[str, str, int]]) -> None:
    """Whatever fails and whoever goes, all get an answer to their question, or hear what happened to them."""

    async def main() -> None:
        shared, database = Shared[str, str](), Database()
        asked: list[tuple[asyncio.Task[str], str]] = []
        failures = 0
        for step, question, number in program:
            if step == "ask":
                asked.append((asyncio.create_task(shared.get(question, database.finds(question))), question))
            elif step == "go":
                await turn()
                database.go_on()
            elif step == "turn":
                await turn()
            elif step == "fail":
                database.faults.append(LookupError())
                failures += 1
            else:
                for task, _ in asked[number : number + 1]:
                    task.cancel()
        while not all(task.done() for task, _ in asked):
            await turn()
            database.go_on()
        outcomes = await asyncio.gather(*(task for task, _ in asked), return_exceptions=True)
        assert sum(isinstance(outcome, LookupError) for outcome in outcomes) == failures - len(database.faults)
        for (task, question), outcome in zip(asked, outcomes, strict=True):
            assert task.cancelled() or isinstance(outcome, LookupError) or str(outcome).startswith(question)
        assert shared._turns == {}

    run(main)

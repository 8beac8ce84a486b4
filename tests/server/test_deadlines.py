"""Deadlines: what is over is over in order, one timer serves a length, and `limit` is `asyncio.timeout`."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import gc
import selectors
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar, TypeVarTuple

import pytest
import uvloop
from hypothesis import example, given
from hypothesis import strategies as st

from server import eager
from server.deadlines import Deadline, Deadlines

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
LOOPS = [uvloop.new_event_loop, asyncio.new_event_loop]
on_each_loop = pytest.mark.parametrize("new_loop", LOOPS, ids=["uvloop", "asyncio"])
SOON = 0.003
WAIT_SECONDS = 20.0
"""How long a test waits for what has to come, before it fails."""


class _Jump(selectors.DefaultSelector):
    """Waits for nothing: the clock is ahead by as much."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing is left that could happen"
        self.now += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio's event loop, on which waiting takes no time; it notes the timers that it was asked for."""

    def __init__(self) -> None:
        self.clock = _Jump()
        self.timers: list[asyncio.TimerHandle] = []
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        self.timers.append(super().call_at(when, callback, *args, context=context))
        return self.timers[-1]

    def running(self, callback: str) -> int:
        """Return how many timers of a kind wait."""
        waiting = [timer for timer in self.timers if timer.when() > self.time() and not timer.cancelled()]
        return sum(callback in repr(timer) for timer in waiting)


def run(main: Callable[[], Awaitable[T]], new_loop: Callable[[], asyncio.AbstractEventLoop] = VirtualLoop) -> T:
    """Run a test's coroutine on a loop of its own, and not for ever."""

    async def bounded() -> T:
        async with asyncio.timeout(WAIT_SECONDS if new_loop is not VirtualLoop else None):
            return await main()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(bounded())


def virtual() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


# Deadlines.


# What a program does: waits, adds a deadline of a length, cancels one of those there were, as of now.
steps = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(0, 3)),
        st.tuples(st.just("add"), st.sampled_from([1, 2, 4])),
        st.tuples(st.just("cancel"), st.integers(0, 20)),
    ),
    max_size=40,
)


@given(steps)
def test_what_is_not_cancelled_is_called_once_at_its_time(program: list[tuple[str, int]]) -> None:
    """Of each length the oldest is first, each comes when it is due, and what was cancelled before never comes."""

    async def main() -> None:
        loop, deadlines = virtual(), Deadlines()
        added: list[tuple[int, Deadline]] = []
        due: dict[int, float] = {}
        called: list[tuple[int, float]] = []

        def call(index: int) -> None:
            called.append((index, loop.time()))

        for step, number in program:
            if step == "wait":
                await asyncio.sleep(number)
            elif step == "add":
                index = len(added)
                due[index] = loop.time() + number
                added.append((number, deadlines.add(number, functools.partial(call, index))))
            elif added:
                index = number % len(added)
                added[index][1].cancel()
                added[index][1].cancel()
                if due[index] > loop.time():
                    del due[index]
                    due[index] = float("inf")
            assert all(loop.time() - at <= 0 or index in dict(called) for index, at in due.items())
        await asyncio.sleep(5)
        assert sorted(called) == [(index, at) for index, at in sorted(due.items()) if at != float("inf")]
        for length in (1, 2, 4):
            in_order = [index for index, _ in called if added[index][0] == length]
            assert in_order == sorted(in_order)
        assert loop.running("_check") == 0

    run(main)


@on_each_loop
def test_many_of_several_lengths_on_a_real_clock(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Of each of three lengths hundreds come in order and none too early; those that were cancelled do not come."""

    async def main() -> None:
        loop, deadlines, over = asyncio.get_running_loop(), Deadlines(), asyncio.Event()
        called: list[tuple[int, int]] = []
        early: list[int] = []

        def add(length: int, number: int) -> Deadline:
            def callback() -> None:
                called.append((length, number))
                if loop.time() < deadline.at:
                    early.append(number)
                if len(called) == 300:
                    over.set()

            deadline = deadlines.add(length * SOON, callback)
            return deadline

        for number in range(200):
            for length in (1, 2, 3):
                deadline = add(length, number)
                if number % 2:
                    deadline.cancel()
        await over.wait()
        for length in (1, 2, 3):
            assert [number for called_length, number in called if called_length == length] == list(range(0, 200, 2))
        assert early == []

    run(main, new_loop)


@on_each_loop
def test_a_cancelled_oldest_holds_up_nobody(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """The others come although the one that the timer was started for is gone, before or after the timer came."""

    async def main() -> None:
        deadlines, called = Deadlines(), asyncio.Event()
        deadlines.add(SOON, called.set).cancel()
        deadlines.add(SOON, called.set)
        await called.wait()
        called.clear()
        oldest, last = deadlines.add(SOON, called.clear), deadlines.add(SOON, called.clear)
        oldest.cancel()
        last.cancel()
        await asyncio.sleep(3 * SOON)  # the timer comes, and nothing is there
        deadlines.add(SOON, called.set)
        await called.wait()

    run(main, new_loop)


def test_one_timer_serves_a_length() -> None:
    """A thousand deadlines of one length need one timer at a time, and as many in all as it takes to follow them."""

    async def main() -> None:
        loop, deadlines = virtual(), Deadlines()
        called: list[int] = []
        for number in range(1000):
            deadlines.add(10, functools.partial(called.append, number))
        assert len(loop.timers) == 1
        await asyncio.sleep(4)
        for number in range(1000, 2000):
            deadlines.add(10, functools.partial(called.append, number))
            deadlines.add(20, lambda: None).cancel()
        assert loop.running("_check") == 2
        await asyncio.sleep(30)
        assert called == list(range(2000))
        assert sum("_check" in repr(timer) for timer in loop.timers) == 3
        assert loop.running("_check") == 0

    run(main)


def test_waits_that_end_in_time_start_hardly_a_timer() -> None:
    """Ten thousand waits with a bound, one after the other, need one timer for as long as the bound is."""

    async def main() -> None:
        loop, deadlines = virtual(), Deadlines()
        for _ in range(10_000):
            with deadlines.limit(10):
                await asyncio.sleep(0)
        assert sum("_check" in repr(timer) for timer in loop.timers) == 1

    run(main)


def test_a_callback_may_add_and_cancel() -> None:
    """What a callback adds comes in its turn, what it cancels does not come, and there is one timer all the while."""

    async def main() -> None:
        loop, deadlines = virtual(), Deadlines()
        called: list[tuple[str, float]] = []

        def first() -> None:
            called.append(("first", loop.time()))
            second.cancel()
            deadlines.add(2, lambda: called.append(("added", loop.time())))
            deadlines.add(1, lambda: called.append(("shorter", loop.time())))

        deadlines.add(2, first)
        second = deadlines.add(2, lambda: called.append(("second", loop.time())))
        await asyncio.sleep(1)
        deadlines.add(2, lambda: called.append(("third", loop.time())))
        await asyncio.sleep(1)
        assert called == [("first", 2)]
        await asyncio.sleep(5)
        assert called[:1] + sorted(called[1:]) == [("first", 2), ("added", 4), ("shorter", 3), ("third", 3)]

    run(main)


def test_callbacks_that_add_do_not_multiply_timers() -> None:
    """However often a callback adds the next deadline, one timer waits, and each was needed."""

    async def main() -> None:
        loop, deadlines = virtual(), Deadlines()
        called: list[float] = []

        def again() -> None:
            called.append(loop.time())
            if len(called) < 20:
                deadlines.add(1, again)

        deadlines.add(1, again)
        deadlines.add(1, lambda: None)
        while len(called) < 20:
            await asyncio.sleep(0.5)
            assert loop.running("_check") <= 1
        assert sum("_check" in repr(timer) for timer in loop.timers) == 20

    run(main)


@on_each_loop
def test_a_callback_that_fails_holds_up_nobody(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Those behind it come, and its error goes where the loop's other errors go."""

    async def main() -> None:
        deadlines, called, errors = Deadlines(), asyncio.Event(), list[Any]()
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context["exception"]))

        def fail() -> None:
            raise LookupError

        deadlines.add(SOON, fail)
        deadlines.add(SOON, fail)
        deadlines.add(SOON, called.set)
        await called.wait()
        assert [type(error) for error in errors] == [LookupError, LookupError]

    run(main, new_loop)


class _Owner:
    """Somebody whose method is called."""

    def method(self) -> None:
        """Do nothing."""


@on_each_loop
def test_nothing_is_kept_of_what_is_over(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Whoever was to be called is let go with the cancellation, or with the call, without the garbage collector."""

    async def main() -> None:
        deadlines, over = Deadlines(), asyncio.Event()
        owners = [_Owner() for _ in range(3)]
        alive = [weakref.ref(owner) for owner in owners]
        deadlines.add(1000, owners[0].method).cancel()
        deadlines.add(SOON, owners[1].method)
        deadlines.add(SOON, over.set)
        deadlines.add(1000, owners[2].method)
        owners.clear()
        assert [owner() is not None for owner in alive] == [False, True, True]
        await over.wait()
        assert [owner() is not None for owner in alive] == [False, False, True]

    with _without_collector():
        run(main, new_loop)


@on_each_loop
def test_a_limit_keeps_no_task(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """A task that is over is let go at once, whether its limits were kept or not: nothing waits for the collector."""

    async def work(deadlines: Deadlines, seconds: float) -> None:
        with contextlib.suppress(TimeoutError), deadlines.limit(seconds):
            await asyncio.sleep(0 if seconds > 1 else WAIT_SECONDS)

    async def main() -> None:
        deadlines = Deadlines()
        for seconds in (1000, SOON):
            task = asyncio.create_task(work(deadlines, seconds))
            await task
            alive = weakref.ref(task)
            del task
            await asyncio.sleep(0)
            assert alive() is None

    with _without_collector():
        run(main, new_loop)


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


# Limits.


class _Ours:
    """A limit in the place of `asyncio.timeout`."""

    deadlines: Deadlines

    def __init__(self, seconds: float) -> None:
        self._limit = self.deadlines.limit(seconds)

    async def __aenter__(self) -> None:
        self._limit.__enter__()

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._limit.__exit__(kind, error, trace)


Scope = Callable[[float], contextlib.AbstractAsyncContextManager[Any]]
# Nested limits from the outside in; what is done inside: how long each wait is, and whether a cancellation of it is
# swallowed; what the block raises in the end; when others cancel the task.
limits = st.lists(st.integers(1, 6), min_size=1, max_size=3)
waits = st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=3)
cancels = st.lists(st.integers(0, 8), max_size=3)


async def _inside(
    program: list[tuple[int, bool]], error: type[BaseException] | None, note: Callable[[str], None]
) -> None:
    for seconds, swallowing in program:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            note("cancelled")
            if not swallowing:
                raise
    if error is not None:
        raise error


@given(limits, waits, st.sampled_from([None, ValueError, TimeoutError, asyncio.CancelledError]), cancels, st.booleans())
@example([3], [(5, False)], None, [], False)
@example([3], [(5, False)], None, [3], False)
@example([3, 3], [(5, False)], None, [], False)
@example([3], [(5, False)], None, [2], False)
@example([3], [(5, False)], None, [1], True)
@example([3], [(5, False)], None, [1, 5], True)
def test_a_limit_is_a_timeout(
    lengths: list[int],
    program: list[tuple[int, bool]],
    error: type[BaseException] | None,
    cancelled: list[int],
    deaf: bool,
) -> None:
    """Whatever is nested, swallowed, raised and cancelled, at once too: both raise the same at the same time.

    What a task says of its cancellations (`cancelling`) is the same after each block, too.
    """

    async def perform(scope: Scope) -> list[Any]:
        loop, events = virtual(), list[Any]()

        def note(event: str) -> None:
            current = asyncio.current_task()
            assert current is not None
            events.append((event, loop.time(), current.cancelling()))

        async def nested(rest: list[int]) -> None:
            if rest:
                try:
                    async with scope(rest[0]):
                        await nested(rest[1:])
                except BaseException as raised:
                    note(f"{len(rest)} {type(raised).__name__} of {type(raised.__cause__).__name__}")
                    raise
                note(f"{len(rest)} fine")
                return
            await _inside(program, error, note)

        async def work() -> None:
            if deaf:  # a task that has swallowed a cancellation before
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(2)
            await nested(lengths)

        task = asyncio.create_task(work())
        for moment in cancelled:
            loop.call_at(moment, task.cancel)
        await asyncio.wait([task])
        events.append("cancelled" if task.cancelled() else type(task.exception()))
        return events

    _Ours.deadlines = Deadlines()
    assert run(lambda: perform(_Ours)) == run(lambda: perform(asyncio.timeout))


@on_each_loop
def test_a_limit_raises_timeout_error(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """On the real clock: what hangs is given up on, the task goes on, and another limit works after that."""

    async def main() -> None:
        deadlines = Deadlines()
        for _ in range(3):
            with pytest.raises(TimeoutError) as raised, deadlines.limit(SOON):
                await asyncio.Event().wait()
            assert isinstance(raised.value.__cause__, asyncio.CancelledError)
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0

    run(main, new_loop)


@on_each_loop
def test_others_cancel_what_is_limited(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """A cancellation from outside passes through a limit as one, and the deadline is gone."""

    async def main() -> None:
        deadlines, begun = Deadlines(), asyncio.Event()

        async def work() -> None:
            with deadlines.limit(WAIT_SECONDS):
                begun.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    run(main, new_loop)


@on_each_loop
def test_a_limit_in_what_runs_at_once(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """A coroutine that `eager` began before it was a task is limited like any other, and given up on alone."""

    async def main() -> None:
        deadlines, outcomes = Deadlines(), list[str]()

        async def work() -> None:
            try:
                with deadlines.limit(SOON):
                    await asyncio.Event().wait()
            except TimeoutError:
                outcomes.append("too late")
            with deadlines.limit(WAIT_SECONDS):
                await asyncio.sleep(0)
            outcomes.append("went on")

        task = eager.start(work())
        assert task is not None
        await task
        assert outcomes == ["too late", "went on"]

    run(main, new_loop)


@on_each_loop
def test_a_limit_outside_a_task_is_an_error(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """There is nothing to cancel in a callback, nor without a loop: it is said at once, and nothing is started."""
    deadlines = Deadlines()
    with pytest.raises(RuntimeError), deadlines.limit(1):
        pytest.fail("the block runs")

    async def main() -> None:
        errors = asyncio.Queue[Exception]()

        def callback() -> None:
            try:
                with deadlines.limit(1):
                    pytest.fail("the block runs")
            except RuntimeError as error:
                errors.put_nowait(error)

        asyncio.get_running_loop().call_soon(callback)
        assert "task" in str(await errors.get())

    run(main, new_loop)

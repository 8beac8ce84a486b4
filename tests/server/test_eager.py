"""`start`: a coroutine behaves as in a task of its own, only that its first step is taken at once."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any, TypeVar

import anyio
import pytest
import uvloop

from server.eager import start

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, Any]]
Run = Callable[[Coroutine[Any, Any, None]], None]

TURNS = 10
"""Turns of the loop after which everything that waits for nothing else has happened."""


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Run a test's coroutine on a loop of either kind, and let nothing that the loop complains about go unseen."""
    complaints: list[dict[str, Any]] = []

    def run_and_look(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.get_loop().set_exception_handler(lambda _, context: complaints.append(context))
            runner.run(main)
            gc.collect()  # "never retrieved" and "destroyed but pending" are said when something is collected
        assert complaints == []

    gc.freeze()  # so that the collector looks at what the test leaves, and is quick
    yield run_and_look
    gc.unfreeze()


async def outside(function: Callable[[], T]) -> T:
    """Call a function from the loop, outside of any task, as a socket's callbacks are."""
    returned: list[T] = []
    raised: list[BaseException] = []
    called = asyncio.Event()

    def call() -> None:
        try:
            returned.append(function())
        except BaseException as error:
            raised.append(error)
        called.set()

    asyncio.get_running_loop().call_soon(call)
    await called.wait()
    if raised:
        try:
            raise raised.pop()
        finally:
            del call  # it and the error refer to each other
    return returned.pop()


async def begin(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T] | None:
    return await outside(lambda: start(coroutine))


async def turns(count: int = TURNS) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def outcome(task: asyncio.Task[Any] | None) -> Any:
    """Return what a task came to, in a form that can be compared."""
    if task is None:
        return "done at once"
    try:
        return await task
    except asyncio.CancelledError:
        return "cancelled"
    except BaseExceptionGroup as group:
        return [repr(error) for error in group.exceptions]
    except Exception as error:
        return repr(error)


# What the first step does.


def test_what_never_waits_is_done(run: Run) -> None:
    """A coroutine that waits for nothing has run to its end when `start` returns, and there is no task."""
    heard = []

    async def answer() -> None:
        async with asyncio.Lock(), asyncio.Semaphore():
            heard.append("answer")

    def ask() -> tuple[asyncio.Task[None] | None, list[str]]:
        return start(answer()), list(heard)

    async def main() -> None:
        assert await outside(ask) == (None, ["answer"])
        assert len(asyncio.all_tasks()) == 1

    run(main())


def test_what_waits_goes_on_as_a_task(run: Run) -> None:
    """Everything before the first wait has happened when `start` returns; the task does the rest, with its result."""
    heard = []

    async def answer() -> str:
        heard.append("before")
        await asyncio.sleep(0)
        heard.append("after")
        return "result"

    def ask() -> tuple[asyncio.Task[str] | None, list[str]]:
        return start(answer()), list(heard)

    async def main() -> None:
        task, before = await outside(ask)
        assert before == ["before"]
        assert task is not None
        assert await task == "result"
        assert heard == ["before", "after"]

    run(main())


@pytest.mark.parametrize("kind", [LookupError, asyncio.CancelledError, SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("asks", [False, True])
def test_what_is_raised_at_once_comes_out_of_start(run: Run, kind: type[BaseException], *, asks: bool) -> None:
    """Whatever is raised before the first wait is raised by `start`, also when there is a task by then."""

    async def fail() -> None:
        if asks:
            asyncio.current_task().cancelling()  # type: ignore[union-attr]  # it is there, or this fails
        raise kind("at once")

    async def main() -> None:
        with pytest.raises(kind, match="at once"):
            await begin(fail())
        await turns()
        assert len(asyncio.all_tasks()) == 1

    run(main())


def test_what_is_raised_later_is_the_tasks(run: Run) -> None:
    """What is raised after the first wait is the task's to tell."""

    async def fail() -> None:
        await asyncio.sleep(0)
        raise LookupError("later")

    async def main() -> None:
        task = await begin(fail())
        assert task is not None
        with pytest.raises(LookupError, match="later"):
            await task

    run(main())


def test_coroutines_start_in_the_order_of_start(run: Run) -> None:
    """Also from within a task: whatever is started first has begun first, and whoever starts goes on as itself."""
    heard: list[str] = []

    async def note(name: str) -> None:
        heard.append(name)
        await asyncio.sleep(0)

    async def main() -> None:
        me = asyncio.current_task()
        tasks = [start(note("one")), start(note("two"))]
        assert asyncio.current_task() is me
        asyncio.get_running_loop().call_soon(lambda: tasks.append(start(note("three"))))
        await turns()
        assert heard == ["one", "two", "three"]
        await asyncio.gather(*(task for task in tasks if task is not None))

    run(main())


def test_an_error_within_a_task_leaves_that_task_as_it_was(run: Run) -> None:
    """Whoever starts something from within a task is the current task afterwards, whatever was raised."""

    async def fail() -> None:
        raise LookupError

    async def main() -> None:
        me = asyncio.current_task()
        try:
            task = start(fail())
        except LookupError:
            pass
        else:
            assert task is not None
            with pytest.raises(LookupError):
                await task
        assert asyncio.current_task() is me
        async with asyncio.timeout(10):
            await asyncio.sleep(0)

    run(main())


# What is used before the first wait, in it, and after it.


async def timeout_not_reached() -> str:
    async with asyncio.timeout(60):
        await asyncio.sleep(0)
    return "in time"


async def timeout_without_a_wait() -> str:
    async with asyncio.timeout(60):  # noqa: ASYNC100 what is tested is that it does not mind
        pass
    await asyncio.sleep(0)
    return "in time"


async def timeout_reached() -> None:
    async with asyncio.timeout(0.001):
        await asyncio.Event().wait()


async def timeout_over_before_it_began() -> None:
    async with asyncio.timeout(-1):
        await asyncio.Event().wait()


async def timeout_within_another() -> str:
    result = ""
    async with asyncio.timeout(60):
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            await asyncio.sleep(0)
            result = f"inner, {asyncio.current_task().cancelling()}"  # type: ignore[union-attr]  # it is there
    return result


async def timeout_moved() -> None:
    async with asyncio.timeout(None) as deadline:
        deadline.reschedule(asyncio.get_running_loop().time())
        await asyncio.Event().wait()


async def wait_for_in_time() -> str:
    return await asyncio.wait_for(asyncio.sleep(0, "in time"), 60)


async def wait_for_too_late() -> None:
    await asyncio.wait_for(asyncio.Event().wait(), 0.001)


async def group() -> list[str]:
    async with asyncio.TaskGroup() as tasks:
        children = [tasks.create_task(asyncio.sleep(0, name)) for name in "ab"]
    return [child.result() for child in children]


async def failing(error: str = "child") -> None:
    await asyncio.sleep(0)
    raise LookupError(error)


async def group_with_a_failing_child() -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(failing())
        await asyncio.Event().wait()


async def group_that_fails_itself() -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(asyncio.Event().wait())
        raise LookupError("parent")


async def gathering() -> tuple[int, int]:
    return await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0, 2))


async def gathering_a_failure() -> None:
    await asyncio.gather(failing(), asyncio.sleep(0))


async def contended_lock() -> str:
    lock, order = asyncio.Lock(), []

    async def other() -> None:
        async with lock:
            order.append("other")

    async with lock:
        waiting = asyncio.ensure_future(other())
        await asyncio.sleep(0)
        order.append("first")
    await waiting
    return ", ".join(order)


async def waiting_for_a_lock() -> str:
    lock = asyncio.Lock()
    await lock.acquire()
    asyncio.get_running_loop().call_soon(lock.release)
    async with lock:
        return "mine"


async def queue() -> list[int]:
    numbers: asyncio.Queue[int] = asyncio.Queue(1)
    await numbers.put(1)
    asyncio.get_running_loop().call_soon(numbers.get_nowait)
    await numbers.put(2)
    return [await numbers.get()]


async def thread() -> str:
    return await asyncio.to_thread(lambda: "from a thread")


async def future_that_is_done() -> int:
    future = asyncio.get_running_loop().create_future()
    future.set_result(1)
    return int(await future)


async def cancels_itself() -> None:
    asyncio.current_task().cancel()  # type: ignore[union-attr]  # it is there
    await asyncio.sleep(0)


async def cancels_itself_and_thinks_better_of_it() -> tuple[int, int]:
    task = asyncio.current_task()
    assert task is not None
    task.cancel("why")
    requests = task.cancelling()
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        left = task.uncancel()
        await asyncio.sleep(0)
        return requests, left
    raise AssertionError


async def is_the_same_all_along() -> tuple[bool, bool]:
    before = asyncio.current_task()
    await asyncio.sleep(0)
    between = asyncio.current_task()
    await asyncio.sleep(0)
    return before is between, between is asyncio.current_task()


async def anyio_deadline() -> None:
    with anyio.fail_after(0.001):
        await asyncio.Event().wait()


async def anyio_lock() -> str:
    async with anyio.Lock():
        await asyncio.sleep(0)
    return "fine"


async def anyio_group() -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(failing)
        await asyncio.Event().wait()


TOOLS: list[Work] = [
    timeout_not_reached, timeout_without_a_wait, timeout_reached, timeout_over_before_it_began,
    timeout_within_another, timeout_moved, wait_for_in_time, wait_for_too_late, group, group_with_a_failing_child,
    group_that_fails_itself, gathering, gathering_a_failure, contended_lock, waiting_for_a_lock, queue, thread,
    future_that_is_done, cancels_itself, cancels_itself_and_thinks_better_of_it, is_the_same_all_along,
    anyio_deadline, anyio_lock, anyio_group,
]  # fmt: skip


@pytest.mark.parametrize("waits_before", [False, True])
@pytest.mark.parametrize("work", TOOLS, ids=[work.__name__ for work in TOOLS])
def test_tools_do_what_they_do_in_a_task(run: Run, work: Work, *, waits_before: bool) -> None:
    """What asyncio, and libraries on it, offer comes to the same as in an ordinary task, from the first step on."""

    async def whole() -> Any:
        if waits_before:
            await asyncio.sleep(0)
        return await work()

    async def twice() -> list[Any]:
        return [await work(), await work()]

    async def main() -> None:
        for made in (whole, twice):
            expected = await outcome(asyncio.ensure_future(made()))
            task = await begin(made())
            got = await outcome(task)
            assert got == (expected if task is not None else "done at once")
        await turns()
        assert len(asyncio.all_tasks()) == 1

    run(main())


def test_many_wait_for_one_future(run: Run) -> None:
    """Several that are started in one turn may wait for the same future, and others beside them."""

    async def main() -> None:
        shared: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def wait() -> str:
            return await shared

        async def start_three() -> list[asyncio.Task[str] | None]:
            return await outside(lambda: [start(wait()), asyncio.ensure_future(wait()), start(wait()), start(wait())])

        tasks = [task for task in await start_three() if task is not None]
        await turns()
        shared.set_result("for all")
        assert await asyncio.gather(*tasks) == ["for all"] * 4

    run(main())


def test_a_future_that_is_done_before_the_task_takes_it(run: Run) -> None:
    """Whatever a coroutine waits for may happen, or fail, in the very turn in which it began to wait."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        fine, broken = loop.create_future(), loop.create_future()

        async def wait(future: asyncio.Future[str]) -> str:
            return await future

        def begin_and_finish() -> list[asyncio.Task[str] | None]:
            tasks = [start(wait(fine)), start(wait(broken))]
            fine.set_result("fine")
            broken.set_exception(LookupError("broken"))
            return tasks

        assert [await outcome(task) for task in await outside(begin_and_finish)] == ["fine", "LookupError('broken')"]

    run(main())


# Cancelling.


class Trace:
    """What a coroutine that is cancelled leaves behind."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.lock = asyncio.Lock()

    async def child(self, name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.notes.append(f"{name} ended")

    async def in_gather(self) -> None:
        try:
            await asyncio.gather(self.child("a"), self.child("b"))
        finally:
            self.notes.append("parent ended")

    async def in_group(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.child("a"))
            tasks.create_task(self.child("b"))

    async def in_a_child(self) -> None:
        await asyncio.ensure_future(self.child("a"))

    async def in_timeout(self) -> None:
        async with asyncio.timeout(60):
            await self.child("a")

    async def in_wait_for(self) -> None:
        await asyncio.wait_for(self.child("a"), 60)

    async def in_lock(self) -> None:
        async with self.lock:
            await self.child("a")

    async def for_a_lock(self) -> None:
        async with asyncio.Lock() as _, self.lock:
            await self.lock.acquire()

    async def shielded(self) -> None:
        inner = asyncio.ensure_future(self.child("a"))
        try:
            await asyncio.shield(inner)
        finally:
            self.notes.append(f"inner done: {inner.done()}")
            inner.cancel()

    async def asleep(self) -> None:
        await asyncio.sleep(60)

    async def in_another_turn(self) -> None:
        try:
            await asyncio.sleep(0)
            await self.child("a")
        finally:
            self.notes.append("parent ended")

    async def swallowing(self) -> str:
        with pytest.raises(asyncio.CancelledError, match="why"):
            await self.child("a")
        await asyncio.sleep(0)
        return f"goes on, {asyncio.current_task().cancelling()}"  # type: ignore[union-attr]  # it is there

    async def failing_then(self) -> None:
        try:
            await self.child("a")
        except asyncio.CancelledError:
            raise LookupError("because of that") from None

    async def cleaning_up(self) -> None:
        try:
            await self.child("a")
        finally:
            await asyncio.sleep(0)
            self.notes.append("clean")

    async def catching_in_a_child(self) -> str:
        async def stubborn() -> str:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return "child goes on"
            raise AssertionError

        return await asyncio.ensure_future(stubborn())


CANCELLED = [name for name, value in vars(Trace).items() if asyncio.iscoroutinefunction(value) and name != "child"]


@pytest.mark.parametrize("later", [0, 1, TURNS])
@pytest.mark.parametrize("name", CANCELLED)
def test_cancelling_is_the_same_as_of_a_task(run: Run, name: str, later: int) -> None:
    """Cancelled in the turn in which it began to wait, in the next, or long after: it, its children and what it holds
    end as those of an ordinary task do that waits at the same place."""

    async def cancel(make: Callable[[Trace], Coroutine[Any, Any, asyncio.Task[Any] | None]]) -> Any:
        trace = Trace()
        task = await make(trace)
        assert task is not None
        end = await outcome(task)
        await turns()
        assert len(asyncio.all_tasks()) == 1
        return end, task.cancelled(), task.cancelling(), sorted(trace.notes), trace.lock.locked()

    async def ordinary(trace: Trace, after: int) -> asyncio.Task[Any]:
        task = asyncio.ensure_future(getattr(trace, name)())
        assert isinstance(task, asyncio.Task)
        await turns(1 + after)
        task.cancel("why")
        return task

    async def eager(trace: Trace) -> asyncio.Task[Any] | None:
        def begin_and_cancel() -> asyncio.Task[Any] | None:
            task = start(getattr(trace, name)())
            if not later:
                assert task is not None
                task.cancel("why")
            return task

        task: asyncio.Task[Any] | None = await outside(begin_and_cancel)
        if later:
            await turns(later)
            assert task is not None
            task.cancel("why")
        return task

    async def main() -> None:
        # It takes what it waits for a turn later than a task does: its children may have begun in that turn.
        expected = [await cancel(partial(ordinary, after=turn)) for turn in (later, later + 1)]
        assert await cancel(eager) in expected

    run(main())


def test_children_of_what_is_cancelled_at_once_are_cancelled(run: Run) -> None:
    """What a coroutine waits for when it is cancelled in its very first turn does not go on without it."""

    async def main() -> None:
        trace = Trace()

        async def hold() -> None:
            await asyncio.gather(*children)

        children = [asyncio.ensure_future(trace.child(name)) for name in "ab"]
        await turns()

        def begin_and_cancel() -> asyncio.Task[None] | None:
            task = start(hold())
            assert task is not None
            task.cancel()
            return task

        assert await outcome(await outside(begin_and_cancel)) == "cancelled"
        assert [child.cancelled() for child in children] == [True, True]

    run(main())


def test_who_cancels_itself_and_ends_at_once(run: Run) -> None:
    """A coroutine that asks for its own cancelling and then does not wait any more is done, without an echo."""

    async def work() -> None:
        asyncio.current_task().cancel()  # type: ignore[union-attr]  # it is there

    async def main() -> None:
        assert await begin(work()) is None
        await turns()
        assert len(asyncio.all_tasks()) == 1

    run(main())


def test_a_loop_that_ends_cancels_what_is_left(run: Run) -> None:
    """What still waits when the loop is shut down is cancelled with all other tasks, and cleans up."""
    notes: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            notes.append("clean")

    kept: list[asyncio.Task[None] | None] = []

    async def main() -> None:
        kept.append(await begin(work()))

    run(main())
    assert notes == ["clean"]


# Who it is.


def test_context_variables_stay_inside(run: Run) -> None:
    """What is set inside is not seen outside, and is still there, and can be taken back, after a wait."""
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="nobody")
    seen: list[str] = []

    async def work(mine: str) -> None:
        seen.append(name.get())
        token = name.set(mine)
        await asyncio.sleep(0)
        seen.append(name.get())
        await asyncio.sleep(0)
        name.reset(token)
        seen.append(name.get())

    async def at_once() -> None:
        name.set("at once")

    def start_both() -> list[asyncio.Task[None] | None]:
        name.set("outside")
        tasks = [start(at_once()), start(work("one"))]
        assert name.get() == "outside"
        return [*tasks, start(work("two"))]

    async def main() -> None:
        await asyncio.gather(*(task for task in await outside(start_both) if task is not None))
        assert name.get() == "nobody"

    run(main())
    assert seen == ["outside", "outside", "one", "two", "outside", "outside"]


def test_whoever_keeps_the_current_task_may_ask_it_afterwards(run: Run) -> None:
    """After the end it says that it is done, also to who asks the first time, and no new task comes of it."""
    kept: list[asyncio.Task[Any]] = []

    async def at_once() -> None:
        kept.append(asyncio.current_task())  # type: ignore[arg-type]  # it is there

    async def later() -> None:
        await at_once()
        await asyncio.sleep(0)

    async def broken() -> None:
        await later()
        raise LookupError

    async def main() -> None:
        for work in (at_once, later, broken):
            await outcome(await begin(work()))
        await turns()
        for task in kept:
            assert task.done()
            assert not task.cancel()
            assert not hasattr(task, "unheard_of")
            assert weakref.ref(task)() is task
            assert {task: "key"}[task] == "key"
        await turns()
        assert len(asyncio.all_tasks()) == 1

    run(main())


def test_tasks_say_what_they_run(run: Run) -> None:
    """A task is logged by the name of its coroutine, while it runs and afterwards, and that has no effect."""

    async def well_known_name() -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        task = await begin(well_known_name())
        assert task is not None
        for _ in range(2):
            assert "well_known_name" in repr(task)
            assert "well_known_name" in repr(task.get_coro())
            task.get_stack()
            await task
        await turns()
        assert len(asyncio.all_tasks()) == 1

    run(main())


def test_debugging_works(run: Run) -> None:
    """asyncio's debug mode, which looks closer at what it runs, finds nothing to complain about."""

    async def main() -> None:
        asyncio.get_running_loop().set_debug(True)
        assert await outcome(await begin(timeout_not_reached())) == "in time"
        assert await outcome(await begin(group())) == ["a", "b"]

    run(main())


# What is left.


class Held:
    """Something that a coroutine holds while it runs."""


async def leaves_at_once(held: Held) -> None:
    pass


async def asks_and_leaves_at_once(held: Held) -> None:
    async with asyncio.timeout(60):  # noqa: ASYNC100 what is tested is that it does not mind
        pass


async def waits_and_leaves(held: Held) -> None:
    async with asyncio.timeout(60):
        await asyncio.sleep(0)
    await asyncio.sleep(0)


async def waits_and_fails(held: Held) -> None:
    await asyncio.sleep(0)
    raise LookupError


async def is_cancelled(held: Held) -> None:
    await asyncio.sleep(0)
    asyncio.current_task().cancel()  # type: ignore[union-attr]  # it is there
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    "work", [leaves_at_once, asks_and_leaves_at_once, waits_and_leaves, waits_and_fails, is_cancelled]
)
def test_nothing_is_left_for_the_collector(run: Run, work: Callable[[Held], Coroutine[Any, Any, None]]) -> None:
    """When it is over, neither the coroutine nor what it held nor its task is there, without a garbage collector."""
    alive: list[weakref.ref[Any]] = []

    async def begin_it() -> None:
        held = Held()
        coroutine = work(held)
        alive.extend([weakref.ref(held), weakref.ref(coroutine)])
        task = await begin(coroutine)
        if task is not None:
            alive.append(weakref.ref(task))
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # it is retrieved

    async def main() -> None:
        gc.collect()
        gc.disable()
        try:
            await begin_it()
            await turns()
            assert [reference() for reference in alive] == [None] * len(alive)
        finally:
            gc.enable()

    run(main())


def test_an_error_that_ends_the_task_around_it_leaves_nothing(run: Run) -> None:
    """What is raised at once within a task, and ends that too, keeps neither in memory."""
    alive: list[weakref.ref[Any]] = []

    async def fail() -> None:
        raise LookupError

    async def around() -> None:
        await asyncio.sleep(0)
        start(fail())

    async def run_it() -> None:
        task = asyncio.ensure_future(around())
        alive.append(weakref.ref(task))
        await asyncio.wait([task])
        assert isinstance(task.exception(), LookupError)

    async def main() -> None:
        gc.collect()
        gc.disable()
        try:
            await run_it()
            await turns()
            assert alive[0]() is None
        finally:
            gc.enable()

    run(main())

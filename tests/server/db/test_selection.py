"""Streams: rows one by one, from a cursor of the database, in bounded memory."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.db import Database, QueryError, Unavailable
from server.db.queries import Executor
from server.db.selection import PAGE_ROWS, output_name
from tests.server.db.tables import Author, Note, Pair


async def fill(db: Database, rows: int) -> None:
    await Pair.delete_from(db).all_rows()
    if rows:
        await Pair.insert_many(db, [{Pair.left: n, Pair.order: "x", Pair.value: n % 3} for n in range(rows)])


def numbers(db: Executor) -> Any:
    return Pair.select(db, Pair.left).order_by(Pair.left)


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("page_rows", [1, 2, 3, 100])
async def test_each_row_once_whatever_the_page(db: Database, rows: int, page_rows: int) -> None:
    """Pages that are full, empty, or the last, lose no row and repeat none."""
    await fill(db, rows)
    assert [left async for (left,) in numbers(db).stream(page_rows)] == list(range(rows))
    async with db.transaction() as tx:
        assert [left async for (left,) in numbers(tx).stream(page_rows)] == list(range(rows))


async def test_many_rows(db: Database) -> None:
    """`async for` over a query goes through all of them, as objects or as tuples."""
    await fill(db, 3 * PAGE_ROWS + 1)
    assert [left async for (left,) in numbers(db)] == list(range(3 * PAGE_ROWS + 1))
    objects = [pair async for pair in Pair.select(db).where(Pair.left < 3).order_by(Pair.left)]
    assert [(type(pair), pair.left) for pair in objects] == [(Pair, 0), (Pair, 1), (Pair, 2)]
    objects[0].value = 77
    await objects[0].save(db)


async def test_memory_is_bounded(db: Database) -> None:
    """No more rows are asked for than somebody takes: a page at a time."""
    await fill(db, 10)
    pages: list[int] = []

    class Watched:
        def __init__(self) -> None:
            self.dialect = db.dialect

        async def stream(self, statement: Any, page_rows: int) -> Any:
            async with aclosing(db.stream(statement, page_rows)) as found:
                async for page in found:
                    pages.append(len(page))
                    yield page

    watched: Any = Watched()
    seen: list[tuple[int, int]] = []
    async with aclosing(numbers(watched).stream(4)) as stream:
        async for (left,) in stream:
            seen.append((left, sum(pages)))
    assert seen == [(n, min(10, 4 * (n // 4 + 1))) for n in range(10)]


async def test_a_stream_is_of_one_moment(db: Database) -> None:
    """What others write meanwhile is not in it, and they need not wait for it."""
    await fill(db, 6)
    seen: list[int] = []
    async with aclosing(numbers(db).stream(2)) as stream:
        async for (left,) in stream:
            if not seen:
                await Pair.delete_from(db).where(Pair.left > 3)
                await Pair(left=100, order="x").insert(db)
            seen.append(left)
    assert seen == list(range(6))
    assert await numbers(db).scalars() == [0, 1, 2, 3, 100]


async def test_a_stream_that_is_given_up(db: Database) -> None:
    """Leaving it early frees what it holds, again and again, also when it is cancelled."""
    await fill(db, 50)
    for _ in range(30):
        async with aclosing(numbers(db).stream(2)) as stream:
            async for (left,) in stream:
                if left == 3:
                    break

    async def read() -> None:
        async with aclosing(numbers(db).stream(2)) as stream:
            async for _ in stream:
                await asyncio.Event().wait()

    for _ in range(10):
        task = asyncio.create_task(read())
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await Pair.select(db).count() == 50
    await Pair(left=100, order="x").insert(db)


async def test_streams_at_once(db: Database) -> None:
    """More of them than there are connections take turns."""
    await fill(db, 20)

    async def read() -> list[int]:
        return [left async for (left,) in numbers(db).stream(3)]

    assert await asyncio.gather(*(read() for _ in range(15))) == [list(range(20))] * 15


async def test_in_a_transaction(db: Database) -> None:
    """A stream sees what its transaction wrote; after it, or when it was given up, the transaction goes on."""
    await fill(db, 5)
    async with db.transaction() as tx:
        await Pair(left=5, order="x").insert(tx)
        assert [left async for (left,) in numbers(tx).stream(2)] == list(range(6))
        async with aclosing(numbers(tx).stream(2)) as stream:
            async for _ in stream:
                break
        await Pair(left=6, order="x").insert(tx)
        with pytest.raises(KeyError):
            async with aclosing(numbers(tx).stream(2)) as stream:
                async for _ in stream:
                    raise KeyError
        await Pair(left=7, order="x").insert(tx)
    assert await numbers(db).scalars() == list(range(8))


async def test_a_stream_behind_its_transaction(db: Database) -> None:
    """A transaction that is over gives no more rows."""
    await fill(db, 5)
    async with db.transaction() as tx:
        pass
    with pytest.raises(QueryError, match="is over"):
        _ = [row async for row in numbers(tx)]


async def test_wrong_streams(db: Database) -> None:
    """An error comes where the rows would."""
    with pytest.raises(QueryError):
        _ = [row async for row in Pair.select(db, Pair.left).where(Note.comment == "x")]
    assert await Pair.select(db).count() == 0
    with pytest.raises(QueryError, match="no database"):
        _ = [row async for row in Pair.select(None)]


async def test_a_closed_database_streams_nothing(database_url: str) -> None:
    """It says so."""
    async with await Database.open(database_url) as database:
        pass
    with pytest.raises(Unavailable, match="closed"):
        _ = [row async for row in Author.select(database)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.tuples(st.integers(-3, 3), st.text("abÄ", max_size=2)), max_size=25, unique=True),
    size=st.integers(1, 8),
    left_down=st.booleans(),
    order_down=st.booleans(),
)
async def test_paging_visits_every_row_once(
    db: Database, values: list[tuple[int, str]], size: int, left_down: bool, order_down: bool
) -> None:
    """`after` goes through all rows in order, whatever the size of a page and the directions of the columns."""
    await Pair.delete_from(db).all_rows()
    if values:
        await Pair.insert_many(db, [{Pair.left: left, Pair.order: order} for left, order in values])
    by_left = Pair.left.desc() if left_down else Pair.left.asc()
    by_order = Pair.order.desc() if order_down else Pair.order.asc()
    visited: list[Any] = []
    last: tuple[Any, Any] = (None, None)
    while True:
        query = Pair.select(db, Pair.left, Pair.order).after(by_left, last[0], by_order, last[1])
        page = await query.limit(size)
        visited += page
        if len(page) < size:
            break
        last = page[-1]
    wanted = sorted(values, key=lambda pair: pair[1], reverse=order_down)
    assert visited == sorted(wanted, key=lambda pair: pair[0], reverse=left_down)


def test_names_of_columns() -> None:
    """A column has its name, what is labelled its label, and what is computed none."""
    assert output_name(Pair.left) == "left"
    assert output_name(Pair.left.label("x")) == "x"
    assert output_name(Pair.left + 1) is None
    assert Pair.select(None).names() == ["left", "order", "value"]

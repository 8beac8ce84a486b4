"""`python -m bench.db_worker MODULE URL SECONDS ROWS`: measure one contestant on an empty database of its own.

The last line of what it prints is an `Outcome` in JSON.
"""

from __future__ import annotations

import asyncio
import importlib
import random
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import msgspec

from bench.db_contestant import Contestant, Row

ROOM_SIZE = 100
"""Rows in a room at first: what a query for a hundred finds."""
BULK = 1000
WARM_UP = 0.2
"""How much of the time of a measurement is spent on warming up before it."""
NEW_ROOM = 1_000_000
"""Rows that are inserted in bulk go to rooms from here on."""

Operation = Callable[[int], Awaitable[object]]


class Outcome(msgspec.Struct, frozen=True):
    """What a worker found.

    Args:
        values: microseconds per call, by operation.
        absent: why the contestant cannot take part here, instead.
        failure: what went wrong while it took part, instead.
    """

    values: dict[str, float] = {}
    absent: str = ""
    failure: str = ""


class WrongResult(Exception):
    """A contestant did not do what it was measured at."""


def make_rows(contestant: Contestant, amount: int) -> list[Row]:
    """Return rows with texts of 100 to 150 characters, in rooms of `ROOM_SIZE`; always the same."""
    generator = random.Random(1)
    rooms = max(1, amount // ROOM_SIZE)
    started = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        Row(
            room=1 + number % rooms,
            author=1 + generator.randrange(500),
            seq=1 + number // rooms,
            text=f"message {number} ".ljust(100 + generator.randrange(51), "abcdefgh"[number % 8]),
            sent_at=contestant.moment(started + timedelta(seconds=number, microseconds=generator.randrange(1_000_000))),
        )
        for number in range(amount)
    ]


async def measure(contestant: Contestant, url: str, seconds: float, amount: int) -> dict[str, float]:
    """Measure every operation, and make sure that each does what it is measured at.

    Raises:
        WrongResult: one does not.
    """
    await contestant.open(url)
    try:
        await contestant.create()
        rows = make_rows(contestant, amount)
        for start in range(0, amount, BULK):
            await contestant.bulk(rows[start : start + BULK])
        keys = await _verify(contestant, rows)
        operations = _operations(contestant, rows, keys)
        return {name: await _time(operation, seconds) for name, operation in operations.items()}
    finally:
        await contestant.close()


def _operations(contestant: Contestant, rows: list[Row], keys: list[int]) -> dict[str, Operation]:
    """Return what is measured, in an order in which no operation slows down the next."""
    rooms = max(row.room for row in rows)
    many = (rows * (BULK // len(rows) + 1))[:BULK]
    batches = [[row._replace(room=NEW_ROOM + i) for row in many] for i in range(8)]

    async def read_hundred(number: int) -> None:
        contestant.read(await contestant.hundred(1 + number % rooms))

    return {
        "by_key": lambda number: contestant.by_key(keys[number % len(keys)]),
        "hundred": lambda number: contestant.hundred(1 + number % rooms),
        "read": read_hundred,
        "change": lambda number: contestant.change(keys[number % len(keys)], f"changed {time.time_ns()} {number:80}"),
        "insert": lambda number: contestant.insert(rows[number % len(rows)]),
        "bulk": lambda number: contestant.bulk(batches[number % len(batches)]),
    }


async def _time(operation: Operation, seconds: float) -> float:
    """Return the microseconds that a call takes, on average."""
    await _repeat(operation, seconds * WARM_UP)
    return await _repeat(operation, seconds) * 1e6


async def _repeat(operation: Operation, seconds: float) -> float:
    clock = time.perf_counter
    began = clock()
    for number in count():
        await operation(number)
        if (passed := clock() - began) >= seconds:
            return passed / (number + 1)
    raise AssertionError


async def _verify(contestant: Contestant, rows: list[Row]) -> list[int]:
    """Use every operation once and look at what it did; returns the keys of the rows, shuffled."""
    keys: list[int] = []
    expected: dict[int, list[Row]] = {}
    for row in rows:
        expected.setdefault(row.room, []).append(row)
    for room, originals in expected.items():
        found = contestant.read(await contestant.hundred(room))
        _check("hundred", [tuple(row[1:]) for row in found], [tuple(row) for row in originals[:100]])
        _check("the order of the keys", [row[0] for row in found], sorted(row[0] for row in found))
        keys += [row[0] for row in found]
    fresh = rows[0]._replace(room=NEW_ROOM - 1)
    key = await contestant.insert(fresh)
    _check("insert", contestant.read([await contestant.by_key(key)]), [(key, *fresh)])
    await contestant.change(key, "another text")
    _check("change", contestant.read([await contestant.by_key(key)]), [(key, *fresh._replace(text="another text"))])
    random.Random(2).shuffle(keys)
    return keys


def _check(what: str, found: list[Any], expected: list[Any]) -> None:
    if [tuple(row) if isinstance(row, tuple) else row for row in found] != expected:
        raise WrongResult(f"{what}: got {str(found)[:300]} instead of {str(expected)[:300]}")


def outcome(module: str, url: str, seconds: float, amount: int) -> Outcome:
    """Import a contestant, measure it, and say in words what prevented that."""
    try:
        contestant: Contestant = importlib.import_module(f"bench.orms.{module}").CONTESTANT()
    except ModuleNotFoundError as error:
        return Outcome(absent=f"{error.name} is not installed")
    try:
        return Outcome(values=run(measure(contestant, url, seconds, amount)))
    except Exception as error:
        traceback.print_exc()
        return Outcome(failure=f"{type(error).__name__}: {error}".splitlines()[0])


def run(main: Coroutine[Any, Any, dict[str, float]]) -> dict[str, float]:
    """Run on uvloop where there is one, as the server does; all contestants alike."""
    try:
        factory = importlib.import_module("uvloop").new_event_loop
    except ModuleNotFoundError:
        factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def main() -> None:
    """Measure what the command line says."""
    module, url, seconds, amount = sys.argv[1:]
    found = outcome(module, url, float(seconds), int(amount))
    print("\n" + msgspec.json.encode(found).decode())


if __name__ == "__main__":
    main()

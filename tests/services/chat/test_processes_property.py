"""Whatever a broker loses, repeats or delays between three processes: random programs against the real service.

People are connected to all of three processes, come, resume, leave and talk at random moments. What each was given, in
the order of the wire, is held against the contract, and in the end against the database.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Iterable
from pathlib import Path
from unittest import mock

import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chat import liveroom, service
from tests.services.chat.processes import LossyBroker, compare, processes
from tests.services.chat.test_history_property import WHOLE_SECONDS, Person, check, whole_history

PROCESSES = 3
ACCOUNTS = 2
FATES = ["deliver", "deliver", "deliver", "drop", "twice", "late"]

# What may happen: each step has two numbers, the client it is about, and one that not all of them need.
Step = tuple[str, int, int]
steps = st.lists(
    st.tuples(
        st.sampled_from([*["send"] * 6, "join", "resume", "leave", "pause", "release", "gap"]),
        st.integers(0, ACCOUNTS * PROCESSES - 1),
        st.integers(0, 12),
    ),
    max_size=40,
)
fates = st.lists(st.sampled_from(FATES), min_size=1, max_size=20)


@settings(max_examples=60, deadline=None)
@given(steps, fates)
def test_any_history_is_sound_in_all_processes(program: list[Step], fates: list[str]) -> None:
    """Once the broker loses nothing more, one comparison makes every subscriber's stream whole; before, it is sound."""
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        database = f"sqlite:///{Path(folder) / 'test.db'}"
        runner.run(asyncio.wait_for(run(program, fates, database), WHOLE_SECONDS))


async def run(program: list[Step], fates: Iterable[str], database: str) -> None:
    broker = LossyBroker()
    broker.about = ""
    with mock.patch.object(service, "TICK_SECONDS", 0.005), mock.patch.object(liveroom, "GAP_SECONDS", 0.002):
        async with processes(PROCESSES, database, broker) as chats:
            users = [await chats[0].user(name) for name in ("ann", "ben")[:ACCOUNTS]]
            people = [Person(await chat.connect(user)) for user in users for chat in chats]
            await people[0].join(resume=False)
            broker.fates = itertools.cycle(fates)
            begun = []
            for step, number, size in program:
                person = people[number]
                match step:
                    case "send":
                        params = {"room": "lobby", "text": f"text of n{size}", "nonce": f"n{size}"}
                        begun.append(person.request("messages.send", **params))
                    case "join" | "resume":
                        begun.append(person.join(resume=step == "resume"))
                    case "leave":
                        begun.append(person.request("rooms.leave", room="lobby"))
                    case "pause":
                        for _ in range(size):
                            await chats[0].db.ping()
                    case "release":
                        broker.release()
                    case "gap":
                        broker.gap()
            await asyncio.gather(*begun)
            broker.will_always("deliver")
            broker.release()
            for person in people:
                await person.join(resume=True)
                assert person.position is not None
            broker.will_always("drop")
            for number, person in enumerate(people[:PROCESSES]):
                await person.request(
                    "messages.send", room="lobby", text=f"text of last {number}", nonce=f"last {number}"
                )
            broker.will_always("deliver")
            await compare(chats)
            last = max(result["rev"] for person in people for _, result in person.acknowledged)
            await asyncio.gather(*(person.hear(last) for person in people))
            check(people, await whole_history(chats[1]))
            assert [chat.incidents for chat in chats] == [[]] * PROCESSES
    await asyncio.gather(*(person.reading for person in people))

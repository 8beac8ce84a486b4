"""Whatever happens in a room, its history is sound: random programs against the real sequencer and database."""

from __future__ import annotations

import asyncio
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from server import Unavailable, User
from server.auth.accounts import MIGRATIONS
from server.db import Database, now
from services.chat import wire
from services.chat.liveroom import EVERYTHING
from services.chat.store import Draft, Store
from tests.services.chat.test_liveroom import CHAT, Listener, Stage

AUTHORS = (wire.User(1, "ann"), wire.User(2, "ben"))

# What may happen: a message of an author under a nonce, a fault of the next commit, a pause, a subscriber that comes,
# another process that writes into the same room. Each step has two numbers, which not all of them need.
Step = tuple[str, int, int]
steps = st.lists(
    st.tuples(
        st.sampled_from(["send", "send", "send", "refused", "unknown", "pause", "join", "other"]),
        st.integers(0, 1),
        st.integers(0, 12),
    ),
    max_size=40,
)


Sending = tuple[tuple[int, str], asyncio.Future[wire.Sent]]


class Joiner(Listener):
    """A subscriber, and the number at which it joined."""

    def __init__(self, joined_at: int) -> None:
        super().__init__()
        self.joined_at = joined_at


@settings(max_examples=60, deadline=None)
@given(steps)
def test_any_history_is_sound(program: list[Step]) -> None:
    """Acknowledged is in the history, no nonce is there twice, numbers are dense, no stream has a gap or a repeat."""
    asyncio.run(run(program))


async def run(program: list[Step]) -> None:
    async with await Database.open("sqlite://:memory:") as db:
        await db.migrate("auth", MIGRATIONS)
        await db.migrate("chat", CHAT)
        for somebody in AUTHORS:
            await User(name=somebody.name).insert(db)
        stage = Stage(db)
        await stage.open()
        joiners: list[Joiner] = []
        sent: list[Sending] = []
        for place, (step, author, number) in enumerate(program):
            match step:
                case "send":
                    key = (AUTHORS[author].id, f"n{number}")
                    sent.append((key, stage.send(key[1], AUTHORS[author])))
                case "pause":
                    for _ in range(number):
                        await db.ping()
                case "join":
                    joiner = Joiner(stage.room.published_rev)
                    stage.room.topic.subscribe(joiner)
                    joiners.append(joiner)
                case "other":
                    stranger = Draft(AUTHORS[author], f"other {place}", "x", now(), None)
                    await Store(db).append(stage.room.row.id, [stranger])
                case fault:
                    stage.store.faults.append(fault)
        outcomes = await asyncio.gather(*(future for _, future in sent), return_exceptions=True)
        stage.store.faults.clear()
        await stage.quiet()
        await stage.send("the last one")  # whatever was left unpublished comes before it
        await stage.quiet()
        check(stage, joiners, sent, outcomes, await stage.store.page(stage.room.row, EVERYTHING, 10**6))


def check(
    stage: Stage,
    joiners: list[Joiner],
    sent: list[Sending],
    outcomes: list[wire.Sent | BaseException],
    history: list[wire.Message],
) -> None:
    assert [message.seq for message in history] == list(range(1, len(history) + 1))
    written = Counter((message.user.id, message.text) for message in history if message.text != "x")
    assert all(count == 1 for count in written.values()), written
    by_seq = {message.seq: message for message in history}
    for ((user, nonce), _), outcome in zip(sent, outcomes, strict=True):
        if isinstance(outcome, BaseException):
            assert isinstance(outcome, Unavailable), outcome
        else:
            assert (by_seq[outcome.seq].user.id, by_seq[outcome.seq].text) == (user, f"text of {nonce}")
    assert stage.listener.revs == [message.rev for message in history]
    for joiner in joiners:
        assert joiner.revs == list(range(joiner.joined_at + 1, len(history) + 1))

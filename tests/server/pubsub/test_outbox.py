"""What waits for the way out."""

from __future__ import annotations

import itertools

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from server.pubsub.delivery import Delivery, Publication
from server.pubsub.outbox import Outbox, batches, size_of

publications = st.builds(
    Publication, st.binary(max_size=200), st.sampled_from(Delivery), st.none() | st.text(max_size=20)
)


@given(st.lists(st.tuples(st.sampled_from("abc"), publications), max_size=40), st.integers(0, 2000))
def test_bounded_and_in_order(said: list[tuple[str, Publication]], most: int) -> None:
    """It never holds more than it may; what it took comes out once, in order within its subject."""
    outbox = Outbox(most)
    taken: dict[str, list[Publication]] = {}
    for subject, publication in said:
        if outbox.put(subject, publication):
            taken.setdefault(subject, []).append(publication)
        else:
            assert outbox.bytes + size_of(publication) > most
        assert outbox.bytes <= most
    got: dict[str, list[Publication]] = {}
    while outbox:
        subject, part = outbox.take()
        got.setdefault(subject, []).extend(part)
    assert got == taken
    assert list(got) == list(taken)  # who waits longest goes first
    assert outbox.bytes == 0


@given(st.lists(publications, max_size=60), st.integers(1, 1000))
def test_batches_hold_what_fits(said: list[Publication], most: int) -> None:
    """Nothing is missing or moved, and no batch is larger on the wire than allowed, but for one that cannot help it."""
    cut = list(batches(said, most))
    assert [publication for batch in cut for publication in batch] == said
    for batch in cut:
        assert len(batch) == 1 or len(msgspec.msgpack.encode(batch)) <= most + 5  # the list's own header
    for one, two in itertools.pairwise(cut):
        assert sum(map(size_of, one)) + size_of(two[0]) > most


def test_dropped() -> None:
    """What is dropped is counted, and makes room."""
    outbox = Outbox()
    for subject in ("a", "b", "a"):
        outbox.put(subject, Publication(b"x"))
    assert outbox.clear() == 3
    assert not outbox
    assert outbox.bytes == 0

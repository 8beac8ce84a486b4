"""Batches: the same publications, seen by a healthy subscriber and by one that is behind."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from server.pubsub.delivery import Batch, Delivery, Publication

publications = st.lists(
    st.builds(
        Publication,
        st.binary(max_size=5),
        st.sampled_from(Delivery),
        st.none() | st.sampled_from(["a", "b", "c"]),
    ),
    min_size=1,
    max_size=20,
)


@given(publications)
def test_every_class_is_where_it_belongs(tick: list[Publication]) -> None:
    """All frames in order; the durable ones in order; of the latest ones the newest of each key."""
    batch = Batch("room", tick)
    newest = {("room", p.key): p.frame for p in tick if p.delivery is Delivery.LATEST}
    assert batch.all == b"".join(p.frame for p in tick)
    assert batch.durable == b"".join(p.frame for p in tick if p.delivery is Delivery.DURABLE)
    assert dict(batch.latest) == newest
    assert len(batch.latest) == len(newest)


def test_durable_alone_is_not_joined_twice() -> None:
    """Where everything is durable, both views are the same bytes."""
    batch = Batch("room", [Publication(b"x"), Publication(b"y")])
    assert batch.durable is batch.all


def test_keys_of_topics_differ() -> None:
    """The same key in two topics is two keys, so a subscriber may keep both in one mapping."""
    one, two = (Batch(name, [Publication(b"x", Delivery.LATEST, "k")]) for name in ("one", "two"))
    assert one.latest[0][0] != two.latest[0][0]


def test_compressing_is_done_once_and_only_when_asked_for() -> None:
    """However many want a batch compressed, that is done once for all; where nobody does, never."""
    calls: list[bytes] = []

    def compress(frames: bytes) -> bytes:
        calls.append(frames)
        return b"small"

    batch = Batch("room", [Publication(b"x"), Publication(b"y", Delivery.DROPPABLE)], compress)
    assert calls == []
    assert [batch.deflated, batch.deflated, batch.deflated] == [b"small"] * 3
    assert calls == [b"xy"]
    assert (batch.all, batch.durable) == (b"xy", b"x")


def test_without_a_compressor_both_are_the_same_bytes() -> None:
    """A hub that does not compress gives what it has."""
    batch = Batch("room", [Publication(b"x"), Publication(b"y")])
    assert batch.deflated is batch.all


class Frame(bytes):
    """As the network side has one: a frame that is known to be a frame."""


@given(publications)
def test_publications_survive_the_way_between_processes(tick: list[Publication]) -> None:
    """A publication that was encoded for a broker is the same afterwards, whatever kind of bytes it holds."""
    framed = [msgspec.structs.replace(p, frame=Frame(p.frame)) for p in tick]
    encoded = msgspec.msgpack.encode(framed, enc_hook=bytes)
    assert msgspec.msgpack.decode(encoded, type=list[Publication]) == tick

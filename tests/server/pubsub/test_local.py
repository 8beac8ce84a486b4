"""The broker of a single process."""

from __future__ import annotations

from server.pubsub.delivery import Publication
from server.pubsub.local import LocalBroker


class Receiver:
    """One process's part in a topic."""

    def __init__(self) -> None:
        self.heard: list[Publication] = []

    def receive(self, publication: Publication) -> None:
        self.heard.append(publication)


async def test_reaches_everybody_but_the_origin() -> None:
    """A publication goes once to every other receiver of its subject, and to no other subject's."""
    broker = LocalBroker()
    await broker.start()
    one, two, three, elsewhere = (Receiver() for _ in range(4))
    for receiver in (one, two, three):
        broker.subscribe("room", receiver.receive)
    broker.subscribe("other", elsewhere.receive)
    publication = Publication(b"x")
    broker.publish("room", publication, one.receive)
    assert two.heard == three.heard == [publication]
    assert one.heard == elsewhere.heard == []
    await broker.stop()


def test_unsubscribed_receivers_hear_nothing() -> None:
    """After the last one left, a publication goes nowhere, and the subject takes no memory."""
    broker = LocalBroker()
    gone, origin = Receiver(), Receiver()
    broker.subscribe("room", gone.receive)
    broker.unsubscribe("room", gone.receive)
    broker.publish("room", Publication(b"x"), origin.receive)
    assert gone.heard == origin.heard == []
    assert broker._receivers == {}


def test_receivers_may_change_while_a_publication_is_handed_out() -> None:
    """Who unsubscribes, or subscribes, because of a publication keeps nobody else from getting it."""
    broker = LocalBroker()
    stays, new, origin = Receiver(), Receiver(), Receiver()

    def once(_publication: Publication) -> None:
        broker.unsubscribe("room", once)
        broker.subscribe("room", new.receive)

    broker.subscribe("room", once)
    broker.subscribe("room", stays.receive)
    broker.publish("room", Publication(b"x"), origin.receive)
    assert len(stays.heard) == 1
    broker.publish("room", Publication(b"y"), origin.receive)
    assert len(stays.heard) == 2
    assert new.heard == [Publication(b"y")]


def test_subjects() -> None:
    """A subject is there from its first receiver to its last; who is unknown cannot leave."""
    broker = LocalBroker()
    one, two = Receiver(), Receiver()
    broker.unsubscribe("room", one.receive)
    broker.subscribe("room", one.receive)
    broker.subscribe("room", two.receive)
    broker.unsubscribe("room", one.receive)
    broker.unsubscribe("room", one.receive)
    assert set(broker.subjects) == {"room"}
    assert not broker.heard("room", two.receive)
    broker.unsubscribe("room", two.receive)
    assert set(broker.subjects) == set()


def test_is_always_well() -> None:
    """There is nothing that could be away."""
    assert LocalBroker().health().connected

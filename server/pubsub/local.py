"""The broker of a single process."""

from __future__ import annotations

from collections.abc import Callable, KeysView

from server.pubsub.broker import BrokerHealth, Receiver
from server.pubsub.delivery import Publication


class LocalBroker:
    """Connects the hubs (`Topics`) of one event loop: usually one, which has nobody else to talk to.

    Several hubs on one LocalBroker behave as several processes do.
    """

    def __init__(self) -> None:
        # A tuple is not changed while it is gone through: a receiver may subscribe and unsubscribe.
        self._receivers: dict[str, tuple[Receiver, ...]] = {}

    @property
    def subjects(self) -> KeysView[str]:
        """The subjects that have receivers, as they are at any time."""
        return self._receivers.keys()

    async def start(self) -> None:
        """Nothing to connect to."""

    async def stop(self) -> None:
        """Nothing is queued here."""

    def publish(self, subject: str, publication: Publication, origin: Receiver) -> None:
        """Hand a publication to every receiver of the subject but `origin`."""
        for receiver in self._receivers.get(subject, ()):
            if receiver != origin:
                receiver(publication)

    def subscribe(self, subject: str, receiver: Receiver) -> None:
        """Hand the subject's publications of other hubs to `receiver` from now on."""
        self._receivers[subject] = (*self._receivers.get(subject, ()), receiver)

    def unsubscribe(self, subject: str, receiver: Receiver) -> None:
        """Hand nothing more to `receiver`; without effect where it is unknown."""
        receivers = list(self._receivers.get(subject, ()))
        if receiver in receivers:
            receivers.remove(receiver)
        if receivers:
            self._receivers[subject] = tuple(receivers)
        else:
            self._receivers.pop(subject, None)

    def heard(self, subject: str, origin: Receiver) -> bool:
        """Tell whether another hub has a receiver."""
        return any(receiver != origin for receiver in self._receivers.get(subject, ()))

    async def settled(self) -> None:
        """Subscriptions are in effect at once."""

    def on_gap(self, callback: Callable[[], None]) -> None:
        """Nothing is ever lost here."""

    def health(self) -> BrokerHealth:
        """Return that all is well: there is nothing that could be away."""
        return BrokerHealth(connected=True, detail="local")

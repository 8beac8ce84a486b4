"""What carries publications between the processes of one Switchboard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol
from urllib.parse import quote

import msgspec

from server.pubsub.delivery import Publication

Receiver = Callable[[Publication], None]
"""Takes a publication of another process. It returns at once and does not raise."""


class BrokerHealth(msgspec.Struct, frozen=True):
    """How a broker is.

    Args:
        connected: whether publications reach the other processes at the moment.
        detail: for the operator: the kind of broker, and what is wrong where something is.
        gaps: how often publications may have been lost.
        carried: publications that went to other processes.
    """

    connected: bool
    detail: str
    gaps: int = 0
    carried: int = 0


class Broker(Protocol):
    """Carries publications between processes; delivery within a process is the topic's own work.

    A broker is fast, not safe: it may drop, repeat or reorder. Nothing but `start`, `stop` and `settled` waits.

    One that knows of publications of its own process that it lost on their way out counts that in an attribute
    `lost_out`; whenever it has changed, `Peers` tells the others, for whom it is a gap.
    """

    async def start(self) -> None:
        """Begin to carry. A broker that cannot reach its peers yet starts all the same and goes on trying."""

    async def stop(self) -> None:
        """Send what is queued, within a deadline of its own, and end."""

    def publish(self, subject: str, publication: Publication, origin: Receiver) -> None:
        """Carry a publication to every receiver of the subject but `origin`, the publishing topic's own."""

    def subscribe(self, subject: str, receiver: Receiver) -> None:
        """Announce interest: from now on `receiver` gets the subject's publications of other processes."""

    def unsubscribe(self, subject: str, receiver: Receiver) -> None:
        """Withdraw what `subscribe` announced."""

    def heard(self, subject: str, origin: Receiver) -> bool:
        """Tell whether a publication may reach another receiver than `origin`: what nobody hears need not be made."""

    async def settled(self) -> None:
        """Wait until every subscription so far is in effect, so that nothing published from now on is missed.

        It waits for a bounded time, and returns all the same where the broker is away: that is a gap, see `on_gap`.
        """

    def on_gap(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever publications of other processes may have been lost: time to read the database."""

    def health(self) -> BrokerHealth:
        """Say how the broker is, from memory."""


def subject(name: str) -> str:
    """Return the subject that carries the topic `name`: one token, free of what brokers give a meaning.

    Different names have different subjects. Dots, wildcards (`*`, `>`), white space, control characters and
    everything outside ASCII are percent-encoded.

    Raises:
        ValueError: the name is empty.
    """
    if not name:
        raise ValueError("a topic needs a name")
    return quote(name, safe="/:@", errors="surrogatepass").replace(".", "%2E")

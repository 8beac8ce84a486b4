"""The broker of several machines: local delivery here, core NATS between them."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from server.config import BrokerSettings
from server.log import Log
from server.pubsub.broker import BrokerHealth, Receiver
from server.pubsub.delivery import Publication
from server.pubsub.gaps import Gaps
from server.pubsub.local import LocalBroker
from server.pubsub.nats_connection import NatsConnection, NatsError
from server.pubsub.nats_servers import servers, tls_context
from server.pubsub.outbox import Outbox, batches

BATCH_BYTES = 1024 * 1024
"""The largest batch, where the server would take larger ones; it is held in memory several times."""
BACKOFF_SECONDS = (0.1, 2.0)
STEADY_SECONDS = 5.0
"""A connection that held so long was a good one: the next is tried at once."""
SETTLE_SECONDS = 3.0
"""How long somebody waits for subscriptions to be in effect."""
DRAIN_SECONDS = 2.0
"""For sending what is queued, at the end."""
COMPLAIN_SECONDS = 60.0
"""How often the log has the same complaint."""

GAP = "!gap"
"""Subject of those who lost something on its way out; no topic's subject has an exclamation mark."""

log = Log("pubsub")

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(list[Publication])


class NatsBroker:
    """Connects the hubs of this event loop with those of other machines.

    Receivers here hear each other whatever NATS does. A machine has one connection, gets each publication once, and
    only those of subjects that somebody here listens to. What cannot be sent is dropped and counted, never kept: when
    NATS is there again, every machine is told that there is a gap.

    Args:
        settings: the `[broker]` table; `nats_servers.check` finds nothing wrong with it.
        base: the folder that relative paths start from.

    Attributes:
        carried: publications that went to NATS.
        received: publications that came from NATS.
        lost_out: publications that were to go to NATS and did not.
    """

    def __init__(self, settings: BrokerSettings, base: Path) -> None:
        self._servers = servers(settings.url)
        self._tls = tls_context(settings, base)
        self._credentials = base / settings.credentials if settings.credentials else None
        self._prefix = settings.prefix + "."
        self._here = LocalBroker()
        self._interest: dict[str, int] = {}  # how many receivers each subject has
        self._changed: dict[str, None] = {}  # subjects whose interest the connection does not know yet
        self._outbox = Outbox()
        self._owes_gap = False
        self._asked: asyncio.Future[None] | None = None  # a round trip that has not begun
        self._trips: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._connection: NatsConnection | None = None
        self._connected = False
        self._away_since = time.monotonic()
        self._problem = "not started"
        self._runner: asyncio.Task[None] | None = None
        self._stopping = False
        self._drained = asyncio.Event()
        self._gaps = Gaps()
        self._complain = _Complaints()
        self.carried = 0
        self.received = 0
        self.lost_out = 0

    @property
    def gaps(self) -> int:
        """How often publications may have been lost, in either direction."""
        return self._gaps.count

    # What every broker does.

    async def start(self) -> None:
        """Begin to connect; it goes on until `stop`, and nobody waits for it."""
        self._problem = "connecting"
        self._away_since = time.monotonic()
        self._runner = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Send what is queued, for a bounded time, and end the connection."""
        self._stopping = True
        if self._connected:
            self._wake.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_SECONDS):
                    await self._drained.wait()
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
        self._gaps.stop()

    def publish(self, subject: str, publication: Publication, origin: Receiver) -> None:
        """Hand a publication to every receiver here but `origin`, and queue it for the other machines."""
        self._here.publish(subject, publication, origin)
        if self._connection is None:
            self._lose(1)
        elif self._outbox.put(subject, publication):
            self._wake.set()
        else:
            self._complain("the queue to NATS is full: publications are lost", bytes=self._outbox.bytes)
            self._lose(1)

    def subscribe(self, subject: str, receiver: Receiver) -> None:
        """Let a receiver hear a subject: what is published here at once, what comes from NATS once that knows."""
        self._here.subscribe(subject, receiver)
        self._interest[subject] = self._interest.get(subject, 0) + 1
        if self._interest[subject] == 1:
            self._interest_changed(subject)

    def unsubscribe(self, subject: str, receiver: Receiver) -> None:
        """Let a receiver hear no more."""
        self._here.unsubscribe(subject, receiver)
        self._interest[subject] -= 1
        if not self._interest[subject]:
            del self._interest[subject]
            self._interest_changed(subject)

    def heard(self, subject: str, origin: Receiver) -> bool:  # noqa: ARG002 the protocol's signature
        """Return True: what other machines listen to is not known here."""
        return True

    async def settled(self) -> None:
        """Wait until NATS knows every subscription so far; without a connection there is nothing to wait for."""
        if self._connection is None:
            return
        if self._asked is None:  # else somebody asked in this tick, and one round trip is enough for both
            self._asked = asyncio.get_running_loop().create_future()
            self._wake.set()
        await asyncio.wait((self._asked,), timeout=SETTLE_SECONDS)

    def on_gap(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever publications of other machines may have been lost."""
        self._gaps.listen(callback)

    def health(self) -> BrokerHealth:
        """Say whether NATS is there, and if not, since when and why."""
        if self._connected and self._connection is not None:
            detail = f"nats: {self._connection.server}"
        else:
            away = time.monotonic() - self._away_since
            names = ", ".join(map(str, self._servers))
            detail = f"nats: not connected to {names} for {away:.0f} s: {self._problem}"
        return BrokerHealth(self._connected, detail, gaps=self.gaps, carried=self.carried)

    # The connection.

    async def _run(self) -> None:
        """Connect, again and again, to one server after the other."""
        failures = 0
        for server in itertools.cycle(self._servers):
            if failures:
                await asyncio.sleep(_pause(failures // len(self._servers)))
            if self._stopping:  # nats-py swallows a cancellation now and then
                return
            failures += 1
            try:
                connection = await NatsConnection.open(server, self._take, tls=self._tls, credentials=self._credentials)
            except NatsError as error:
                self._problem = str(error)
                self._complain("NATS cannot be reached", server=server, problem=self._problem)
                continue
            except Exception as error:  # whatever it is, it must not be the end of all trying
                self._problem = type(error).__name__
                log.error("connecting to NATS failed", server=server, error=error)
                continue
            began = time.monotonic()
            await self._use(connection)
            if time.monotonic() - began > STEADY_SECONDS:
                failures = 0

    async def _use(self, connection: NatsConnection) -> None:
        """Carry by a connection until it is lost."""
        self._connection = connection
        sender: asyncio.Task[None] | None = None
        try:
            if not await self._begin(connection) or self._stopping:
                return
            sender = asyncio.get_running_loop().create_task(self._send(connection))
            sender.add_done_callback(lambda _: connection.lost.set())
            await connection.lost.wait()
        finally:
            self._lose_connection(connection)
            await connection.close()
            tasks = (*self._trips, *((sender,) if sender else ()))
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _begin(self, connection: NatsConnection) -> bool:
        """Subscribe to everything; tells whether the connection can be used."""
        try:
            for subject in (GAP, *self._interest):  # what changes from now on, `_changed` has
                await connection.subscribe(self._prefix + subject)
        except NatsError:
            return False
        if not await connection.round_trip():
            return False
        self._connected = True
        log.info("NATS is there", server=connection.server, away_seconds=round(time.monotonic() - self._away_since, 1))
        self._gaps.tell()
        return True

    def _lose_connection(self, connection: NatsConnection) -> None:
        if self._connected:
            self._away_since = time.monotonic()
            self._owes_gap = True  # how much of what was sent last arrived is not known
        self._connection = None
        self._connected = False
        self._problem = connection.problem
        self._lose(self._outbox.clear())
        self._changed.clear()
        self._drained.set()
        if self._asked is not None and not self._asked.done():
            self._asked.set_result(None)
        self._asked = None
        if not self._stopping:
            self._complain("NATS is away", server=connection.server, problem=self._problem)

    async def _send(self, connection: NatsConnection) -> None:
        """Tell the server what happens here: interest first, so that nobody waits for it behind publications."""
        try:
            while not connection.lost.is_set():
                if self._changed:
                    await self._tell_interest(connection)
                elif self._asked is not None:
                    self._begin_round_trip(connection)
                elif self._outbox:
                    await self._carry(connection)
                elif self._owes_gap:
                    self._owes_gap = False
                    await connection.publish(self._prefix + GAP, b"")
                    self._gaps.tell()
                elif self._stopping:
                    await connection.round_trip()
                    self._drained.set()
                    return
                else:
                    self._wake.clear()
                    await self._wake.wait()
        except NatsError:
            pass  # the connection is lost, and says so
        except Exception as error:
            log.error("sending to NATS failed", error=error)

    async def _tell_interest(self, connection: NatsConnection) -> None:
        changed, self._changed = self._changed, {}
        for subject in changed:
            if subject in self._interest:
                await connection.subscribe(self._prefix + subject)
            else:
                await connection.unsubscribe(self._prefix + subject)

    def _begin_round_trip(self, connection: NatsConnection) -> None:
        """Answer those who asked when the server has; they wait beside the sender, not in its way."""
        asked, self._asked = self._asked, None

        async def trip() -> None:
            try:
                await connection.round_trip()
            finally:
                if asked is not None and not asked.done():
                    asked.set_result(None)

        task = asyncio.get_running_loop().create_task(trip())
        self._trips.add(task)
        task.add_done_callback(self._trips.discard)

    async def _carry(self, connection: NatsConnection) -> None:
        """Send what is queued for one subject."""
        subject, publications = self._outbox.take()
        left = len(publications)
        try:
            for batch in batches(publications, min(connection.most_bytes, BATCH_BYTES)):
                payload = _encode(batch)
                if len(payload) <= connection.most_bytes:
                    await connection.publish(self._prefix + subject, payload)
                    self.carried += len(batch)
                else:
                    self._complain("a publication is too large for NATS", bytes=len(payload))
                    self._lose(len(batch))
                left -= len(batch)
        except BaseException:  # cancelled, too
            self._lose(left)
            raise

    def _interest_changed(self, subject: str) -> None:
        if self._connection is not None:
            self._changed[subject] = None
            self._wake.set()

    # What comes in, and what is lost.

    def _take(self, subject: str, payload: bytes) -> None:
        subject = subject[len(self._prefix) :]
        if subject == GAP:
            self._gaps.tell()
            return
        try:
            publications = _decoder.decode(payload)
        except msgspec.MsgspecError as error:
            self._complain("a message from NATS is not understood", problem=str(error))
            return
        self.received += len(publications)
        for publication in publications:
            try:
                self._here.publish(subject, publication, _nobody)
            except Exception as error:  # the others shall have it, and the reader must go on
                log.error("a receiver failed", error=error)

    def _lose(self, count: int) -> None:
        """Count publications that do not reach the other machines; they are told when there is a way to."""
        if count:
            self.lost_out += count
            self._owes_gap = True
            self._wake.set()


class _Complaints:
    """Writes the same complaint at most once in `COMPLAIN_SECONDS`."""

    def __init__(self) -> None:
        self._silent_until: dict[str, float] = {}

    def __call__(self, event: str, **fields: object) -> None:
        now = time.monotonic()
        if self._silent_until.get(event, now) <= now:
            self._silent_until[event] = now + COMPLAIN_SECONDS
            log.warning(event, **fields)


def _nobody(_: Publication) -> None:
    """The origin of what comes from elsewhere: it is no receiver here."""


def _pause(rounds: int) -> float:
    """Return how long to wait after so many rounds without success; not the same for everybody."""
    least, most = BACKOFF_SECONDS
    return min(most, least * 2.0 ** min(rounds, 10)) * random.uniform(0.5, 1) if rounds else 0.0  # noqa: S311 no secret

"""A connection to a NATS server: nats-py's client, for one server and one life.

nats-py knows the protocol, TLS and the ways of authentication. What it does beyond that is not used: reconnecting, for
it waits without a deadline for a server that does not answer; and a task and a queue for each subscription, for
whoever gets messages here takes them at once.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import nats.errors
from nats.aio.client import Client
from nats.aio.subscription import Subscription

from server.pubsub.nats_servers import NatsServer

CONNECT_SECONDS = 2
"""For each step of the way in."""
OPEN_SECONDS = 5.0
"""For the whole way in."""
ANSWER_SECONDS = 2
"""A server that does not answer for so long is away."""
BEAT_SECONDS = 1.0
"""How often it is asked whether it is there."""
CLOSE_SECONDS = 1.0
NEVER_SECONDS = 10**9

Take = Callable[[str, bytes], None]
"""Takes the subject and the payload of a message. It returns at once and does not raise."""


class NatsError(Exception):
    """A server cannot be reached, or was lost; the text says why, and has no secret."""


class NatsConnection:
    """A connection that was opened by `open`.

    Args:
        client: nats-py's client, connected.
        server: what it is connected to.

    Attributes:
        server: as said.
        lost: is set when the connection is over, whoever ended it.
        most_bytes: the largest payload that the server takes.
        subjects: what is subscribed to.
    """

    def __init__(self, client: _Client, server: NatsServer) -> None:
        self._client = client
        self.server = server
        self.lost = asyncio.Event()
        self.most_bytes = client.max_payload
        self.subjects: dict[str, Subscription] = {}
        reader = client._reading_task  # noqa: SLF001 its end is the only sign that nats-py gives every time
        if reader is None or reader.done():
            self.lost.set()
        else:
            reader.add_done_callback(lambda _: self.lost.set())
        self._beat = asyncio.get_running_loop().create_task(self._beat_on())

    @classmethod
    async def open(
        cls, server: NatsServer, take: Take, *, tls: ssl.SSLContext | None = None, credentials: Path | None = None
    ) -> NatsConnection:
        """Connect to a server.

        Args:
            server: which one, and who we are.
            take: gets the messages, in the order in which they come.
            tls: checks the server's certificate.
            credentials: a file with the user's JWT and seed.

        Raises:
            NatsError: it cannot be reached, or lets us not in.
        """
        client = _Client(take)
        try:
            await _connect(client, server, tls, credentials)
        except BaseException:
            await _end(client)
            raise
        return cls(client, server)

    @property
    def problem(self) -> str:
        """Why it is over."""
        return self._client.problem or "the connection was lost"

    async def subscribe(self, subject: str) -> None:
        """Let the messages of a subject come; once it is there already, without effect.

        Raises:
            NatsError: the connection is over.
        """
        if subject not in self.subjects:
            try:
                self.subjects[subject] = await self._client.subscribe(subject)
            except (OSError, nats.errors.Error) as error:
                raise self._over(error) from None

    async def unsubscribe(self, subject: str) -> None:
        """Let the messages of a subject come no more; without effect where they do not.

        Raises:
            NatsError: the connection is over.
        """
        subscription = self.subjects.pop(subject, None)
        if subscription is not None:
            try:
                await subscription.unsubscribe()
            except (OSError, nats.errors.Error) as error:
                raise self._over(error) from None

    async def publish(self, subject: str, payload: bytes) -> None:
        """Send a message; waits while the server does not read.

        Raises:
            NatsError: the connection is over.
        """
        try:
            await self._client.publish(subject, payload)
        except (OSError, nats.errors.Error) as error:
            raise self._over(error) from None

    async def round_trip(self) -> bool:
        """Wait until the server has done what was asked of it before; False where the connection is over.

        Whoever cancels this has to close the connection: nats-py's reader does not bear an answer to nobody.
        """
        try:
            await self._client.flush(ANSWER_SECONDS)
        except (OSError, nats.errors.Error) as error:
            self._over(error)
        return not self.lost.is_set()

    async def close(self) -> None:
        """End it at once; what is not sent yet is not sent."""
        self.lost.set()
        self._beat.cancel()
        await _end(self._client)
        await asyncio.gather(self._beat, return_exceptions=True)

    def _over(self, error: Exception) -> NatsError:
        self.lost.set()
        self._client.problem = self._client.problem or _reason(error)
        return NatsError(self._client.problem)

    async def _beat_on(self) -> None:
        """Notice when the server stops answering without closing: it is frozen, or the network is."""
        while await self.round_trip():  # noqa: ASYNC110 nobody tells that a server is frozen
            await asyncio.sleep(BEAT_SECONDS)


class _Client(Client):
    """nats-py's client, which hands messages over straight from its reader."""

    def __init__(self, take: Take) -> None:
        super().__init__()
        self.take = take
        self.problem = ""

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:  # noqa: ARG002 nats-py's own signature
        self.take(subject.decode(), data)

    async def note(self, error: Exception) -> None:
        """Keep the reason; nats-py's own last words may be less telling."""
        if not isinstance(error, nats.errors.UnexpectedEOF):
            self.problem = _reason(error)
        else:
            self.problem = self.problem or "the server closed the connection"


async def _connect(client: _Client, server: NatsServer, tls: ssl.SSLContext | None, credentials: Path | None) -> None:
    """Get in, and make sure that it is through TLS where that is wanted."""

    def secret(text: str) -> Callable[[], str]:
        def give() -> str:
            _demand_tls(client, server)
            return text

        return give

    try:
        async with asyncio.timeout(OPEN_SECONDS):
            await client.connect(
                server.url,
                error_cb=client.note,
                name="switchboard",
                allow_reconnect=False,
                connect_timeout=CONNECT_SECONDS,
                reconnect_time_wait=0,
                max_reconnect_attempts=1,
                ping_interval=NEVER_SECONDS,  # we ask ourselves
                no_echo=True,
                tls=tls,
                user=secret(server.user) if server.user else None,
                password=secret(server.password) if server.user else None,
                token=secret(server.password) if server.password and not server.user else None,
                user_credentials=credentials,
            )
        _demand_tls(client, server)
    except TimeoutError:
        raise NatsError("the server does not answer") from None
    except (OSError, nats.errors.Error, ssl.CertificateError) as error:
        problem = client.problem if isinstance(error, nats.errors.NoServersError) else ""
        raise NatsError(problem or _reason(error)) from None


def _demand_tls(client: _Client, server: NatsServer) -> None:
    """Refuse a server that is to speak TLS and does not: nats-py would go on without, and tell who we are."""
    if server.tls and not client._server_info.get("tls_required"):  # noqa: SLF001 nats-py says it nowhere else
        raise nats.errors.Error("the server does not speak TLS")


async def _end(client: _Client) -> None:
    """End a client, whatever state it is in; its connection first, for nats-py waits for a peer that does not read."""
    writer = getattr(client._transport, "_io_writer", None)  # noqa: SLF001 there is no other way to its transport
    if writer is not None:
        writer.transport.abort()
    with suppress(Exception):  # it is over, and how it ends is nobody's concern
        async with asyncio.timeout(CLOSE_SECONDS):
            await client.close()
    tasks = (client._reading_task, client._flusher_task, client._ping_interval_task)  # noqa: SLF001 `close` awaits none
    running = {task for task in tasks if task is not None and not task.done()}
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running, timeout=CLOSE_SECONDS)


def _reason(error: Exception) -> str:
    """Say what happened, in one line."""
    if isinstance(error, nats.errors.TimeoutError):
        return "the server does not answer"
    text = str(error).removeprefix("nats: ").strip()
    return text or type(error).__name__

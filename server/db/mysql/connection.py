"""A connection: aiomysql opens it, and from then on we read and write it ourselves.

aiomysql knows the handshake, the ways of authentication and TLS; its reading of results, though, awaits twice for
each row, which takes most of a query's time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from server.db.backends import Result, Row
from server.db.errors import QueryError
from server.db.mysql.answers import (
    IN_TRANSACTION,
    LARGEST_PART,
    NO_BACKSLASH_ESCAPES,
    Answer,
    ProtocolError,
)
from server.db.mysql.errors import ConnectionLost

READ_BYTES = 256 * 1024
DRAIN_SECONDS = 1.0
"""How long the rest of a result that nobody wants is read."""
SEPARATOR = b"\n;"
"""On a line of its own: a statement that ends with a comment does not swallow the next one."""

_QUIT, _QUERY, _PING = b"\x01", b"\x03", b"\x0e"


class Connection:
    """A session of the server; one command at a time.

    Any failure to read an answer to its end closes it, a cancellation included: it is never half-used. An error that
    the server answers with is no such failure.

    Args:
        reader: gives what the server sends.
        writer: takes what is sent to it.
        id: the server's number of the session.

    Attributes:
        opened_at: when it was opened, in the event loop's time.
        used_at: when it was last used.
        most_bytes: the longest command that the server takes; set when the session is set up.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, id: int) -> None:  # noqa: A002 the server's word for it
        self._loop = asyncio.get_running_loop()
        self._reader = reader
        self._writer = writer
        self._status = 0
        self._ended = ""
        self._busy = False
        self.id = id
        self.opened_at = self.used_at = self._loop.time()
        self.most_bytes = LARGEST_PART

    @property
    def alive(self) -> bool:
        """Whether it can be used, as far as we were told."""
        return not self._ended and not self._writer.is_closing() and not self._reader.at_eof()

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction was open after the last result."""
        return bool(self._status & IN_TRANSACTION)

    async def run(self, texts: Sequence[bytes], seconds: float) -> list[Result]:
        """Run statements in order: in one round trip, or in several when they are larger than the server takes.

        Args:
            texts: one statement each.
            seconds: how long each round trip may take.

        Returns:
            one result for each statement.

        Raises:
            ServerError: a statement failed, and none behind it was run. The connection can be used on.
            ConnectionLost: the connection was lost, or there was no answer in time.
            QueryError: a statement is too large, or is more than one.
        """
        for text in texts:
            if len(text) >= self.most_bytes:
                raise QueryError(
                    f"a statement has {len(text):,} bytes; the server takes less than {self.most_bytes:,}"
                    " (max_allowed_packet)"
                )
        results: list[Result] = []
        sent = 0
        for batch in _batches(texts, self.most_bytes):
            sent += len(batch)
            answer = Answer(self._status)
            await self._exchange(_QUERY, SEPARATOR.join(batch), answer, seconds, sent)
            if answer.error is not None:
                raise answer.error
            if len(answer.results) != len(batch):
                self.abort("it was out of step")
                raise QueryError("the text of a statement is not exactly one statement")
            results += answer.results
        return results

    async def ping(self, seconds: float) -> None:
        """See whether the server answers.

        Raises:
            ConnectionLost: it does not.
        """
        await self._exchange(_PING, b"", Answer(self._status), seconds, 0)

    def open_cursor(self, texts: Sequence[bytes]) -> Cursor:
        """Send statements of which one gives rows, which are read as they are asked for.

        Raises:
            ConnectionLost: the connection is lost.
        """
        answer = Answer(self._status, keeps_rows=True)
        self._send(_QUERY, SEPARATOR.join(texts))
        return Cursor(self, answer)

    async def receive(self, answer: Answer, seconds: float, sent: int, enough: int | None = None) -> None:
        """Read an answer to its end, or until it has enough rows.

        Raises:
            ConnectionLost: the connection was lost, or this took too long.
        """
        timer = self._loop.call_later(seconds, self.abort, f"the server did not answer within {seconds:g} seconds")
        answered = False
        try:
            while not answer.complete and (enough is None or len(answer.rows) < enough):
                chunk = await self._reader.read(READ_BYTES)
                if not chunk:
                    raise ConnectionLost(  # noqa: TRY301 handled with the other failures below
                        self._ended or "the server closed the connection",
                        sent=sent,
                        answered=answered,
                        expired=bool(self._ended),
                    )
                answered = True
                answer.feed(chunk)
        except (OSError, ProtocolError) as error:
            self.abort(str(error))
            raise ConnectionLost(f"the connection was lost: {error}", sent=sent, answered=answered) from None
        except BaseException:
            self.abort("a read was given up")
            raise
        finally:
            timer.cancel()
            if answer.complete:
                self._busy = False
        self._status = answer.status
        self.used_at = self._loop.time()
        if self._status & NO_BACKSLASH_ESCAPES:
            self.abort("the session's sql_mode was changed, and literals are no longer safe")

    def abort(self, reason: str = "") -> None:
        """Close it at once; whoever waits for an answer gets ConnectionLost."""
        if not self._ended:
            self._ended = reason or "the connection was given up"
        self._writer.transport.abort()

    def quit(self) -> None:
        """Close it in good order, without waiting."""
        if self.alive:
            self._send(_QUIT, b"")
        self._ended = "the connection was closed"
        self._writer.close()

    async def _exchange(self, command: bytes, text: bytes, answer: Answer, seconds: float, sent: int) -> None:
        self._send(command, text)
        await self.receive(answer, seconds, sent)

    def _send(self, command: bytes, text: bytes) -> None:
        if not self.alive:
            raise ConnectionLost(self._ended or "the server closed the connection", expired=bool(self._ended))
        if self._busy:
            raise QueryError("another statement is running on this connection")
        self._busy = True
        # Not drained: the text is in memory anyway, and the answer's deadline is that of sending, too.
        self._writer.write(_packets(command + text))


class Cursor:
    """The rows of a statement that runs, read as they are asked for: what is not asked for stays with the server.

    Args:
        connection: where it runs.
        answer: what it reads into.
    """

    def __init__(self, connection: Connection, answer: Answer) -> None:
        self._connection = connection
        self._answer = answer

    @property
    def complete(self) -> bool:
        """Whether everything was read."""
        return self._answer.complete

    async def page(self, count: int, seconds: float) -> list[Row]:
        """Return the next rows; none when there are no more.

        Raises:
            ServerError: the statement failed.
            ConnectionLost: the connection was lost, or there was no answer in time.
        """
        answer = self._answer
        if not answer.complete:
            await self._connection.receive(answer, seconds, 1, count)
        if answer.error is not None:
            raise answer.error
        page = answer.rows[:count]
        del answer.rows[:count]
        return page

    async def drain(self) -> None:
        """Read the rest and drop it.

        Raises:
            ConnectionLost: the connection was lost, or there is too much.
        """
        timer = asyncio.get_running_loop().call_later(DRAIN_SECONDS, self._connection.abort, "a result had no end")
        try:
            while not self.complete:
                self._answer.rows.clear()
                await self._connection.receive(self._answer, DRAIN_SECONDS, 1, 1)
        finally:
            timer.cancel()


def _packets(payload: bytes) -> bytes:
    """Return a command as packets: the length in 3 bytes, a sequence number, and what goes in."""
    if len(payload) < LARGEST_PART:
        return len(payload).to_bytes(3, "little") + b"\0" + payload
    parts = []
    # Up to and including the end: a last part that is full is followed by an empty one.
    for number, start in enumerate(range(0, len(payload) + 1, LARGEST_PART)):
        part = payload[start : start + LARGEST_PART]
        parts += [len(part).to_bytes(3, "little"), bytes([number % 256]), part]
    return b"".join(parts)


def _batches(texts: Sequence[bytes], most_bytes: int) -> Iterator[Sequence[bytes]]:
    """Split statements into runs that the server takes at once."""
    if len(texts) == 1 or sum(map(len, texts)) + len(texts) * len(SEPARATOR) < most_bytes:
        yield texts
        return
    batch: list[bytes] = []
    size = 0
    for text in texts:
        size += len(text) + len(SEPARATOR)
        if batch and size >= most_bytes:
            yield batch
            batch, size = [], len(text) + len(SEPARATOR)
        batch.append(text)
    if batch:
        yield batch

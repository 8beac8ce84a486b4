"""The pool: a bounded number of connections, given out in the order in which they were asked for.

What is given out is the right to a connection, a slot. Whoever has one takes a connection that is idle, or else opens
one, so that there are never more connections than slots.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import suppress

from server.db.errors import DatabaseError, Unavailable, UnusableDatabase
from server.db.mysql.connecting import Connector
from server.db.mysql.connection import Connection
from server.db.mysql.errors import ConnectionLost

MOST_WAITING = 10_000
"""Queries that wait for a slot; beyond it the database is busy, and says so at once."""
PING_SECONDS = 2.0
CLOSE_SECONDS = 5.0
"""How long closing waits for what runs."""


class Pool:
    """Connections to one database.

    Args:
        connector: opens them.
    """

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._options = connector.options
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []
        self._used: set[Connection] = set()
        self._opening = 0
        self._taken = 0
        self._waiters: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        self._closed = False
        self._nothing_used = asyncio.Event()
        self._nothing_used.set()

    @property
    def size(self) -> int:
        """How many connections there are, those included that are being opened."""
        return len(self._used) + self._opening + len(self._idle)

    @property
    def idle(self) -> int:
        """How many connections nobody uses."""
        return len(self._idle)

    @property
    def in_use(self) -> int:
        """How many slots are taken; a connection belongs to each, or will in a moment."""
        return self._taken

    @property
    def waiting(self) -> int:
        """How many queries wait for a connection."""
        return len(self._waiters)

    async def acquire(self) -> Connection:
        """Take a connection; it has to be given back with `release`.

        Raises:
            Unavailable: there was none in time, too many wait, the database cannot be reached, or this is closed.
        """
        if self._closed:
            raise Unavailable("the database is closed")
        if self._taken < self._options.pool:
            self._take_slot()
        else:
            await self._wait_for_slot()
        try:
            connection = await self._find_idle() or await self._open()
        except BaseException as error:
            if isinstance(error, DatabaseError) and not self._used:
                self._fail_waiters(error)  # nobody has a connection: the server is away
            self._give_slot()
            raise
        self._used.add(connection)
        return connection

    def add(self, connection: Connection) -> None:
        """Give the pool a connection that was opened elsewhere."""
        self._idle.append(connection)

    def release(self, connection: Connection) -> None:
        """Give a connection back. It is used again unless it is closed, too old, or in a transaction.

        A connection closes itself after a failure or a cancellation. A statement's error that the server has answered
        with leaves it open: the answer was read to its end, so both sides know where they are. Otherwise everybody who
        can violate a unique key could keep the server busy with new connections.
        """
        self._used.discard(connection)
        if connection.in_transaction:
            connection.abort("a transaction was left open")
        if self._closed or not connection.alive or self._is_old(connection):
            connection.quit()
        else:
            self._idle.append(connection)
        self._give_slot()

    def drop_idle(self) -> None:
        """Close what is idle: one of them was found dead, and the others speak to the same server."""
        while self._idle:
            self._idle.pop().quit()

    async def close(self) -> None:
        """Close all connections; those that are used are waited for, for a while."""
        self._closed = True
        self._fail_waiters(Unavailable("the database is closed"))
        self.drop_idle()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._nothing_used.wait()
        for connection in tuple(self._used):
            connection.abort("the database is closed")
        await asyncio.sleep(0)  # the event loop closes the sockets

    # Slots.

    def _take_slot(self) -> None:
        self._taken += 1
        self._nothing_used.clear()

    def _give_slot(self) -> None:
        """Hand a slot to whoever waits longest, or free it."""
        while self._waiters:
            waiter, _ = self._waiters.popitem(last=False)
            if not waiter.done():
                waiter.set_result(None)
                return
        self._taken -= 1
        if not self._taken:
            self._nothing_used.set()

    async def _wait_for_slot(self) -> None:
        if len(self._waiters) >= MOST_WAITING:
            raise _busy()
        waiter = self._loop.create_future()
        self._waiters[waiter] = None
        timer = self._loop.call_later(self._options.wait_seconds, _expire, waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._give_slot()  # it came at the same moment
            raise
        finally:
            timer.cancel()
            self._waiters.pop(waiter, None)

    def _fail_waiters(self, error: DatabaseError) -> None:
        """Tell all who wait now that it will not work: they would each find out after the other."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(type(error)(*error.args))
        self._waiters.clear()

    # Connections.

    async def _find_idle(self) -> Connection | None:
        """Return an idle connection that works, the one that was used last."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.alive or self._is_old(connection):
                connection.quit()
            elif self._loop.time() - connection.used_at < self._options.idle_seconds:
                return connection
            else:
                self._used.add(connection)
                try:
                    await connection.ping(PING_SECONDS)
                except ConnectionLost:
                    self.drop_idle()
                else:
                    return connection
                finally:
                    self._used.discard(connection)
        return None

    async def _open(self) -> Connection:
        self._opening += 1
        try:
            connection, _ = await self._connector.connect()
        except UnusableDatabase as error:  # at another time than the start it may pass
            raise Unavailable(str(error)) from None
        finally:
            self._opening -= 1
        if self._closed:
            connection.quit()
            raise Unavailable("the database is closed")
        return connection

    def _is_old(self, connection: Connection) -> bool:
        return self._loop.time() - connection.opened_at >= self._options.age_seconds


def _expire(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(_busy())


def _busy() -> Unavailable:
    return Unavailable("the database is busy; try again")

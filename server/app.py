"""One process of Switchboard: the only module that imports all wings and puts them together."""

from __future__ import annotations

import asyncio
import gc
import resource
import signal
import sys

import uvloop

from server.auth.accounts import MIGRATIONS, Accounts
from server.config import Settings
from server.db import Database, DatabaseError, MigrationFailed, UnusableDatabase
from server.errors import ListenError
from server.http.application import create_application
from server.http.gate import Gate
from server.log import Log, configure
from server.net.deflate import compressor
from server.net.frames import encode
from server.net.listener import Listener
from server.pubsub.local import LocalBroker
from server.pubsub.peers import Peers
from server.pubsub.presence import Presences
from server.pubsub.topics import Topics
from server.service.host import ServiceHost
from server.version import __version__

EXIT_FINE = 0
EXIT_FAILURE = 1
EXIT_DATA = 65
"""EX_DATAERR of sysexits.h: the database is damaged or too new; starting again will not help."""

YOUNG_OBJECTS = 10_000
"""So many new objects, and the collector looks for circles among them. There are hardly any, for connections and
requests leave none behind, and Python's own 700 is a sixth slower while thousands connect (`bench`, connects)."""

SWEEP_SECONDS = 6 * 3600.0
"""How often sessions that are over are deleted."""

log = Log("app")


class Switchboard:
    """Everything that one process runs.

    Args:
        settings: the whole configuration.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._db: Database | None = None
        self._accounts: Accounts | None = None
        self._broker = LocalBroker()
        least = settings.server.compress_bytes
        self._topics = Topics(encode, self._broker, compress=compressor(least) if least else None)
        self._peers = Peers(self._broker)
        self._presences = Presences()
        self._host: ServiceHost | None = None
        self._listener: Listener | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Start everything; returns the URL.

        Raises:
            ListenError: the address cannot be had.
            DatabaseError: the database cannot be used.
        """
        settings = self._settings
        db = self._db = await Database.open(settings.database_url, slow_seconds=settings.database.slow_seconds)
        await db.migrate("auth", MIGRATIONS)
        accounts = self._accounts = Accounts(db, settings.auth)
        await self._broker.start()
        self._peers.start()
        host = self._host = ServiceHost(settings, db, self._topics, self._presences, self._peers)
        accounts.on_revoked(host.close_session)
        application = create_application(settings, accounts, host, db, self._broker)
        listener = Listener(settings, application, Gate(host, accounts, settings.server.origins))
        listener.bind()
        await host.start()
        await listener.start()
        self._listener = listener
        self._sweeper = asyncio.get_running_loop().create_task(_sweep(accounts))
        return listener.url

    async def stop(self) -> None:
        """Stop everything, in the order in which nobody is left waiting: clients, services, database."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        if self._listener is not None:
            await self._stop_listening(self._listener)
        if self._host is not None:
            await self._host.stop()
        self._presences.stop()
        self._peers.stop()
        self._topics.stop()
        await self._broker.stop()
        if self._accounts is not None:
            self._accounts.close()
        if self._db is not None:
            await self._db.close()

    async def _stop_listening(self, listener: Listener) -> None:
        try:
            async with asyncio.timeout(self._settings.server.stop_seconds):
                await listener.stop()
        except TimeoutError:
            log.warning("clients did not close in time", clients=len(listener.connections))


def run(settings: Settings) -> int:
    """Serve until a signal says stop; returns the exit status."""
    configure(settings.log.level, settings.log.format)
    _raise_descriptor_limit()
    try:
        uvloop.run(_serve(settings))
    except ListenError as error:
        return _fail(str(error), EXIT_FAILURE)
    except (UnusableDatabase, MigrationFailed) as error:
        return _fail(f"the database cannot be used: {error}", EXIT_DATA)
    except DatabaseError as error:
        return _fail(f"the database cannot be opened: {error}", EXIT_FAILURE)
    except OSError as error:
        return _fail(f"cannot start: {error}", EXIT_FAILURE)
    return EXIT_FINE


async def _serve(settings: Settings) -> None:
    asked_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop.set)
    switchboard = Switchboard(settings)
    try:
        url = await switchboard.start()
        # What is here now stays: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS)
        log.info("ready", url=url, version=__version__)
        await asked_to_stop.wait()
        log.info("stopping")
    finally:
        await switchboard.stop()
    log.info("stopped")


async def _sweep(accounts: Accounts) -> None:
    """Delete old sessions, now and then."""
    while True:
        try:
            await accounts.sweep()
        except DatabaseError as error:
            log.warning("old sessions cannot be deleted", problem=str(error))
        await asyncio.sleep(SWEEP_SECONDS)


def _raise_descriptor_limit() -> None:
    """Take as many descriptors as the system grants: each client needs one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _fail(sentence: str, status: int) -> int:
    print(f"switchboard: {sentence}", file=sys.stderr)  # noqa: T201 the command's own voice
    return status

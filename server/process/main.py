"""The main process: from the settings to the exit status."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import uvloop

from server.app import NoWorkers, Switchboard, Workers
from server.config import Settings
from server.db import DatabaseError, MigrationFailed, UnusableDatabase
from server.engine import EXIT_DATA, EXIT_FAILURE, EXIT_FINE, prepare_process, settle_memory
from server.errors import ConfigError, ListenError
from server.log import Log, configure
from server.pubsub.broker import Broker
from server.pubsub.peers import Peers
from server.systemd import Notifier, listen_socket, watchdog_seconds
from server.version import __version__

if TYPE_CHECKING:
    from server.process.supervisor import Supervisor

log = Log("app")


class Main:
    """The main process, from its start to its end.

    Args:
        settings: the whole configuration.
        load: reads the configuration again.
    """

    def __init__(self, settings: Settings, load: Callable[[], Settings]) -> None:
        self._settings = settings
        self._load = load
        self._notifier = Notifier()
        self._stop = asyncio.Event()
        self._reload = asyncio.Event()
        self._supervisor: Supervisor | None = None

    async def serve(self) -> None:
        """Serve until a signal says stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        switchboard = Switchboard(self._settings, self._supervise, listen_socket())
        beside: list[asyncio.Task[None]] = []
        try:
            url = await switchboard.start()
            settle_memory()
            log.info("ready", url=url, version=__version__)
            self._notifier.ready(f"Serving {url}")
            beside = [loop.create_task(self._reload_when_asked()), loop.create_task(self._feed_watchdog())]
            await self._stop.wait()
            log.info("stopping")
        finally:
            self._notifier.stopping()
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await switchboard.stop()
        log.info("stopped")

    def _supervise(self, settings: Settings, broker: Broker, peers: Peers) -> Workers:
        if not any(service.workers for service in settings.services.values()):
            return NoWorkers()
        from server.process.supervisor import Supervisor  # 2 MB that only who has workers needs

        self._supervisor = Supervisor(settings, broker, peers)
        return self._supervisor

    async def _feed_watchdog(self) -> None:
        """Tell systemd that this loop runs and that the workers are looked after.

        A worker that hangs or crashes is the supervisor's to end and to start again: it is no reason to restart others.
        """
        seconds = watchdog_seconds()
        while seconds:
            if self._supervisor is None or self._supervisor.healthy:
                self._notifier.watchdog()
            await asyncio.sleep(seconds / 3)

    async def _reload_when_asked(self) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            self._notifier.reloading()
            try:
                await self._apply()
            finally:
                self._notifier.ready()

    async def _apply(self) -> None:
        """Read the configuration again, and bring new workers up with it, one after the other."""
        try:
            settings = await asyncio.to_thread(self._load)
        except ConfigError as error:
            for problem in error.problems:
                log.error("the new configuration is not taken", problem=problem)
            return
        changed = needs_restart(self._settings, settings)
        if changed:
            log.warning("some changes reach the main process with a restart only", settings=", ".join(changed))
        if self._supervisor is None:
            log.info("reloaded; there are no workers to replace")
        elif await self._supervisor.replace(settings):
            log.info("reloaded", workers=sum(len(pool.live) for pool in self._supervisor.pools))
        else:
            log.error("not all workers were replaced; mend what is named above, and reload again")


def needs_restart(old: Settings, new: Settings) -> list[str]:
    """Return the settings that are different and that new workers alone cannot bring into effect.

    Args:
        old: those of the start.
        new: those that were read again.
    """
    changed = [
        f"{table}.{key}"
        for table in ("server", "database", "broker", "auth", "log")
        for key in type(getattr(new, table)).__struct_fields__
        if getattr(getattr(new, table), key) != getattr(getattr(old, table), key)
    ]
    for name in sorted({*old.services, *new.services}):
        before, after = old.services.get(name), new.services.get(name)
        in_workers = before and after and before.workers and after.workers and before.path == after.path
        if before != after and not in_workers:
            changed.append(f"services.{name}")
    return changed


def run(settings: Settings, load: Callable[[], Settings]) -> int:
    """Serve until a signal says stop; returns the exit status.

    Args:
        settings: the whole configuration.
        load: reads the configuration again; raises `ConfigError` where it is not usable.
    """
    configure(settings.log.level, settings.log.format)
    prepare_process()
    try:
        uvloop.run(Main(settings, load).serve())
    except ListenError as error:
        return _fail(str(error), EXIT_FAILURE)
    except (UnusableDatabase, MigrationFailed) as error:
        return _fail(f"the database cannot be used: {error}", EXIT_DATA)
    except DatabaseError as error:
        return _fail(f"the database cannot be opened: {error}", EXIT_FAILURE)
    except OSError as error:
        return _fail(f"cannot start: {error}", EXIT_FAILURE)
    return EXIT_FINE


def _fail(sentence: str, status: int) -> int:
    print(f"switchboard: {sentence}", file=sys.stderr)  # noqa: T201 the command's own voice
    return status

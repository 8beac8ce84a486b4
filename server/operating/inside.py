"""What `switchboard doctor` looks at on the machine itself: limits, disk, database, broker, memory."""

from __future__ import annotations

import asyncio
import importlib.util
import resource
import shutil
import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import apsw

from server.config import Settings
from server.db import Database, DatabaseError, MigrationFailed
from server.db.migrations import load, pending
from server.db.mysql.url import redacted
from server.db.sqlite.backend import parse_url
from server.errors import ServiceError
from server.migrated import all_migrated
from server.operating.findings import Finding, fail, ok, skip, warn
from server.pubsub.nats_servers import NatsServer, servers, tls_context

MEBIBYTE = 1024**2

SPARE_DESCRIPTORS = 256
"""For the database, workers, files, and connections that are on their way out."""
FEW_DESCRIPTORS = 4096

WORRYING_BYTES = 1024**3
ALARMING_BYTES = 100 * MEBIBYTE
WORRYING_MEMORY_BYTES = 64 * MEBIBYTE

SAFE_SQLITE = (3, 51, 3)
"""The first that cannot damage a file when two processes reset its log at the same moment."""

DATABASE_SECONDS = 15.0

_MEMORY = Path("/proc/meminfo")


async def look_inside(settings: Settings) -> AsyncIterator[Finding]:
    """Yield what is found on this machine, with the configuration that the server has."""
    yield descriptors(settings, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    yield await asyncio.to_thread(folder, settings.data)
    if settings.database_url.startswith("sqlite://"):
        yield sqlite_version(apsw.sqlite_lib_version())
    yield await database(settings)
    async for finding in broker(settings):
        yield finding
    yield memory(settings.server.memory * MEBIBYTE, read_memory())


def descriptors(settings: Settings, limit: int) -> Finding:
    """Tell whether there are as many descriptors as there may be clients.

    Args:
        settings: the configuration.
        limit: the hard limit, for the server takes as many as it may.
    """
    what = "descriptors"
    clients = settings.server.connections
    if limit == resource.RLIM_INFINITY:
        return ok(what, "no limit")
    says = f"{limit:,} for this user; under systemd LimitNOFILE= counts instead"
    if clients and clients + SPARE_DESCRIPTORS > limit:
        return fail(
            what, f"{limit:,}, and server.connections allows {clients:,} clients", "raise LimitNOFILE= or `ulimit -n`"
        )
    if not clients and limit < FEW_DESCRIPTORS:
        return warn(what, f"{limit:,}: room for no more clients than that", "raise LimitNOFILE= or `ulimit -n`")
    return ok(what, says)


def folder(path: Path) -> Finding:
    """Tell whether the folder of the data can be written, and has room. It blocks."""
    what = "data folder"
    if not path.exists():
        return warn(
            what,
            f"{path} is not there yet",
            'the server makes it at its first start; under systemd write data = "/var/lib/switchboard" into the '
            "configuration, so that commands find it too",
        )
    try:
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(b"switchboard doctor")
    except OSError as error:
        return fail(
            what, f"{path} cannot be written: {error.strerror}", "run this as the server's user, or give it the folder"
        )
    free = shutil.disk_usage(path).free
    says = f"{path}: {free / 1024**3:,.1f} GB free"
    if free < ALARMING_BYTES:
        return fail(what, says, "make room: without it nothing can be acknowledged")
    return warn(what, says, "make room soon") if free < WORRYING_BYTES else ok(what, says)


def sqlite_version(version: str) -> Finding:
    """Tell whether SQLite is one that does not damage files."""
    if tuple(map(int, version.split("."))) >= SAFE_SQLITE:
        return ok("SQLite", version)
    safe = ".".join(map(str, SAFE_SQLITE))
    return fail("SQLite", f"{version} can damage its file, rarely; {safe} cannot", "pip install --upgrade apsw")


async def database(settings: Settings) -> Finding:
    """Tell whether the database can be used, and has every migration."""
    what, url = "database", settings.database_url
    if url.startswith("sqlite://"):
        file, _ = parse_url(url)
        if file is not None and not await asyncio.to_thread(Path(file).exists):
            return warn(what, f"{file} is not there yet", "the server makes it at its first start")
    name = redacted(url)
    try:
        async with asyncio.timeout(DATABASE_SECONDS), await Database.open(url, slow_seconds=0) as db:
            await db.ping()
            waiting = [f"{one.name} {p.migration.name}" for one in all_migrated(settings)
                       for p in await pending(db, one.name, await asyncio.to_thread(load, one.folder))]  # fmt: skip
    except TimeoutError:
        return fail(what, f"{name}: no answer within {DATABASE_SECONDS:g} seconds", "look at the database's machine")
    except (MigrationFailed, ServiceError) as error:
        return fail(what, f"{name}: {error}", "see `switchboard db status`")
    except (DatabaseError, OSError) as error:
        return fail(what, f"{name}: {error}", "see whether database.url is right, and whether the database runs")
    if waiting:
        return warn(
            what, f"{name}: not applied: {', '.join(waiting)}", "the next start applies it; or `switchboard db upgrade`"
        )
    return ok(what, f"{name}, every migration applied")


async def broker(settings: Settings) -> AsyncIterator[Finding]:
    """Tell of each NATS server whether it can be reached."""
    what, table = "broker", settings.broker
    if table.url == "local":
        yield ok(what, "local: one machine needs no other")
        return
    if importlib.util.find_spec("nats") is None:
        yield fail(what, "NATS needs its library", "pip install 'switchboard-server[nats]'")
        return
    try:
        tls = tls_context(table, settings.base)
    except OSError as error:
        yield fail(
            what, f"broker.tls_ca: {error.strerror or 'no certificate is in it'}", "name the file of the authority"
        )
        return
    credentials = settings.base / table.credentials if table.credentials else None
    for one in servers(table.url):
        yield await _nats(one, tls, credentials)


async def _nats(one: NatsServer, tls: ssl.SSLContext | None, credentials: Path | None) -> Finding:
    # Only who has a NATS needs its library.
    from server.pubsub.nats_connection import NatsConnection, NatsError

    try:
        connection = await NatsConnection.open(one, lambda *_: None, tls=tls, credentials=credentials)
    except NatsError as error:
        return fail("broker", f"{one}: {error}", "see whether broker.url is right, and whether NATS runs")
    await connection.close()
    return ok("broker", f"{one}: connected")


def memory(budget: int, figures: Mapping[str, int]) -> Finding:
    """Tell whether there is the memory that the server may take.

    Args:
        budget: what the server may take, in bytes; 0 is no bound.
        figures: what the system says, in bytes; nothing where it says nothing.
    """
    what = "memory"
    total, available = figures.get("MemTotal", 0), figures.get("MemAvailable", 0)
    if not total:
        return skip(what, "the system does not say")
    says = f"{available / MEBIBYTE:,.0f} MB of {total / MEBIBYTE:,.0f} MB available"
    if budget > total:
        return fail(what, f"{says}; server.memory is {budget / MEBIBYTE:,.0f} MB", "set server.memory to what there is")
    if available < WORRYING_MEMORY_BYTES:
        return warn(what, says, "set server.memory, or give the machine more")
    return ok(what, says)


def read_memory() -> dict[str, int]:
    """Return what the system says of its memory, in bytes."""
    try:
        lines = _MEMORY.read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {name: int(value.removesuffix("kB")) * 1024 for name, _, value in pairs if value.endswith("kB")}

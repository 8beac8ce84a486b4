"""Opening connections: aiomysql's handshake, with what it leaves open closed, and a session as we want it."""

from __future__ import annotations

import asyncio
import math
import re
import ssl
import struct
from typing import Any

import aiomysql
import msgspec

from server.db.errors import DatabaseError, QueryError, Unavailable, UnusableDatabase
from server.db.mysql.answers import ServerError
from server.db.mysql.connection import Connection
from server.db.mysql.dialect import MARIADB, MYSQL, MySQLDialect
from server.db.mysql.errors import ConnectionLost, refused
from server.db.mysql.url import MySQLOptions

GRACE_SECONDS = 2.0
"""How much longer than the server we wait for a statement, so that it is the server that gives up."""
OLDEST_MARIADB = (10, 11, 0)
OLDEST_MYSQL = (8, 0, 17)

_SQL_MODE = (
    "STRICT_TRANS_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,NO_AUTO_VALUE_ON_ZERO,ONLY_FULL_GROUP_BY,NO_ENGINE_SUBSTITUTION"
)
_CLIENT_SSL = 1 << 11
_IN_THE_CLEAR = ("mysql_clear_password", "mysql_old_password")
_VERSION = re.compile(r"(?:5\.5\.5-)?(\d+)\.(\d+)\.(\d+)(.*)")  # MariaDB 10 says that it is 5.5.5, for old replicas


class Server(msgspec.Struct, frozen=True):
    """What a server is.

    Args:
        version: what it says of itself.
        dialect: how it wants things written.
    """

    version: str
    dialect: MySQLDialect

    @classmethod
    def of(cls, version: str) -> Server:
        """Read a version.

        Raises:
            UnusableDatabase: it is too old.
        """
        found = _VERSION.match(version)
        numbers = tuple(map(int, found.groups()[:3])) if found else (0, 0, 0)
        is_mariadb = "mariadb" in version.lower()
        if numbers < (OLDEST_MARIADB if is_mariadb else OLDEST_MYSQL):
            raise UnusableDatabase(f"the database server is {version}, older than MariaDB 10.11 or MySQL 8.0.17")
        return cls(version, MARIADB if is_mariadb else MYSQL)

    @property
    def is_mariadb(self) -> bool:
        """Whether it is no MySQL."""
        return self.dialect is MARIADB

    def statement_limit(self, seconds: float) -> str:
        """Write the assignment that ends statements which take longer; 0 for none."""
        if self.is_mariadb:
            return f"max_statement_time = {seconds:f}"
        return f"max_execution_time = {math.ceil(seconds * 1000)}"  # of SELECT alone


class Connector:
    """Opens connections to one database.

    Args:
        options: where it is.
        tls: how to encrypt; None for not at all.
    """

    def __init__(self, options: MySQLOptions, tls: ssl.SSLContext | None) -> None:
        self.options = options
        self._tls = tls

    @classmethod
    async def of(cls, options: MySQLOptions) -> Connector:
        """Read the certificates that the options want.

        Raises:
            QueryError: there are none.
        """
        return cls(options, await asyncio.to_thread(_tls_context, options) if options.tls != "off" else None)

    @property
    def statement_seconds(self) -> float:
        """How long we wait for a statement."""
        return self.options.query_seconds + GRACE_SECONDS

    async def connect(self) -> tuple[Connection, Server]:
        """Open a connection, and set up its session.

        Raises:
            UnusableDatabase: the server is too old, knows neither user nor database, or encrypts not as wanted.
            Unavailable: it cannot be reached, does not answer in time, or has no room.
        """
        options = self.options
        where = f"the database server at {options.where}"
        handshake = _Handshake(options, self._tls)
        connection = None
        try:
            async with asyncio.timeout(options.connect_seconds):
                reader, writer, server, number = await handshake.shake_hands()
                connection = Connection(reader, writer, number)
                await self._set_up(connection, server)
        except BaseException as error:
            handshake.abort()
            if connection is not None:
                connection.abort()
            if isinstance(error, Exception) and not isinstance(error, DatabaseError):
                raise self._translated(error, where) from None
            raise
        return connection, server

    async def _set_up(self, connection: Connection, server: Server) -> None:
        options = self.options
        settings = [
            f"sql_mode = '{_SQL_MODE}'",
            "time_zone = '+00:00'",
            "lc_messages = 'en_US'",  # the error messages are read, and the number of matched rows
            "autocommit = 1",
            f"innodb_lock_wait_timeout = {options.lock_seconds}",
            f"lock_wait_timeout = {math.ceil(options.query_seconds)}",
            "innodb_ft_enable_stopword = OFF",
            server.statement_limit(options.query_seconds),
        ]
        statements = [
            f"SET NAMES utf8mb4 COLLATE {server.dialect.collation}",
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
            f"SET SESSION {', '.join(settings)}",
            "SELECT @@max_allowed_packet",
        ]
        results = await connection.run([statement.encode() for statement in statements], options.connect_seconds)
        connection.most_bytes = results[-1].rows[0][0]

    def _translated(self, error: Exception, where: str) -> DatabaseError:
        """Return our error for a failed attempt; a password never stands in what aiomysql raises."""
        if isinstance(error, ServerError):
            return refused(error, self.options.where)
        if isinstance(error, TimeoutError):
            return Unavailable(f"{where} does not answer within {self.options.connect_seconds:g} seconds")
        if isinstance(error, ConnectionLost):
            return Unavailable(f"{where} is not available: {error}")
        if isinstance(error, aiomysql.MySQLError):
            cause = error.__cause__
            if isinstance(cause, ssl.SSLError):
                return UnusableDatabase(f"{where} does not encrypt as wanted: {cause}")
            if isinstance(cause, OSError):
                return Unavailable(f"{where} is not available: {cause}")
            if len(error.args) == 2 and isinstance(error.args[0], int):
                return refused(ServerError(error.args[0], str(error.args[1])), self.options.where)
            return Unavailable(f"{where} is not available: {type(error).__name__}")
        if isinstance(error, RuntimeError) and "cryptography" in str(error):
            return UnusableDatabase(
                f"{where} wants the password encrypted: use tls=on, or install the package cryptography"
            )
        if isinstance(error, OSError):
            return Unavailable(f"{where} is not available: {error}")
        if isinstance(error, (struct.error, LookupError, ValueError, AssertionError)):
            return Unavailable(f"{where} does not speak MySQL's protocol")
        return Unavailable(f"{where} is not available: {type(error).__name__}")


class _Handshake(aiomysql.Connection):  # type: ignore[misc]  # aiomysql has no types
    """aiomysql's connection up to the moment where it could be used."""

    def __init__(self, options: MySQLOptions, tls: ssl.SSLContext | None) -> None:
        super().__init__(
            host=options.host,
            port=options.port,
            user=options.user,
            # aiomysql writes it as Latin-1, and servers expect the bytes of its UTF-8.
            password=options.password.encode().decode("latin-1"),
            db=options.database,
            unix_socket=options.socket or None,
            charset="utf8mb4",
            autocommit=None,  # what we set, we set in one round trip
            connect_timeout=None,  # its way of waiting loses cancellations
            ssl=tls,
        )
        self._server: Server | None = None

    async def shake_hands(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Server, int]:
        """Connect and log in; return the streams, which are not this object's any more."""
        await self._connect()
        assert self._server is not None
        reader: asyncio.StreamReader = self._reader
        writer: asyncio.StreamWriter = self._writer
        self._forget_streams()
        return reader, writer, self._server, self.thread_id()

    def abort(self) -> None:
        """Close it at once."""
        if self._writer is not None:
            self._writer.transport.abort()
            self._forget_streams()

    def _forget_streams(self) -> None:
        self._reader: Any = None
        self._writer: Any = None

    async def _get_server_information(self) -> None:
        await super()._get_server_information()
        self._server = Server.of(self.server_version)
        # Without this, aiomysql would go on in the clear: whoever sits between could switch the encryption off.
        if self._ssl_context is not None and not self.server_capabilities & _CLIENT_SSL:
            raise UnusableDatabase(f"the database server at {self._host}:{self._port} does not encrypt")

    async def _process_auth(self, plugin_name: bytes, auth_packet: object) -> object:
        if plugin_name.decode("latin-1") in _IN_THE_CLEAR and not self._secure:
            raise UnusableDatabase("the database server wants the password in the clear: use tls=on")
        return await super()._process_auth(plugin_name, auth_packet)


def _tls_context(options: MySQLOptions) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=options.tls_ca or None)
    except OSError as error:
        raise QueryError(f"the option tls_ca of the database's URL: {error.strerror or 'no certificate'}") from None
    if options.tls == "unverified":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context

"""Reads, units, errors, locks, and what a session is set up with."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import pytest

from server.db.backends import Result, Statement
from server.db.errors import (
    DatabaseError,
    ForeignKeyViolation,
    IntegrityError,
    QueryError,
    TransactionConflict,
    Unavailable,
    UniqueViolation,
    UnusableDatabase,
)
from server.db.mysql.backend import MySQLBackend
from server.db.mysql.connecting import Server
from server.db.mysql.dialect import MARIADB, MYSQL
from tests.server.db.mysql.conftest import OpenBackend, run, select
from tests.support.mariadb import TLS, MariaDb

SECRET = "hush"


async def test_results_of_writes(people: MySQLBackend) -> None:
    """Keys, changed rows, and for an UPDATE the rows that matched, different or not."""
    assert await run(people, "INSERT INTO people (name) VALUES (%s), (%s)", "a", "b") == Result([], 2, 1)
    assert (await run(people, "UPDATE people SET name = name")).changed == 2
    assert (await run(people, "UPDATE people SET name = 'c' WHERE id > 5")).changed == 0
    assert (await run(people, "DELETE FROM people")).changed == 2
    assert (await run(people, "INSERT INTO people (name) VALUES ('a')")).last_key == 3


async def test_returned_rows_are_counted(people: MySQLBackend) -> None:
    """Where a write can give rows back, it has changed as many."""
    if "insert" not in people.dialect.returning:
        pytest.skip("the server cannot")
    result = await run(people, "INSERT INTO people (name) VALUES ('a'), ('b') RETURNING id, name")
    assert result == Result([(1, "a"), (2, "b")], 2)


async def test_a_unit_is_all_or_nothing(people: MySQLBackend) -> None:
    """Its results come in order; when one statement fails, nothing of it was written."""
    insert = "INSERT INTO people (name) VALUES (%s)"
    results = await people.write(
        [Statement(insert, ("a",)), Statement("SELECT count(*) FROM people", writes=False), Statement(insert, ("b",))]
    )
    assert results == [Result([], 1, 1), Result([(1,)]), Result([], 1, 2)]
    with pytest.raises(UniqueViolation):
        await people.write([Statement(insert, ("c",)), Statement(insert, ("a",)), Statement(insert, ("d",))])
    assert await select(people, "SELECT name FROM people ORDER BY id") == [("a",), ("b",)]
    assert await people.write([]) == []


async def test_a_unit_larger_than_a_packet(people: MySQLBackend) -> None:
    """Is all or nothing as well; a single statement that is too large is refused before anything is sent."""
    [connection] = people.pool._idle
    assert [(connection.most_bytes,)] == await select(people, "SELECT @@max_allowed_packet")
    most = connection.most_bytes = 100_000
    await run(people, "CREATE TABLE t (b LONGTEXT)")
    large = Statement("INSERT INTO t VALUES (%s)", ("x" * (most // 3),))
    await people.write([large] * 4)
    with pytest.raises(UniqueViolation):
        await people.write([large] * 4 + [Statement("INSERT INTO people VALUES (1, 'a')")] * 2)
    assert await select(people, "SELECT count(*) FROM t") == [(4,)]
    with pytest.raises(QueryError, match="max_allowed_packet"):
        await people.write([large, Statement("INSERT INTO t VALUES (%s)", ("x" * most,))])
    assert await select(people, "SELECT count(*) FROM t") == [(4,)]


@pytest.mark.parametrize("sql", ["SELECT 1; SELECT 2", "SELECT 1 -- ;", "SELECT 1 #"])
async def test_a_statement_is_one_statement(people: MySQLBackend, sql: str) -> None:
    """Text with several is refused; a comment at its end swallows nothing of the unit."""
    insert = Statement("INSERT INTO people (name) VALUES ('a')")
    if ";" in sql and "--" not in sql:
        with pytest.raises(QueryError, match="exactly one statement"):
            await people.read(Statement(sql, writes=False))
    else:
        assert len(await people.write([Statement(sql), insert, Statement(sql)])) == 3
        assert await select(people, "SELECT count(*) FROM people") == [(1,)]


async def test_the_session_is_ours(open_backend: OpenBackend) -> None:
    """Whatever the server's defaults are: strict, UTC, read committed, autocommit, no stop words, limits."""
    backend = await open_backend(lock_seconds=7, query_seconds=9)
    limit = "max_statement_time" if backend.dialect is MARIADB else "max_execution_time"
    [row] = await select(
        backend,
        "SELECT @@time_zone, @@autocommit, @@innodb_lock_wait_timeout, @@lc_messages, @@innodb_ft_enable_stopword,"
        f" @@character_set_client, @@{limit}",
    )
    assert row[:6] == ("+00:00", 1, 7, "en_US", 0, "utf8mb4")
    assert row[6] in ("9.000000", 9.0, 9000)
    [(mode,)] = await select(backend, "SELECT @@sql_mode")
    assert "STRICT_TRANS_TABLES" in str(mode)
    assert "NO_BACKSLASH_ESCAPES" not in str(mode)
    assert await select(backend, "SHOW VARIABLES WHERE Value = 'READ-COMMITTED'") != []


async def test_errors_by_their_kind(people: MySQLBackend) -> None:
    """Each kind of failure is its own error; its text names keys and columns and no value."""
    await run(people, "INSERT INTO people (name) VALUES ('hush')")
    await run(people, "CREATE TABLE child (id BIGINT PRIMARY KEY, parent BIGINT NOT NULL, age INT CHECK (age > 0),"
                      " FOREIGN KEY (parent) REFERENCES people (id))")  # fmt: skip
    await run(people, "INSERT INTO child VALUES (1, 1, 1)")
    cases: list[tuple[str, tuple[object, ...], type[DatabaseError], str]] = [
        ("INSERT INTO people (name) VALUES (%s)", (SECRET,), UniqueViolation, "name is taken"),
        ("INSERT INTO people VALUES (1, %s)", (SECRET + "2",), UniqueViolation, "PRIMARY is taken"),
        ("INSERT INTO child VALUES (2, 77001, 1)", (), ForeignKeyViolation, "child.parent refers to a row"),
        ("DELETE FROM people WHERE name = %s", (SECRET,), ForeignKeyViolation, "is referred to"),
        ("INSERT INTO child (id, parent) VALUES (3, NULL)", (), IntegrityError, "parent violates the schema"),
        ("INSERT INTO child (id) VALUES (3)", (), IntegrityError, "parent violates the schema"),
        ("INSERT INTO child VALUES (3, 1, -77001)", (), IntegrityError, "violates the schema"),
        ("INSERT INTO child VALUES (3, 1, %s)", (SECRET,), QueryError, "(1366)"),
        ("INSERT INTO child VALUES (3, 1, %s)", ("it's 'hush", ), QueryError, "(1366)"),
        ("INSERT INTO child VALUES (3, 1, 99999999999)", (), QueryError, "'age'"),
        ("INSERT INTO people (name) VALUES (%s)", (SECRET * 100,), QueryError, "'name'"),
        ("UPDATE child SET age = %s + 1", (SECRET,), QueryError, "(1292)"),
        ("SELEC %s", (SECRET,), QueryError, "syntax"),
        ("SELECT nothing FROM people WHERE name = %s", (SECRET,), QueryError, "nothing"),
        ("SELECT * FROM nowhere WHERE name = %s", (SECRET,), QueryError, "nowhere"),
    ]  # fmt: skip
    for sql, arguments, kind, text in cases:
        with pytest.raises(DatabaseError) as caught:
            await people.write([Statement(sql, arguments)])
        assert type(caught.value) is kind, (sql, caught.value)
        assert text in str(caught.value), sql
        assert SECRET not in str(caught.value)
        assert "77001" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert SECRET not in str(caught.value.__context__)
    assert people.pool.size == people.pool.idle == 1  # nobody can make us reconnect with a wrong value


async def test_a_key_that_a_value_imitates(people: MySQLBackend) -> None:
    """A value that looks like the end of the message does not become the key."""
    value = "' for key 'hush"
    await run(people, "INSERT INTO people (name) VALUES (%s)", value)
    with pytest.raises(UniqueViolation, match="name is taken") as caught:
        await run(people, "INSERT INTO people (name) VALUES (%s)", value)
    assert SECRET not in str(caught.value)


async def test_a_lock_that_is_not_free(people: MySQLBackend, open_backend: OpenBackend) -> None:
    """Whoever waits too long for a row gets a TransactionConflict, and the unit was rolled back."""
    other = await open_backend(lock_seconds=1)
    await run(people, "INSERT INTO people VALUES (1, 'a'), (2, 'b')")
    session = await people.begin(60)
    await session.execute([Statement("UPDATE people SET name = 'x' WHERE id = 2")])
    with pytest.raises(TransactionConflict):
        await other.write([Statement(f"UPDATE people SET name = 'y{n}' WHERE id = {n}") for n in (1, 2)])
    with pytest.raises(TransactionConflict):
        await run(other, "UPDATE people SET name = 'y' WHERE id = 2")
    await session.roll_back()
    assert await select(other, "SELECT name FROM people ORDER BY id") == [("a",), ("b",)]


async def test_a_statement_that_takes_too_long(open_backend: OpenBackend) -> None:
    """It is the server that ends it, so that nothing goes on running there."""
    backend = await open_backend(query_seconds=0.2)
    with pytest.raises(Unavailable):
        await select(backend, "SELECT count(*) FROM information_schema.columns a, information_schema.columns b,"
                              " information_schema.columns c WHERE sleep(1) = 0")  # fmt: skip
    assert await select(backend, "SELECT 1") == [(1,)]


async def test_an_answer_that_does_not_come(open_backend: OpenBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the server's limit it is ours that ends the wait."""
    monkeypatch.setattr("server.db.mysql.connecting.GRACE_SECONDS", -0.4)
    backend = await open_backend(query_seconds=0.5)
    with pytest.raises(Unavailable, match="did not answer"):
        await select(backend, "SELECT sleep(5)")
    assert await select(backend, "SELECT 1") == [(1,)]


async def test_lock_keeps_others_out(open_backend: OpenBackend) -> None:
    """One of two backends has it; the other waits, or gives up in time. Any name will do."""
    one, two = await open_backend(), await open_backend()
    for name in ("migrations", "x" * 100):
        async with one.lock(name, 1):
            with pytest.raises(Unavailable, match="somebody else"):
                async with two.lock(name, 0):
                    raise AssertionError
            async with two.lock(name + "2", 0):
                pass
        async with two.lock(name, 0):
            pass

    inside = False

    async def hold(backend: MySQLBackend) -> None:
        nonlocal inside
        async with backend.lock("turns", 30):
            assert not inside
            inside = True
            await asyncio.sleep(0)
            inside = False

    await asyncio.gather(*(hold(backend) for backend in (one, two) for _ in range(5)))


async def test_a_wrong_user_or_database(url: str) -> None:
    """Starting again will not help, and the error says so without the password."""
    wrong = urlsplit(url)._replace(netloc=f"nobody:{SECRET}@{urlsplit(url).netloc.rpartition('@')[2]}").geturl()
    with pytest.raises(UnusableDatabase, match="nobody") as caught:
        await MySQLBackend.open(wrong)
    assert SECRET not in str(caught.value)
    with pytest.raises(UnusableDatabase, match="nowhere"):
        await MySQLBackend.open(urlsplit(url)._replace(path="/nowhere").geturl())


async def test_nobody_listens(url: str) -> None:
    """A server that is not there is Unavailable, with its address; so is something that is no database."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        with pytest.raises(Unavailable, match=f"127.0.0.1:{port}"):
            await MySQLBackend.open(f"mysql://u:{SECRET}@127.0.0.1:{port}/d?connect_seconds=1")
    with pytest.raises(Unavailable, match=f"127.0.0.1:{port}") as caught:
        await MySQLBackend.open(f"mysql://u:{SECRET}@127.0.0.1:{port}/d")
    assert SECRET not in str(caught.value)


async def test_a_server_that_says_nothing() -> None:
    """A connection that is accepted and not greeted ends at its deadline."""
    silent = asyncio.Event()

    async def wait(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silent.wait()
        writer.close()

    async with await asyncio.start_server(wait, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        with pytest.raises(Unavailable, match="does not answer"):
            await MySQLBackend.open(f"mysql://u:p@127.0.0.1:{port}/d?connect_seconds=0.05")
        silent.set()


@pytest.mark.parametrize("version", ["10.10.9-MariaDB", "5.5.5-10.6.4-MariaDB-log", "8.0.16", "5.7.44-log", "what"])
def test_old_versions_are_refused(version: str) -> None:
    """What is too old is named."""
    with pytest.raises(UnusableDatabase, match=version):
        Server.of(version)


def test_versions() -> None:
    """What a server says tells whose it is."""
    for version in ("5.5.5-10.11.19-MariaDB-0+deb12u1", "11.4.2-MariaDB", "10.11.0-MariaDB"):
        assert Server.of(version).dialect is MARIADB
    for version in ("8.0.17", "8.4.0", "9.1.0-commercial", "8.0.36-28"):
        assert Server.of(version).dialect is MYSQL


@pytest.mark.parametrize("tls", ["unverified", "on"])
async def test_tls(mariadb: MariaDb, tls: str) -> None:
    """The connection is encrypted, and with `on` the certificate is checked."""
    options = {"tls": tls} if tls == "unverified" else {"tls": tls, "tls_ca": str(TLS / "certificate.pem")}
    backend = await MySQLBackend.open(mariadb.url("mysql", **options))
    [(_, cipher)] = await select(backend, "SHOW STATUS LIKE 'Ssl_cipher'")
    assert cipher
    assert await select(backend, "SELECT repeat('x', 3000000)") == [("x" * 3_000_000,)]
    await backend.close()


async def test_tls_with_a_stranger(mariadb: MariaDb) -> None:
    """A certificate that nobody vouches for ends it before the password is sent."""
    with pytest.raises(UnusableDatabase, match="encrypt"):
        await MySQLBackend.open(mariadb.url("mysql", tls="on"))


async def test_tls_is_not_switched_off_on_the_way() -> None:
    """A server that says it cannot encrypt gets no password."""
    received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greeting = (
            b"\x0a10.11.2-MariaDB\0" + b"\1\0\0\0" + b"saltsalt\0" + b"\xff\xf7\x2d\x02\0\xff\x81\x15" + bytes(10)
        )
        greeting += b"saltsaltsalt\0mysql_native_password\0"
        writer.write(len(greeting).to_bytes(3, "little") + b"\0" + greeting)
        received.set_result(await reader.read())
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        with pytest.raises(UnusableDatabase, match="does not encrypt"):
            await MySQLBackend.open(f"mysql://u:p@127.0.0.1:{port}/d?tls=unverified")
        assert await received == b""


async def test_a_socket_of_this_machine(mariadb: MariaDb) -> None:
    """A server can be reached through its Unix socket."""
    url = urlsplit(mariadb.url("mysql", socket=str(mariadb.socket)))
    backend = await MySQLBackend.open(url._replace(netloc=url.netloc.rpartition("@")[0] + "@").geturl())
    assert await select(backend, "SELECT 1") == [(1,)]
    await backend.close()


async def test_a_password_in_any_script(mariadb: MariaDb) -> None:
    """A password is sent as UTF-8, as other clients send it."""
    mariadb.execute("CREATE OR REPLACE USER other IDENTIFIED BY 'pä\N{SNOWMAN}'")
    url = mariadb.url("information_schema").replace("tester:p%40ss%3Aw%2Frd%25", "other:p%C3%A4%E2%98%83")
    await (await MySQLBackend.open(url)).close()

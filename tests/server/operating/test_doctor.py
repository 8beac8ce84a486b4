"""`switchboard doctor`: what each check says, and what is to be done. Proxies are in tests/deploy."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate
from pathlib import Path

import msgspec
import pytest

from server.config import BrokerSettings, DatabaseSettings, ServerSettings, ServiceSettings, Settings
from server.db import Database
from server.http.health import DatabaseHealth, Health
from server.migrated import all_migrated
from server.operating import inside, outside
from server.operating.asking import Address, Answer
from server.operating.doctor import line
from server.operating.findings import Finding, Verdict, fail, ok
from server.operating.outside import ClientView
from server.pubsub.broker import BrokerHealth
from server.service.host import ServiceStatus, State
from tests.server.operating.support import run
from tests.support.nats import private_nats
from tests.support.server import Server, free_port

GB = 1024**3
PUBLIC = Address(True, "chat.example.org", 443)


def settings(base: Path, **tables: object) -> Settings:
    services = {"chat": ServiceSettings(name="chat", path="/chat")}
    return msgspec.structs.replace(Settings(base=base, services=services), **tables)


def answer(status: int = 200, headers: dict[str, str] | None = None, body: bytes = b"{}") -> Answer:
    return Answer(status, headers or {}, body, 0.01)


# What is printed.


def test_a_line() -> None:
    """A finding is one line, what to do about it another; colours are for terminals."""
    assert line(ok("page", "200")) == "  ok    page         200"
    text = line(fail("disk", "full", "make room"), colour=True)
    assert "\x1b[31mfail\x1b[0m" in text
    assert text.endswith("\n                     -> make room")


# On the machine.


@pytest.mark.parametrize(
    ("connections", "limit", "verdict"),
    [
        (0, 524288, Verdict.OK),
        (0, 1024, Verdict.WARN),
        (10_000, 524288, Verdict.OK),
        (10_000, 10_000, Verdict.FAIL),
        (10_000, -1, Verdict.OK),
    ],
)
def test_descriptors(connections: int, limit: int, verdict: Verdict) -> None:
    """There are to be more descriptors than clients are allowed."""
    assert inside.descriptors(Settings(server=ServerSettings(connections=connections)), limit).verdict is verdict


@pytest.mark.parametrize(("free", "verdict"), [(5 * GB, Verdict.OK), (GB // 2, Verdict.WARN), (1000, Verdict.FAIL)])
def test_room_on_the_disk(free: int, verdict: Verdict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is nearly full is a warning, and one that is full a failure."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": free}))
    assert inside.folder(tmp_path).verdict is verdict


def test_the_data_folder(tmp_path: Path) -> None:
    """A folder that is not there yet is to be expected; one that cannot be written is a failure."""
    assert inside.folder(tmp_path / "data").verdict is Verdict.WARN
    (tmp_path / "file").touch()
    assert inside.folder(tmp_path / "file").verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("version", "verdict"), [("3.51.3", Verdict.OK), ("3.100.0", Verdict.OK), ("3.51.2", Verdict.FAIL)]
)
def test_sqlite(version: str, verdict: Verdict) -> None:
    """A SQLite that can damage its file is named, whatever the digits look like as text."""
    assert inside.sqlite_version(version).verdict is verdict


async def test_database(tmp_path: Path) -> None:
    """A database is missing, not migrated, fine, and damaged; each is told from the others."""
    local = settings(tmp_path)
    assert "not there yet" in (await inside.database(local)).says
    local.data.mkdir()
    async with await Database.open(local.database_url) as db:
        await db.ping()
        found = await inside.database(local)
        assert (found.verdict, "not applied: auth 0001" in found.says) == (Verdict.WARN, True)
        for one in all_migrated(local):
            await db.migrate(one.name, one.folder)
        assert (await inside.database(local)).verdict is Verdict.OK
    damaged = Path(local.database_url.removeprefix("sqlite:///"))
    await asyncio.to_thread(damaged.write_bytes, b"no database" * 1000)
    assert (await inside.database(local)).verdict is Verdict.FAIL


async def test_a_database_that_is_away(tmp_path: Path) -> None:
    """A database that does not answer is a failure, and its password is not printed."""
    url = f"mysql://ann:secret@127.0.0.1:{free_port()}/x?connect_seconds=1"
    found = await inside.database(settings(tmp_path, database=DatabaseSettings(url=url)))
    assert found.verdict is Verdict.FAIL
    assert "secret" not in line(found)


async def findings_of_broker(table: BrokerSettings) -> list[Finding]:
    return [finding async for finding in inside.broker(Settings(broker=table))]


async def test_broker() -> None:
    """Of several NATS servers each one is looked at; one machine needs none."""
    assert [f.verdict for f in await findings_of_broker(BrokerSettings())] == [Verdict.OK]
    with private_nats() as nats:
        url = f"{nats.url}, nats://ann:secret@127.0.0.1:{free_port()}"
        found = await findings_of_broker(BrokerSettings(url=url))
    assert [finding.verdict for finding in found] == [Verdict.OK, Verdict.FAIL]
    assert "secret" not in "".join(map(line, found))


@pytest.mark.parametrize(
    ("budget", "total", "available", "verdict"),
    [
        (0, GB, GB // 2, Verdict.OK),
        (GB // 2, GB, GB // 2, Verdict.OK),
        (2 * GB, GB, GB // 2, Verdict.FAIL),
        (0, GB, GB // 100, Verdict.WARN),
        (0, 0, 0, Verdict.SKIP),
    ],
)
def test_memory(budget: int, total: int, available: int, verdict: Verdict) -> None:
    """A budget that the machine does not have, and a machine that has hardly any left, are named."""
    assert inside.memory(budget, {"MemTotal": total, "MemAvailable": available}).verdict is verdict


def test_memory_of_this_machine() -> None:
    """What the system says is read, in bytes."""
    figures = inside.read_memory()
    assert 0 < figures["MemAvailable"] <= figures["MemTotal"]


# Through the URL.


@pytest.mark.parametrize(
    ("status", "words"),
    [(404, "Upgrade"), (400, "Upgrade"), (426, "Upgrade"), (200, "Upgrade"), (502, "logs"), (403, "forbids"),
     (429, "server.proxies")],
)  # fmt: skip
def test_refused_handshakes_are_explained(status: int, words: str) -> None:
    """Each answer that stands in the place of a WebSocket has its usual cause."""
    found = outside.refused(status, "/echo")
    assert found.verdict is Verdict.FAIL
    assert f"/echo answers {status}" in found.says
    assert words in found.todo


def test_certificates_that_expire() -> None:
    """A certificate that should have been renewed is a warning."""
    now = time.time()
    assert outside.expiry(now + 80 * 86400, now).verdict is Verdict.OK
    assert outside.expiry(now + 3.5 * 86400, now).says == "valid for 3 more days"
    assert outside.expiry(now + 3.5 * 86400, now).verdict is Verdict.WARN


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (answer(308, {"location": "https://chat.example.org/"}), Verdict.OK),
        (answer(308, {"location": "http://chat.example.org/x"}), Verdict.WARN),
        (answer(200), Verdict.WARN),
    ],
)
def test_http_is_to_lead_to_https(found: Answer, verdict: Verdict) -> None:
    """Whoever leaves out the `s` is to be sent on."""
    assert outside.redirection(found).verdict is verdict


@pytest.mark.parametrize(("skew", "verdict"), [(0.0, Verdict.OK), (-3.0, Verdict.OK), (600.0, Verdict.WARN)])
def test_clocks(skew: float, verdict: Verdict) -> None:
    """A clock that is minutes off is named; a second is the age of an answer."""
    now = 1_800_000_000.0
    assert outside.clock(answer(headers={"date": formatdate(now + skew, usegmt=True)}), now).verdict is verdict


def test_no_clock() -> None:
    """An answer without a date, or with nonsense, says nothing of the clock."""
    assert outside.clock(answer(), 0.0).verdict is Verdict.SKIP
    assert outside.clock(answer(headers={"date": "noon"}), 0.0).verdict is Verdict.SKIP


def test_health() -> None:
    """Everything that is not well is in one line, in plain characters."""
    well = ServiceStatus("echo", "/echo", State.RUNNING, 0, 0, "", 0.0)
    ill = ServiceStatus("chat", "/chat", State.BACKOFF, 0, 0, "no \x1b[2Jluck", 0.0)
    broker = BrokerHealth(False, "nats: away")
    fine = Health("ok", "1.2.3", {"echo": well}, DatabaseHealth(True), BrokerHealth(True, "local"))
    assert outside.healthy(fine) == ok("health", "1.2.3 is ok")
    found = outside.healthy(Health("degraded", "1.2.3", {"chat": ill}, DatabaseHealth(True), broker))
    assert found.verdict is Verdict.WARN
    assert found.says == "1.2.3 is degraded; chat backoff no  [2Jluck; broker: nats: away"
    failing = Health("failing", "1.2.3", {}, DatabaseHealth(False, "gone"), broker)
    assert outside.healthy(failing).verdict is Verdict.FAIL


def seen(view: ClientView) -> Answer:
    return answer(body=msgspec.json.encode({"status": "ok", "client": view}))


@pytest.mark.parametrize(
    ("url", "found", "verdict"),
    [
        (PUBLIC, seen(ClientView("1.2.3.4", "believed", True)), Verdict.OK),
        (PUBLIC, seen(ClientView("1.2.3.4", "none", True)), Verdict.OK),
        (PUBLIC, seen(ClientView("127.0.0.1", "none", True)), Verdict.WARN),
        (PUBLIC, seen(ClientView("10.0.0.2", "ignored", True)), Verdict.FAIL),
        (PUBLIC, seen(ClientView("1.2.3.4", "believed", False)), Verdict.FAIL),
        (Address(False, "127.0.0.1", 8765), seen(ClientView("127.0.0.1", "none", False)), Verdict.OK),
        (PUBLIC, answer(headers={"strict-transport-security": "max-age=1"}), Verdict.OK),
        (PUBLIC, answer(), Verdict.FAIL),
        (Address(False, "127.0.0.1", 8765), answer(), Verdict.SKIP),
    ],
)
def test_whom_the_server_sees(url: Address, found: Answer, verdict: Verdict) -> None:
    """A server that takes a proxy for its clients, or TLS for none, is told what to believe."""
    assert outside.forwarded(url, found).verdict is verdict


# The command.


async def test_a_server_without_a_proxy(tmp_path: Path) -> None:
    """Without a URL the configured server is looked at, and this machine."""
    async with Server(tmp_path, config="[services.dice]\n"):
        done = await asyncio.to_thread(run, "doctor", "--config", tmp_path / "config.toml", "--idle", "0.05")
    assert done.status == 0, done.out
    assert "dice takes clients" in done.out
    assert "still open after 0.05 seconds" in done.out
    assert "every migration applied" in done.out


async def test_a_service_that_closes(tmp_path: Path) -> None:
    """A service that sends away who is not logged in shows nothing of a proxy's patience, and is no failure."""
    async with Server(tmp_path, config="[services.chat]\n") as server:
        done = await asyncio.to_thread(run, "doctor", server.url, "--outside", "--idle", "60")
    assert done.status == 0, done.out
    assert "chat closes with 4401" in done.out


def test_nobody_there(tmp_path: Path) -> None:
    """A server that does not run is one failure, not ten."""
    done = run("doctor", f"http://127.0.0.1:{free_port()}/", "--outside")
    assert done.status == 1
    assert done.out.count("fail") == 1
    assert "Connection refused" in done.out

"""The broker of several machines when something is wrong: NATS is away, slow, closed to us, or says nonsense."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nats.aio.client import Client

from server.pubsub import gaps
from server.pubsub import nats as module
from server.pubsub.delivery import Publication
from server.pubsub.nats_connection import NatsConnection, NatsError
from server.pubsub.outbox import MOST_BYTES, Outbox
from tests.server.pubsub.machines import WAIT_SECONDS, Machine, eventually, machines, refused
from tests.support.nats import TLS, Nats, private_nats

SECRET = "p@ss:word"
ENCODED_SECRET = "p%40ss%3Aword"


@pytest.fixture(scope="module")
def shared() -> Iterator[Nats]:
    """A server for the tests that leave it alone."""
    with private_nats() as server:
        yield server


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gaps close to each other are told apart here, and what does not end is given up soon."""
    monkeypatch.setattr(gaps, "GAP_SECONDS", 0.01)
    monkeypatch.setattr(module, "DRAIN_SECONDS", 0.5)


async def test_too_large_a_publication_is_a_gap(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What NATS does not take is lost, is counted, and everybody is told; what comes before and after arrives."""
    config = tmp_path / "nats.conf"
    config.write_text("max_payload: 2000\n")
    with private_nats("--config", str(config)) as server:
        async with machines(Machine(server.url), Machine(server.url)) as (one, two):
            there = two.listen("room")
            await two.broker.settled()
            one.say("room", b"a", b"x" * 2000, b"b")
            await eventually(lambda: there.frames == [b"a", b"b"])
            await eventually(lambda: one.told >= 2 and two.told >= 2)
            assert (one.broker.lost_out, one.broker.carried) == (1, 2)
            assert one.broker.gaps == one.broker.health().gaps == one.told
        assert caplog.text.count("a publication is too large for NATS") == 1


async def test_a_full_queue_is_a_gap(shared: Nats) -> None:
    """What comes faster than the queue takes is dropped and counted; here it is heard, and the others are told."""
    async with machines(Machine(shared.url), Machine(shared.url)) as (one, two):
        one.broker._outbox = Outbox(10_000)
        here, there = one.listen("room"), two.listen("room")
        await two.broker.settled()
        one.say("room", *[b"x" * 1000] * 20)
        assert len(here.heard) == 20
        await eventually(lambda: two.told == 2)
        assert len(there.heard) == one.broker.carried == 9
        assert one.broker.lost_out == 11
        one.say("room", b"after")
        await eventually(lambda: there.frames[-1] == b"after")


async def test_killed_and_restarted() -> None:
    """While NATS is away, machines hear themselves; when it is back, they are told of a gap, and it goes on."""
    with private_nats() as server:
        async with machines(Machine(server.url), Machine(server.url)) as (one, two):
            here, there = one.listen("room"), two.listen("room")
            await two.broker.settled()
            server.kill()
            await eventually(lambda: not one.connected and not two.connected)
            one.say("room", b"lost")
            assert here.frames == [b"lost"]
            await one.broker.settled()
            assert "not connected" in one.broker.health().detail
            late = two.listen("late")
            server.start()
            await eventually(lambda: one.connected and two.connected)
            await eventually(lambda: one.told >= 2 and two.told >= 2)
            one.say("room", b"again")
            one.say("late", b"late")
            await eventually(lambda: there.frames == [b"again"] and late.frames == [b"late"])
            assert one.broker.lost_out == 1


async def test_a_gap_is_told_to_those_who_stayed(shared: Nats) -> None:
    """A machine that alone lost its connection tells the others that they may have missed something of it."""
    async with machines(Machine(shared.url), Machine(shared.url)) as (one, two):
        lost = one.broker._connection
        assert lost is not None
        lost.lost.set()
        await eventually(lambda: two.told == 2)
        assert one.connected
        assert two.broker.lost_out == 0


async def test_frozen_and_thawed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that stops answering is noticed though its connection stays open; thawed, it carries again."""
    monkeypatch.setattr("server.pubsub.nats_connection.BEAT_SECONDS", 0.05)
    monkeypatch.setattr("server.pubsub.nats_connection.ANSWER_SECONDS", 0.3)
    monkeypatch.setattr("server.pubsub.nats_connection.CONNECT_SECONDS", 0.3)
    with private_nats() as server:
        async with machines(Machine(server.url), Machine(server.url)) as (one, two):
            there = two.listen("room")
            await two.broker.settled()
            server.freeze()
            await eventually(lambda: not one.connected)
            assert "does not answer" in one.broker.health().detail
            one.say("room", *[b"x" * 100_000] * 200)
            assert one.broker.lost_out == 200
            server.thaw()
            await eventually(lambda: one.connected and two.connected)
            await eventually(lambda: one.told >= 2 and two.told >= 2)

            def again() -> bool:
                one.say("room", b"again")  # more than once: so impatient, a machine may lose a server that is only busy
                return b"again" in there.frames

            await eventually(again)


async def test_frozen_under_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that freezes while much is on its way to it blocks nothing: it is bounded, noticed, and over."""
    monkeypatch.setattr("server.pubsub.nats_connection.BEAT_SECONDS", 0.05)
    monkeypatch.setattr("server.pubsub.nats_connection.ANSWER_SECONDS", 0.5)
    with private_nats() as server:
        async with machines(Machine(server.url)) as (one,):
            server.freeze()

            def noticed() -> bool:
                one.say("room", *[b"x" * 100_000] * 20)
                assert one.broker._outbox.bytes <= MOST_BYTES
                return not one.connected

            await eventually(noticed)
            assert one.broker.lost_out > 0


async def test_one_of_two_servers_dies() -> None:
    """Machines go on with the other server of their setting."""
    with private_nats() as first, private_nats() as second:
        url = f"{first.url}, {second.url}"
        async with machines(Machine(url), Machine(url)) as (one, two):
            there = two.listen("room")
            assert str(first.port) in one.broker.health().detail
            first.kill()
            await eventually(lambda: str(second.port) in one.broker.health().detail and one.connected)
            await eventually(lambda: str(second.port) in two.broker.health().detail and two.connected)
            one.say("room", b"x")
            await eventually(lambda: there.frames == [b"x"])


async def test_starts_before_nats() -> None:
    """A machine that comes up first serves, and connects as soon as there is something to connect to."""
    with private_nats(started=False) as server:
        async with machines(Machine(server.url), Machine(server.url), connected=False) as (one, two):
            there = two.listen("room")
            await two.broker.settled()
            await eventually(lambda: "refused" in one.broker.health().detail)
            server.start()
            await eventually(lambda: one.connected and two.connected)
            one.say("room", b"x")
            await eventually(lambda: there.frames == [b"x"])


async def test_stopping_does_not_wait_for_the_dead() -> None:
    """A broker whose server is frozen, or was never there, ends all the same."""
    with private_nats() as server:
        async with machines(Machine(server.url)) as (one,):
            server.freeze()
            one.say("room", b"x" * 1_000_000)
            async with asyncio.timeout(WAIT_SECONDS):
                await one.broker.stop()
        async with machines(Machine(server.url), connected=False) as (one,):
            async with asyncio.timeout(WAIT_SECONDS):
                await one.broker.stop()
    await Machine(server.url).broker.stop()


@pytest.mark.parametrize("how", ["password", "token"])
async def test_secrets_stay_secret(how: str, caplog: pytest.LogCaptureFixture) -> None:
    """The right secret lets a machine in, a wrong one does not; neither is in the log or in /health."""
    caplog.set_level(logging.DEBUG)
    options = ("--user", "ann", "--pass", SECRET) if how == "password" else ("--auth", SECRET)
    who = "ann:" if how == "password" else ""
    with private_nats(*options) as server:
        place = server.url.removeprefix("nats://")
        right, wrong = f"nats://{who}{ENCODED_SECRET}@{place}", f"nats://{who}{ENCODED_SECRET}x@{place}"
        async with machines(Machine(right)) as (one,), machines(Machine(wrong), connected=False) as (two,):
            await refused(two, "Authorization")
            said = caplog.text + one.broker.health().detail + two.broker.health().detail + repr(one.broker._servers)
            server.kill()
            await eventually(lambda: not one.connected)
            said += caplog.text + one.broker.health().detail
    for secret in (SECRET, ENCODED_SECRET):
        assert secret not in said
    assert server.url in said


async def test_tls() -> None:
    """Through TLS with a certificate that the setting trusts; a server without it, or with another's, is refused."""
    with private_nats("--tls", "--tlscert", str(TLS / "certificate.pem"), "--tlskey", str(TLS / "key.pem")) as server:
        url = f"tls://ann:secret@localhost:{server.port}"
        async with machines(Machine(url, tls_ca=str(TLS / "certificate.pem"))) as (one,):
            await one.broker.settled()
            server.restart()
            await eventually(lambda: one.told == 2)
        async with machines(Machine(url), connected=False) as (one,):
            await refused(one, "CERTIFICATE_VERIFY_FAILED")
    with private_nats() as plain:
        for who in ("ann:secret@", "secret@", ""):
            url = f"tls://{who}localhost:{plain.port}"
            async with machines(Machine(url, tls_ca=str(TLS / "certificate.pem")), connected=False) as (one,):
                await refused(one, "does not speak TLS")


@pytest.mark.parametrize("payload", [b"", b"\xc1", msgspec.msgpack.encode({"a": 1}), msgspec.msgpack.encode([[1]])])
async def test_nonsense_is_dropped(shared: Nats, payload: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A message that is none of ours is dropped, named once, and what follows arrives."""
    stranger = Client()
    await stranger.connect(shared.url)
    async with machines(Machine(shared.url), Machine(shared.url)) as (one, two):
        there = two.listen("room")
        await two.broker.settled()
        for _ in range(3):
            await stranger.publish("test.room", payload)
        await stranger.flush()
        one.say("room", b"x")
        await eventually(lambda: there.frames == [b"x"])
    await stranger.close()
    assert caplog.text.count("is not understood") == 1


async def test_a_receiver_that_raises_hurts_nobody(shared: Nats, caplog: pytest.LogCaptureFixture) -> None:
    """A receiver's failure is logged; later messages still come."""

    def fail(_: Publication) -> None:
        raise LookupError

    async with machines(Machine(shared.url), Machine(shared.url)) as (one, two):
        two.broker.subscribe("bad", fail)
        there = two.listen("room")
        await two.broker.settled()
        one.say("bad", b"x")
        one.say("room", b"y")
        await eventually(lambda: there.frames == [b"y"])
        assert "LookupError" in caplog.text


async def test_whatever_happens_it_goes_on(
    shared: Nats, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure that nobody thought of, on the way in or out, is logged, and the machine connects again."""
    opening, publish, failures = NatsConnection.open, NatsConnection.publish, ["in", "out"]

    async def fail_first(*arguments: Any, **options: Any) -> NatsConnection:
        if "in" in failures:
            failures.remove("in")
            raise LookupError("on the way in")
        return await opening(*arguments, **options)

    async def fail_once(connection: NatsConnection, subject: str, payload: bytes) -> None:
        if "out" in failures:
            failures.remove("out")
            raise LookupError("on the way out")
        await publish(connection, subject, payload)

    monkeypatch.setattr(NatsConnection, "open", fail_first)
    monkeypatch.setattr(NatsConnection, "publish", fail_once)
    async with machines(Machine(shared.url), Machine(shared.url)) as (one, two):
        there = two.listen("room")
        await two.broker.settled()
        one.say("room", b"lost")
        await eventually(lambda: one.told >= 2 and two.told >= 2)
        one.say("room", b"again")
        await eventually(lambda: there.frames == [b"again"])
    assert failures == []
    assert "on the way in" in caplog.text
    assert "on the way out" in caplog.text


async def test_a_server_that_throws_us_out_is_not_hammered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that ends again and again is tried again after a growing pause, which differs between machines."""
    pauses = [[module._pause(rounds) for _ in range(20)] for rounds in range(12)]
    assert pauses[0] == [0.0] * 20
    assert all(max(later) <= 2.0 and min(later) >= 0.05 for later in pauses[1:])
    assert min(pauses[8]) >= 1.0
    assert len(set(pauses[8])) > 1
    opened = 0

    async def refuse(*_: object, **__: object) -> NatsConnection:
        nonlocal opened
        opened += 1
        raise NatsError("no")

    monkeypatch.setattr(NatsConnection, "open", refuse)
    rounds: list[int] = []

    def note(count: int) -> float:
        rounds.append(count)
        return 0.0

    monkeypatch.setattr(module, "_pause", note)
    async with machines(Machine("nats://localhost,nats://127.0.0.1"), connected=False):
        await eventually(lambda: opened >= 6)
    assert rounds[:5] == [0, 1, 1, 2, 2]

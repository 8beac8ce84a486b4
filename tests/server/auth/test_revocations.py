"""Sessions that end on one of several machines: each has an `Accounts`, all have one database."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from server.auth import accounts as accounts_module
from server.auth import revocations as module
from server.auth.accounts import Accounts
from server.auth.models import Session, User
from server.auth.passwords import CHEAPEST, PRODUCTION, Passwords
from server.auth.revocations import BANNED, NOT_LOGGED_IN, Revoked
from server.config import AuthSettings
from server.db import Database, DatabaseError, now
from server.errors import InvalidField, TooManyRequests, WrongCredentials
from server.pubsub.broker import BrokerHealth
from server.pubsub.delivery import Publication
from server.pubsub.local import LocalBroker
from server.pubsub.peers import Peers

PASSWORD = "correct horse battery"
OTHER = "battery staple correct"
WAIT_SECONDS = 20.0


class Broker(LocalBroker):
    """Between machines that are all in this process; it can be away, and have gaps."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.looks = 0
        self.callbacks: list[Callable[[], None]] = []

    def publish(self, subject: str, publication: Publication, origin: Callable[[Publication], None]) -> None:
        if not self.away:
            super().publish(subject, publication, origin)

    def on_gap(self, callback: Callable[[], None]) -> None:
        self.callbacks.append(callback)

    def health(self) -> BrokerHealth:
        self.looks += 1
        return BrokerHealth(not self.away, "test")

    def gap(self) -> None:
        for callback in self.callbacks:
            callback()


class Machine:
    """The accounts of a machine, and which of its sockets had to close."""

    def __init__(self, db: Database, broker: Broker) -> None:
        self.accounts = Accounts(db, AuthSettings(), Passwords(CHEAPEST), Peers(broker))
        self.closed: list[tuple[int, int]] = []
        self.accounts.on_revoked(lambda session, code, _reason: self.closed.append((session, code)))
        self.live: set[int] = set()

    def start(self) -> None:
        self.accounts.start(lambda: self.live)


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
async def machines(db: Database, broker: Broker) -> AsyncIterator[tuple[Machine, Machine]]:
    made = Machine(db, broker), Machine(db, broker)
    yield made
    for machine in made:
        await machine.accounts.stop()
        machine.accounts.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often, but never check without a reason."""
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.005)
    monkeypatch.setattr(module, "CHECK_SECONDS", 3600)


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; give up with TimeoutError."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():  # noqa: ASYNC110 what is waited for tells nobody that it has happened
            await asyncio.sleep(0.001)


Machines = tuple[Machine, Machine]


async def test_a_logout_counts_everywhere(machines: Machines) -> None:
    """Its session is over on every machine at once, though another one remembered it; the user's others are not."""
    one, two = machines
    await one.accounts.register("Ann", PASSWORD)
    phone, laptop = [await one.accounts.log_in("Ann", PASSWORD) for _ in range(2)]
    assert await two.accounts.identify(phone.token) == phone.identity
    await one.accounts.log_out(phone.identity)
    assert one.closed == two.closed == [(phone.identity.session, NOT_LOGGED_IN)]
    assert await two.accounts.identify(phone.token) is None
    assert await two.accounts.identify(laptop.token) == laptop.identity


async def test_another_password_ends_every_session(machines: Machines) -> None:
    """With the new password members start afresh; the old one, and what it opened, is worth nothing."""
    one, two = machines
    logins = [await one.accounts.register("Ann", PASSWORD), await two.accounts.log_in("Ann", PASSWORD)]
    ben = await two.accounts.register("Ben", PASSWORD)
    assert await two.accounts.set_password(logins[0].identity.id, OTHER)
    assert sorted(one.closed) == sorted((login.identity.session or 0, NOT_LOGGED_IN) for login in logins)
    assert sorted(two.closed) == sorted(one.closed)
    for machine in machines:
        assert [await machine.accounts.identify(login.token) for login in logins] == [None, None]
        assert await machine.accounts.identify(ben.token) == ben.identity
    with pytest.raises(WrongCredentials):
        await one.accounts.log_in("Ann", PASSWORD)
    assert (await one.accounts.log_in("Ann", OTHER)).identity.id == logins[0].identity.id


async def test_who_has_no_password_gets_none(machines: Machines) -> None:
    """Guests and strangers are not turned into members; a bad password changes nothing."""
    one, _ = machines
    guest = await one.accounts.guest("gus")
    assert not await one.accounts.set_password(guest.identity.id, OTHER)
    assert not await one.accounts.set_password(987654, OTHER)
    member = await one.accounts.register("Ann", PASSWORD)
    with pytest.raises(InvalidField):
        await one.accounts.set_password(member.identity.id, "short")
    assert one.closed == []
    assert await one.accounts.identify(member.token) == member.identity


async def test_a_ban_counts_everywhere(machines: Machines) -> None:
    """Sockets close with 4403, tokens are worthless, and the login is refused as if the password were wrong."""
    one, two = machines
    login = await one.accounts.register("Ann", PASSWORD)
    assert await two.accounts.identify(login.token) == login.identity
    assert await one.accounts.ban(login.identity.id)
    assert one.closed == two.closed == [(login.identity.session, BANNED)]
    for machine in machines:
        assert await machine.accounts.identify(login.token) is None
        with pytest.raises(WrongCredentials, match=r"^The name or the password is wrong\.$"):
            await machine.accounts.log_in("Ann", PASSWORD)
    assert await two.accounts.ban(login.identity.id)
    assert not await one.accounts.ban(987654)


async def test_unbanned(machines: Machines) -> None:
    """They may come in again, but not with what they had before."""
    one, two = machines
    login = await one.accounts.register("Ann", PASSWORD)
    assert not await one.accounts.unban(login.identity.id)
    await one.accounts.ban(login.identity.id)
    assert await two.accounts.unban(login.identity.id)
    assert await one.accounts.identify(login.token) is None
    again = await one.accounts.log_in("Ann", PASSWORD)
    assert await two.accounts.identify(again.token) == again.identity


async def test_a_banned_guest(machines: Machines) -> None:
    """A guest's session ends like a member's, and registering does not rescue it."""
    one, two = machines
    guest = await one.accounts.guest("gus")
    await two.accounts.ban(guest.identity.id)
    assert one.closed == [(guest.identity.session, BANNED)]
    member = await one.accounts.register("Gus", PASSWORD, guest.identity)
    assert member.identity.id != guest.identity.id


@pytest.mark.parametrize("what", ["ban", "password"])
async def test_put_out_while_logging_in(
    machines: Machines, db: Database, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """A login whose password was right when it was checked does not outlive a ban, or another password."""
    one, two = machines
    user = (await one.accounts.register("Ann", PASSWORD)).identity.id
    verify = one.accounts._passwords.verify

    async def and_then(hashed: str | None, password: str) -> bool:
        right = await verify(hashed, password)
        await (two.accounts.ban(user) if what == "ban" else two.accounts.set_password(user, OTHER))
        return right

    monkeypatch.setattr(one.accounts._passwords, "verify", and_then)
    before = await Session.select(db).count()
    with pytest.raises(WrongCredentials):
        await one.accounts.log_in("Ann", PASSWORD)
    assert await Session.select(db).count() == (before if what == "ban" else 0)


async def test_a_stronger_hash_does_not_bring_back_the_old_password(
    machines: Machines, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login that rewrites the hash of its password leaves one alone that came meanwhile."""
    one, two = machines
    user = (await one.accounts.register("Ann", PASSWORD)).identity.id
    strong = Passwords(PRODUCTION)
    hash_ = strong.hash

    async def and_then(password: str) -> str:
        await two.accounts.set_password(user, OTHER)
        return await hash_(password)

    monkeypatch.setattr(strong, "hash", and_then)
    monkeypatch.setattr(one.accounts, "_passwords", strong)
    with pytest.raises(WrongCredentials):
        await one.accounts.log_in("Ann", PASSWORD)
    strong.close()
    assert await two.accounts.log_in("Ann", OTHER)


async def test_logged_out_while_being_looked_up(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the database said before a logout is not remembered after it."""
    one, two = machines
    login = await one.accounts.guest("ann")
    look_up = two.accounts._look_up

    async def and_then(token_hash: bytes) -> object:
        found = await look_up(token_hash)
        await one.accounts.log_out(login.identity)
        return found

    monkeypatch.setattr(two.accounts, "_look_up", and_then)
    assert await two.accounts.identify(login.token) is None


async def test_a_check_finds_what_nobody_told(machines: Machines, broker: Broker, db: Database) -> None:
    """Of the sessions with sockets, those that are over close, with the code that fits; those that are not are used."""
    one, two = machines
    broker.away = True
    members = [await one.accounts.register(name, PASSWORD) for name in ("Ann", "Ben", "Cid", "Dan")]
    ann, ben, cid, dan = [member.identity.session or 0 for member in members]
    await Session.update(db).set(Session.used_at, now() - dt.timedelta(days=3)).where(Session.id.in_([cid, ben]))
    await one.accounts.log_out(members[0].identity)
    await one.accounts.ban(members[1].identity.id)
    await two.accounts._revocations.recheck({ann, ben, cid})
    assert sorted(two.closed) == sorted([(ann, NOT_LOGGED_IN), (ben, BANNED)])
    used = {session.id: session.used_at for session in await Session.select(db)}
    assert set(used) == {ben, cid, dan}
    assert now() - used[cid] < dt.timedelta(days=1) < now() - used[ben]


async def test_many_sessions_are_asked_for_in_parts(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, a query and a message stay small, and nobody is forgotten."""
    monkeypatch.setattr(module, "PART", 2)
    one, two = machines
    user = (await one.accounts.register("Ann", PASSWORD)).identity.id
    for _ in range(4):
        await one.accounts.log_in("Ann", PASSWORD)
    await one.accounts.set_password(user, OTHER)
    assert len(one.closed) == len(two.closed) == 5
    await two.accounts._revocations.recheck([session for session, _ in one.closed])
    assert len(two.closed) == 10


@pytest.mark.usefixtures("impatient")
async def test_after_a_gap(machines: Machines, broker: Broker, db: Database) -> None:
    """Where messages may have been lost, nothing remembered is believed, and the sessions are checked."""
    one, two = machines
    two.start()
    login = await one.accounts.guest("ann")
    two.live = {login.identity.session or 0}
    assert await two.accounts.identify(login.token) == login.identity
    await Session.delete_from(db).where(Session.id == (login.identity.session or 0))
    assert await two.accounts.identify(login.token) == login.identity  # nobody said anything
    broker.gap()
    assert await two.accounts.identify(login.token) is None
    await eventually(lambda: two.closed == [(login.identity.session, NOT_LOGGED_IN)])


@pytest.mark.usefixtures("impatient")
async def test_while_nobody_can_be_heard(machines: Machines, broker: Broker) -> None:
    """Without a broker too a ban closes the sockets of other machines soon, and lets nobody in there."""
    one, two = machines
    two.start()
    login = await one.accounts.register("Ann", PASSWORD)
    two.live = {login.identity.session or 0}
    assert await two.accounts.identify(login.token) == login.identity
    broker.away = True
    await one.accounts.ban(login.identity.id)
    await eventually(lambda: (login.identity.session, BANNED) in two.closed)
    assert await two.accounts.identify(login.token) is None


@pytest.mark.usefixtures("impatient")
async def test_now_and_then(machines: Machines, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions are checked without a reason too, for a message may be lost without a sign."""
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.02)
    one, two = machines
    login = await one.accounts.guest("ann")
    await Session.delete_from(db).where(Session.id == (login.identity.session or 0))
    two.live = {login.identity.session or 0}
    two.start()
    await eventually(lambda: two.closed)


@pytest.mark.usefixtures("impatient")
async def test_the_database_is_away(
    machines: Machines, broker: Broker, db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """A check that fails is tried again until it is done; the log has it once."""
    one, two = machines
    login = await one.accounts.guest("ann")
    await Session.delete_from(db).where(Session.id == (login.identity.session or 0))
    two.live = {login.identity.session or 0}
    failures = 3
    recheck = two.accounts._revocations.recheck

    async def fail(sessions: set[int]) -> None:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise DatabaseError("away")
        await recheck(sessions)

    two.accounts._revocations.recheck = fail  # type: ignore[method-assign, assignment]  # the test's own
    two.start()
    broker.gap()
    await eventually(lambda: two.closed)
    assert caplog.text.count("cannot be found out") == 1


@pytest.mark.usefixtures("impatient")
async def test_nothing_is_done_where_all_is_well(db: Database, broker: Broker) -> None:
    """A server by itself has no task; one that hears the others asks the database nothing."""
    alone = Accounts(db, AuthSettings(), Passwords(CHEAPEST))
    before = asyncio.all_tasks()
    alone.start(set)
    assert asyncio.all_tasks() == before
    await alone.stop()
    machine = Machine(db, broker)
    checks: list[object] = []

    async def note(sessions: object) -> None:
        checks.append(sessions)

    machine.accounts._revocations.recheck = note  # type: ignore[method-assign]  # the test's own
    machine.start()
    assert len(asyncio.all_tasks()) == len(before) + 1
    await eventually(lambda: broker.looks > 2)
    await machine.accounts.stop()
    assert checks == []
    assert asyncio.all_tasks() == before
    assert broker._receivers == {}


@pytest.mark.parametrize("message", [b"", b"\xc1", msgspec.msgpack.encode({"user": "x"})])
async def test_what_is_not_understood(machines: Machines, broker: Broker, message: bytes) -> None:
    """A message of another version may say anything: nothing remembered is believed after it."""
    one, two = machines
    login = await one.accounts.guest("ann")
    assert await two.accounts.identify(login.token) == login.identity
    Peers(broker).channel(module.CHANNEL).send(message)
    assert len(two.accounts._identities) == 0
    assert two.closed == []


async def test_what_travels(machines: Machines, broker: Broker) -> None:
    """The message names user, sessions and code, and has no secret in it."""
    one, _ = machines
    login = await one.accounts.register("Ann", PASSWORD)
    heard: list[bytes] = []
    Peers(broker).channel(module.CHANNEL).listen(lambda _process, message: heard.append(message))
    await one.accounts.ban(login.identity.id)
    (message,) = heard
    session = login.identity.session or 0
    assert msgspec.msgpack.decode(message, type=Revoked) == Revoked(login.identity.id, [session], BANNED, "banned")


async def test_guessing_is_throttled_everywhere(machines: Machines, db: Database) -> None:
    """FAULTS 26: wrong passwords for a name count on every machine, whatever the name is made of."""
    one, two = machines
    await one.accounts.register("Ann", PASSWORD)
    for name in ("ann", "\ud800"):
        for _ in range(accounts_module.FAILURES_PER_MINUTE):
            with pytest.raises(WrongCredentials):
                await one.accounts.log_in(name, "wrong")
    await one.accounts.stop()  # it says the last
    for name in ("ann", "\ud801"):
        with pytest.raises(TooManyRequests):
            await two.accounts.log_in(name, PASSWORD)
    assert await User.select(db).count() == 1

"""Accounts, with a real database."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator

import pytest

from server.auth import accounts as module
from server.auth.accounts import Accounts
from server.auth.models import Session, User
from server.auth.passwords import CHEAPEST, Passwords
from server.config import AuthSettings
from server.db import Database, Statement, now
from server.errors import InvalidField, NameTaken, RegistrationClosed, TooManyRequests, WrongCredentials

PASSWORD = "correct horse battery"


@pytest.fixture
async def accounts(db: Database) -> AsyncIterator[Accounts]:
    kept = Accounts(db, AuthSettings(), Passwords(CHEAPEST))
    yield kept
    kept.close()


def with_settings(db: Database, **settings: object) -> Accounts:
    return Accounts(db, AuthSettings(**settings), Passwords(CHEAPEST))  # type: ignore[arg-type]  # names are the test's


async def test_guests(accounts: Accounts) -> None:
    """A name is enough; guests may share one, and are two people."""
    first, second = await accounts.guest(" ann "), await accounts.guest("ann")
    assert (first.identity.name, first.identity.role) == ("ann", "guest")
    assert first.identity.id != second.identity.id
    assert await accounts.identify(first.token) == first.identity
    with pytest.raises(InvalidField):
        await accounts.guest("")


async def test_a_members_name_is_theirs(accounts: Accounts) -> None:
    """Nobody can pass for a member, whatever the case or the width of the letters."""
    member = await accounts.register("Ann", PASSWORD)
    assert member.identity.role == "member"
    for name in ("Ann", "ANN", "ａｎｎ"):
        with pytest.raises(NameTaken):
            await accounts.guest(name)
        with pytest.raises(NameTaken):
            await accounts.register(name, PASSWORD)


async def test_a_guest_who_registers_stays_the_same(accounts: Accounts, db: Database) -> None:
    """They keep their id and what hangs on it; the old token is worthless (FAULTS 28)."""
    revoked: list[int] = []
    accounts.on_revoked(lambda session, _code, _reason: revoked.append(session))
    guest = await accounts.guest("ann")
    member = await accounts.register("Ann", PASSWORD, guest.identity)
    assert member.identity.id == guest.identity.id
    assert member.identity.role == "member"
    assert member.token != guest.token
    assert await accounts.identify(guest.token) is None
    assert revoked == [guest.identity.session]
    assert await User.select(db).count() == 1


async def test_login(accounts: Accounts) -> None:
    """A member logs in under their name in any case, each time with a fresh token; the previous session ends."""
    first = await accounts.register("Ann", PASSWORD)
    second = await accounts.log_in(" aNN ", PASSWORD, first.identity)
    assert second.identity.id == first.identity.id
    assert await accounts.identify(first.token) is None
    assert await accounts.identify(second.token) == second.identity


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("Ann", "wrong password"),
        ("nobody", PASSWORD),
        ("", ""),
        ("guest", PASSWORD),
        ("\0", "x"),
        ("\ud800", "\ud800"),
        ("x" * 9999, PASSWORD),
    ],
)
async def test_wrong_credentials_are_one_answer(accounts: Accounts, name: str, password: str) -> None:
    """The text is the same whether the name, the password or both are wrong; guests have no password."""
    await accounts.register("Ann", PASSWORD)
    await accounts.guest("guest")
    with pytest.raises(WrongCredentials, match=r"^The name or the password is wrong\.$"):
        await accounts.log_in(name, password)


async def test_guessing_is_throttled(accounts: Accounts) -> None:
    """FAULTS 26: so many wrong passwords for one name a minute, and then not even the right one; others log in."""
    await accounts.register("Ann", PASSWORD)
    await accounts.register("Ben", PASSWORD)
    for _ in range(module.FAILURES_PER_MINUTE):
        with pytest.raises(WrongCredentials):
            await accounts.log_in("ann", "wrong")
    with pytest.raises(TooManyRequests) as refused:
        await accounts.log_in("ANN", PASSWORD)
    assert 0 < refused.value.retry_after <= 60
    assert (await accounts.log_in("ben", PASSWORD)).identity.name == "Ben"


async def test_logout_ends_one_session(accounts: Accounts) -> None:
    """The session that is logged out is over, at once and for good; another of the same user is not."""
    revoked: list[int] = []
    accounts.on_revoked(lambda session, _code, _reason: revoked.append(session))
    await accounts.register("Ann", PASSWORD)
    phone, laptop = await accounts.log_in("Ann", PASSWORD), await accounts.log_in("Ann", PASSWORD)
    await accounts.log_out(phone.identity)
    assert revoked == [phone.identity.session]
    assert await accounts.identify(phone.token) is None
    assert await accounts.identify(laptop.token) == laptop.identity


@pytest.mark.parametrize("token", ["", "nonsense", "\0", "x" * 10000, "ü", "\ud800"])
async def test_tokens_that_are_none(accounts: Accounts, token: str) -> None:
    """Nonsense is nobody."""
    assert await accounts.identify(token) is None


async def test_tokens_and_passwords_are_nowhere(accounts: Accounts, db: Database) -> None:
    """Whoever reads the database can log in as nobody."""
    login = await accounts.register("Ann", PASSWORD)
    rows = []
    for table in ("users", "sessions"):
        rows += (await db.execute(Statement(f"SELECT * FROM {table}", (), writes=False))).rows
    text = repr(rows)
    assert login.token not in text
    assert PASSWORD not in text


async def test_sessions_end_when_they_are_not_used(accounts: Accounts, db: Database) -> None:
    """A session that rests too long is over and swept away; one in use is renewed."""
    old, fresh = await accounts.guest("old"), await accounts.guest("fresh")
    accounts._identities.forget_all()
    await (
        Session.update(db)
        .set(Session.used_at, now() - dt.timedelta(days=31))
        .where(Session.id == (old.identity.session or 0))
    )
    a_day_ago = now() - dt.timedelta(days=1)
    await Session.update(db).set(Session.used_at, a_day_ago).where(Session.id == (fresh.identity.session or 0))
    assert await accounts.identify(old.token) is None
    assert await accounts.identify(fresh.token) == fresh.identity
    assert await Session.select(db).where(Session.used_at > a_day_ago).count() == 1
    assert await accounts.sweep() == 1
    assert await Session.select(db).count() == 1


async def test_identities_are_remembered(accounts: Accounts, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand sockets of one user cost one query; the memory is bounded and short."""
    login = await accounts.guest("ann")

    class NoDatabase:
        dialect = db.dialect

    monkeypatch.setattr(accounts, "_db", NoDatabase())
    assert await accounts.identify(login.token) == login.identity
    monkeypatch.setattr(accounts, "_db", db)


async def test_closed_doors(db: Database) -> None:
    """Settings decide who may come: no guests, no registration, by invitation only; each says so."""
    with pytest.raises(RegistrationClosed, match="no guests"):
        await with_settings(db, guests=False).guest("ann")
    with pytest.raises(RegistrationClosed, match="no registrations"):
        await with_settings(db, registration="closed").register("ann", PASSWORD)
    with pytest.raises(RegistrationClosed, match="invitation"):
        await with_settings(db, registration="invite").register("ann", PASSWORD)


async def test_hashes_get_stronger_with_time(db: Database) -> None:
    """A member whose hash is weaker than today's gets a new one when they log in."""
    await Accounts(db, AuthSettings(), Passwords(CHEAPEST)).register("Ann", PASSWORD)
    before = (await User.select(db).one()).password_hash
    today = Accounts(db, AuthSettings())
    await today.log_in("Ann", PASSWORD)
    after = (await User.select(db).one()).password_hash
    assert before != after
    assert await today.log_in("Ann", PASSWORD)
    today.close()

"""What `switchboard doctor` looks at through the public URL: what clients meet, every proxy in front included."""

from __future__ import annotations

import asyncio
import email.utils
import ssl
import time
from collections.abc import AsyncIterator
from http import HTTPStatus
from ipaddress import ip_address
from typing import Literal

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from server.config import Settings
from server.http.health import Health
from server.operating.asking import Address, Answer, Unreachable, get, printable, reason
from server.operating.findings import Finding, fail, ok, skip, warn
from server.operating.sample import read_health
from server.service.host import State

HANDSHAKE_SECONDS = 10.0
ECHO_SECONDS = 5.0
ECHO = "echo"
WORDS = "switchboard doctor"

FEW_DAYS = 14
MOST_SKEW_SECONDS = 5.0
DAY_SECONDS = 86400.0

GATEWAY = (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)
REDIRECTIONS = range(300, 400)

FORWARD_UPGRADES = "let the proxy speak HTTP/1.1 and pass on Upgrade and Connection, as deploy/nginx.conf does"
BELIEVE_PROXY = "name the proxy's address in server.proxies, and let it send X-Forwarded-For and X-Forwarded-Proto"


class ClientView(msgspec.Struct, frozen=True):
    """What the server believes of who asks.

    Args:
        address: where the client is.
        forwarded: what became of X-Forwarded-For: there was none, it was believed, or it was not.
        secure: whether the client speaks TLS.
    """

    address: str
    forwarded: Literal["none", "believed", "ignored"]
    secure: bool


class _Viewing(msgspec.Struct, frozen=True):
    client: ClientView | None = None


class Outside:
    """The checks through the public URL.

    Args:
        address: the public URL.
        settings: the configuration; it says what the proxy is to reach.
        idle_seconds: for how long a WebSocket is left alone to see whether a proxy cuts it; 0 does not try.
    """

    def __init__(self, address: Address, settings: Settings, idle_seconds: float = 0.0) -> None:
        self._address = address
        self._settings = settings
        self._idle_seconds = idle_seconds
        self._context = ssl.create_default_context() if address.secure else None

    async def look(self) -> AsyncIterator[Finding]:
        """Yield what is found; without an answer there is little to find."""
        if self._address.secure:
            certificate = await self._certificate()
            yield certificate
            yield await self._redirection()
        try:
            page = await self._get("/")
            answer = await self._get("/health")
        except Unreachable as error:
            listens = "see whether it runs, and whether a firewall lets you through"
            yield fail("answer", f"{self._address.url}: {error}", listens)
            return
        yield self._page(page)
        yield clock(answer, time.time())
        try:
            health = read_health(answer.body)
        except Unreachable as error:
            yield fail("health", f"/health answers {answer.status}: {error}", self._reach(answer.status))
            return
        yield healthy(health)
        yield forwarded(self._address, answer)
        async for finding in self._websockets(health):
            yield finding

    async def _get(self, path: str) -> Answer:
        return await asyncio.to_thread(get, self._address, path, self._context)

    # HTTP.

    async def _certificate(self) -> Finding:
        """Look at the certificate; one that is not valid is accepted from now on, so that the rest can be seen."""
        what = "certificate"
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                _, writer = await asyncio.open_connection(self._address.host, self._address.port, ssl=self._context)
                peer = writer.get_extra_info("peercert")
                writer.transport.abort()
        except ssl.SSLCertVerificationError as error:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self._context = context
            return fail(what, error.verify_message, "get one that browsers accept; no client connects otherwise")
        except (OSError, TimeoutError) as error:
            return fail("TLS", reason(error), "see whether TLS is spoken at this port")
        return expiry(ssl.cert_time_to_seconds(peer["notAfter"]), time.time())

    async def _redirection(self, port: int = 80) -> Finding:
        """Tell what people meet who leave out the `s` of https."""
        what = "http"
        if self._address.port != 443:
            return skip(what, "the URL has a port of its own")
        try:
            answer = await asyncio.to_thread(get, Address(False, self._address.host, port), "/")
        except Unreachable:
            return ok(what, "nobody answers without TLS")
        return redirection(answer)

    def _page(self, answer: Answer) -> Finding:
        what = "page"
        if answer.status == HTTPStatus.OK and answer.headers.get("content-type", "").startswith("text/html"):
            return ok(what, f"{answer.status} in {answer.seconds * 1000:.0f} ms")
        if answer.status in REDIRECTIONS:
            return fail(
                what, f"it points to {printable(answer.headers.get('location', ''))}", "ask doctor for that URL"
            )
        return fail(what, f"{answer.status}, which is no page", self._reach(answer.status))

    def _reach(self, status: int) -> str:
        server = self._settings.server
        if status in GATEWAY:
            return f"see whether Switchboard runs, and whether the proxy points to {server.host}:{server.port}"
        return "see what is behind this URL"

    # WebSockets.

    async def _websockets(self, health: Health) -> AsyncIterator[Finding]:
        running = {status.name: status.path for status in health.services.values() if status.state is State.RUNNING}
        if not running:
            yield skip("WebSocket", "no service runs")
            return
        name = ECHO if ECHO in running else next(iter(running))
        try:
            async with connect(
                self._address.websocket_url + running[name],
                ssl=self._context,
                open_timeout=HANDSHAKE_SECONDS,
                ping_interval=None,  # only the server's heartbeat is to keep it open
                close_timeout=HANDSHAKE_SECONDS,
                compression=None,
                proxy=None,
            ) as connection:
                yield await _use(connection, name)
                yield await self._idle(connection, name)
        except InvalidStatus as error:
            yield refused(error.response.status_code, running[name])
        except InvalidHandshake as error:
            yield fail("WebSocket", f"{running[name]}: the handshake is spoilt: {error}", FORWARD_UPGRADES)
        except (OSError, TimeoutError) as error:
            yield fail("WebSocket", f"{running[name]}: {reason(error)}", FORWARD_UPGRADES)

    async def _idle(self, connection: ClientConnection, name: str) -> Finding:
        """Leave a WebSocket alone, and see whether somebody cuts it."""
        what, heartbeat = "idle", self._settings.server.heartbeat_seconds
        if not self._idle_seconds:
            return skip(what, f"--idle {max(90.0, 3 * heartbeat):g} tries whether a proxy cuts clients that are silent")
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._idle_seconds):
                while True:
                    await connection.recv()  # what a service says by itself
        except TimeoutError:
            return ok(what, f"still open after {self._idle_seconds:g} seconds")
        except ConnectionClosed as closed:
            if closed.rcvd is not None:  # said goodbye to, which is nothing that a proxy does
                return skip(what, f"{name} closes with {closed.rcvd.code}; with an echo service it can be tried")
        return fail(
            what,
            f"cut after {time.monotonic() - began:.0f} seconds",
            f"the proxy's timeout (proxy_read_timeout of nginx) has to be above the heartbeat, {heartbeat:g}",
        )


async def _use(connection: ClientConnection, name: str) -> Finding:
    """Say something to the echo; any other service has shown enough with its handshake."""
    if name != ECHO:
        return ok("WebSocket", f"{name} takes clients")
    try:
        async with asyncio.timeout(ECHO_SECONDS):
            await connection.send(WORDS)
            if await connection.recv() == WORDS:
                return ok("WebSocket", "echo answers")
            says = "echo answers something else"
    except TimeoutError:
        says = f"echo does not answer within {ECHO_SECONDS:g} seconds"
    except ConnectionClosed as closed:
        says = f"echo closes: {closed}"
    return fail("WebSocket", says, "let nothing between buffer or change messages (proxy_buffering off in nginx)")


def refused(status: int, path: str) -> Finding:
    """Explain why there was an HTTP answer instead of a WebSocket.

    Args:
        status: the answer's.
        path: where the service is, which /health says runs.
    """
    says = f"{path} answers {status} instead of 101"
    match status:
        case 403:
            todo = "something in front forbids it: see its rules for WebSockets"
        case 429:
            todo = f"too many connections from one address, which may be the proxy's: {BELIEVE_PROXY}"
        case 502 | 503 | 504:
            todo = f"the proxy or the service gives up: see their logs; {FORWARD_UPGRADES}"
        case _:
            # /health says that the service runs: so it was not asked for a WebSocket.
            todo = f"the request comes to Switchboard as a plain one: {FORWARD_UPGRADES}"
    return fail("WebSocket", says, todo)


def expiry(until: float, now: float) -> Finding:
    """Tell for how long a certificate is valid; both in seconds since 1970."""
    days = int((until - now) / DAY_SECONDS)
    if days < FEW_DAYS:
        return warn("certificate", f"valid for {days} more days", "see why it is not renewed")
    return ok("certificate", f"valid for {days} more days")


def redirection(answer: Answer) -> Finding:
    """Tell whether what answers without TLS sends people on."""
    location = answer.headers.get("location", "")
    if answer.status in REDIRECTIONS and location.startswith("https://"):
        return ok("http", "is sent on to https")
    return warn("http", f"answers {answer.status} without TLS", "let it redirect to https, as deploy/nginx.conf does")


def clock(answer: Answer, now: float) -> Finding:
    """Tell whether both clocks agree.

    Args:
        answer: of the server, with its Date.
        now: our clock when it came, in seconds since 1970.
    """
    try:
        theirs = email.utils.parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
    except ValueError:
        return skip("clock", "the answer has no date")
    skew = theirs - now
    if abs(skew) > MOST_SKEW_SECONDS + answer.seconds:
        return warn("clock", f"the server's is {skew:+.0f} seconds from ours", "let both machines run NTP")
    return ok("clock", "agrees with ours")


def healthy(health: Health) -> Finding:
    """Tell what /health says."""
    problems = [f"{s.name} {s.state.value} {s.problem}".rstrip() for s in health.services.values()
                if s.state is not State.RUNNING]  # fmt: skip
    problems += [
        f"{process.name} {process.state} {process.problem}".rstrip()
        for status in health.services.values()
        for process in status.processes
        if process.problem
    ]
    if not health.database.connected:
        problems.append(f"database: {health.database.problem}")
    if not health.broker.connected:
        problems.append(f"broker: {health.broker.detail}")
    says = printable(f"{health.version} is {health.status}" + "".join(f"; {problem}" for problem in problems))
    if health.status == "failing":
        return fail("health", says, "see the log")
    return ok("health", says) if health.status == "ok" else warn("health", says, "see the log")


def forwarded(address: Address, answer: Answer) -> Finding:
    """Tell whether the server knows who its clients are, and whether they speak TLS.

    Without that all clients share one proxy's limits, and cookies are not kept to TLS.

    Args:
        address: the public URL.
        answer: of /health. Its `client` says it; where there is none, Strict-Transport-Security says half of it.
    """
    what = "client"
    view = _view(answer.body)
    seen = f"seen as {printable(view.address)}" if view else ""
    if view and view.forwarded == "ignored":
        return fail(what, f"{seen}, for X-Forwarded-For is not believed", BELIEVE_PROXY)
    secure = view.secure if view else "strict-transport-security" in answer.headers
    if address.secure and not secure:
        return fail(what, "the server does not know that clients speak TLS: cookies are not Secure", BELIEVE_PROXY)
    if view is None:
        return ok(what, "TLS is known") if address.secure else skip(what, "the server does not say whom it sees")
    if view.forwarded == "none" and _inner(view.address) and not _inner(address.host):
        return warn(what, f"{seen}, and nothing is forwarded", f"if that is a proxy's address, {BELIEVE_PROXY}")
    return ok(what, seen)


def _view(body: bytes) -> ClientView | None:
    try:
        return msgspec.json.decode(body, type=_Viewing).client
    except msgspec.DecodeError:
        return None


def _inner(host: str) -> bool:
    """Tell whether an address is of this machine or this house; a name counts as neither."""
    try:
        return ip_address(host).is_private
    except ValueError:
        return host == "localhost"

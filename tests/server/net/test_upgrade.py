"""The opening handshake: what is agreed on, and that one protocol serves everybody without a trace of the others."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.http11 import Request, Response
from websockets.streams import StreamReader
from websockets.typing import Subprotocol
from websockets.uri import parse_uri
from websockets.utils import accept_key

from server.net.upgrade import Upgraded, Upgrader

DEFLATE = "permessage-deflate"
AGREED = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def request(
    offers: str | None = None, subprotocols: str | None = None, *, method: str = "GET", **headers: str | None
) -> Request:
    """Return an opening handshake; a header may be replaced, or left out with None."""
    fields = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Extensions": offers,
        "Sec-WebSocket-Protocol": subprotocols,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    given_ = Headers([(name, value) for name, value in fields.items() if value is not None])
    return Request("/", given_, method=method, protocol="HTTP/1.1")


def parsed(upgraded: Upgraded) -> Response:
    """Read an answer with websockets' parser."""
    reader = StreamReader()
    reader.feed_data(upgraded.response)
    reader.feed_eof()
    parser = Response.parse(reader.read_line, reader.read_exact, reader.read_to_eof)
    with pytest.raises(StopIteration) as done:
        next(parser)
    response: Response = done.value.value
    return response


def answer(upgraded: Upgraded) -> tuple[Any, ...]:
    """Return everything that a client, and the connection, is told, but for the date."""
    response = parsed(upgraded)
    headers = [(name, value) for name, value in response.headers.raw_items() if name != "Date"]
    return response.status_code, headers, response.body, upgraded.subprotocol, upgraded.deflate, upgraded.accepted


@pytest.mark.parametrize(
    ("offers", "agreed"),
    [
        ("permessage-deflate; client_max_window_bits", AGREED),  # Chromium, Firefox
        ("permessage-deflate", AGREED),  # Safari
        ("x-webkit-deflate-frame, permessage-deflate", AGREED),
        ("permessage-deflate; client_max_window_bits=10", AGREED + "; client_max_window_bits=10"),
        ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", AGREED),
        (
            AGREED + "; server_max_window_bits=12; client_max_window_bits=12",
            AGREED + "; server_max_window_bits=12; client_max_window_bits=12",
        ),
        ("permessage-deflate; server_max_window_bits=15", AGREED + "; server_max_window_bits=15"),
        ("permessage-deflate; server_max_window_bits=11", None),
        ("permessage-deflate; server_max_window_bits=10", None),
        ("permessage-deflate; server_max_window_bits=9", None),
        ("permessage-deflate; server_max_window_bits=8", None),
        ("permessage-deflate; server_max_window_bits=10, permessage-deflate", AGREED),
        ("permessage-deflate, permessage-deflate; server_max_window_bits=10", AGREED),
        ("permessage-deflate; server_max_window_bits=10, permessage-deflate; server_max_window_bits=9", None),
        ("permessage-deflate; server_max_window_bits=16", None),
        ("permessage-deflate; server_max_window_bits", None),
        ("permessage-deflate; client_no_context_takeover=1", None),
        ("permessage-deflate; no_such_parameter", None),
        ("permessage-deflate; client_max_window_bits; client_max_window_bits", None),
        ("x-webkit-deflate-frame", None),
        (None, None),
    ],
)
def test_offers(offers: str | None, agreed: str | None) -> None:
    """What is agreed on is in the answer, and nothing else is: never context takeover, never a window that is too
    small for frames that all share. Whatever is not agreed on is no reason to turn a client away."""
    upgraded = Upgrader(deflate=True).upgrade(request(offers), ())
    assert upgraded.accepted
    assert upgraded.deflate is (agreed is not None)
    assert parsed(upgraded).headers.get("Sec-WebSocket-Extensions") == agreed


def test_without_the_setting_nothing_is_agreed_on() -> None:
    """A server that does not compress declines every offer, without looking at it."""
    for offers in (DEFLATE, "permessage-deflate; client_max_window_bits", ";;;"):
        upgraded = Upgrader(deflate=False).upgrade(request(offers), ())
        assert (upgraded.accepted, upgraded.deflate) == (True, False)
        assert "Sec-WebSocket-Extensions" not in parsed(upgraded).headers


@given(
    st.lists(
        st.builds(
            ClientPerMessageDeflateFactory,
            server_no_context_takeover=st.booleans(),
            client_no_context_takeover=st.booleans(),
            server_max_window_bits=st.none() | st.integers(8, 15),
            client_max_window_bits=st.none() | st.just(True) | st.integers(9, 15),
        ),
        max_size=1,
    ),
    st.lists(st.sampled_from(["a", "b", "c"]), max_size=3, unique=True),
)
def test_websockets_client_understands_every_answer(
    extensions: Sequence[ClientPerMessageDeflateFactory], names: Sequence[str]
) -> None:
    """Whatever websockets' client offers, it takes our answer, and both mean the same by it."""
    client = ClientProtocol(
        parse_uri("ws://localhost/"),
        extensions=extensions or None,
        subprotocols=[Subprotocol(name) for name in names] or None,
    )
    upgraded = SHARED.upgrade(client.connect(), ("c", "b"))
    try:
        client.process_response(parsed(upgraded))
    except InvalidHandshake as error:
        pytest.fail(f"the client does not understand {parsed(upgraded).headers}: {error}")
    agreed = [extension for extension in client.extensions if extension.name == DEFLATE]
    assert upgraded.deflate is bool(agreed)
    assert client.subprotocol == upgraded.subprotocol == next((name for name in "cb" if name in names), None)


SHARED = Upgrader(deflate=True)

REFUSED = [
    (request(method="POST"), 405),
    (request(Upgrade="h2c"), 426),
    (request(Upgrade=None), 426),
    (request(Connection="close"), 426),
    (request(Sec_WebSocket_Key=None), 400),
    (request(Sec_WebSocket_Key="short"), 400),
    (request(Sec_WebSocket_Version=None), 400),
    (request(Sec_WebSocket_Version="8"), 400),
    (request("permessage-deflate;;"), 400),
    (request("@"), 400),
    (request(None, "@@"), 400),
    (request(DEFLATE, "@@"), 400),
    (request("permessage-deflate; server_max_window_bits=10", "@@"), 400),
]


@pytest.mark.parametrize(("asked", "status"), REFUSED)
def test_requests_that_are_none(asked: Request, status: int) -> None:
    """What is not RFC 6455, section 4.2.1 is answered in HTTP, and agrees on nothing."""
    upgraded = Upgrader(deflate=True).upgrade(asked, ("chat",))
    assert parsed(upgraded).status_code == status
    assert not upgraded.accepted
    assert not upgraded.deflate
    assert upgraded.subprotocol is None


ACCEPTED = [
    request(),
    request(DEFLATE),
    request("permessage-deflate; server_max_window_bits=10"),
    request(DEFLATE, "chat"),
    request(None, "chat, other"),
    request(None, "unknown"),
    request(Sec_WebSocket_Key="AQIDBAUGBwgJCgsMDQ4PEA=="),
]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*ACCEPTED, *(asked for asked, _ in REFUSED)]), st.sampled_from([(), ("other", "chat")])
        ),
        min_size=1,
        max_size=10,
    )
)
def test_every_handshake_is_as_the_first(sequence: Sequence[tuple[Request, tuple[str, ...]]]) -> None:
    """Whatever came before, accepted or refused, an answer is the one that a protocol of its own would give."""
    shared = Upgrader(deflate=True)
    for asked, subprotocols in sequence:
        assert answer(shared.upgrade(asked, subprotocols)) == answer(
            Upgrader(deflate=True).upgrade(asked, subprotocols)
        )


def test_thousands_are_answered_alike() -> None:
    """The shared protocol keeps nothing that grows, and the thousandth answer is the first one."""
    upgrader = Upgrader(deflate=True)
    first = answer(upgrader.upgrade(request(DEFLATE, "chat"), ("chat",)))
    assert first[0] == 101
    for number in range(2000):
        upgrader.upgrade(REFUSED[number % len(REFUSED)][0], ())
        assert answer(upgrader.upgrade(request(DEFLATE, "chat"), ("chat",))) == first
    protocol = upgrader._protocol
    assert (protocol.events, protocol.writes, len(protocol.extensions)) == ([], [], 1)


def test_a_refused_request_is_not_kept() -> None:
    """Nothing of a request that was refused stays in memory."""
    upgrader = Upgrader(deflate=True)
    asked = request(Sec_WebSocket_Version="8")
    upgrader.upgrade(asked, ())
    alive = weakref.ref(asked)
    del asked
    gc.collect()  # an exception refers to the frames that it came through
    assert alive() is None


@pytest.mark.parametrize(
    ("offered", "ours", "expected"),
    [
        (None, (), None),
        (None, ("chat",), None),
        ("chat", (), None),
        ("chat", ("chat",), "chat"),
        ("a, b", ("b", "a"), "b"),
        ("a, b", ("c", "a"), "a"),
        ("a, b", ("A", "c"), None),
    ],
)
def test_subprotocols(offered: str | None, ours: tuple[str, ...], expected: str | None) -> None:
    """The first of ours that is offered is taken and named in the answer; none in common is no reason to refuse."""
    upgraded = SHARED.upgrade(request(None, offered), ours)
    assert upgraded.accepted
    assert upgraded.subprotocol == expected
    assert parsed(upgraded).headers.get("Sec-WebSocket-Protocol") == expected


def test_the_key_is_answered() -> None:
    """RFC 6455, section 4.2.2: the answer proves that it was made for this request."""
    for key in (KEY, "AQIDBAUGBwgJCgsMDQ4PEA=="):
        upgraded = SHARED.upgrade(request(Sec_WebSocket_Key=key), ())
        assert parsed(upgraded).headers["Sec-WebSocket-Accept"] == accept_key(key)


@given(
    st.dictionaries(
        st.sampled_from(["Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Origin",
                         "Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"]),
        st.from_regex(r"[\t\x20-\x7e\x80-\xff]{0,20}", fullmatch=True)
        | st.text("abc;,=\"\\ @1/-", max_size=20)
        | st.sampled_from(["permessage-deflate; ", "permessage-deflate; server_max_window_bits=10", "chat, ", "a,,b"]),
        max_size=3,
    )
)  # fmt: skip
def test_nonsense_is_answered_too(headers: dict[str, str]) -> None:
    """Whatever the headers say, there is an answer in HTTP, and the next client gets what it would have got."""
    upgraded = SHARED.upgrade(request(**dict(headers)), ("chat",))
    assert parsed(upgraded).status_code in ((101,) if upgraded.accepted else (400, 426))
    assert answer(SHARED.upgrade(request(DEFLATE), ())) == answer(Upgrader(deflate=True).upgrade(request(DEFLATE), ()))

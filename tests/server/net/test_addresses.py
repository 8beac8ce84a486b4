"""Where a client is."""

from __future__ import annotations

import pytest

from server.net.addresses import address_key, client_address, client_is_secure, is_proxy


@pytest.mark.parametrize(
    ("peer", "forwarded", "proxies", "client"),
    [
        ("1.1.1.1", None, (), "1.1.1.1"),
        ("1.1.1.1", "2.2.2.2", (), "1.1.1.1"),
        ("1.1.1.1", "2.2.2.2", ("1.1.1.1",), "2.2.2.2"),
        ("1.1.1.1", "9.9.9.9, 2.2.2.2", ("1.1.1.1",), "2.2.2.2"),
        ("1.1.1.1", "9.9.9.9, 2.2.2.2, 10.0.0.7", ("1.1.1.1", "10.0.0.0/8"), "2.2.2.2"),
        ("1.1.1.1", "nonsense", ("1.1.1.1",), "1.1.1.1"),
        ("1.1.1.1", "2001:db8::1", ("1.1.1.1",), "2001:db8::1"),
        ("1.1.1.1", "", ("1.1.1.1",), "1.1.1.1"),
    ],
)
def test_client_address(peer: str, forwarded: str | None, proxies: tuple[str, ...], client: str) -> None:
    """Only a trusted proxy is believed, and only for the hop that it saw itself."""
    assert client_address(peer, forwarded, proxies) == client


def test_tls_behind_a_proxy() -> None:
    """A trusted proxy says whether the client speaks TLS; anybody else is not asked."""
    assert client_is_secure("1.1.1.1", "https", ("1.1.1.1",), tls=False)
    assert not client_is_secure("1.1.1.1", "http", ("1.1.1.1",), tls=True)
    assert not client_is_secure("1.1.1.1", "https", (), tls=False)
    assert client_is_secure("1.1.1.1", None, ("1.1.1.1",), tls=True)


def test_proxies_may_be_networks() -> None:
    """A proxy is named by its address or its network; nonsense is no proxy."""
    assert is_proxy("10.1.2.3", ("10.0.0.0/8",))
    assert not is_proxy("11.1.2.3", ("10.0.0.0/8",))
    assert not is_proxy("nonsense", ("10.0.0.0/8",))


def test_limits_count_ipv6_by_network() -> None:
    """An IPv6 host owns its /64: it is counted as one. IPv4 in IPv6 is the IPv4 host."""
    assert address_key("2001:db8:1:2:3:4:5:6") == address_key("2001:db8:1:2:ffff::1")
    assert address_key("2001:db8:1:2::1") != address_key("2001:db8:1:3::1")
    assert address_key("::ffff:1.2.3.4") == address_key("1.2.3.4") == "1.2.3.4"
    assert address_key("") == ""

"""Where a client is: its own address, or what a trusted proxy says of it."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache


def client_address(peer: str, forwarded_for: str | None, proxies: Sequence[str]) -> str:
    """Return the address of the client itself.

    The header is read from the right: what stands left of the first address that is not a trusted proxy was written
    by the client and proves nothing.

    Args:
        peer: the address at the other end of the socket.
        forwarded_for: the X-Forwarded-For header, addresses separated by commas.
        proxies: the addresses or networks that are believed.
    """
    address = peer
    for hop in reversed((forwarded_for or "").split(",")):
        if not is_proxy(address, proxies):
            break
        hop = hop.strip()
        if not _valid(hop):
            break
        address = hop
    return address


def client_is_secure(peer: str, forwarded_proto: str | None, proxies: Sequence[str], *, tls: bool) -> bool:
    """Tell whether the client speaks TLS: to us, or to a proxy that we believe."""
    if forwarded_proto is not None and is_proxy(peer, proxies):
        return forwarded_proto.split(",")[-1].strip().lower() in ("https", "wss")
    return tls


def is_proxy(address: str, proxies: Sequence[str]) -> bool:
    """Tell whether an address is one of the trusted proxies (addresses, or networks like `10.0.0.0/8`)."""
    if not proxies:
        return False
    if address in proxies:
        return True
    try:
        parsed = ipaddress.ip_address(address)
        return any(parsed in ipaddress.ip_network(entry, strict=False) for entry in proxies if "/" in entry)
    except ValueError:
        return False


@lru_cache(4096)
def address_key(address: str) -> str:
    """Return what limits are counted by: an IPv4 address, or the /64 network that an IPv6 host can roam in."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))


def _valid(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True

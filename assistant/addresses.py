"""Network addresses: which are the whole Internet's, and those of a name, for guards that look before they connect."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

from aiohttp.abc import ResolveResult

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_IPV4_INSIDE = ipaddress.IPv6Network("::/96")  # an old way to write IPv4 addresses
# What Python counts as everybody's, and is not: a cloud's own services on each of its machines, and old private ranges.
_INSIDE = tuple(
    ipaddress.ip_network(network)
    for network in ("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24", "fec0::/10", "64:ff9b:1::/48")
)
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Forbidden(OSError):
    """A place that nothing is sent to. An OSError, so that the connector carries it."""


async def resolved(host: str, port: int, family: socket.AddressFamily) -> list[tuple[Address, ResolveResult]]:
    """What the system's resolver says of the name: each address, and the same as aiohttp's connector wants it."""
    loop = asyncio.get_running_loop()
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    found = []
    for kind, _, proto, _, (numeric, *_) in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family):
        address = ipaddress.ip_address(str(numeric).partition("%")[0])
        result = ResolveResult(hostname=host, host=str(numeric), port=port, family=kind, proto=proto, flags=flags)
        found.append((address, result))
    return found


def literal(host: str) -> Address | None:
    """The address that the host is, where it is one."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def public(address: Address) -> bool:
    """Whether the address is one of the whole Internet's."""
    within = inner(address)
    if any(within.version == network.version and within in network for network in _INSIDE):
        return False
    return within.is_global and not within.is_multicast


def inner(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one, where there is one: that is what counts."""
    if isinstance(address, ipaddress.IPv6Address):
        last = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        embedded = last if address in _NAT64 or (address in _IPV4_INSIDE and int(address) > 1) else None
        return address.ipv4_mapped or address.sixtofour or embedded or address
    return address

"""Where calls may go: to the one host that was declared, and inside the network only where that was declared, too.

The address is checked where the connection is made, so that a name that resolves differently the second time leads
nowhere else.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Forbidden(OSError):
    """A place that nothing is sent to. An OSError, so that the connector carries it."""


class Gate(AbstractResolver):
    """The system's resolver for one host. ``private``: the host may lie inside the network."""

    def __init__(self, host: str, private: bool) -> None:
        self._host = host.lower()
        self._private = private

    def check(self, url: URL) -> None:
        """What can be said without a connection, for hosts that are addresses; raises ``Forbidden``."""
        if url.scheme not in ("http", "https") or (url.host or "").lower() != self._host:
            raise Forbidden(f"{url.host} is not {self._host}, the one host that calls may go to")
        address = literal(self._host)
        if address is not None and not self._private and not public(address):
            raise Forbidden(_inside(self._host))

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if host.lower() != self._host:
            raise Forbidden(f"{host} is not {self._host}, the one host that calls may go to")
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        for info in infos:
            address = ipaddress.ip_address(str(info[4][0]).partition("%")[0])
            # Link-local addresses hold the keys of clouds' machines, and no API that a name leads to.
            if _inner(address).is_link_local or not (self._private or public(address)):
                raise Forbidden(_inside(host))
        return [_result(host, port, info) for info in infos]

    async def close(self) -> None:
        """Nothing to close."""


def _result(host: str, port: int, info: tuple[Any, ...]) -> ResolveResult:
    family, _, proto, _, address = info
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=address[0], port=port, family=family, proto=proto, flags=flags)


def literal(host: str) -> Address | None:
    """The address that the host is, where it is one."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_private(url: str) -> bool:
    """Whether the URL itself names a place inside: an address that is not public, or this machine."""
    host = (URL(url).host or "").lower()
    address = literal(host)
    return host == "localhost" or host.endswith(".localhost") or (address is not None and not public(address))


def public(address: Address) -> bool:
    """Whether the address is one of the whole Internet's."""
    inner = _inner(address)
    return inner.is_global and not inner.is_multicast


def _inner(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one, where there is one: that is what counts."""
    if isinstance(address, ipaddress.IPv6Address):
        nat64 = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None
        return address.ipv4_mapped or address.sixtofour or nat64 or address
    return address


def _inside(host: str) -> str:
    return f"{host} lies inside a private network; `private: true` in tools.yaml allows that for a source"

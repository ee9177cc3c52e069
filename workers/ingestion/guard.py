"""Which addresses may be fetched from: those of the whole Internet, and the hosts inside that a setting names."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Collection
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class Forbidden(OSError):
    """An address that nothing may be fetched from. An OSError, so that the connector carries it."""


def check(url: URL, allowed: Collection[str]) -> None:
    """What can be said without a connection; names are checked when they are resolved."""
    if url.scheme not in ("http", "https") or not url.host:
        raise Forbidden("only http and https addresses are fetched")
    try:
        literal = ipaddress.ip_address(url.host)
    except ValueError:
        return
    if url.host.lower() not in allowed and not public(literal):
        raise Forbidden(inside(url.host))


class Resolver(AbstractResolver):
    """The system's resolver, whose answers are checked: what it returns is what is connected to."""

    def __init__(self, allowed: Collection[str]) -> None:
        self._allowed = frozenset(allowed)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        results = [_result(host, port, info) for info in infos]
        if host.lower() not in self._allowed:
            for result in results:
                if not public(ipaddress.ip_address(result["host"].partition("%")[0])):
                    raise Forbidden(inside(host))
        return results

    async def close(self) -> None:
        """Nothing to close."""


def _result(host: str, port: int, info: tuple[Any, ...]) -> ResolveResult:
    family, _, proto, _, address = info
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=address[0], port=port, family=family, proto=proto, flags=flags)


def public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether the address is one of the whole Internet's; an IPv4 address inside an IPv6 one is what counts."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in NAT64 else None
        address = address.ipv4_mapped or address.sixtofour or inner or address
    return address.is_global and not address.is_multicast


def inside(host: str) -> str:
    return f"{host} lies inside a private network; ALMANAC_FETCH_ALLOWED_HOSTS names the hosts there that may be read"

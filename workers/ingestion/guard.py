"""Which addresses may be fetched from: those of the whole Internet, and the hosts inside that a setting names."""

from __future__ import annotations

import socket
from collections.abc import Collection

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from assistant.addresses import Forbidden, literal, public, resolved


def check(url: URL, allowed: Collection[str]) -> None:
    """What can be said without a connection; names are checked when they are resolved."""
    if url.scheme not in ("http", "https") or not url.host:
        raise Forbidden("only http and https addresses are fetched")
    address = literal(url.host)
    if address is not None and url.host.lower() not in allowed and not public(address):
        raise Forbidden(inside(url.host))


class Resolver(AbstractResolver):
    """The system's resolver, whose answers are checked: what it returns is what is connected to."""

    def __init__(self, allowed: Collection[str]) -> None:
        self._allowed = frozenset(allowed)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await resolved(host, port, family)
        if host.lower() not in self._allowed and not all(public(address) for address, _ in found):
            raise Forbidden(inside(host))
        return [result for _, result in found]

    async def close(self) -> None:
        """Nothing to close."""


def inside(host: str) -> str:
    return f"{host} lies inside a private network; ALMANAC_FETCH_ALLOWED_HOSTS names the hosts there that may be read"

"""Where calls may go: to the one host that was declared, and inside the network only where that was declared, too.

The address is checked where the connection is made, so that a name that resolves differently the second time leads
nowhere else.
"""

from __future__ import annotations

import socket

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from assistant.addresses import Forbidden, inner, literal, public, resolved


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
        found = await resolved(host, port, family)
        # Link-local addresses hold the keys of clouds' machines, and no API that a name leads to.
        if any(inner(address).is_link_local or not (self._private or public(address)) for address, _ in found):
            raise Forbidden(_inside(host))
        return [result for _, result in found]

    async def close(self) -> None:
        """Nothing to close."""


def is_private(url: str) -> bool:
    """Whether the URL itself names a place inside: an address that is not public, or this machine."""
    host = (URL(url).host or "").lower()
    address = literal(host)
    return host == "localhost" or host.endswith(".localhost") or (address is not None and not public(address))


def _inside(host: str) -> str:
    return f"{host} lies inside a private network; `private: true` in tools.yaml allows that for a source"

"""Where a link may lead: to a place that was cited, or to a host that the settings allow."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

_SCHEMES = frozenset({"http", "https"})
_BLANKS = re.compile(r"[\x00-\x20\u00a0\u200b-\u200f\u2028\u2029\u2060\ufeff]")


@dataclass(frozen=True, slots=True)
class Places:
    """``urls`` are compared as whole addresses, ``hosts`` by name; ``*.example.com`` stands for every name below."""

    urls: frozenset[str]
    hosts: tuple[str, ...] = ()

    @classmethod
    def of(cls, urls: Iterable[str], hosts: Iterable[str] = ()) -> Places:
        whole = (_whole(parts) for url in urls if (parts := split(url)) is not None)
        return cls(frozenset(whole), tuple(host.strip().lower().rstrip(".") for host in hosts if host.strip()))

    def allow(self, url: str) -> bool:
        """Whether ``url`` may be a link; one that browsers and we might read differently may not."""
        parts = split(url)
        if parts is None:
            return False
        host = parts.hostname or ""
        return _whole(parts) in self.urls or any(
            host.endswith(name[1:]) if name.startswith("*.") else host == name for name in self.hosts
        )


def split(url: str) -> SplitResult | None:
    """The parts of a plain web address; None for every other scheme, and where a name or a password stands in it."""
    try:
        parts = urlsplit(url.strip())
        host = parts.hostname
        _ = parts.port
    except ValueError:
        return None
    if (
        parts.scheme.lower() not in _SCHEMES
        or not host
        or "@" in parts.netloc
        or "\\" in url
        or _BLANKS.search(url.strip())
    ):
        return None
    try:
        host.encode("ascii")
    except UnicodeEncodeError:
        return None  # a name in other letters is written as punycode by whoever means it
    return parts


def host_of(url: str) -> str:
    """The host that a browser would go to, as far as it can be told; else the scheme."""
    text = _BLANKS.sub("", url).replace("\\", "/")
    match = re.match(r"(?i)(?:([a-z][a-z0-9+.-]*):)?/*(?:[^/?#@]*@)?([^/?#:]+)", text)
    if match is None:
        return ""
    scheme = (match[1] or "").lower()
    return match[2].lower()[:100] if scheme in ("", "http", "https", "ftp") else scheme


def _whole(parts: SplitResult) -> str:
    """The address without its fragment, in one spelling."""
    port = f":{parts.port}" if parts.port and (parts.scheme, parts.port) not in (("http", 80), ("https", 443)) else ""
    path = unquote(parts.path).rstrip("/")
    return f"{parts.scheme.lower()}://{(parts.hostname or '').lower()}{port}{path}?{parts.query}"

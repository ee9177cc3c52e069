"""What a site's robots.txt lets us read (RFC 9309): the longest rule that fits a path decides; ``*`` and ``$`` too."""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from urllib.parse import quote

from yarl import URL

from workers.ingestion.http import Client, Unavailable

NAME = "almanac"
LONGEST = 500 * 1024  # bytes of it that are read
LONGEST_DELAY = 30.0


@dataclass(frozen=True, slots=True)
class Robots:
    """``rules``: pattern and whether it allows. ``delay``: seconds between two requests, where it asks for some."""

    rules: tuple[tuple[str, bool], ...] = ()
    delay: float | None = None
    sitemaps: tuple[str, ...] = ()

    def allows(self, url: URL) -> bool:
        path = url.raw_path_qs or "/"
        fitting = [(len(pattern), allow) for pattern, allow in self.rules if _fits(pattern, path)]
        return max(fitting, default=(0, True))[1]  # of rules of one length, the one that allows


NOTHING = Robots((("/", False),))
EVERYTHING = Robots()


async def robots_of(client: Client, site: URL) -> Robots:
    """No robots.txt allows everything; a server that fails to give one allows nothing, for now."""
    response = await client.request("GET", str(site.origin() / "robots.txt"))
    if response.status == 200:
        return read(response.body[:LONGEST].decode("utf-8-sig", "replace"))
    if response.status in (401, 403):
        return NOTHING
    if response.status >= 500:
        raise Unavailable("the site's robots.txt cannot be had")
    return EVERYTHING


def read(text: str) -> Robots:
    """The rules of the group that names us, else of ``*``."""
    groups: dict[str, list[tuple[str, bool]]] = {}
    delays: dict[str, float] = {}
    sitemaps: list[str] = []
    agents: list[str] = []
    in_rules = False
    for line in text.splitlines():
        name, _, value = line.partition("#")[0].partition(":")
        name, value = name.strip().lower(), value.strip()
        if name == "sitemap" and value:
            sitemaps.append(value)
        elif name == "user-agent":
            agents = [value.lower()] if in_rules else [*agents, value.lower()]
            in_rules = False
            groups.setdefault(value.lower(), [])
        elif name in ("allow", "disallow", "crawl-delay"):
            in_rules = True
            for agent in agents:
                if name == "crawl-delay":
                    delays[agent] = _seconds(value)
                elif value:
                    groups[agent].append((value, name == "allow"))
    ours = next((agent for agent in groups if agent and agent != "*" and agent in NAME), "*")
    delay = delays.get(ours)
    return Robots(tuple(groups.get(ours, ())), min(delay, LONGEST_DELAY) if delay else None, tuple(sitemaps))


def _seconds(value: str) -> float:
    try:
        return max(0.0, float(value))
    except ValueError:
        return 0.0


def _fits(pattern: str, path: str) -> bool:
    """Piece by piece, in a time that no pattern can swell."""
    if not pattern.startswith(("/", "*")):
        pattern = "/" + pattern
    ends = pattern.endswith("$")
    first, *pieces = _spelt(pattern.rstrip("$")).split("*")
    if not path.startswith(first):
        return False
    place = len(first)
    last = pieces.pop() if ends and pieces else ""
    for piece in pieces:
        place = path.find(piece, place)
        if place < 0:
            return False
        place += len(piece)
    if not ends:
        return True
    return path.endswith(last) and len(path) - len(last) >= place if "*" in pattern else len(path) == place


def _spelt(pattern: str) -> str:
    """As addresses are spelt: what is not ASCII in percents, these in capitals."""
    return re.sub("%[0-9a-fA-F]{2}", lambda found: found[0].upper(), quote(pattern, safe=string.punctuation))

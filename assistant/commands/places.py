"""What somebody writes to add a source: ``[KIND] LOCATION [option=value …]``, in chat and in the terminal alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from assistant.errors import AlmanacError

COMMON = ("readers", "every")


@dataclass(frozen=True, slots=True)
class Kind:
    """``example`` shows how a location looks; ``minutes`` from one sync to the next, unless it is told otherwise."""

    example: str
    minutes: int
    options: tuple[str, ...] = ()


KINDS: Mapping[str, Kind] = {
    "folder": Kind("/srv/handbook", 15),
    "page": Kind("https://example.com/page", 60, ("credential",)),
    "website": Kind("https://docs.example.com/guide/", 60, ("sitemap", "per_second", "credential")),
    "git": Kind("https://git.example.com/handbook.git", 15, ("branch", "path", "include", "url", "credential")),
    "github": Kind("owner/name", 15, ("parts", "branch", "path", "include", "credential")),
    "confluence": Kind("https://acme.atlassian.net", 60, ("spaces", "attachments", "credential")),
    "sharepoint": Kind("https://acme.sharepoint.com/sites/Eng", 15, ("links", "credential")),
}


@dataclass(frozen=True, slots=True)
class Place:
    """``readers``: of every document, where they are not what the source says."""

    kind: str
    location: str
    name: str
    config: dict[str, Any] = field(default_factory=dict)
    minutes: int = 0


class BadPlace(AlmanacError):
    """``key`` is the sentence among the commands' strings, ``values`` what it names."""

    def __init__(self, key: str, **values: str) -> None:
        super().__init__(key)
        self.key = key
        self.values = values


def read(words: str) -> Place:
    """Raises ``BadPlace``. A folder must be absolute; whether it may be read is not decided here."""
    first, _, rest = words.strip().partition(" ")
    kind = first.lower() if first.lower() in KINDS and rest.strip() else ""
    parts = (rest if kind else words).split()
    options: dict[str, str] = {}
    while len(parts) > 1 and re.match(r"[a-z_]+=", parts[-1]):
        name, _, value = parts.pop().partition("=")
        options[name] = value
    location = " ".join(parts).strip("<>")
    kind = kind or _guessed(location)
    allowed = (*KINDS[kind].options, *COMMON)
    for name in options:
        if name not in allowed:
            raise BadPlace("bad_option", option=name, kind=kind, options=", ".join(allowed))
    location, title = _location(kind, location)
    return Place(kind, location, title, _config(options), _minutes(kind, options))


def _guessed(location: str) -> str:
    parts = urlsplit(location)
    if parts.scheme in ("http", "https") and parts.hostname:
        return "page"
    if location.startswith("/"):
        return "folder"
    raise BadPlace("bad_location", location=location[:200])


def _location(kind: str, location: str) -> tuple[str, str]:
    """The location in its one spelling, and a name for it."""
    parts = urlsplit(location)
    if parts.username or parts.password:
        raise BadPlace("secret_in_address")
    address = parts.scheme in ("http", "https") and bool(parts.hostname)
    path = PurePosixPath(location)
    if kind == "folder" and location.startswith("/"):
        return location, path.name or "/"
    if kind == "git" and (address or location.startswith("/")):
        return location, path.name.removesuffix(".git")
    if kind == "github":
        found = re.fullmatch(r"(?:https://[^/]+/)?([\w.-]+/[\w.-]+?)(?:\.git)?/?", location)
        if found:
            return found.group(1), found.group(1)
    if kind == "confluence" and address:
        return f"{parts.scheme}://{parts.netloc}/wiki", str(parts.hostname)
    if kind == "sharepoint" and (address or re.match(r"(drive|user):\S+$", location)):
        return location.rstrip("/"), path.name or location
    if kind in ("page", "website") and address:
        return location.partition("#")[0], f"{parts.hostname}{parts.path.rstrip('/')}"
    raise BadPlace("bad_place", location=location[:200], kind=kind, example=KINDS[kind].example)


def _config(options: Mapping[str, str]) -> dict[str, Any]:
    config: dict[str, Any] = {name: value for name, value in options.items() if name not in COMMON}
    if readers := [reader.strip() for reader in options.get("readers", "").split(",") if reader.strip()]:
        config["readers"] = readers
    return config


def _minutes(kind: str, options: Mapping[str, str]) -> int:
    every = options.get("every", "")
    if not every:
        return KINDS[kind].minutes
    if not every.isdecimal() or len(every) > 5 or int(every) > 7 * 24 * 60:
        raise BadPlace("bad_every", every=every[:20])
    return int(every)

"""The port of the sources: what has changed since a cursor, page by page.

A source lists; it does not write. It may be asked for the same changes twice, and gives the same answer or a newer one.
What a document's readers are called (its *principals*) is the same for every source:

    everyone                     whoever may use this assistant
    user:email:ADDRESS           a person by e-mail address, in lower case
    user:confluence:ACCOUNT      a person by the source's own id, where it hides the address
    user:github:LOGIN
    group:confluence:ID          a group; its members come with the listing (``Changes.groups``)
    group:github:OWNER/NAME      the people who may read a private repository
    group:entra:ID               a Microsoft 365 or security group
    group:tenant:TENANT          everybody of a Microsoft 365 organisation
    channel:PLATFORM:…           whoever reads the conversation where a file was shared
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database.session import Sessions
from assistant.settings import Settings
from workers.ingestion.http import Client

Cursor = dict[str, Any]  # JSON; only the source that made it reads it


@dataclass(frozen=True, slots=True)
class Loaded:
    """A document's bytes. ``name`` ends in the extension that chooses the parser; None leaves what the entry says.

    ``details`` is what the source knows of it (``author``, ``last_edited_by``, ``updated``; ``modified`` where that may
    be no more than when it was copied); what the document says of itself counts more.
    """

    name: str
    content: bytes
    url: str | None = None
    version: str | None = None
    details: Mapping[str, str] = field(default_factory=dict)


Load = Callable[[str | None], Awaitable[Loaded | None]]


@dataclass(frozen=True, slots=True)
class Entry:
    """A document that is there. ``load(known version)`` gets its bytes, or None when it is still that version.

    Where ``version`` is given and equals the stored one, the document is not loaded at all. ``load`` raises
    ``DocumentUnreadable``, or ``Unavailable`` when it may work later. ``readers`` None: the source's own.
    """

    external_id: str
    load: Load
    version: str | None = None
    url: str | None = None
    readers: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """A page of changes; ``cursor`` is where the next one begins, at once when ``more``.

    ``whole``: this page belongs to a listing of everything, of which ``first`` is the first page: what no page of it
    names is gone from the source. ``total``: how many documents the listing has, where that is known. ``moves`` are
    pairs of old and new external id, applied before anything else. ``spared``: how the ids of documents begin that
    could not be listed, and stay. ``settle`` runs in the transaction that ends the page.
    """

    upserts: Sequence[Entry] = ()
    deletions: Sequence[str] = ()
    cursor: Cursor | None = None
    more: bool = False
    whole: bool = False
    first: bool = False
    total: int | None = None
    moves: Sequence[tuple[str, str]] = ()
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    spared: Sequence[str] = ()
    settle: Callable[[AsyncSession], Awaitable[None]] | None = None


class Source(Protocol):
    """``list_changes(None)`` begins a listing of everything; a cursor that has expired does so by itself."""

    async def list_changes(self, cursor: Cursor | None) -> Changes: ...

    async def find(self, external_id: str) -> Entry | None:
        """One document, to try it again; None when the source has it no more."""
        ...


Known = Callable[[Sequence[str]], Awaitable[Mapping[str, str | None]]]


@dataclass(frozen=True, slots=True)
class Setting:
    """What a source is made from. ``known(ids)``: the stored versions of those that are stored; ``known_ids``: all.

    ``thorough``: trust no hint of the source that something is unchanged, but ask (a nightly reconciliation).
    """

    id: int
    location: str
    config: Mapping[str, Any]
    settings: Settings
    client: Client
    home: Path
    known: Known
    known_ids: Callable[[], Awaitable[list[str]]]
    sessions: Sessions
    thorough: bool = False


def known_of(**details: str | None) -> dict[str, str]:
    """Details without those that are not known; of times, the day."""
    days = ("updated", "modified")
    return {name: value[:10] if name in days else value for name, value in details.items() if value}


def slices(items: Sequence[Any], start: int, size: int) -> tuple[Sequence[Any], bool]:
    """Items from ``start`` on, and whether there are more."""
    return items[start : start + size], start + size < len(items)

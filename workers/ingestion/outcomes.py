"""What became of a document on its way into the index: plain data between the stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from assistant.guardrails.judged import Judged
from assistant.knowledge.documents import Chunk, ParsedDocument, SourceItem
from workers.ingestion.parse.unread import unread_of, within
from workers.ingestion.sources.port import Changes


@dataclass(frozen=True, slots=True)
class Parsed:
    """To be embedded and written. ``known``: it takes the place of a version that is there.

    ``keys``: its blocks', crossed with its readers'; ``without``: those its chunks were made without. ``counted``
    False: the document has not changed, only what others keep for it. ``same``: its source has not changed it.
    ``judged``: what the guard says of each chunk, where it was asked.
    """

    item: SourceItem
    document: ParsedDocument
    chunks: Sequence[Chunk]
    version: str | None
    known: bool
    keys: frozenset[int] = frozenset()
    without: frozenset[int] = frozenset()
    counted: bool = True
    same: bool = False
    judged: Sequence[Judged] = ()

    @property
    def failed_within(self) -> dict[str, str]:
        """What could not be read of it, as people are told: ``a.zip!/b.pdf`` -> reason."""
        return {within(self.item.external_id, part): why for part, why in unread_of(self.document.metadata).items()}


@dataclass(frozen=True, slots=True)
class Touched:
    """The same content under another address, version or other readers. ``counted`` False: more of it follows.

    ``told`` False: people see no difference, only the source has another word for this state of it.
    """

    external_id: str
    document_id: int
    readers: tuple[str, ...]
    url: str | None
    version: str | None
    access: bool
    counted: bool = True
    told: bool = True


@dataclass(frozen=True, slots=True)
class Mended:
    """It failed, and is again what the index holds."""

    external_id: str


@dataclass(frozen=True, slots=True)
class Failed:
    """``told`` already, it was not tried again: the same state of it fails the same way."""

    external_id: str
    reason: str
    content_hash: str | None = None
    version: str | None = None
    transient: bool = False
    retry_after: float | None = None
    told: bool = False


@dataclass(frozen=True, slots=True)
class Unchanged:
    external_id: str


@dataclass(slots=True)
class PageEnd:
    """All of a page has been written: its cursor may be kept. ``seen``: what the page named. ``within``: what could not
    be read of documents that have not changed: part -> reason."""

    changes: Changes
    seen: list[str]
    unchanged: int = 0
    ids: set[str] = field(default_factory=set)
    within: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Flush:
    """What is on its way is to be written before more comes."""


Outcome = Parsed | Touched | Mended | Failed | Unchanged | PageEnd | Flush

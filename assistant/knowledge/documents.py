"""What a document is between the parser and the database: plain frozen data, no I/O."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

# Titles that programs give, or that are only the file's place. They are shown, and say nothing of what is in there.
SAYS_NOTHING = frozenset(("document", "index", "new page", "page", "passage", "untitled", "untitled document"))

BlockKind = Literal["heading", "paragraph", "list_item", "code", "table"]


@dataclass(frozen=True, slots=True)
class Block:
    """One structural piece of a document, in reading order.

    ``text`` is plain text: inline mark-up is removed (``**bold**`` -> ``bold``, a link -> its label), code keeps
    its line breaks and indentation. A list item keeps no bullet; an ordered one starts with its number ("2. ").
    A table has ``rows`` (cells as text, the header first) and an empty ``text``.
    """

    kind: BlockKind
    text: str = ""
    level: int = 0  # heading: 1..6; list item: its depth, 0 is outermost
    rows: tuple[tuple[str, ...], ...] = ()
    anchor: str | None = None  # heading: its id in the page, as a URL fragment
    page: int | None = None  # PDF page or spreadsheet sheet, counted from 1


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """What a parser makes of one file."""

    title: str
    blocks: tuple[Block, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)  # e.g. owner, author, updated (ISO date)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage small enough for the embedding model, with its place in the document.

    ``text`` is what is shown and quoted; ``heading_path`` says where it stands ("Deploy > Roll back"). ``before`` is
    how the chunk before it ends: embedded with the text, neither shown nor stored.
    """

    ordinal: int
    text: str
    heading_path: tuple[str, ...] = ()
    anchor: str | None = None
    page: int | None = None
    before: str = ""

    def context(self, title: str) -> str:
        """The title and headings that precede the text when it is embedded and indexed."""
        path = [part for part in self.heading_path if part.casefold() != title.casefold()]
        return " > ".join(path if title.casefold() in SAYS_NOTHING else [title, *path])

    def embedded_text(self, title: str) -> str:
        """What the embedding model is given."""
        return "\n".join(part for part in (self.context(title), self.before, self.text) if part)


def text_hash(embedded: str) -> uuid.UUID:
    """The first half of the SHA-256 of an embedded text: what is the same text has the same vector."""
    return uuid.UUID(bytes=hashlib.sha256(embedded.encode("utf-8", "replace")).digest()[:16])


@dataclass(frozen=True, slots=True)
class SourceItem:
    """One thing a source holds, before it is parsed. ``external_id`` is stable within its source."""

    external_id: str
    name: str  # file name with its extension; chooses the parser
    content: bytes
    url: str | None = None
    readers: tuple[str, ...] = ("everyone",)

    @property
    def content_hash(self) -> str:
        """SHA-256 of the bytes and the name, so that a renamed file is parsed anew."""
        return hashlib.sha256(self.name.encode() + b"\0" + self.content).hexdigest()

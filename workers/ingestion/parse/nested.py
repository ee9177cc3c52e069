"""Files within a file: the members of an archive, the attachments of a mail. Each becomes a section of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace

from assistant.errors import DocumentUnreadable
from assistant.knowledge.documents import Block, ParsedDocument

MAX_DEPTH = 3  # an archive in a mail in an archive
_depth: ContextVar[int] = ContextVar("depth", default=0)


def section(name: str, content: bytes, level: int = 1) -> list[Block]:
    """A heading with the member's name, then what it holds, one level down.

    Raises DocumentUnreadable with the member's own reason.
    """
    return as_section(name, opened(name, content), level)


def opened(name: str, content: bytes) -> ParsedDocument:
    """What a member holds. Raises DocumentUnreadable with its own reason."""
    from workers.ingestion.parse.dispatch import parse  # here, since it loads the reader that calls us

    with _one_deeper():
        return parse(name, content)


def as_section(name: str, document: ParsedDocument, level: int = 1) -> list[Block]:
    shown = [Block("heading", name, level=level)]
    own = document.title.casefold()
    if own not in name.casefold() and own.replace(" ", "-") not in name.casefold():
        shown.append(Block("heading", document.title, level=level + 1))
    return [*shown, *(_lowered(block, level) for block in document.blocks)]


@contextmanager
def _one_deeper() -> Iterator[None]:
    depth = _depth.get()
    if depth >= MAX_DEPTH:
        raise DocumentUnreadable("it lies too deep within other files")
    token = _depth.set(depth + 1)
    try:
        yield
    finally:
        _depth.reset(token)


def _lowered(block: Block, by: int) -> Block:
    """Its anchor belongs to the member, not to the file that a citation opens."""
    return replace(block, level=min(block.level + by, 6), anchor=None) if block.kind == "heading" else block

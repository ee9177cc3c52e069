"""Text that stands on many pages is searched once: "Need help? Ask in #ops" at the end of two hundred runbooks.

A block is boilerplate where at least ``MINIMUM`` documents of one source, open to the same readers, hold it word for
word. The first of them keeps it, so that it is found, and cited where it stands; the others are cut into chunks without
it, so that neither their vectors nor their words are drowned in what they share. Fewer copies are no boilerplate: the
same step on three services' pages is an answer about each of them.

Pure functions. Who holds what is asked of the caller, as ``key -> document ids in a fixed order``: a table beside the
documents, or a dictionary. Two documents that different people may read share nothing: the caller crosses the keys with
their readers. Of a long list the first ``MINIMUM`` are enough, and one more for each document that changes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from assistant.knowledge.documents import Block, ParsedDocument

MINIMUM = 4  # documents
MIN_WORDS = 6  # shorter blocks ("Steps:", "On this page") weigh little, and are often no boilerplate
_WORD = re.compile(r"\w+")

Id = TypeVar("Id", str, int)  # of a document


def block_key(block: Block) -> int | None:
    """64 bits (signed, as Postgres has them) of a block's words, its marks and line breaks apart; None where it is too
    short, or a heading."""
    if block.kind == "heading":
        return None
    words = _WORD.findall(" ".join([block.text, *(cell for row in block.rows for cell in row)]).casefold())
    if len(words) < MIN_WORDS:
        return None
    digest = hashlib.blake2b(" ".join([block.kind, *words]).encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def block_keys(document: ParsedDocument) -> set[int]:
    return {key for key in map(block_key, document.blocks) if key is not None}


def readers_key(readers: Collection[str]) -> int:
    """64 bits (signed) of who may read a document. ``key ^ readers_key(readers)`` is a key that only the documents of
    these readers have in common, and it can be undone."""
    digest = hashlib.blake2b("\0".join(sorted(readers)).encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def left_out(
    document_id: Id, keys: Collection[int], holders: Mapping[int, Sequence[Id]], minimum: int = MINIMUM
) -> set[int]:
    """Those of the document's keys that another document keeps for it. ``holders`` may name this one or not."""
    found = set()
    for key in keys:
        known = holders.get(key, ())
        others = [holder for holder in known if holder != document_id]
        keeps = not others or (document_id in known and known[0] == document_id)
        if len(others) + 1 >= minimum and not keeps:
            found.add(key)
    return found


def without(document: ParsedDocument, keys: Collection[int]) -> ParsedDocument:
    """The document without these blocks, and without headings that stood over nothing else. One that would be left
    with nothing stays whole: a page must be findable."""
    kept: list[Block] = []
    for heading, body in _sections(document.blocks):
        rest = [block for block in body if block_key(block) not in keys]
        if heading is not None and (rest or not body):
            kept.append(heading)
        kept += rest
    if not any(block.kind != "heading" for block in kept):
        return document
    return replace(document, blocks=tuple(kept))


def _sections(blocks: Sequence[Block]) -> list[tuple[Block | None, list[Block]]]:
    found: list[tuple[Block | None, list[Block]]] = [(None, [])]
    for block in blocks:
        if block.kind == "heading":
            found.append((block, []))
        else:
            found[-1][1].append(block)
    return found


def to_prepare_again(
    before: Mapping[int, Sequence[Id]], after: Mapping[int, Sequence[Id]], minimum: int = MINIMUM
) -> set[Id]:
    """The documents whose chunks are no longer right when holders change: those that held a copy before it became
    boilerplate, the next keeper of one whose keeper went, and all where too few copies are left."""
    found: set[Id] = set()
    for key in {*before, *after}:
        old, new = before.get(key, ()), after.get(key, ())
        was, now = len(old) >= minimum, len(new) >= minimum
        if now and not was:
            found.update(set(new[1:]) & set(old))
        elif was and not now:
            found.update(set(new) - set(old[:1]))
        elif now and old[0] != new[0]:
            found.update({new[0], old[0]} & set(new))
    return found

"""What is embedded with a chunk besides its own text: how the chunk before it ends.

A passage that opens with "It also takes ..." is found by what "it" is. A title and headings say some of that already:
the more tokens they take, the fewer are repeated. Only what the model sees is longer, so that what is shown, quoted and
searched for words says nothing twice. A chunk takes as much as its own text leaves room for, so that none is cut
differently for it. Nothing more is stored, either: which ending was taken is told by the hash of what was embedded.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import replace

from assistant.knowledge.documents import Chunk, text_hash
from assistant.knowledge.pieces import CountTokens
from assistant.knowledge.sentences import sentence_spans

MOST_TOKENS = 75  # title and headings counted in; of 50, 64, 75 and 100 what finds most (see benchmarks.md)
MARGIN = 16  # tokens that counted parts may be off, put together; WordPiece's are exact
_MOST_CHARACTERS = 450
_RUNS = (300, 200, 100)  # characters taken of a last sentence that is longer than that
_WORD = re.compile(r"\w")


def overlapped(
    chunks: Sequence[Chunk], rooms: Sequence[int], title: str, count_tokens: CountTokens, max_tokens: int
) -> list[Chunk]:
    """The chunks of one document, each but the first with the longest ending of the one before it that fits.

    ``rooms``: about how many tokens each leaves free. The finished texts are counted, and none exceeds ``max_tokens``
    for what it repeats.
    """
    if len(chunks) < 2:
        return list(chunks)
    candidates: list[list[str]] = [[], *(endings(chunk.text) for chunk in chunks[:-1])]
    contexts = [chunk.context(title) for chunk in chunks]
    sized, counted = _sized(candidates, contexts, count_tokens)
    done = []
    for chunk, some, room, context in zip(chunks, sized, rooms, contexts, strict=True):
        fits = [ending for ending, size in some if size <= min(room, MOST_TOKENS - counted[context])]
        done.append(replace(chunk, before=fits[0]) if fits else chunk)
    places = [place for place, chunk in enumerate(done) if chunk.before]
    counts = count_tokens([done[place].embedded_text(title) for place in places]) if places else []
    for place, count in zip(places, counts, strict=True):
        if count > max_tokens:
            done[place] = replace(done[place], before="")
    return done


def _sized(
    candidates: Sequence[Sequence[str]], contexts: Sequence[str], count_tokens: CountTokens
) -> tuple[list[list[tuple[str, int]]], dict[str, int]]:
    """Each ending with its tokens, and the contexts' tokens. An ending is what it has more than the next shorter one,
    and that one."""
    parts = [_parts(some) for some in candidates]
    distinct = list(dict.fromkeys(contexts))
    empty, *counts = count_tokens(["", *distinct, *(part for some in parts for part in some)])
    counted = {context: size - empty for context, size in zip(distinct, counts, strict=False)}
    sizes = iter(counts[len(distinct) :])
    found = []
    for some, pieces in zip(candidates, parts, strict=True):
        own = [next(sizes) - empty for _ in pieces]
        found.append([(text, sum(own[place:])) for place, text in enumerate(some)])
    return found, counted


def _parts(some: Sequence[str]) -> list[str]:
    shorter = [*some[1:], ""]
    return [
        text[: len(text) - len(rest)] if text.endswith(rest) else text
        for text, rest in zip(some, shorter, strict=False)
    ]


def endings(text: str) -> list[str]:
    """What may be repeated of a chunk's text, the longest first: whole sentences or lines; of a long one its words."""
    starts = sorted({start for start, _ in sentence_spans(text)}, reverse=True)
    found = [text[start:].strip() for start in starts if len(text) - start <= _MOST_CHARACTERS]
    if not found:
        found = [text[-size:].partition(" ")[2].strip() for size in reversed(_RUNS)]
    return [ending for ending in dict.fromkeys(reversed(found)) if _WORD.search(ending)]


def embedded_as(hashed: uuid.UUID, chunk: Chunk, title: str, previous: str) -> str:
    """The text that was embedded for a stored chunk: the one with this hash.

    ``previous`` is the text of the chunk before it, or empty. A hash that fits nothing (it was made by other rules)
    gives the text without what it may have repeated.
    """
    plain = chunk.embedded_text(title)
    if not previous or text_hash(plain) == hashed:
        return plain
    texts = (replace(chunk, before=ending).embedded_text(title) for ending in endings(previous))
    return next((text for text in texts if text_hash(text) == hashed), plain)

"""Where to cut a document. A passage too long blurs what it is about; one too short no longer says it.

Four chunkers, each knowing more about the text than the last:

- ``fixed``: every ``size`` characters, with some overlap, wherever that falls;
- ``sentences``: whole sentences, as many as fit; the last ones are repeated in the next chunk;
- ``recursive``: at the coarsest border that helps: paragraph, else line, else sentence, else word;
- ``markdown``: never across a heading, and every chunk knows the headings it stands under.

All give spans of the source, so that a chunk can be traced back to its place, and nothing but white space falls between
them. ``size`` counts characters (about four to a token of English, and all-MiniLM-L6-v2 reads 256 tokens); no chunk is
longer. Left out: cutting where the embedding of neighbouring sentences changes ("semantic" chunking), which costs an
embedding per sentence, and chunks that carry a generated summary of their document.

Source: the recursive scheme is LangChain's RecursiveCharacterTextSplitter; the sentence window is LlamaIndex's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Span = tuple[int, int]

BORDERS = (r"\n\s*\n", r"\n", r"(?<=[.!?])\s", r"\s")  # paragraph, line, sentence, word: coarse to fine
_HEADING = re.compile(r"(#{1,6})\s+(.+?)[ \t]*#*[ \t]*")
_SENTENCE_END = re.compile(r"""[.!?]["')\]]*\s+(?=["'(\[]*[A-Z0-9])|\n\s*\n""")
_ABBREVIATION = re.compile(r"\b(?:Dr|Mr|Mrs|Ms|Prof|St|vs|etc|cf|al|Fig|Eq|No|e\.g|i\.e|[A-Z])\.$")


@dataclass(frozen=True, slots=True)
class Chunk:
    """``text`` is ``source[start:end]``; ``headings`` are those above it, the outermost first."""

    start: int
    end: int
    text: str
    headings: tuple[str, ...] = ()

    @property
    def indexed(self) -> str:
        """What search sees: a paragraph under "Rollback" that never says the word can then be found by it."""
        return f"{' > '.join(self.headings)}\n{self.text}" if self.headings else self.text


def fixed(text: str, size: int, overlap: int = 0) -> list[Chunk]:
    """Windows of ``size`` characters, each starting ``size - overlap`` after the last."""
    _check(size, overlap)
    starts = range(0, max(len(text) - overlap, 1), size - overlap)
    return _chunks(text, [(start, min(start + size, len(text))) for start in starts])


def sentences(text: str, size: int, overlap: int = 0) -> list[Chunk]:
    """As many whole sentences as fit; each chunk begins with the last ones of the chunk before, up to ``overlap``.

    A sentence longer than ``size`` is cut between words.
    """
    _check(size, overlap)
    spans = [piece for start, end in sentence_spans(text) for piece in _split(text, start, end, size, BORDERS[-1:])]
    done: list[Span] = []
    open_spans: list[Span] = []
    for span in spans:
        if open_spans and span[1] - open_spans[0][0] > size:
            done.append((open_spans[0][0], open_spans[-1][1]))
            end = open_spans[-1][1]
            while open_spans and (end - open_spans[0][0] > overlap or span[1] - open_spans[0][0] > size):
                open_spans.pop(0)
        open_spans.append(span)
    if open_spans:
        done.append((open_spans[0][0], open_spans[-1][1]))
    return _chunks(text, done)


def recursive(text: str, size: int, borders: Sequence[str] = BORDERS) -> list[Chunk]:
    """Cut at the coarsest of ``borders`` (patterns); only what is still too long is cut at the next finer one."""
    _check(size, 0)
    return _chunks(text, _split(text, 0, len(text), size, borders))


def markdown(text: str, size: int, title: str = "") -> list[Chunk]:
    """Sections first, then ``recursive`` inside each; ``#`` lines inside fenced code are code, not headings."""
    _check(size, 0)
    done: list[Chunk] = []
    for start, end, headings in _sections(text):
        path = tuple(dict.fromkeys((title, *headings) if title else headings))  # a title repeated as # says it once
        done.extend(_chunks(text, _split(text, start, end, size, BORDERS), path))
    return done


def sentence_spans(text: str) -> list[Span]:
    """Where the sentences are, blanks between them left out. English rules: a full stop after "e.g" ends none."""
    done: list[Span] = []
    start = 0
    for match in _SENTENCE_END.finditer(text):
        if _ABBREVIATION.search(text, max(start, match.start() - 8), match.start() + 1):
            continue
        done.append((start, match.end()))
        start = match.end()
    return [span for span in (_trimmed(text, *span) for span in [*done, (start, len(text))]) if span[0] < span[1]]


def _split(text: str, start: int, end: int, size: int, borders: Sequence[str]) -> list[Span]:
    """Spans of at most ``size``; neighbours that fit together stay together."""
    if end - start <= size:
        return [(start, end)]
    if not borders:  # one very long word: nothing left but to cut it
        return [(place, min(place + size, end)) for place in range(start, end, size)]
    done: list[Span] = []
    open_span: Span | None = None
    for piece in _at_border(text, start, end, borders[0]):
        if open_span and piece[1] - open_span[0] <= size:
            open_span = (open_span[0], piece[1])
            continue
        if open_span:
            done.append(open_span)
        open_span = piece if piece[1] - piece[0] <= size else None
        if open_span is None:
            done.extend(_split(text, *piece, size, borders[1:]))
    return [*done, open_span] if open_span else done


def _at_border(text: str, start: int, end: int, border: str) -> Iterator[Span]:
    """The pieces between matches of ``border``; blanks at their ends cost no room and are left out."""
    for match in re.compile(border).finditer(text, start, end):
        span = _trimmed(text, start, match.end())
        if span[0] < span[1]:
            yield span
        start = match.end()
    if start < end:
        yield _trimmed(text, start, end)


def _sections(text: str) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """Start, end and headings of each section. A heading without text of its own goes to the section below it."""
    open_headings: list[tuple[int, str]] = []
    start = place = 0
    body = fenced = False
    path: tuple[str, ...] = ()
    for line in text.splitlines(keepends=True):
        heading = None if fenced else _HEADING.fullmatch(line.rstrip("\r\n"))
        if heading:
            if body:
                yield start, place, path
                start, body = place, False
            level = len(heading[1])
            open_headings = [*(above for above in open_headings if above[0] < level), (level, heading[2])]
            path = tuple(name for _, name in open_headings)
        elif line.strip():
            body = True
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        place += len(line)
    yield start, len(text), path


def _trimmed(text: str, start: int, end: int) -> Span:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _chunks(text: str, spans: Sequence[Span], headings: tuple[str, ...] = ()) -> list[Chunk]:
    trimmed = (_trimmed(text, *span) for span in spans)
    return [Chunk(start, end, text[start:end], headings) for start, end in trimmed if start < end]


def _check(size: int, overlap: int) -> None:
    if size < 1 or not 0 <= overlap < size:
        raise ValueError(f"size must be positive and overlap in 0..size - 1; they are {size} and {overlap}.")

"""The ways of cutting that ``bench.chunking`` compares."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from assistant.knowledge.chunking import chunk
from assistant.knowledge.documents import ParsedDocument
from assistant.knowledge.embedding import MAX_TOKENS, TransformerEmbedder
from workers.ingestion.parse import parse

ARMS = ("ours", "ours_alone", "fixed", "fixed_title", "characters")


@dataclass(frozen=True, slots=True)
class Piece:
    """What one arm stores: ``context`` is embedded and indexed with ``text``, ``before`` embedded only."""

    document: str
    text: str
    context: str = ""
    before: str = ""

    @property
    def embedded(self) -> str:
        return "\n".join(part for part in (self.context, self.before, self.text) if part)


class Cutter:
    """The arms. ``embedder`` gives the model's own tokenizer."""

    def __init__(self, embedder: TransformerEmbedder) -> None:
        embedder.count_tokens([""])
        self._tokenizer = embedder._counter
        self._count = embedder.count_tokens

    def fixed(self, name: str, title: str, source: str) -> Iterator[Piece]:
        """As many tokens as the model takes, cut without regard to anything; the title once, on top."""
        yield from self._windows(name, f"{title}\n\n{source}", MAX_TOKENS - 2)

    def fixed_title(self, name: str, title: str, source: str) -> Iterator[Piece]:
        """The title before every chunk, which leaves the cuts themselves as the only difference."""
        room = max(MAX_TOKENS - self._count([title])[0] - 2, 64)
        for piece in self._windows(name, source, room):
            yield Piece(name, piece.text, title)

    def characters(self, name: str, title: str, source: str) -> Iterator[Piece]:
        """1,000 characters with 200 repeated, cut at a blank line, line end or blank: the common default."""
        text, start = f"{title}\n\n{source}", 0
        while start < len(text):
            end = min(start + 1_000, len(text))
            if end < len(text):
                ends = (text.rfind(mark, start + 500, end) for mark in ("\n\n", "\n", " "))
                end = next((found for found in ends if found > 0), end)
            yield Piece(name, text[start:end])
            start = max(end - 200, start + 1) if end < len(text) else len(text)

    def ours(self, name: str, title: str, source: str) -> Iterator[Piece]:
        document = ParsedDocument(title, parse("page.md", source.encode()).blocks)
        for piece in chunk(document, self._count):
            yield Piece(name, piece.text, piece.context(title).removeprefix(" > "), piece.before)

    def ours_alone(self, name: str, title: str, source: str) -> Iterator[Piece]:
        """The same chunks, nothing of the one before embedded with them."""
        for piece in self.ours(name, title, source):
            yield replace(piece, before="")

    def _windows(self, name: str, text: str, size: int) -> Iterator[Piece]:
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        for start in range(0, len(offsets), size):
            window = offsets[start : start + size]
            if window:
                yield Piece(name, text[window[0][0] : window[-1][1]])

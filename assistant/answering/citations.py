"""``[n]`` markers: renumbered while the text streams, and tied to passages that are still there.

A model cites passages by their number in the prompt. People see citations numbered by first appearance, the same in
the stream and in the final text. Markers inside code are code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncSession

from assistant.answering.evidence import tool_of
from assistant.answering.messages import Citation
from assistant.database import passages
from assistant.knowledge.audience import Audience
from assistant.knowledge.lexical import query_terms
from assistant.knowledge.search import Hit
from assistant.knowledge.sentences import split_units
from assistant.strings import say

QUOTE_CHARACTERS = 300
DETAIL_CHARACTERS = 200

_MARKER = re.compile(r"[\[【](\d{1,3}(?:\s*,\s*\d{1,3})*)[\]】](?!\()")
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_BEHIND = re.compile(r"([.!?])[ \t]?((?:\[\d{1,3}\])+)(?![(\w])")
# A marker that the next piece may go on with; a whole one, too, for a "(" after it would make it a link.
_OPEN_MARKER = re.compile(r"[\[【](?:\d{1,3}\s*,\s*)*(?:\d{1,3}(?:\s*|[\]】]))?\Z")


class Renumbering:
    """Gives passages their numbers in order of first appearance; text may arrive in any pieces."""

    def __init__(self, passages: int) -> None:
        self._passages = passages
        self.order: list[int] = []  # order[n - 1] is the passage number that is shown as n
        self._raw = ""
        self._shown = 0

    def feed(self, piece: str) -> str:
        """The text that can be shown now; a marker that may still grow is held back."""
        self._raw += piece
        return self._emit(self._settled())

    def finish(self) -> str:
        return self._emit(len(self._raw))

    def know(self, passages: int) -> None:
        """More may be cited from here on: numbers only grow."""
        self._passages = max(self._passages, passages)

    def _settled(self) -> int:
        """Where the text ends that no later piece can change: before an open marker, and before open inline code."""
        raw = self._raw
        marker = _OPEN_MARKER.search(raw, self._shown)
        code_end = max((match.end() for match in _CODE.finditer(raw)), default=0)
        tick = raw.find("`", max(code_end, raw.rfind("\n") + 1))
        ends = [len(raw.rstrip("`")), marker.start() if marker else len(raw), tick if tick >= 0 else len(raw)]
        return max(self._shown, min(ends))

    def _emit(self, end: int) -> str:
        code = [match.span() for match in _CODE.finditer(self._raw)]
        result: list[str] = []
        position = self._shown
        for match in _MARKER.finditer(self._raw, self._shown, end):
            if any(start <= match.start() < stop for start, stop in code):
                continue
            result.append(self._raw[position : match.start()])
            result.append(self._renumber(match.group(1)))
            position = match.end()
        result.append(self._raw[position:end])
        self._shown = end
        return "".join(result)

    def _renumber(self, numbers: str) -> str:
        shown = []
        for number in dict.fromkeys(int(part) for part in numbers.split(",")):
            if not 1 <= number <= self._passages:
                continue  # a source that was never given
            if number not in self.order:
                self.order.append(number)
            shown.append(f"[{self.order.index(number) + 1}]")
        return "".join(shown)


def renumber(text: str, passages: int) -> tuple[str, list[int]]:
    """The whole text with its markers renumbered, and which passage each shown number stands for."""
    numbering = Renumbering(passages)
    shown = numbering.feed(text) + numbering.finish()
    return shown, numbering.order


def drawn_in(shown: str) -> str:
    """Numbers that stand behind the end of their sentence, before it: else they would belong to the next one."""
    code = [match.span() for match in _CODE.finditer(shown)]

    def move(match: re.Match[str]) -> str:
        if any(start <= match.start() < stop for start, stop in code):
            return match.group()
        return f" {match.group(2)}{match.group(1)}"

    return _BEHIND.sub(move, shown)


def attribute(text: str, passages: Sequence[Hit], least: float = 0.6) -> str:
    """Mark each sentence that cites nothing with the passage that holds at least ``least`` of its terms."""
    held = [set(query_terms(f"{hit.title} {hit.text}")) for hit in passages]
    result: list[str] = []
    position = 0
    for unit in split_units(text):
        terms = set(query_terms(unit.text))
        if unit.kind in ("code", "heading") or len(terms) < 3 or _MARKER.search(unit.text):
            continue
        shares = [len(terms & words) / len(terms) for words in held]
        best = max(range(len(shares)), key=shares.__getitem__, default=None)
        if best is not None and shares[best] >= least:
            result.append(f"{text[position : unit.end]} [{best + 1}]")
            position = unit.end
    result.append(text[position:])
    return "".join(result)


def cite(shown: str, order: Sequence[int], passages: Sequence[Hit], quotes: Mapping[int, str]) -> tuple[Citation, ...]:
    """A citation for each number shown. The quote is the model's own, or the words nearest to what cites it."""
    return tuple(
        citation(n, passages[number - 1], quotes.get(number) or quote(passages[number - 1], _claim(shown, n)))
        for n, number in enumerate(order, start=1)
    )


def citation(n: int, hit: Hit, words: str) -> Citation:
    return Citation(
        n, hit.title, hit.link, hit.chunk_id, words, hit.document_id, hit.external_id, hit.heading_path, hit.page,
        owner=_text(hit.details.get("owner")),
        updated=_text(hit.details.get("updated")),
        indexed=hit.indexed_at.isoformat(timespec="seconds") if hit.indexed_at else None,
        sensitivity=_text(hit.details.get("sensitivity") or hit.details.get("classification")),
        tool=tool_of(hit),
    )  # fmt: skip


def _text(value: object) -> str | None:
    return " ".join(str(value).split())[:DETAIL_CHARACTERS] or None if value else None


def quote(hit: Hit, claim: str) -> str:
    """The unit of the passage that shares most terms with ``claim``, verbatim."""
    wanted = set(query_terms(claim))
    units = [unit for unit in split_units(hit.text) if unit.kind != "heading"]
    if not units:
        return hit.text[:QUOTE_CHARACTERS]
    best = max(units, key=lambda unit: (len(wanted & set(query_terms(unit.text))), -unit.start))
    return hit.text[best.start : best.end][:QUOTE_CHARACTERS]


def _claim(shown: str, n: int) -> str:
    """The sentences that cite ``[n]``."""
    return " ".join(unit.text for unit in split_units(shown) if f"[{n}]" in unit.text) or shown


async def living(session: AsyncSession, citations: Sequence[Citation], audience: Audience) -> set[int]:
    """The chunks among ``citations`` that exist now and that the audience may read."""
    chunks = [citation.chunk_id for citation in citations if citation.tool is None]
    return await passages.readable(session, chunks, audience) if chunks else set()


def without_dead(shown: str, citations: Sequence[Citation], alive: set[int]) -> tuple[str, tuple[Citation, ...]]:
    """The text and citations less those whose chunk is gone; numbers close up. What a tool said stays said."""
    kept = [item for item in citations if item.chunk_id in alive or item.tool is not None]
    if len(kept) == len(citations):
        return shown, tuple(citations)
    numbers = {item.n: place for place, item in enumerate(kept, start=1)}
    code = [match.span() for match in _CODE.finditer(shown)]

    def mark(match: re.Match[str]) -> str:
        if any(start <= match.start() < stop for start, stop in code):
            return match.group()
        number = numbers.get(int(match.group(1)))
        return f"[{number}]" if number else ""

    text_now = re.sub(r"\[(\d{1,3})\](?!\()", mark, shown)
    return text_now, tuple(replace(item, n=numbers[item.n]) for item in kept)


def asked(citation: Citation, language: str) -> str:
    """When the tool was asked that said it; documents have an age instead."""
    return say("tools.asked", language, time=(citation.indexed or "")[:16].replace("T", " "))

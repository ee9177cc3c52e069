"""No language model at all: the sentences of the passages that answer the question, each with its citation.

Each sentence, list item, table row and code block of the passages is scored by its similarity to the question (with
its title and heading before it, for a sentence alone often does not say what it is about), by the question's terms
that it holds, and by how well its passage was found. The best ones, in reading order, are the answer; whether they
are good enough is for ``assistant.answering.confidence`` to say.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from assistant.answering.confidence import THRESHOLD, Evidence, probability
from assistant.answering.expected import expected
from assistant.knowledge.embedders import pinned
from assistant.knowledge.embedding import Embedder
from assistant.knowledge.lexical import query_terms, share_held
from assistant.knowledge.search import Hit
from assistant.knowledge.sentence_vectors import SentenceVectors
from assistant.knowledge.sentences import Unit, split_units
from assistant.models.port import Brief, Written

UNITS = 9  # at most, in an answer
CHARACTERS = 1_100
LEAST_SHARE = 0.6  # of the best unit's score; what lies lower is left out
COMPLETED = 600  # characters of what a chosen sentence announces, or of code it stands behind: added whole, or not

TERMS_WEIGHT = 0.1
PASSAGE_WEIGHT = 0.8
TYPE_WEIGHT = 0.1


_ORDERED = re.compile(r"\d+[.)] ")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A unit of a passage. ``passage`` is its index; ``score`` its worth as an answer."""

    passage: int
    place: int
    unit: Unit
    source: str  # as it stands in the chunk
    cosine: float
    terms: float  # share of the question's term weight that the unit and its headings hold
    fits: bool  # it holds what the question asks for (a duration, a person, …)
    score: float


class ExtractiveModel:
    """Selects, never generates: it can say nothing that the documents do not."""

    name = "extractive"

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._sentences = SentenceVectors()

    async def write(self, brief: Brief) -> AsyncGenerator[str | Written, None]:
        candidates = await self.candidates(brief)
        confidence = probability(evidence(brief, candidates)) if candidates else 0.0
        if confidence < THRESHOLD:
            yield Written("", supported=False, confidence=confidence)
            return
        chosen = select(candidates)
        pieces = compose(chosen, brief.passages)
        for piece in pieces:
            yield piece
        best = max(chosen, key=lambda candidate: candidate.score)
        quotes = {candidate.passage + 1: candidate.source for candidate in reversed(chosen)}
        quotes[best.passage + 1] = best.source
        yield Written("".join(pieces), quotes=quotes, confidence=confidence)

    async def candidates(self, brief: Brief) -> list[Candidate]:
        """Every unit of the passages, scored."""
        found = [
            (passage, place, unit, context)
            for passage, hit in enumerate(brief.passages)
            for context in [" > ".join([hit.title, *hit.heading_path[-1:]])]
            for place, unit in enumerate(split_units(hit.text))
            if unit.kind != "heading"
        ]
        embedder = pinned(self._embedder)
        question = await embedder.embed_query(brief.standalone)
        vectors = await self._sentences.of([f"{context}: {unit.text}" for _, _, unit, context in found], embedder)
        cosines = vectors @ question
        asked = expected(brief.question)
        scored = []
        for (passage, place, unit, context), cosine in zip(found, cosines, strict=True):
            fits = asked is None or asked.given.search(unit.text) is not None
            scored.append(_candidate(brief, passage, place, unit, context, float(cosine), fits))
        return scored

    async def close(self) -> None:
        """Nothing to close."""


def _candidate(
    brief: Brief, passage: int, place: int, unit: Unit, context: str, cosine: float, fits: bool
) -> Candidate:
    hit = brief.passages[passage]
    terms = share_held(brief.term_weights, query_terms(f"{context} {unit.text}"))
    score = cosine + TERMS_WEIGHT * terms + PASSAGE_WEIGHT * hit.score + TYPE_WEIGHT * fits
    return Candidate(passage, place, unit, hit.text[unit.start : unit.end], cosine, terms, fits, score)


def evidence(brief: Brief, candidates: Sequence[Candidate]) -> Evidence:
    """What the confidence is computed from."""
    fitting = [candidate for candidate in candidates if candidate.fits] or list(candidates)
    best = max(fitting, key=lambda candidate: candidate.cosine + 0.3 * candidate.terms)
    first = brief.passages[0]
    held = share_held(brief.term_weights, query_terms(f"{first.title} {' '.join(first.heading_path)} {first.text}"))
    cosines = [hit.cosine for hit in brief.passages]
    return Evidence(
        passage=max(cosines),
        unit=best.cosine if best.fits else 0.0,
        terms=held,
        lead=first.cosine - float(np.mean(cosines[4:])) if len(cosines) > 4 else 0.0,
    )


def select(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The best units within the limits, in reading order: passages by their best unit, units by their place."""
    ranked = sorted(candidates, key=lambda candidate: -candidate.score)
    chosen: list[Candidate] = []
    seen: set[str] = set()
    room = CHARACTERS
    for candidate in ranked:
        if len(chosen) == UNITS or candidate.score < LEAST_SHARE * ranked[0].score:
            break
        text = " ".join(candidate.unit.text.split()).casefold()
        if text in seen or (chosen and len(candidate.source) > room):
            continue
        seen.add(text)
        chosen.append(candidate)
        room -= len(candidate.source)
    chosen.extend(_lead_ins(chosen, candidates))
    chosen.extend(_completions(chosen, candidates))
    order = {passage: rank for rank, passage in enumerate(dict.fromkeys(candidate.passage for candidate in chosen))}
    return sorted(chosen, key=lambda candidate: (order[candidate.passage], candidate.place))


def _lead_ins(chosen: Sequence[Candidate], candidates: Sequence[Candidate]) -> list[Candidate]:
    """The sentences that introduce chosen list items and code: without them one does not know what these are."""
    at = {(candidate.passage, candidate.place): candidate for candidate in candidates}
    taken = {(candidate.passage, candidate.place) for candidate in chosen}
    leads = {
        (lead.passage, lead.place): lead for lead in (_introduction(candidate, at) for candidate in chosen) if lead
    }
    return [lead for place, lead in leads.items() if place not in taken]


def _introduction(candidate: Candidate, at: Mapping[tuple[int, int], Candidate]) -> Candidate | None:
    if candidate.unit.kind not in ("code", "list_item"):
        return None
    whole = [candidate] if candidate.unit.kind == "code" else _list_around(candidate, at)
    place = min(item.place for item in whole) - 1
    lead = at.get((candidate.passage, place))
    if lead is None or lead.unit.kind != "sentence":
        return None
    return lead if candidate.unit.kind == "code" or lead.source.rstrip().endswith(":") else None


def _completions(chosen: Sequence[Candidate], candidates: Sequence[Candidate]) -> list[Candidate]:
    """What chosen units are not whole without.

    All steps of a numbered list: a step left out of a procedure is an error, and whatever shows the answer would number
    the others anew. What a sentence that ends with a colon announces. The code that a sentence stands behind.
    """
    at = {(candidate.passage, candidate.place): candidate for candidate in candidates}
    taken = {(candidate.passage, candidate.place) for candidate in chosen}
    added: dict[tuple[int, int], Candidate] = {}
    for candidate in chosen:
        for other in _belonging(candidate, at):
            if (place := (other.passage, other.place)) not in taken:
                added[place] = other
    return list(added.values())


def _belonging(candidate: Candidate, at: Mapping[tuple[int, int], Candidate]) -> list[Candidate]:
    before, after = (at.get((candidate.passage, candidate.place + step)) for step in (-1, 1))
    if candidate.unit.kind == "list_item":
        items = _list_around(candidate, at)
        return items if any(_ORDERED.match(item.unit.text) for item in items) else []
    if candidate.unit.kind != "sentence":
        return []
    if after is not None and after.unit.kind == "code" and candidate.source.endswith(":"):
        return _short([after])
    if after is not None and after.unit.kind == "list_item" and candidate.source.endswith(":"):
        items = _list_around(after, at)
        return items if any(_ORDERED.match(item.unit.text) for item in items) else _short(items)
    return _short([before]) if before is not None and before.unit.kind == "code" else []


def _list_around(item: Candidate, at: Mapping[tuple[int, int], Candidate]) -> list[Candidate]:
    """The list that ``item`` is in, with the code between its items."""
    found = [item]
    for step in (-1, 1):
        place, between = item.place + step, list[Candidate]()
        while (other := at.get((item.passage, place))) and other.unit.kind in ("list_item", "code"):
            between.append(other)
            if other.unit.kind == "list_item":
                found.extend(between)
                between.clear()
            place += step
    return found


def _short(units: list[Candidate]) -> list[Candidate]:
    return units if sum(len(unit.source) for unit in units) <= COMPLETED else []


def compose(chosen: Sequence[Candidate], passages: Sequence[Hit]) -> list[str]:
    """Markdown pieces, one a unit, each with the number of its passage."""
    pieces: list[str] = []
    before: Candidate | None = None
    for candidate in chosen:
        hit = passages[candidate.passage]
        pieces.append(_separator(before, candidate, hit) + _rendered(candidate, hit))
        before = candidate
    return pieces


def _separator(before: Candidate | None, candidate: Candidate, hit: Hit) -> str:
    if before is None:
        return ""
    kinds = {before.unit.kind, candidate.unit.kind}
    same = before.passage == candidate.passage
    if kinds <= {"list_item", "table_row"}:
        if same:
            return "\n" if len(kinds) == 1 else "\n\n"
        # Markdown knows no end of a list but other text: without its heading, this one would go on with that before.
        return f"\n\n**{[hit.title, *hit.heading_path][-1]}** [{candidate.passage + 1}]\n\n"
    follows = same and before.place + 1 == candidate.place
    return " " if follows and kinds == {"sentence"} else "\n\n"


def _rendered(candidate: Candidate, hit: Hit) -> str:
    number = f"[{candidate.passage + 1}]"
    unit = candidate.unit
    if unit.kind == "code":
        return f"{candidate.source.strip()}\n{number}"
    text = f"{' '.join(unit.text.split())} {number}"
    bulleted = unit.kind in ("list_item", "table_row") and not _ORDERED.match(text)
    return f"- {text}" if bulleted else text

"""Each sentence of an answer against the passage it cites: what the passage does not say is dropped.

A sentence that stands in the passage word for word is supported. Of another, every number, every name and every piece
of code must stand there; a denial on one side only means that the two say different things; and what it talks of must be
there in its words or, by the sentence embedding, in others. A sentence that cites nothing is checked against all passages
together; headings and what only leads to a list are let through.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from assistant.knowledge.embedders import pinned
from assistant.knowledge.embedding import Embedder
from assistant.knowledge.lexical import query_terms
from assistant.knowledge.sentence_vectors import SentenceVectors
from assistant.knowledge.sentences import split_units

LEAST = 0.55  # of words and meaning together; bench/guarding.py measures what it costs and what it catches
WORDS, MEANING = 0.5, 0.5
SAME = 0.6  # of the words of each in the other: two sentences on the same thing
DIRECT = 0.75  # cosine at which the words do not matter
_MARKER = re.compile(r"(?<!\s)\s*+[\[【](\d{1,3})[\]】](?!\()")
_MARKUP = re.compile(r"[*_`|#>\\]+")
_NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)*(?:%|\b)")
_CODE = re.compile(
    r"`([^`\n]+)`|(?<![\w/])((?:--?[a-z][\w-]+)|(?:[\w-]*[a-z\d](?:[._/:=](?![A-Z][a-z]))[\w./:=@-]*\w)|(?:[a-z]+[A-Z]\w+)|(?:[A-Z]{2,}_[A-Z_\d]+)|(?:\w+_\w+))"
)
_NAME = re.compile(r"(?<![.!?:]\s)(?<!^)(?<![\w\"“'(*`])([A-Z][a-zA-Z]{2,}(?:\s[A-Z][a-zA-Z]{2,}){0,3})")
_DENIAL = re.compile(
    r"(?i)\b(?:no|not|never|none|neither|nor|without|cannot|unable|isn|aren|doesn|don|didn|won|wouldn|shouldn|can|couldn|kein\w*|nicht|nie|niemals|pas|jamais|aucune?|sin|nunca)\b(?:['’]t\b)?"
)
_CAN = re.compile(r"(?i)^can$")
_OPENING = re.compile(r"(?i)^\s*(?:[-*•+]\s+|\d+[.)]\s+)?(?:(?:yes|no|ja|nein|oui|non|sí|sure)[,.!:]\s+)?")
_LEAD = re.compile(r"[::]\s*$")


@dataclass(frozen=True, slots=True)
class Sentence:
    """``text[start:end]`` of an answer, the numbers it cites, and what speaks against it (empty: nothing does)."""

    start: int
    end: int
    cited: tuple[int, ...]
    score: float
    against: str = ""


@dataclass(frozen=True, slots=True)
class Supported:
    """``text`` keeps what is supported; ``dropped`` are the sentences that are not, with what spoke against them."""

    text: str
    dropped: tuple[Sentence, ...]
    kept: int


class Support:
    """Checks answers. ``embedder`` is that of the search; only sentences that are not verbatim are embedded."""

    def __init__(self, embedder: Embedder, least: float = LEAST) -> None:
        self._embedder = embedder
        self._sentences = SentenceVectors()
        self._least = least

    async def check(self, answer: str, passages: Mapping[int, str]) -> Supported:
        """``passages``: number in the answer -> the passage's text, its title before it."""
        sentences = await self.sentences(answer, passages)
        bad = [sentence for sentence in sentences if sentence.against]
        return Supported(without(answer, bad), tuple(bad), len(sentences) - len(bad))

    async def sentences(self, answer: str, passages: Mapping[int, str]) -> list[Sentence]:
        """What can be checked of the answer, judged."""
        units = [unit for unit in split_units(answer) if unit.kind not in ("heading", "code")]
        claims = [(unit, bare(answer[unit.start : unit.end])) for unit in units]
        checked = [(unit, claim) for unit, claim in claims if claim and not _LEAD.search(claim)]
        cited = [_cited(answer[unit.start : unit.end]) for unit, _ in checked]
        grounds = [_ground(numbers, passages) for numbers in cited]
        scores = await self.judge(list(zip((claim for _, claim in checked), grounds, strict=True)))
        return [
            Sentence(unit.start, unit.end, numbers, score, against)
            for (unit, _), numbers, (score, against) in zip(checked, cited, scores, strict=True)
        ]

    async def judge(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, str]]:
        """(score, what speaks against it) of each (sentence, passage)."""
        first = [objection(claim, passage) for claim, passage in pairs]
        open_ones = [number for number, against in enumerate(first) if against is None]
        units = {number: _units(pairs[number][1]) for number in open_ones}
        texts = list(
            dict.fromkeys([pairs[n][0] for n in open_ones] + [text for found in units.values() for text in found])
        )
        vectors = await self._sentences.of(texts, pinned(self._embedder))
        place = {text: number for number, text in enumerate(texts)}
        result = [(1.0, "") if against == "" else (0.0, against or "") for against in first]
        for number in open_ones:
            claim, passage = pairs[number]
            rows = vectors[[place[text] for text in units[number]]]
            result[number] = self._weigh(claim, passage, units[number], rows @ vectors[place[claim]])
        return result

    def _weigh(
        self, claim: str, passage: str, units: Sequence[str], cosines: npt.NDArray[np.float32]
    ) -> tuple[float, str]:
        nearest = units[int(cosines.argmax())]
        cosine = float(cosines.max())
        alike = _share(claim, nearest) >= SAME and _share(nearest, claim) >= SAME
        if alike and denies(claim) != denies(nearest):
            return 0.0, "says the opposite"
        score = WORDS * _share(claim, passage) + MEANING * max(0.0, cosine)
        if cosine >= DIRECT or score >= self._least:
            return score, ""
        return score, "is not in the passage"


def objection(claim: str, passage: str) -> str | None:
    """What speaks against the claim without looking at meaning; "" where it stands there word for word; None: unclear."""
    if not passage.strip():
        return "cites nothing that was found"
    said, there = _plain(claim), _plain(passage)
    if said in there:
        return ""
    if missing := _numbers(claim) - _numbers(passage):
        return f"has another number: {min(missing)}"
    folded = passage.casefold()
    for match in _CODE.finditer(claim):
        token = (match[1] or match[2]).strip().casefold()
        if token and token not in folded and _plain(token) not in there:
            return f"names what is not there: {token[:40]}"
    words = set(re.findall(r"\w+", folded))
    for match in _NAME.finditer(claim):
        parts = [word.casefold() for word in match[1].split()]
        if not parts[0].endswith("ly") and not any({part, part.rstrip("s"), f"{part}s"} & words for part in parts):
            return f"names what is not there: {match[1][:40]}"
    return None


def denies(text: str) -> bool:
    """Whether the sentence denies, or says how it is; two denials are none."""
    found = [match.group() for match in _DENIAL.finditer(text) if not _CAN.match(match.group())]
    return len(found) % 2 == 1


def bare(text: str) -> str:
    """A sentence without its markers, and without what Markdown puts before it."""
    return _OPENING.sub("", _MARKER.sub("", text)).strip()


def without(answer: str, sentences: Sequence[Sentence]) -> str:
    """The answer less these sentences; list items and table rows go as lines, and a lead that leads nowhere goes, too."""
    parts, position = [], 0
    for sentence in sentences:
        parts.append(answer[position : sentence.start])
        position = sentence.end
        tail = re.match(r"(?:\s*[\[【]\d{1,3}[\]】](?!\())*[ \t]*", answer[position:])
        position += tail.end() if tail else 0
    text = "".join([*parts, answer[position:]])
    if not sentences:
        return answer
    text = re.sub(r"(?m)^[ \t]*(?:[-*•+]|\d+[.)]|\|[ |]*)[ \t]*$\n?", "", text)
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    text = re.sub(r"(?m)^[^\n]*[::]\n*\Z", "", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def _cited(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(int(number) for number in _MARKER.findall(text)))


def _ground(numbers: Sequence[int], passages: Mapping[int, str]) -> str:
    """The passages that a sentence cites; all of them where it cites none."""
    return "\n\n".join(passages.get(number, "") for number in numbers) if numbers else "\n\n".join(passages.values())


def _numbers(text: str) -> set[str]:
    return {match.group().replace(",", "").rstrip("%") for match in _NUMBER.finditer(text)}


def _share(claim: str, passage: str) -> float:
    terms = set(query_terms(claim))
    return len(terms & set(query_terms(passage))) / len(terms) if terms else 1.0


def _units(passage: str) -> list[str]:
    return [unit.text for unit in split_units(passage)] or [passage]


def _plain(text: str) -> str:
    return " ".join(_MARKUP.sub(" ", text).casefold().split()).rstrip(".!?")

"""An answer as claims, each with the passages that it cites, and how well those carry it.

A claim is a sentence, list item, table row or code block. By the definitions of ALCE (Gao et al., 2023): a claim counts
for *recall* when all that it cites, taken together, supports it; a citation counts for *precision* when its claim is
supported, and it either supports the claim alone or cannot be left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from assistant.evaluation.texts import without_markers
from assistant.knowledge.sentences import split_units

SUPPORTED = 0.5  # probability
_NUMBERS = re.compile(r"\[(\d{1,3})\](?!\()")
_LEADING = re.compile(r"\s*(?:\[\d{1,3}\](?!\()\s*)+")
_WORD = re.compile(r"[^\W\d_]{2,}|\d")


class Supports(Protocol):
    """Probabilities, one a pair, that the second text supports the first."""

    async def __call__(self, pairs: Sequence[tuple[str, str]]) -> Sequence[float]: ...


@dataclass(frozen=True, slots=True)
class Claim:
    """``text`` without markers; ``cited``: the numbers behind it, each once."""

    text: str
    cited: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """``supported``: by what it cites itself; ``grounded``: by anything that the answer cites; ``precise``: how many
    of its citations are."""

    claim: Claim
    supported: bool
    grounded: bool
    precise: int


def claims(text: str) -> list[Claim]:
    """The claims of an answer, in order. What holds no word (a rule, a lone marker) is none.

    Markers stand behind what they prove: those that begin a unit ("It is so. [1] And so.") belong to the claim before
    it, and so do those on a line of their own.
    """
    found: list[Claim] = []
    end = 0
    for unit in split_units(text):
        goes_on = bool(found) and unit.kind == "sentence" and "\n" not in text[end : unit.start]
        leading = _LEADING.match(unit.text) if goes_on else None
        if leading is not None:
            found[-1] = _citing(found[-1], leading.group())
        rest = unit.text[leading.end() :] if leading is not None else unit.text
        end = unit.end
        words = unit.text.strip() if unit.kind == "code" else " ".join(without_markers(rest).split())
        if not _WORD.search(words):
            if found and leading is None:
                found[-1] = _citing(found[-1], rest)
        elif unit.kind != "heading" or _NUMBERS.search(rest):
            found.append(Claim(words, ()) if unit.kind == "code" else _citing(Claim(words, ()), rest))
    return found


def _citing(claim: Claim, text: str) -> Claim:
    """The claim with the markers of ``text``, too."""
    numbers = (int(number) for number in _NUMBERS.findall(text))
    return Claim(claim.text, tuple(dict.fromkeys([*claim.cited, *numbers])))


async def judge(
    answer: Sequence[Claim], passages: Mapping[int, str], supports: Supports, least: float = SUPPORTED
) -> list[Verdict]:
    """``passages``: what each number stands for. All pairs are scored in one call."""
    wanted: dict[tuple[str, str], float] = {}
    everything = _joined(passages, tuple(passages))
    for claim in answer:
        for numbers in _subsets(claim.cited):
            wanted[claim.text, _joined(passages, numbers)] = 0.0
        wanted[claim.text, everything] = 0.0
    pairs = [pair for pair in wanted if pair[1]]
    for pair, score in zip(pairs, await supports(pairs) if pairs else (), strict=True):
        wanted[pair] = float(score)

    def holds(claim: Claim, numbers: Sequence[int]) -> bool:
        return wanted[claim.text, _joined(passages, numbers)] >= least

    return [_verdict(claim, holds, wanted[claim.text, everything] >= least) for claim in answer]


class _Holds(Protocol):
    def __call__(self, claim: Claim, numbers: Sequence[int], /) -> bool: ...


def _verdict(claim: Claim, holds: _Holds, grounded: bool) -> Verdict:
    supported = bool(claim.cited) and holds(claim, claim.cited)
    precise = 0
    if supported:
        for number in claim.cited:
            rest = tuple(other for other in claim.cited if other != number)
            precise += holds(claim, (number,)) or not (rest and holds(claim, rest))
    return Verdict(claim, supported, grounded or supported, precise)


def _subsets(cited: tuple[int, ...]) -> list[tuple[int, ...]]:
    """All of them, each alone, and all but each."""
    found = [cited, *((number,) for number in cited)]
    found += [tuple(other for other in cited if other != number) for number in cited]
    return list(dict.fromkeys(numbers for numbers in found if numbers)) or [()]


def _joined(passages: Mapping[int, str], numbers: Sequence[int]) -> str:
    return "\n\n".join(passages[number] for number in numbers if number in passages)

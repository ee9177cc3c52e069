"""With a language model: a question that leans on its conversation becomes one that stands alone.

One short call with a deadline of its own. Whatever comes late, or is not the question, is left aside: the words of the
conversation are then carried over as they are without a model (``assistant.answering.history``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import structlog

from assistant.answering.messages import NOTHING_USED, Turn, Usage
from assistant.errors import ModelError
from assistant.knowledge.filters import FilterError, parse
from assistant.knowledge.lexical import query_terms

log = structlog.get_logger()

SECONDS = 2.0
LONGEST = 400  # characters
KNOWN = 0.5  # of its terms must have been said before: more that is new is an answer, not a question


@dataclass(frozen=True, slots=True)
class Rewritten:
    text: str
    usage: Usage = NOTHING_USED


@runtime_checkable
class Rewriter(Protocol):
    """``rewrite`` says the last question so that it stands alone; raises ``ModelError``."""

    async def rewrite(self, question: str, turns: Sequence[Turn], purse: Any = None) -> Rewritten: ...


async def rewritten(
    model: object, question: str, turns: Sequence[Turn], seconds: float = SECONDS, purse: Any = None
) -> Rewritten | None:
    """The question alone, its text empty where what came is of no use; None: no model, or none in time.

    ``purse`` pays for the call (``assistant.models.port.Purse``); raises its ``OverBudget``.
    """
    if not isinstance(model, Rewriter):
        return None
    try:
        async with asyncio.timeout(seconds):
            found = await model.rewrite(question, turns, purse)
    except (TimeoutError, ModelError) as error:
        log.info("rewrite.left_out", reason=type(error).__name__)
        return None
    text = " ".join(found.text.split()).strip("\"'“”„« »")
    if not fits(text, question, turns):
        log.info("rewrite.left_out", reason="unusable")
        text = ""
    return Rewritten(text, found.usage)


def fits(text: str, question: str, turns: Sequence[Turn]) -> bool:
    """Whether it may be the question: short, without filters, and mostly of words that were said."""
    if not text or len(text) > max(LONGEST, 2 * len(question)):
        return False
    try:
        _, filters = parse(text)
    except FilterError:
        return False
    said = set(query_terms("\n".join([question, *(f"{turn.question}\n{turn.answer}" for turn in turns)])))
    terms = set(query_terms(text))
    return not filters and bool(terms) and len(terms & said) >= KNOWN * len(terms)

"""What a question asks once its filters are taken out, and what is said of them beside an answer or a search."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from assistant.answering.messages import Question, Turn
from assistant.answering.outcomes import Outcome
from assistant.errors import QuestionRejected
from assistant.knowledge.audience import Audience
from assistant.knowledge.filters import NO_FILTERS, FilterError, Filters, parse
from assistant.knowledge.search import Hit, Searcher
from assistant.strings import catalogue, detect, say


def read(question: Question) -> tuple[str, Filters]:
    """What is asked, and the filters. Raises ``FilterError``, except for what was not put to us: that is just text."""
    try:
        asked, filters = parse(question.text)
    except FilterError:
        if not question.unprompted:
            raise
        return question.text, question.filters
    if filters and not asked:
        raise FilterError("only_filters")
    return asked, filters | question.filters


def lifts(asked: str) -> bool:
    """Whether somebody asks for their question to be asked again, without its filters."""
    words = " ".join(re.sub(r"[^\w\s]", " ", asked).casefold().split())
    return any(words in texts["without"].split("|") for texts in catalogue("filters").values())


def last_asked(questions: Sequence[str]) -> str | None:
    """The first of the questions (newest first), without its filters, that is one."""
    asked = (bare(question) for question in questions)
    return next((question for question in asked if question and not lifts(question)), None)


def without_filters(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """The turns with what was asked alone."""
    return tuple(replace(turn, question=bare(turn.question) or turn.question) for turn in turns)


def bare(text: str) -> str:
    """A question without its filters; as it is, where they were refused."""
    try:
        return parse(text)[0]
    except FilterError:
        return text


def noted(text: str, outcome: Outcome, filters: Filters, language: str, found: bool) -> str:
    """An answer's text with a word on the filters; where they may be the reason for no answer, a way round them."""
    if not filters or outcome not in (Outcome.ANSWERED, Outcome.NOT_IN_DOCUMENTS):
        return text
    shown = filters.described(language)
    if outcome is Outcome.ANSWERED:
        return f"{text}\n\n*{say('filters.shown', language, filters=shown)}*"
    if found:
        text = f"{text} {say('filters.shown', language, filters=shown)}."
    else:
        text = say("filters.nothing", language, filters=shown)
    return f"{text} {say('filters.offer', language)}"


@dataclass(frozen=True, slots=True)
class Found:
    """``note``: one sentence on the filters, empty where there are none."""

    hits: tuple[Hit, ...]
    filters: Filters
    note: str


async def search(
    searcher: Searcher,
    words: str,
    *,
    audience: Audience,
    limit: int,
    given: Filters = NO_FILTERS,
    language: str | None = None,
) -> Found:
    """The passages for words that may hold filters. Raises ``QuestionRejected`` with a sentence in their language."""
    language = language or detect(words)
    try:
        asked, filters = parse(words)
        if filters and not asked:
            raise FilterError("only_filters")
        filters |= given
        result = await searcher.search(asked, audience=audience, limit=limit, filters=filters)
    except FilterError as error:
        raise QuestionRejected(error.sentence(language)) from None
    key = "filters.shown" if result.hits else "filters.nothing"
    note = say(key, language, filters=filters.described(language)) if filters else ""
    return Found(result.hits, filters, note)

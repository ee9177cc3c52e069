"""One question on its way through ``assistant.answering``, and the ends that it can come to."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from assistant.answering import citations as citing
from assistant.answering import filtering
from assistant.answering.calling import Calls
from assistant.answering.messages import NOTHING_USED, Answer, Citation, Question, Turn, Usage
from assistant.answering.outcomes import Outcome
from assistant.knowledge.filters import NO_FILTERS, Filters
from assistant.knowledge.query import Carried
from assistant.knowledge.search import Hit, SearchResult
from assistant.models.port import Brief, Model
from assistant.preferences.memory import content_key
from assistant.preferences.sketch import sketch
from assistant.spending.budget import Purse
from assistant.strings import say
from assistant.telemetry import Stopwatch

NEAREST = 3


@dataclass(slots=True)
class Work:
    """What is known of a question so far."""

    question: Question
    answer_id: uuid.UUID
    watch: Stopwatch
    language: str
    asked: str = ""  # the question without its filters
    filters: Filters = NO_FILTERS
    query: str = ""  # what is asked, understood alone
    search_for: str = ""
    carried: Sequence[Carried] = ()  # what counts beside it
    turns: Sequence[Turn] = ()
    result: SearchResult | None = None
    given: Sequence[Hit] = ()  # of what was found, what the model may read
    model: Model | None = None  # the version of it that answers this conversation
    usage: Usage = NOTHING_USED
    shown: list[str] = field(default_factory=list)
    numbering: citing.Renumbering | None = None
    purse: Purse | None = None  # pays for what the model is asked
    again: bool = False  # an earlier answer was given again
    personal: bool = False  # the answer says what is for its own readers alone: hidden documents, tools of theirs
    flagged: bool = False  # by the guard: no call that changes something is even proposed
    suspicious: set[int] = field(default_factory=set)  # chunks that seem to hold orders for their reader
    calls: Calls | None = None  # of tools, where the model was given some
    deadline: float = 0.0  # the event loop's time at which the answer must be there

    @property
    def hits(self) -> Sequence[Hit]:
        return self.result.hits if self.result else ()

    def ended(self, outcome: Outcome, text: str) -> Answer:
        text = filtering.noted(text, outcome, self.filters, self.language, bool(self.hits))
        made = self.calls
        return Answer(
            self.answer_id, outcome, text, language=self.language, calls=made.record if made else (),
            approvals=tuple(made.approvals) if made else (),
        )  # fmt: skip

    def not_found(self) -> Answer:
        answer = self.ended(Outcome.NOT_IN_DOCUMENTS, say("common.not_found", self.language))
        return replace(answer, nearest=nearest(self.hits))

    def unsupported(self) -> Answer:
        """Nothing of what the model wrote stands in the passages that it named."""
        return replace(self.not_found(), text=say("guardrails.unsupported", self.language))

    def snapshot(self, answer: Answer) -> list[dict[str, Any]]:
        """What was retrieved, as it is kept for learning: also what of it the model was given, and what was cited."""
        given = {hit.chunk_id for hit in self.given}
        cited = {citation.chunk_id: citation.n for citation in answer.citations}
        return [_kept(rank, hit, given, cited) for rank, hit in enumerate(self.hits, start=1)]

    def searched(self) -> dict[str, Any]:
        """How that was searched for, where the question's own words do not say it; and what ordered it."""
        found = self.result.choice.document() if self.result else {}
        if self.query and self.query != self.question.text:
            found["query"] = self.query
        if self.filters:
            found["filters"] = self.filters.arguments()
        if self.question.sources:
            found["sources"] = list(self.question.sources)
        return found


def brief_of(work: Work, hits: Sequence[Hit]) -> Brief:
    """What the model is asked to do with these hits."""
    question, weights = work.question, work.result.term_weights if work.result else {}
    return Brief(
        work.asked, work.query, hits, work.turns, weights,
        asker_name=question.asker_name, persona=question.persona, language=question.language, purse=work.purse,
    )  # fmt: skip


def nearest(hits: Sequence[Hit]) -> tuple[Citation, ...]:
    """The best passage of each of the first few documents."""
    best: dict[int, Hit] = {}
    for hit in hits:
        best.setdefault(hit.document_id, hit)
    chosen = list(best.values())[:NEAREST]
    return tuple(citing.citation(n, hit, citing.quote(hit, hit.title)) for n, hit in enumerate(chosen, start=1))


def _kept(rank: int, hit: Hit, given: Collection[int], cited: Mapping[int, int]) -> dict[str, Any]:
    """Without the text: ``key`` and ``sketch`` know it again. ``base`` is the ranking's score before ``moved`` (in
    log-odds), which is what votes had to say, where they had."""
    kept = {
        "rank": rank,
        "chunk_id": hit.chunk_id,
        "document_id": hit.document_id,
        "external_id": hit.external_id,
        "ordinal": hit.ordinal,
        "bm25": round(hit.bm25, 4),
        "cosine": round(hit.cosine, 4),
        "bm25_rank": hit.bm25_rank,
        "vector_rank": hit.vector_rank,
        "score": round(hit.score, 4),
        "key": content_key(hit.text),
        "sketch": sketch(hit.text),
        "shown": hit.chunk_id in given,
    }
    if hit.look is not None:
        kept["base"] = round(hit.look.score, 4)
        if hit.look.moved:
            kept["moved"] = round(hit.look.moved, 4)
    if hit.chunk_id in cited:
        kept["cited"] = cited[hit.chunk_id]
    return kept

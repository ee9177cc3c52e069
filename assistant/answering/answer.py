"""The one use case behind every front end: a question becomes exactly one answer, and the answer is kept."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import structlog

from assistant.answering import citations as citing
from assistant.answering.confidence import worth_asking
from assistant.answering.history import TURNS, standalone
from assistant.answering.messages import Answer, AnswerEvent, Citation, Delta, Done, Progress, Question, storable
from assistant.answering.outcomes import Outcome
from assistant.database import answers
from assistant.database.session import Sessions
from assistant.errors import AlmanacError, QuestionRejected
from assistant.knowledge.search import Hit, Searcher, SearchResult
from assistant.models.port import Brief, Model, Written
from assistant.telemetry import Metrics, Stopwatch

log = structlog.get_logger()

PASSAGES = 10  # given to the model
SNAPSHOT = 20  # kept with the answer, for learning
NEAREST = 3

NOT_FOUND = "I did not find this in the documents."
FAILED = "Something went wrong, and this question was not answered. The reference is {reference}."
TOO_LONG = "The question has {length} characters; the limit is {limit}."


@dataclass(slots=True)
class _Work:
    """One question on its way."""

    question: Question
    answer_id: uuid.UUID
    watch: Stopwatch
    result: SearchResult | None = None


class Answering:
    """Answers questions. Holds no state of its own; everything is handed in by ``assistant.services``."""

    def __init__(
        self, sessions: Sessions, searcher: Searcher, model: Model, metrics: Metrics, *, max_chars: int, timeout: float
    ) -> None:
        self._sessions = sessions
        self._searcher = searcher
        self._model = model
        self._metrics = metrics
        self._max_chars = max_chars
        self._timeout = timeout

    async def ask(self, question: Question) -> AsyncGenerator[AnswerEvent, None]:
        """Stream the answer: progress and text as they come, then exactly one ``Done``, stored before it is yielded.

        A question that came by a stored event is answered once: a second call yields the first one's answer.
        """
        question = replace(question, text=question.text.replace("\0", ""))  # Postgres has no such character
        if not question.text.strip():
            raise QuestionRejected("The question is empty.")
        earlier = await self._earlier(question)
        if earlier is not None:
            yield Done(earlier)
            return
        question = replace(question, text=storable(question.text))
        work = _Work(question, uuid.uuid4(), Stopwatch(self._metrics))
        deadline = asyncio.get_running_loop().time() + self._timeout
        stream = self._answer(work)
        try:
            while True:
                async with asyncio.timeout_at(deadline):
                    event = await anext(stream)
                if isinstance(event, Answer):
                    answer = event
                    break
                yield event
        except Exception as error:  # every question ends in a visible outcome
            answer = self._failed(work, error)
        finally:
            await stream.aclose()
        yield Done(await self._keep(work, answer))

    async def _earlier(self, question: Question) -> Answer | None:
        if question.inbox_id is None:
            return None
        async with self._sessions() as session:
            return await answers.of_event(session, question.inbox_id)

    async def _answer(self, work: _Work) -> AsyncGenerator[Progress | Delta | Answer, None]:
        question = work.question
        if len(question.text) > self._max_chars:
            text = TOO_LONG.format(length=f"{len(question.text):,}", limit=f"{self._max_chars:,}")
            yield Answer(work.answer_id, Outcome.OVER_LIMIT, text)
            return
        yield Progress("searching")
        async with self._sessions() as session:
            turns = await answers.turns(session, question.platform, question.conversation, TURNS)
        with work.watch.stage("search"):
            query = standalone(question.text, turns)
            work.result = await self._searcher.search(query, audience=question.audience, limit=SNAPSHOT)
        hits = work.result.hits[:PASSAGES]
        if not worth_asking(work.result):
            yield self._not_found(work)
            return
        yield Progress("writing")
        numbering = citing.Renumbering(len(hits))
        started = time.perf_counter()
        brief = Brief(question.text, query, hits, turns, work.result.term_weights)
        async with aclosing(self._model.write(brief)) as stream:
            async for piece in stream:
                if isinstance(piece, Written):
                    if tail := numbering.finish():
                        yield Delta(tail)
                    work.watch.record("model", time.perf_counter() - started)
                    yield await self._finish(work, piece, hits)
                elif shown := numbering.feed(storable(piece)):
                    if "first_token" not in work.watch.milliseconds:
                        work.watch.record("first_token", time.perf_counter() - started)
                    yield Delta(shown)

    async def _finish(self, work: _Work, written: Written, hits: Sequence[Hit]) -> Answer:
        """Check the whole text: every number must name a passage that is still there for this audience."""
        if not written.supported:
            return replace(self._not_found(work), usage=written.usage)
        with work.watch.stage("check"):
            text = storable(written.text)
            shown, order = citing.renumber(text, len(hits))
            if not order:
                shown, order = citing.renumber(citing.attribute(text, hits), len(hits))
            cited = citing.cite(shown, order, hits, written.quotes)
            async with self._sessions() as session:
                alive = await citing.living(session, cited, work.question.audience)
            shown, cited = citing.without_dead(shown, cited, alive)
        if not cited:
            return replace(self._not_found(work), usage=written.usage)
        return Answer(work.answer_id, Outcome.ANSWERED, shown, cited, usage=written.usage)

    def _not_found(self, work: _Work) -> Answer:
        hits = work.result.hits if work.result else ()
        return Answer(work.answer_id, Outcome.NOT_IN_DOCUMENTS, NOT_FOUND, nearest=_nearest(hits))

    def _failed(self, work: _Work, error: Exception) -> Answer:
        reference = work.answer_id.hex[:8]
        expected = isinstance(error, AlmanacError)
        if isinstance(error, TimeoutError):
            text = f"There was no answer within {self._timeout:g} s. The reference is {reference}."
        elif expected:
            text = f"{error} The reference is {reference}."
        else:
            text = FAILED.format(reference=reference)
        log.error(
            "answer.failed", reference=reference, error=type(error).__name__, exc_info=None if expected else error
        )
        nearest = _nearest(work.result.hits if work.result else ())
        return Answer(work.answer_id, Outcome.FAILED, text, nearest=nearest, reference=reference)

    async def _keep(self, work: _Work, answer: Answer) -> Answer:
        """Store the answer. Where another attempt at the same event was first, its answer is the one that counts."""
        question = work.question
        answer = replace(answer, model=self._model.name, timings_ms=work.watch.total())
        snapshot = _snapshot(work.result.hits if work.result else ())
        async with self._sessions.begin() as session:
            kept = await answers.save(session, question, answer, snapshot)
        if not kept:
            answer = await self._earlier(question) or answer
        self._metrics.answers.labels(question.platform, answer.outcome.value).inc()
        self._metrics.tokens.labels(answer.model, "prompt").inc(answer.usage.prompt_tokens)
        self._metrics.tokens.labels(answer.model, "completion").inc(answer.usage.completion_tokens)
        self._metrics.cost.labels(answer.model).inc(answer.usage.cost_usd)
        log.info("answer", id=str(answer.id), platform=question.platform, outcome=answer.outcome.value,
                 **{f"{stage}_ms": value for stage, value in answer.timings_ms.items()})  # fmt: skip
        return answer


def _nearest(hits: Sequence[Hit]) -> tuple[Citation, ...]:
    """The best passage of each of the first few documents."""
    best: dict[int, Hit] = {}
    for hit in hits:
        best.setdefault(hit.document_id, hit)
    chosen = list(best.values())[:NEAREST]
    return tuple(citing.citation(n, hit, citing.quote(hit, hit.title)) for n, hit in enumerate(chosen, start=1))


def _snapshot(hits: Sequence[Hit]) -> list[dict[str, Any]]:
    return [
        {
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
        }
        for rank, hit in enumerate(hits, start=1)
    ]

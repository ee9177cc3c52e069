"""The one use case behind every front end: a question becomes exactly one answer, and the answer is kept."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing, nullcontext
from dataclasses import replace

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from assistant import tracing
from assistant.answering import entrance, filtering, permissions, rewriting
from assistant.answering.aids import NO_AIDS, Aids
from assistant.answering.cache import AnswerCache, Manner
from assistant.answering.checking import Checker
from assistant.answering.confidence import RELEVANT_COSINE, worth_asking
from assistant.answering.failing import failed
from assistant.answering.history import TURNS, carried, leans, standalone
from assistant.answering.messages import Answer, AnswerEvent, Delta, Done, Progress, Question, storable
from assistant.answering.outcomes import Outcome
from assistant.answering.smalltalk import small_talk
from assistant.answering.stopping import Stopped, follow
from assistant.answering.tooling import DOCUMENTS
from assistant.answering.work import Work, brief_of
from assistant.answering.writing import PASSAGES, Writer
from assistant.database import answers, groups, passages
from assistant.database.session import Sessions
from assistant.errors import QuestionRejected
from assistant.knowledge.audience import Audience
from assistant.knowledge.search import Searcher
from assistant.models.port import Model, speaking
from assistant.strings import detect, known
from assistant.telemetry import Metrics, Stopwatch

log = structlog.get_logger()

SNAPSHOT = 20  # kept with the answer, for learning


class Answering:
    """Answers questions. Holds no state of its own; everything is handed in by ``assistant.services``."""

    def __init__(
        self,
        sessions: Sessions,
        searcher: Searcher,
        model: Model,
        metrics: Metrics,
        *,
        max_chars: int,
        timeout: float,
        aids: Aids = NO_AIDS,
    ) -> None:
        self._sessions = sessions
        self._searcher = searcher
        self._model = model
        self._metrics = metrics
        self._max_chars = max_chars
        self._timeout = timeout
        self._aids = aids
        self._checker = Checker(searcher.sessions, aids.guards, aids.support)
        self._writer = Writer(model, self._checker, aids.best_of)

    async def warm(self) -> None:
        """Load what the first question would wait for."""
        await asyncio.to_thread(detect, "warm up")
        if self._aids.guards is not None:
            await self._aids.guards.warm()

    async def ask(self, question: Question, stop: asyncio.Event | None = None) -> AsyncGenerator[AnswerEvent, None]:
        """Stream the answer: progress and text as they come, then exactly one ``Done``, stored before it is yielded.

        A question that came by a stored event is answered once: a second call yields the first one's answer. Once
        ``stop`` is set, what was shown so far is the answer.
        """
        limits = self._aids.limits
        allowed = limits.asking(question.asker) if limits is not None else nullcontext()
        with self._metrics.working(question.platform), allowed:
            async with aclosing(self._ask(question, stop)) as events:
                async for event in events:
                    yield event

    async def _ask(self, question: Question, stop: asyncio.Event | None) -> AsyncGenerator[AnswerEvent, None]:
        question = replace(question, text=question.text.replace("\0", ""))  # Postgres has no such character
        if not question.text.strip():
            raise QuestionRejected("The question is empty.")
        earlier = await self._earlier(question)
        if earlier is not None:
            yield Done(earlier)
            return
        question = replace(question, text=storable(question.text))
        language = known(question.language) or detect(question.text, question.locale)
        work = Work(question, uuid.uuid4(), Stopwatch(self._metrics), language)
        if self._aids.budget is not None:
            work.purse = self._aids.budget.purse(question, work.answer_id)
        work.deadline = asyncio.get_running_loop().time() + self._timeout
        with tracing.question(question.platform, question.conversation, work.answer_id) as span:
            stream = follow(self._answer(work), work.deadline, stop)
            try:
                async for event in stream:
                    if isinstance(event, Answer):
                        answer = event
                        break
                    if isinstance(event, Delta):
                        work.watch.first_shown(question.platform)
                        work.shown.append(event.text)
                    yield event
            except Stopped:
                answer = await self._writer.stopped(work)
            except Exception as error:  # every question ends in a visible outcome
                answer = failed(work, error, self._timeout)
            finally:
                await stream.aclose()
            answer = await self._keep(work, answer)
            span.set(almanac__outcome=answer.outcome.value, almanac__language=work.language)
            span.content("gen_ai.input.messages", question.text)
            span.content("gen_ai.output.messages", answer.text)
        yield Done(answer)

    async def _earlier(self, question: Question) -> Answer | None:
        if question.inbox_id is None:
            return None
        async with self._sessions() as session:
            return await answers.of_event(session, question.inbox_id)

    async def _answer(self, work: Work) -> AsyncGenerator[Progress | Delta | Answer, None]:
        if (ended := entrance.too_long(work, self._max_chars)) is not None:
            yield ended
            return
        work.asked, work.filters = filtering.read(work.question)
        yield Progress("searching")
        async with self._sessions() as session:
            await self._look_around(work, session)
            ended = await entrance.over_limit(work, self._aids, session)
        if (ended := ended or await entrance.guarded(work, self._aids) or self._friendly(work)) is not None:
            yield ended
            return
        question = work.question
        work.model = await speaking(self._model, question.conversation)
        await self._look_back(work)
        await self._search(work, question.audience)
        if (again := await self._again(work)) is not None:
            yield await self._with_hidden(work, again)
            return
        answer = None
        async with aclosing(self._from_what_there_is(work)) as events:
            async for event in events:
                if isinstance(event, Answer):
                    answer = event
                else:
                    yield event
        answer = answer or work.not_found()
        if answer.outcome is Outcome.NOT_IN_DOCUMENTS and not question.unprompted:
            answer = await self._privately(work) or answer
        yield await self._with_hidden(work, answer)

    async def _look_around(self, work: Work, session: AsyncSession) -> None:
        """Who asks, and what was said before."""
        question = work.question = await _with_groups(session, work.question)
        work.turns = filtering.without_filters(await answers.turns(session, question, TURNS))
        if filtering.lifts(work.asked):
            work.asked = filtering.last_asked(await answers.asked_before(session, question)) or work.asked
            work.question = replace(question, text=work.asked)

    def _friendly(self, work: Work) -> Answer | None:
        if work.question.unprompted or work.question.format is not None:
            return None
        said = small_talk(work.asked, work.language, work.turns)
        return None if said is None else work.ended(Outcome.ANSWERED, said.reply)

    async def _again(self, work: Work) -> Answer | None:
        """An earlier answer to the same question, where this audience's search found the same for it."""
        cache = self._cache_for(work.question)
        if cache is None or work.result is None or not worth_asking(work.result):
            return None
        with work.watch.stage("cache"):
            found = await cache.find(work.question, work.asked, work.hits, _manner(work), work.answer_id)
        if found is None:
            return None
        text, cited = await self._checker.alive(found.text, found.citations, work.question.audience)
        work.again = text == found.text
        return replace(found, citations=cited) if work.again else None

    def _cache_for(self, question: Question) -> AnswerCache | None:
        """A value in a format is not stored, so that it cannot be given again."""
        return self._aids.cache if question.format is None else None

    async def _from_what_there_is(self, work: Work) -> AsyncGenerator[Progress | Delta | Answer, None]:
        """From the documents, and from tools where the question wants one. Ends with an ``Answer``."""
        audience = work.question.audience
        tooling = self._aids.tooling if work.question.format is None else None
        route = DOCUMENTS if tooling is None else await tooling.route(work, audience)
        if tooling is None or not tooling.acts(route):
            answer = None
            async with aclosing(self._writer.write(work, audience)) as events:
                async for event in events:
                    if isinstance(event, Answer):
                        answer = event
                    else:
                        yield event
            answer = answer or work.not_found()
            if tooling is None or not tooling.may_help(route, answer):
                pointed = answer if tooling is None else tooling.pointed(work, route, answer)
                work.personal |= pointed is not answer
                yield pointed
                return
        async with aclosing(tooling.act(work, audience, brief_of(work, work.given), route)) as events:
            async for event in events:
                yield event

    async def _look_back(self, work: Work) -> None:
        """What is searched for: the question, and what it leans on in the conversation."""
        asked, turns, asker = work.asked, work.turns, work.question.asker
        work.query, work.carried = standalone(asked, turns, asker), carried(asked, turns, asker)
        work.search_for = asked
        if not turns or not leans(asked):
            return
        with work.watch.stage("rewrite"):
            alone = await rewriting.rewritten(self._model, asked, turns, purse=work.purse)
        if alone is not None:
            work.usage = work.usage + alone.usage
            if alone.text:
                work.query = work.search_for = alone.text

    async def _search(self, work: Work, audience: Audience) -> None:
        """What is found, and what of it the model may read."""
        with work.watch.stage("search"):
            work.result = await self._searcher.search(
                work.search_for, audience=audience, limit=SNAPSHOT, sources=work.question.sources,
                filters=work.filters, carried=work.carried, lot=work.question.conversation,
            )  # fmt: skip
        work.given = await self._checker.readable(work, work.result.hits[:PASSAGES])

    async def _privately(self, work: Work) -> Answer | None:
        """What the asker may read and the audience may not, where that answers: for the asker alone: not streamed."""
        own, audience, public = work.question.asker_audience, work.question.audience, (work.result, work.given)
        if own is None or own.principals <= audience.principals:
            return None
        answer = None
        try:
            await self._search(work, own)
            if await self._hides_something(work, audience):
                async with aclosing(self._writer.write(work, own)) as events:
                    async for event in events:
                        answer = event if isinstance(event, Answer) else answer
            if answer is not None and answer.outcome is Outcome.ANSWERED:
                return replace(answer, private=True)
        finally:  # also where it fails or is stopped: that answer is for all, and names what was found
            if answer is None or answer.outcome is not Outcome.ANSWERED:
                work.result, work.given = public
        return None

    async def _hides_something(self, work: Work, audience: Audience) -> bool:
        found = [hit.chunk_id for hit in work.hits[:PASSAGES]]
        async with self._searcher.sessions() as session:
            return len(await passages.readable(session, found, audience)) < len(found)

    async def _with_hidden(self, work: Work, answer: Answer) -> Answer:
        """The answer with a word on what permissions hide, where it may be for want of that."""
        question = work.question
        if not permissions.worth_looking(question, answer, work.filters):
            return answer
        with work.watch.stage("hidden"):
            count = await self._searcher.hidden(
                work.search_for, audience=permissions.of_all_who_ask(question), least_cosine=RELEVANT_COSINE,
                sources=question.sources, carried=work.carried,
            )  # fmt: skip
        work.personal |= count > 0
        return permissions.told(answer, count)

    async def _keep(self, work: Work, answer: Answer) -> Answer:
        """Store the answer. Where another attempt at the same event was first, its answer is the one that counts."""
        question = work.question
        if work.purse is not None:
            work.watch.record("reserve", work.purse.waited)
        if answer.calls:
            work.watch.record("tools", sum(call.milliseconds for call in answer.calls) / 1000)
        model = (work.model or self._model).name
        answer = replace(answer, model=model, timings_ms=work.watch.total(), usage=work.usage)
        async with self._sessions.begin() as session:
            kept = await answers.save(session, question, answer, work.snapshot(answer), work.searched())
            if kept and question.replaces is not None:
                await answers.withdraw(session, question.replaces)
        if not kept:
            answer = await self._earlier(question) or answer
        elif (cache := self._cache_for(question)) is not None and not (work.again or work.personal):
            await cache.keep(question, work.asked, work.hits, _manner(work), answer)
        self._metrics.answered(question.platform, answer)
        log.info("answer", id=str(answer.id), platform=question.platform, outcome=answer.outcome.value,
                 **{f"{stage}_ms": value for stage, value in answer.timings_ms.items()})  # fmt: skip
        return answer


def _manner(work: Work) -> Manner:
    version = work.result.choice.version if work.result else None
    model = work.model.name if work.model else ""
    return Manner(work.language, work.filters, in_conversation=bool(work.turns), model=model, preferences=version)


async def _with_groups(session: AsyncSession, question: Question) -> Question:
    """The question with what its audience may read as members of groups."""
    own = question.asker_audience
    return replace(
        question,
        audience=await groups.with_groups(session, question.audience),
        asker_audience=None if own is None else await groups.with_groups(session, own),
    )

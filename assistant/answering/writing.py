"""From the passages that were found to a checked answer: the model writes, and each of its sentences is looked up."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from assistant.answering import citations as citing
from assistant.answering.checking import Checker
from assistant.answering.confidence import SURE, worth_asking, worth_speaking_up
from assistant.answering.formatted import FormWriter
from assistant.answering.messages import Answer, Citation, Delta, Progress, storable
from assistant.answering.outcomes import Outcome
from assistant.answering.work import Work, brief_of
from assistant.knowledge.audience import Audience
from assistant.knowledge.search import Hit
from assistant.models.port import Model, Written
from assistant.preferences.best_of import BestOf
from assistant.strings import say

PASSAGES = 10  # given to the model


class Writer:
    """Lets the model write."""

    def __init__(self, model: Model, checker: Checker, best_of: BestOf | None = None) -> None:
        self._model = model
        self._checker = checker
        self._best_of = best_of
        self._forms = FormWriter(model, checker)

    async def write(self, work: Work, audience: Audience) -> AsyncGenerator[Progress | Delta | Answer, None]:
        """Let the model write from what was found; ends with an ``Answer``."""
        if work.question.format is not None:
            async with aclosing(self._forms.write(work, work.question.format, audience)) as events:
                async for event in events:
                    yield event
            return
        enough = worth_speaking_up if work.question.unprompted else worth_asking
        hits = work.given
        if work.result is None or not hits or not enough(work.result):
            yield work.not_found()
            return
        yield Progress("writing", len({hit.document_id for hit in hits}))
        work.numbering = numbering = citing.Renumbering(len(hits))
        settling = self._checker.settling(work, hits)
        started = time.perf_counter()
        model = work.model or self._model
        brief = brief_of(work, hits)
        writing = model.write(brief) if self._best_of is None else self._best_of.write(model, brief)
        async with aclosing(writing) as stream:
            async for piece in stream:
                if isinstance(piece, Written):
                    if tail := settling.feed(numbering.finish()) + settling.finish():
                        yield Delta(tail)
                    work.watch.record("model", time.perf_counter() - started)
                    yield await self._finish(work, piece, hits, audience)
                elif shown := settling.feed(numbering.feed(storable(piece))):
                    if "first_token" not in work.watch.milliseconds:
                        work.watch.record("first_token", time.perf_counter() - started)
                    yield Delta(shown)

    async def _finish(self, work: Work, written: Written, hits: Sequence[Hit], audience: Audience) -> Answer:
        """Check the whole text: every number must name a passage that is still there for this audience."""
        work.usage = work.usage + written.usage
        unsure = work.question.unprompted and written.confidence is not None and written.confidence < SURE
        if not written.supported or unsure:
            return replace(work.not_found(), confidence=written.confidence)
        with work.watch.stage("check"):
            checked = await self._checker.check(work, written.text, hits, audience, quotes=written.quotes)
        if not checked.citations:
            return work.unsupported() if checked.dropped else work.not_found()
        answer = work.ended(Outcome.ANSWERED, with_dropped(checked.text, checked.dropped, work.language))
        return replace(answer, citations=checked.citations, confidence=written.confidence)

    async def stopped(self, work: Work) -> Answer:
        """What had been shown, with the citations that it names."""
        text = "".join(work.shown).rstrip()
        cited: tuple[Citation, ...] = ()
        if text and work.numbering is not None:
            known = work.calls.evidence.hits if work.calls else work.given
            cited = citing.cite(text, work.numbering.order, known, {})
            text, cited = await self._checker.alive(text, cited, work.question.audience)
        note = say("common.stopped", work.language)
        return replace(work.ended(Outcome.STOPPED, f"{text}\n\n*{note}*" if text else note), citations=cited)


def with_dropped(text: str, dropped: int, language: str) -> str:
    """The text with a word on the sentences that were left out."""
    if not dropped:
        return text
    key = "guardrails.dropped_one" if dropped == 1 else "guardrails.dropped_many"
    return f"{text}\n\n*{say(key, language, count=dropped)}*"

"""From the passages that were found to a checked answer: the model writes, and each of its numbers is looked up."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from assistant.answering import citations as citing
from assistant.answering.confidence import SURE, worth_asking, worth_speaking_up
from assistant.answering.messages import Answer, Citation, Delta, Progress, storable
from assistant.answering.outcomes import Outcome
from assistant.answering.work import Work
from assistant.database.session import Sessions
from assistant.knowledge.audience import Audience
from assistant.knowledge.search import Hit
from assistant.models.port import Brief, Model, Written
from assistant.strings import say

PASSAGES = 10  # given to the model


class Writer:
    """Lets the model write. ``sessions`` are those that see only what their audience may read."""

    def __init__(self, model: Model, sessions: Sessions) -> None:
        self._model = model
        self._sessions = sessions

    async def write(self, work: Work, audience: Audience) -> AsyncGenerator[Progress | Delta | Answer, None]:
        """Let the model write from what was found; ends with an ``Answer``."""
        hits = work.hits[:PASSAGES]
        enough = worth_speaking_up if work.question.unprompted else worth_asking
        if work.result is None or not enough(work.result):
            yield work.not_found()
            return
        yield Progress("writing", len({hit.document_id for hit in hits}))
        work.numbering = numbering = citing.Renumbering(len(hits))
        started = time.perf_counter()
        async with aclosing(self._model.write(brief_of(work, hits))) as stream:
            async for piece in stream:
                if isinstance(piece, Written):
                    if tail := numbering.finish():
                        yield Delta(tail)
                    work.watch.record("model", time.perf_counter() - started)
                    yield await self._finish(work, piece, hits, audience)
                elif shown := numbering.feed(storable(piece)):
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
            text = storable(written.text)
            shown, order = citing.renumber(text, len(hits))
            if not order:
                shown, order = citing.renumber(citing.attribute(text, hits), len(hits))
            cited = citing.cite(shown, order, hits, written.quotes)
            shown, cited = await self._alive(shown, cited, audience)
        if not cited:
            return work.not_found()
        return replace(work.ended(Outcome.ANSWERED, shown), citations=cited, confidence=written.confidence)

    async def stopped(self, work: Work) -> Answer:
        """What had been shown, with the citations that it names."""
        text, cited = "".join(work.shown).rstrip(), ()  # type: tuple[str, tuple[Citation, ...]]
        if text and work.numbering is not None:
            known = work.calls.evidence.hits if work.calls else work.hits[:PASSAGES]
            cited = citing.cite(text, work.numbering.order, known, {})
            text, cited = await self._alive(text, cited, work.question.audience)
        note = say("common.stopped", work.language)
        return replace(work.ended(Outcome.STOPPED, f"{text}\n\n*{note}*" if text else note), citations=cited)

    async def _alive(
        self, text: str, cited: tuple[Citation, ...], audience: Audience
    ) -> tuple[str, tuple[Citation, ...]]:
        async with self._sessions() as session:
            alive = await citing.living(session, cited, audience)
        return citing.without_dead(text, cited, alive)


def brief_of(work: Work, hits: Sequence[Hit]) -> Brief:
    question, weights = work.question, work.result.term_weights if work.result else {}
    return Brief(
        work.asked, work.query, hits, work.turns, weights,
        asker_name=question.asker_name, persona=question.persona, language=question.language, purse=work.purse,
    )  # fmt: skip

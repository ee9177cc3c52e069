"""An answer in a format that was asked for: the model fills it in from the passages, and each leaf is looked up.

The model names the passages that its value rests on. The value is shown where it fits the schema once links, secrets
and personal data from nowhere are out of it, and where the named passages say what it holds. Otherwise the model is
told once what is wrong. Tools are not called for it, it is not streamed, and it is not kept for the same question.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from assistant.answering import citations as citing
from assistant.answering.checking import Checker
from assistant.answering.confidence import worth_asking
from assistant.answering.messages import Answer, Progress
from assistant.answering.outcomes import Outcome
from assistant.answering.work import Work, brief_of, nearest
from assistant.guardrails.formats import Fitting, Format
from assistant.guardrails.leaves import SHOWN
from assistant.knowledge.audience import Audience
from assistant.knowledge.search import Hit
from assistant.models import forms
from assistant.models.port import Again, Filling, Model
from assistant.strings import say

log = structlog.get_logger()

TRIES = 2


@dataclass(frozen=True, slots=True)
class _Tried:
    """``ended`` is the answer. Else ``problem`` says what is wrong, ``said`` that it is not the format."""

    ended: Answer | None = None
    problem: str = ""
    said: bool = False


class FormWriter:
    """Lets the model fill in a format."""

    def __init__(self, model: Model, checker: Checker) -> None:
        self._model = model
        self._checker = checker

    async def write(self, work: Work, form: Format, audience: Audience) -> AsyncGenerator[Progress | Answer, None]:
        """Ends with an ``Answer``; one that is ``answered`` has a value that fits."""
        model, hits = work.model or self._model, work.given
        if not (isinstance(model, Filling) and model.fills):
            yield replace(
                work.ended(Outcome.FAILED, say("formats.no_model", work.language)), nearest=nearest(work.hits)
            )
        elif work.result is None or not hits or not worth_asking(work.result):
            yield work.not_found()
        else:
            yield Progress("writing", len({hit.document_id for hit in hits}))
            yield await self._filled(model, work, form, audience)

    async def _filled(self, model: Filling, work: Work, form: Format, audience: Audience) -> Answer:
        hits, tried, again = work.given, _Tried(), None
        for _ in range(TRIES):
            with work.watch.stage("model"):
                written = await model.fill(brief_of(work, hits), form.schema, again)
            work.usage = work.usage + written.usage
            with work.watch.stage("check"):
                tried = await self._judged(work, written.text, form, hits, audience)
            if tried.ended is not None:
                return tried.ended
            again = Again(written.text, _instruction(tried.problem))
        reference = work.answer_id.hex[:8]
        log.warning("format.unfit", reference=reference, said=tried.said)  # the problem may quote what nobody may see
        if tried.said:
            return work.unsupported()
        answer = work.ended(Outcome.FAILED, say("guardrails.format", work.language))
        return replace(answer, nearest=nearest(work.hits), reference=reference)

    async def _judged(
        self, work: Work, text: str, form: Format, hits: Sequence[Hit], audience: Audience
    ) -> _Tried:  # fmt: skip
        reply = forms.read(text)
        if reply.problem:
            return _Tried(problem=reply.problem)
        order = [number for number in reply.sources if 1 <= number <= len(hits)]
        if reply.value is None or not order:
            return _Tried(work.not_found())
        fitting = self._fitting(work, reply.value, form, hits)
        if not fitting.fits:
            return _Tried(problem=fitting.problem)
        leaf = await self._checker.unsupported(fitting.value, form, [hits[number - 1] for number in order])
        if leaf is not None:
            problem = f"at {leaf.place}, {str(leaf.value)[:SHOWN]!r} is not in the passages that it names as sources."
            return _Tried(problem=problem, said=True)
        return _Tried(await self._answer(work, fitting.value, order, hits, audience))

    def _fitting(self, work: Work, value: Any, form: Format, hits: Sequence[Hit]) -> Fitting:
        """The value as it may be shown, if it fits before and after."""
        fitting = form.check(value)
        if not fitting.fits:
            return fitting
        return form.check(self._checker.cleaned(work, fitting.value, form, hits))

    async def _answer(
        self, work: Work, value: Any, order: Sequence[int], hits: Sequence[Hit], audience: Audience
    ) -> Answer:  # fmt: skip
        """The value with its sources. Where one of them is gone meanwhile, it may hold what nobody here may read."""
        text = _shown(value, len(order))
        cited = citing.cite(text, order, hits, {})
        text, living = await self._checker.alive(text, cited, audience)
        if len(living) < len(cited):
            return work.not_found()
        return replace(work.ended(Outcome.ANSWERED, text), citations=living, value=value)


def _shown(value: Any, sources: int) -> str:
    """The value as people see it: a block of code, and the numbers of what it rests on."""
    written = json.dumps(value, ensure_ascii=False, indent=2).replace("```", "\\u0060" * 3)  # ends no block
    return f"```json\n{written}\n```\n{''.join(f'[{n}]' for n in range(1, sources + 1))}"


def _instruction(problem: str) -> str:
    return (
        f'Your reply cannot be used: {problem} Write the whole JSON object again, with "sources" and "value", and'
        " nothing else. Leave out what the passages do not say."
    )

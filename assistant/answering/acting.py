"""From a question that may want tools to a checked answer: as ``assistant.answering.writing`` for documents alone."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from assistant.answering import citations as citing
from assistant.answering.agent import Agent, Ended, conversing
from assistant.answering.calling import Calls
from assistant.answering.checking import Checked, Checker
from assistant.answering.messages import Answer, Citation, Delta, PendingApproval, Progress, ToolUse, Usage, storable
from assistant.answering.outcomes import Outcome
from assistant.answering.work import Work
from assistant.answering.writing import with_dropped
from assistant.knowledge.audience import Audience
from assistant.models.port import Brief, Conversing
from assistant.strings import say

ASKED_BACK = 300  # characters of a question that the model asks the person


class Actor:
    """Lets the model call tools and write."""

    def __init__(self, model: Conversing, checker: Checker, steps: int) -> None:
        self._agent = Agent(model, steps)
        self._checker = checker

    async def act(
        self, work: Work, audience: Audience, brief: Brief, calls: Calls
    ) -> AsyncGenerator[Progress | Delta | Answer, None]:
        """Ends with an ``Answer``. ``calls`` begin with the evidence that ``brief`` holds, and know of each call at
        once, so that an answer that is stopped, or fails, names it, too.
        """
        evidence = calls.evidence
        work.numbering = numbering = citing.Renumbering(len(evidence))
        settling = self._checker.settling(work, evidence.hits)
        started = time.perf_counter()

        def spend(usage: Usage) -> None:
            work.usage = work.usage + usage

        speaker = conversing(work.model)
        async with aclosing(self._agent.run(brief, calls, spend, speaker)) as stream:
            async for event in stream:
                numbering.know(len(evidence))
                if isinstance(event, Progress):
                    yield event
                elif isinstance(event, Ended):
                    if tail := settling.feed(numbering.finish()) + settling.finish():
                        yield Delta(tail)
                    work.watch.record("model", time.perf_counter() - started)
                    yield await self._finish(work, event, calls, audience)
                elif shown := settling.feed(numbering.feed(storable(event))):
                    if "first_token" not in work.watch.milliseconds:
                        work.watch.record("first_token", time.perf_counter() - started)
                        yield Progress("writing", evidence.documents)
                    yield Delta(shown)

    async def _finish(self, work: Work, ended: Ended, calls: Calls, audience: Audience) -> Answer:
        """Check the whole text as any other answer's; then say what waits for a person."""
        checked = Checked("", ())
        if ended.supported:
            with work.watch.stage("check"):
                checked = await self._checker.check(work, ended.text, calls.evidence.hits, audience)
        answer, cited = self._answer(work, ended, calls, checked), checked.citations
        return replace(answer, citations=cited, calls=numbered(calls.uses, cited), approvals=tuple(calls.approvals))

    def _answer(self, work: Work, ended: Ended, calls: Calls, checked: Checked) -> Answer:
        cited = checked.citations
        shown = with_dropped(checked.text, checked.dropped, work.language)
        if calls.approvals:
            notes = [waiting(approval, work.language) for approval in calls.approvals]
            text = "\n\n".join([*([shown] if cited else []), *notes])
            open_ones = any(approval.state == "waiting" for approval in calls.approvals)
            return work.ended(Outcome.WAITING_FOR_APPROVAL if open_ones else Outcome.ANSWERED, text)
        if cited:
            return work.ended(Outcome.ANSWERED, shown)
        if checked.dropped:
            return work.unsupported()
        if ended.supported and asks_back(ended.text):
            return work.ended(Outcome.ANSWERED, checked.text.strip())
        failed = next((use for use in reversed(calls.uses) if use.outcome == "failed"), None)
        if failed is None or any(use.outcome == "done" and use.n for use in calls.uses):
            return work.not_found()
        # A tool did not do what it should, and nothing else answers: that is what is said.
        text = say("tools.failed", work.language, title=failed.title, reason=failed.error)
        return replace(work.ended(Outcome.FAILED, text), reference=work.answer_id.hex[:8])


def numbered(uses: Sequence[ToolUse], cited: Sequence[Citation]) -> tuple[ToolUse, ...]:
    """The calls with the numbers that people see; None where the answer does not cite what came."""
    shown = {citation.external_id: citation.n for citation in cited}
    return tuple(replace(use, n=shown.get(f"tool:{use.tool}:{use.n}") if use.n else None) for use in uses)


def waiting(approval: PendingApproval, language: str) -> str:
    """What has become of a call that was proposed: our words, and never the model's."""
    key = "tools.waits" if approval.state == "waiting" else "tools.stands"
    return say(key, language, title=approval.title)


def asks_back(text: str) -> bool:
    """Whether the text is nothing but a short question to the person, which says nothing that could be wrong."""
    text = text.strip()
    return len(text) <= ASKED_BACK and text.endswith(("?", "？")) and text.count("\n") <= 2 and _sentences(text) <= 2


def _sentences(text: str) -> int:
    return sum(text.count(mark) for mark in (". ", "! ", "? ")) + 1

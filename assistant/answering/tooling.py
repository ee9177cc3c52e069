"""Tools in answering: routes a question, lets the model act where it wants a tool, and names the tool where there is no
model to call it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

import structlog

from assistant.answering.acting import Actor
from assistant.answering.agent import close_at
from assistant.answering.calling import Calls
from assistant.answering.confidence import worth_asking
from assistant.answering.evidence import Evidence
from assistant.answering.hands import Workshop
from assistant.answering.messages import Answer, Delta, Progress
from assistant.answering.outcomes import Outcome
from assistant.answering.routing import Route, Router
from assistant.answering.work import Work
from assistant.knowledge.audience import Audience
from assistant.knowledge.search import Hit, Searcher
from assistant.models.port import Brief
from assistant.strings import say
from assistant.tools.model import Tool

log = structlog.get_logger()

DOCUMENTS = Route("documents")
FOUND_BY_MODEL = 5  # passages of one search of the model's


class Tooling:
    """``actor`` is None where no model can call functions: then a tool is named, with the command that calls it."""

    def __init__(self, router: Router, workshop: Workshop, searcher: Searcher, actor: Actor | None) -> None:
        self._router = router
        self._workshop = workshop
        self._searcher = searcher
        self._actor = actor

    async def route(self, work: Work, audience: Audience) -> Route:
        """What the question wants, of what all its readers may use. What nobody asked of us gets documents alone."""
        if work.question.unprompted:
            return DOCUMENTS
        with work.watch.stage("route"):
            tools = await self._workshop.tools_for(work.question, audience, work.language)
            if work.flagged:  # what reads like an attack may look things up, and change nothing
                tools = [tool for tool in tools if not tool.writes]
            route = await self._router.route(
                work.asked, tools, work.result, language=work.language, query=work.query, turns=work.turns
            )
        log.info("route", kind=route.kind, probability=round(route.probability, 3), tools=len(tools))
        return route

    def acts(self, route: Route) -> bool:
        """Whether the model is to act, and not only to write."""
        return self._actor is not None and route.kind == "tools"

    def may_help(self, route: Route, answer: Answer) -> bool:
        """Whether the model should act after all, where the documents alone did not answer."""
        return (
            self._actor is not None
            and route.kind == "documents"
            and route.worth_a_try
            and answer.outcome is Outcome.NOT_IN_DOCUMENTS
        )

    async def act(
        self, work: Work, audience: Audience, brief: Brief, route: Route
    ) -> AsyncGenerator[Progress | Delta | Answer, None]:
        """Ends with an ``Answer``. ``brief`` holds the passages that were found; what is far from the question is left
        out, and the model may search for more."""
        if work.result is None or not worth_asking(work.result):
            brief = replace(brief, passages=())

        async def search(query: str) -> Sequence[Hit]:
            question = work.question
            with work.watch.stage("search"):
                result = await self._searcher.search(
                    query, audience=audience, limit=FOUND_BY_MODEL, sources=question.sources, filters=work.filters
                )
            return result.hits

        hands = self._workshop.hands(work.question, audience, work.language, work.answer_id, route.tools, search)
        work.calls = calls = Calls(hands, Evidence(brief.passages), close_at(work.deadline))
        assert self._actor is not None
        async with aclosing(self._actor.act(work, audience, brief, calls)) as events:
            async for event in events:
                yield event

    def pointed(self, work: Work, route: Route, answer: Answer) -> Answer:
        """Without a model that calls functions: the answer with the tool that the question seems to want."""
        if self._actor is not None or route.kind != "tools" or not route.tools:
            return answer
        if answer.outcome not in (Outcome.ANSWERED, Outcome.NOT_IN_DOCUMENTS):
            return answer
        tool = route.tools[0]
        here = work.question.platform in ("web", "terminal", "mcp")  # where "tool NAME" is no command
        said, begins = ("tools.reach_here", "almanac tools call") if here else ("tools.reach", "tool")
        pointer = say(said, work.language, title=tool.title or tool.name, command=command(tool, begins))
        return replace(answer, text=f"{answer.text}\n\n{pointer}" if answer.text else pointer)


def command(tool: Tool, begins: str = "tool") -> str:
    """What somebody writes to call it, with a blank for what it needs."""
    return " ".join([begins, tool.name, *(f"{name}=…" for name in tool.parameters.get("required", ()))])

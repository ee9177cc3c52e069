"""Questions that want tools, through the whole use case: grounded, cited, stored; no change without a person."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import select

from assistant.answering.acting import Actor
from assistant.answering.agent import conversing
from assistant.answering.aids import Aids
from assistant.answering.answer import Answering
from assistant.answering.checking import Checker
from assistant.answering.hands import Workshop
from assistant.answering.messages import Answer, AnswerEvent, Delta, Done, Progress, Question
from assistant.answering.outcomes import Outcome
from assistant.answering.routing import Router
from assistant.answering.smalltalk import small_talk
from assistant.answering.tooling import Tooling
from assistant.database import answers
from assistant.database.session import Sessions
from assistant.database.tables_tools import ToolCall
from assistant.knowledge.audience import Audience
from assistant.knowledge.embedding import TransformerEmbedder
from assistant.knowledge.search import Searcher
from assistant.models.client import OpenAIModel
from assistant.models.extractive import ExtractiveModel
from assistant.models.port import Model
from assistant.strings import say
from assistant.telemetry import Metrics
from assistant.tools import schema
from assistant.tools.approval import Approvals
from assistant.tools.model import NotAllowed, Tool, ToolCaller, ToolError, ToolResult
from tests.core.functions_double import Double, calls, says, served
from tests.core.parts import Page, shelve

SERVICE = {"type": "object", "properties": {"service": {"type": "string"}}, "required": ["service"]}
ON_CALL = Tool("who_is_on_call", "The person who has the pager of a service now", SERVICE, title="Who is on call now")
RESTART = Tool(
    "restart_service", "Restarts the pods of one service", SERVICE, title="Restart a service", writes=True,
    needs_approval=True, users=("group:engineers",),
)  # fmt: skip
ENGINEERS = Audience(frozenset({"everyone", "group:engineers"}))
PAGES = (
    Page("rollback.md", "Rolling back", ("To roll back a service, run `ferry rollback` with its name.",)),
    Page("rota.md", "The rota", ("Ledger is looked after by the payments team.",)),
    Page("ferry.md", "Ferry", ("Ferry promotes a release from staging to production in two steps.",)),
)
HOW = "How do I roll back a service?"
WHO = "Who is on call for ledger right now?"


@dataclass
class Toolbox:
    """Two tools, as the real toolbox offers and refuses them."""

    called: list[tuple[str, dict[str, Any], ToolCaller]] = field(default_factory=list)
    error: ToolError | None = None

    async def tools_for(self, caller: ToolCaller) -> Sequence[Tool]:
        return [tool for tool in (ON_CALL, RESTART) if tool.open_to(caller)]

    def validate(self, tool: Tool, arguments: object) -> dict[str, Any]:
        return schema.validate(tool, arguments)

    async def call(
        self, tool: Tool, arguments: Mapping[str, Any], caller: ToolCaller, idempotency_key: str | None = None
    ) -> ToolResult:
        if tool.needs_approval:
            raise NotAllowed("Nobody approved.")
        self.called.append((tool.name, dict(arguments), caller))
        if self.error is not None:
            raise self.error
        return ToolResult(f"Ada Byron is on call for {arguments['service']}.", 200)


@dataclass
class Desk:
    sessions: Sessions
    double: Double
    embedder: TransformerEmbedder
    toolbox: Toolbox = field(default_factory=Toolbox)
    events: list[AnswerEvent] = field(default_factory=list)

    async def ask(
        self, text: str, *behaviours: Any, model: Model | None = None, timeout: float = 60.0,
        audience: Audience = ENGINEERS, conversation: str | None = None, **more: Any,
    ) -> Answer:  # fmt: skip
        self.double.behaviours.extend(behaviours)
        model = model or OpenAIModel(self.double.settings())
        searcher = Searcher(self.sessions, self.embedder)
        approvals = Approvals(self.sessions, self.toolbox, 60)
        callers = conversing(model)
        actor = None if callers is None else Actor(callers, Checker(self.sessions), 3)
        tooling = Tooling(Router(self.embedder), Workshop(self.toolbox, approvals, self.sessions), searcher, actor)
        answering = Answering(
            self.sessions, searcher, model, Metrics(), max_chars=500, timeout=timeout, aids=Aids(tooling=tooling)
        )
        question = Question(text, "mia", audience, "test", conversation or uuid.uuid4().hex, asker_name="Mia", **more)
        self.events = [event async for event in answering.ask(question)]
        await model.close()
        last = self.events[-1]
        assert isinstance(last, Done)
        async with self.sessions() as session:  # every one is kept as it is shown
            kept = await answers.by_id(session, last.answer.id)
        assert kept is not None
        assert kept.answer == last.answer
        return last.answer

    @property
    def prompt(self) -> str:
        return str(self.double.requests[-1]["messages"])

    async def recorded(self) -> list[ToolCall]:
        async with self.sessions() as session:
            return list((await session.execute(select(ToolCall).order_by(ToolCall.id))).scalars())


@pytest.fixture
async def desk(sessions: Sessions, embedder: TransformerEmbedder) -> AsyncIterator[Desk]:
    await shelve(sessions, embedder, *PAGES)
    async with served() as double:
        yield Desk(sessions, double, embedder)


async def test_a_tools_answer_is_cited_stored_and_on_record(desk: Desk) -> None:
    answer = await desk.ask(
        WHO,
        calls(("who_is_on_call", {"service": "ledger"})),
        says("Ada Byron is on call for ledger [4]. The payments team looks after it [1]."),
    )
    assert answer.outcome is Outcome.ANSWERED
    assert answer.text == "Ada Byron is on call for ledger [1]. The payments team looks after it [2]."
    tool, page = answer.citations
    assert (tool.n, tool.tool, tool.title, tool.document_id) == (1, "who_is_on_call", "Who is on call now", 0)
    assert tool.quote == "Ada Byron is on call for ledger."
    assert (page.n, page.tool, page.external_id) == (2, None, "rota.md")
    [use] = answer.calls
    assert (use.outcome, use.arguments, use.status, use.n) == ("done", {"service": "ledger"}, 200, 1)
    stages = [(event.stage, event.tool) for event in desk.events if isinstance(event, Progress)]
    assert stages == [("searching", ""), ("calling", "Who is on call now"), ("writing", "")]
    shown = "".join(event.text for event in desk.events if isinstance(event, Delta))
    assert shown == answer.text
    assert answer.usage.prompt_tokens == 2_000
    [row] = await desk.recorded()
    assert (row.tool, row.person, row.answer_id, row.status, row.error) == (
        "who_is_on_call", "mia", answer.id, 200, None,
    )  # fmt: skip
    caller = desk.toolbox.called[0][2]
    assert (caller.person, caller.principals, caller.alone) == ("mia", ENGINEERS.principals, False)


async def test_a_question_to_the_documents_rests_on_them_though_the_model_would_rather_not_search(desk: Desk) -> None:
    """The passages are searched for and handed over in code; the model cannot leave that out, nor answer past them."""
    answer = await desk.ask(HOW, says("Run `ferry rollback` with its name [1]."))
    assert answer.outcome is Outcome.ANSWERED
    assert [citation.external_id for citation in answer.citations] == ["rollback.md"]
    assert "run `ferry rollback` with its name." in desk.prompt
    assert desk.toolbox.called == []

    invented = "Just ask Kevin from infrastructure; he knows everything about deployments."
    answer = await desk.ask(HOW, *[says(invented)] * 2)
    assert answer.outcome is Outcome.NOT_IN_DOCUMENTS
    assert "Kevin" not in answer.text


@pytest.mark.parametrize("asked", [HOW, WHO])
async def test_whatever_the_route_the_passages_are_there(desk: Desk, asked: str) -> None:
    await desk.ask(asked, *[says("NOT_IN_DOCUMENTS")] * 3)
    assert all('<passage number="1"' in str(request["messages"]) for request in desk.double.requests)


async def test_the_route_decides_whether_tools_are_offered(desk: Desk) -> None:
    await desk.ask(HOW, says("Run `ferry rollback` with its name [1]."))
    assert "tools" not in desk.double.requests[-1]
    await desk.ask(WHO, calls(("who_is_on_call", {"service": "ledger"})), says("Ada Byron is on call for ledger [4]."))
    offered = [tool["function"]["name"] for tool in desk.double.requests[-1]["tools"]]
    assert offered == ["search_documents", "who_is_on_call", "restart_service"]
    await desk.ask(
        WHO, calls(("who_is_on_call", {"service": "ledger"})), says("Ada Byron is on call for ledger [4]."),
        audience=Audience.everyone(),
    )  # fmt: skip
    offered = [tool["function"]["name"] for tool in desk.double.requests[-1]["tools"]]
    assert offered == ["search_documents", "who_is_on_call"]  # not everybody who reads along may restart


async def test_a_write_waits_for_a_person_whatever_the_model_says(desk: Desk) -> None:
    answer = await desk.ask(
        "Please restart ledger", calls(("restart_service", {"service": "ledger"})), says("I have restarted ledger.")
    )
    assert answer.outcome is Outcome.WAITING_FOR_APPROVAL
    assert answer.text == "*Waits for approval:* **Restart a service**. Nothing was changed yet."
    [approval] = answer.approvals
    assert (approval.tool, approval.arguments, approval.state) == ("restart_service", {"service": "ledger"}, "waiting")
    assert [use.outcome for use in answer.calls] == ["proposed"]
    assert desk.toolbox.called == []
    kept = await Approvals(desk.sessions, desk.toolbox, 60).get(approval.id)
    assert kept is not None
    assert (kept.state, kept.answer_id, kept.requester, kept.arguments_hash) == (
        "waiting", answer.id, "mia", approval.arguments_hash,
    )  # fmt: skip


async def test_a_tool_that_cannot_be_asked_is_an_answer_that_failed_and_says_so(desk: Desk) -> None:
    desk.toolbox.error = ToolError("The company's API does not answer.", 503)
    answer = await desk.ask(WHO, calls(("who_is_on_call", {"service": "ledger"})), says("NOT_IN_DOCUMENTS"))
    assert answer.outcome is Outcome.FAILED
    assert answer.text == "**Who is on call now** could not be asked: The company's API does not answer."
    assert answer.reference == answer.id.hex[:8]
    [row] = await desk.recorded()
    assert (row.status, row.error) == (503, "The company's API does not answer.")


async def test_a_model_may_ask_back_and_yes_is_an_answer_to_that(desk: Desk) -> None:
    answer = await desk.ask("Who is on call now?", says("For which service?"), conversation="c")
    assert (answer.outcome, answer.text, answer.citations) == (Outcome.ANSWERED, "For which service?", ())
    await desk.ask("ok", *[says("NOT_IN_DOCUMENTS")] * 2, conversation="c")
    assert desk.double.requests  # it was not taken for small talk


async def test_what_was_called_is_kept_when_time_is_up(desk: Desk) -> None:
    async def hangs(_request: Any, _body: Any) -> Any:
        await asyncio.sleep(30)

    answer = await desk.ask(
        WHO, calls(("who_is_on_call", {"service": "ledger"}), ("restart_service", {"service": "ledger"})), hangs,
        timeout=8.0,
    )  # fmt: skip
    assert answer.outcome is Outcome.FAILED
    assert [(use.tool, use.outcome) for use in answer.calls] == [
        ("who_is_on_call", "done"), ("restart_service", "proposed"),
    ]  # fmt: skip
    assert len(answer.approvals) == 1
    assert answer.usage.prompt_tokens == 1_000  # of the step that was over


@pytest.mark.parametrize(
    ("said", "language", "kind"),
    [("thanks!", "en", "thanks"), ("Hallo zusammen", "de", "greeting"), ("¿qué puedes hacer?", "es", "who_are_you")],
)
async def test_small_talk_gets_a_word_in_its_language_and_nothing_is_asked(
    desk: Desk, said: str, language: str, kind: str
) -> None:
    answer = await desk.ask(said)
    assert (answer.outcome, answer.text) == (Outcome.ANSWERED, say(f"smalltalk.reply_{kind}", language))
    assert desk.double.requests == []
    assert answer.citations == ()


async def test_without_a_model_the_tool_is_named_with_its_command(desk: Desk) -> None:
    model = ExtractiveModel(desk.embedder)
    answer = await desk.ask("Please restart courier", model=model)
    assert answer.outcome in (Outcome.NOT_IN_DOCUMENTS, Outcome.ANSWERED)
    assert "`tool restart_service service=…`" in answer.text
    assert "tool " not in (await desk.ask(HOW, model=model)).text
    assert (await desk.ask("merci beaucoup", model=model)).text == say("smalltalk.reply_thanks", "fr")


async def test_what_nobody_asked_of_us_calls_nothing(desk: Desk) -> None:
    await desk.ask(WHO, says("The payments team looks after ledger [1]."), unprompted=True)
    assert all("tools" not in request for request in desk.double.requests)


async def test_yes_to_a_question_of_the_models_is_given_the_tools_again(desk: Desk) -> None:
    first = await desk.ask("Please restart the service ledger", says("In staging?"), conversation="talk")
    assert (first.outcome, first.text) == (Outcome.ANSWERED, "In staging?")
    asked = (calls(("restart_service", {"service": "ledger"})), says("It waits."))
    answer = await desk.ask("yes", says("Shall ledger be restarted in staging?"), *asked, conversation="talk")
    assert answer.outcome is Outcome.WAITING_FOR_APPROVAL


def test_a_question_is_never_small_talk() -> None:
    for text in ("hi, how do I roll back?", "thanks, and in staging?", "what can doorman do?", "?", "…", "help ledger"):
        assert small_talk(text, "en") is None, text

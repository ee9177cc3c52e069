"""Every question ends in exactly one outcome that is stored, counted, and says no more than it should."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from sqlalchemy import func, select
from sqlalchemy.exc import DataError

from assistant.answering.answer import Answering
from assistant.answering.history import standalone
from assistant.answering.messages import Answer, AnswerEvent, Delta, Done, Progress, Question, Turn, Vote
from assistant.answering.outcomes import Outcome
from assistant.database import answers, documents, inbox
from assistant.database.folders import folder_source
from assistant.database.session import Sessions
from assistant.database.tables import Answer as AnswerRow
from assistant.database.tables import Inbox
from assistant.database.tables import Vote as VoteRow
from assistant.errors import ModelError, QuestionRejected
from assistant.knowledge.audience import Audience
from assistant.knowledge.filters import Filters
from assistant.knowledge.search import Searcher
from assistant.models.port import Brief
from assistant.strings import say
from assistant.telemetry import Metrics, configure_logs
from tests.core.parts import FakeModel, Page, WordEmbedder, document_ids, shelve

NOT_FOUND = say("common.not_found")
ONE_HIDDEN = f"{NOT_FOUND} One document that may answer this is hidden by permissions."
ASKED = "How do I roll back the parcel-tracker service?"
ROLLBACK = Page(
    "rollback.md",
    "Rolling back",
    ("To roll back a service, run `ferry rollback parcel-tracker`.", "Roll back before you look for the reason."),
    url="https://handbook.example/rollback",
)
PRIVATE = Page("pay.md", "Pay", ("How to roll back the service of salaries.",), readers=("user:a",))


class Desk:
    """The use case over real parts, with a model that behaves as asked."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        self.metrics = Metrics()
        self.model = FakeModel()

    async def stream(
        self, text: str = ASKED, model: FakeModel | None = None, timeout: float = 20.0, **more: Any
    ) -> list[AnswerEvent]:
        self.model = model or self.model
        searcher = Searcher(self.sessions, WordEmbedder())
        answering = Answering(self.sessions, searcher, self.model, self.metrics, max_chars=200, timeout=timeout)
        values = {"audience": Audience.everyone(), "conversation": uuid.uuid4().hex, **more}
        return [event async for event in answering.ask(Question(text, "mia", platform="test", **values))]

    async def ask(self, *arguments: Any, **more: Any) -> Answer:
        *before, last = await self.stream(*arguments, **more)
        assert not any(isinstance(event, Done) for event in before)
        assert isinstance(last, Done)
        return last.answer

    async def rows(self) -> list[AnswerRow]:
        async with self.sessions() as session:
            return list((await session.execute(select(AnswerRow).order_by(AnswerRow.created_at))).scalars())

    def counted(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture
async def desk(sessions: Sessions) -> Desk:
    await shelve(sessions, WordEmbedder(), ROLLBACK, PRIVATE)
    return Desk(sessions)


async def test_an_answer_comes_in_stages_and_is_stored_with_its_citation(desk: Desk) -> None:
    events = await desk.stream()
    assert [event.stage for event in events if isinstance(event, Progress)] == ["searching", "writing"]
    shown = "".join(event.text for event in events if isinstance(event, Delta))
    assert isinstance(events[-1], Done)
    answer = events[-1].answer
    assert answer.text.startswith(shown)
    assert len(answer.text) - len(shown) <= len(" [1].")
    assert (answer.outcome, answer.model, answer.reference) == (Outcome.ANSWERED, "fake-1", None)
    [citation] = answer.citations
    assert citation.quote == "To roll back a service, run `ferry rollback parcel-tracker`."
    assert citation.url == "https://handbook.example/rollback"
    assert {"search", "model", "first_token", "check", "total"} <= set(answer.timings_ms)
    async with desk.sessions() as session:
        [(question, stored)] = await answers.conversation(session, "test", (await desk.rows())[0].conversation)
    assert question == ASKED
    assert stored == answer


async def test_an_answer_is_stored_before_it_is_shown_as_done(desk: Desk) -> None:
    answering = Answering(
        desk.sessions, Searcher(desk.sessions, WordEmbedder()), FakeModel(), Metrics(), max_chars=200, timeout=20
    )
    seen: list[int] = []
    async for event in answering.ask(Question(ASKED, "mia", Audience.everyone(), "test", "c")):
        async with desk.sessions() as session:
            count = (await session.execute(select(func.count()).select_from(AnswerRow))).scalar_one()
        seen.append(count)
        assert count == (1 if isinstance(event, Done) else 0)
    assert len(seen) > 3


async def test_what_the_model_cannot_support_is_not_in_the_documents(desk: Desk) -> None:
    answer = await desk.ask(model=FakeModel("", supported=False))
    assert (answer.outcome, answer.text, answer.citations) == (Outcome.HIDDEN_BY_PERMISSIONS, ONE_HIDDEN, ())
    assert [item.external_id for item in answer.nearest] == ["rollback.md"]
    assert answer.usage.prompt_tokens == 120  # it was paid for all the same


async def test_text_that_rests_on_no_passage_is_not_an_answer(desk: Desk) -> None:
    answer = await desk.ask(model=FakeModel("The moon is made of green cheese, as everybody knows [9]."))
    assert (answer.outcome, answer.text) == (Outcome.HIDDEN_BY_PERMISSIONS, ONE_HIDDEN)


async def test_text_without_numbers_gets_the_passage_it_rests_on(desk: Desk) -> None:
    answer = await desk.ask(model=FakeModel("To roll back a service, run `ferry rollback parcel-tracker`."))
    assert answer.outcome is Outcome.ANSWERED
    assert answer.text.endswith("[1]")


async def test_without_documents_no_model_is_asked(sessions: Sessions) -> None:
    desk = Desk(sessions)
    answer = await desk.ask()
    assert (answer.outcome, answer.nearest) == (Outcome.NOT_IN_DOCUMENTS, ())
    assert desk.model.asked == []


async def test_neither_model_nor_answer_sees_what_the_audience_may_not_read(desk: Desk) -> None:
    answer = await desk.ask(model=FakeModel("", supported=False))
    assert {hit.external_id for hit in desk.model.asked[0].passages} == {"rollback.md"}
    assert "pay.md" not in {item.external_id for item in answer.nearest}
    assert "pay.md" not in json.dumps((await desk.rows())[0].retrieval)
    await desk.ask(audience=Audience(frozenset({"everyone", "user:a"})))
    assert "pay.md" in {hit.external_id for hit in desk.model.asked[-1].passages}


async def test_a_model_that_refuses_is_named_with_a_reference(desk: Desk) -> None:
    answer = await desk.ask(model=FakeModel(error=ModelError("The language model is not reachable.")))
    assert answer.outcome is Outcome.FAILED
    assert answer.reference == answer.id.hex[:8]
    assert answer.text == f"The language model is not reachable. The reference is {answer.reference}."
    assert answer.nearest  # what was found is worth a look
    assert answer.citations == ()


async def test_a_model_that_hangs_ends_in_time(desk: Desk) -> None:
    started = asyncio.get_running_loop().time()
    answer = await desk.ask(model=FakeModel(hangs=True), timeout=0.7)
    assert asyncio.get_running_loop().time() - started < 20
    assert answer.outcome is Outcome.FAILED
    assert answer.text == f"There was no answer within 0.7 s. The reference is {answer.reference}."


async def test_a_slow_reader_is_not_cancelled_by_the_deadline(desk: Desk) -> None:
    """The time limit is the assistant's; a front end that waits for its platform meanwhile goes on."""
    answering = Answering(
        desk.sessions, Searcher(desk.sessions, WordEmbedder()), FakeModel(), Metrics(), max_chars=200, timeout=0.4
    )
    last: AnswerEvent | None = None
    async for event in answering.ask(Question(ASKED, "mia", Audience.everyone(), "test", "c")):
        await asyncio.sleep(0.15)
        last = event
    assert isinstance(last, Done)


async def test_an_unexpected_error_is_not_shown(desk: Desk) -> None:
    answer = await desk.ask(model=FakeModel(error=RuntimeError("password=hidden at line 3")))
    assert answer.outcome is Outcome.FAILED
    assert "hidden" not in answer.text
    assert answer.text.endswith(f"The reference is {answer.reference}.")
    assert "hidden" not in json.dumps((await desk.rows())[0].retrieval) + (await desk.rows())[0].text


async def test_too_long_a_question_is_over_the_limit(desk: Desk) -> None:
    answer = await desk.ask("why " * 60)
    assert (answer.outcome, desk.model.asked) == (Outcome.OVER_LIMIT, [])
    assert answer.text == "The question has 240 characters; the limit is 200."
    assert [row.outcome for row in await desk.rows()] == ["over_limit"]


@pytest.mark.parametrize("text", ["", "  \n\t "])
async def test_an_empty_question_is_rejected(desk: Desk, text: str) -> None:
    with pytest.raises(QuestionRejected):
        await desk.stream(text)
    assert await desk.rows() == []


async def test_a_chunk_that_goes_while_the_model_writes_is_not_cited(desk: Desk) -> None:
    async def take_away(_brief: Brief) -> None:
        async with desk.sessions.begin() as session:
            source_id, _ = await folder_source(session, "/handbook")
            known = await documents.documents_of(session, source_id)
            await documents.remove(session, [known["rollback.md"].id])

    answer = await desk.ask(model=FakeModel(before=take_away))
    assert (answer.outcome, answer.citations) == (Outcome.HIDDEN_BY_PERMISSIONS, ())


async def test_access_that_goes_while_the_model_writes_takes_its_citation_along(desk: Desk) -> None:
    other = Page("other.md", "Other", ("The parcel-tracker service can roll back with barge too.",))
    source_id = await shelve(desk.sessions, WordEmbedder(), other)
    known = await document_ids(desk.sessions, source_id)

    async def revoke(brief: Brief) -> None:
        numbers = {hit.external_id: n for n, hit in enumerate(brief.passages, start=1)}
        desk.model.text = f"Use ferry [{numbers['rollback.md']}]. Use barge [{numbers['other.md']}]."
        async with desk.sessions.begin() as session:
            await documents.update_access(session, known["rollback.md"], PRIVATE.readers, None, None)

    answer = await desk.ask(model=FakeModel(before=revoke))
    assert answer.text == "Use ferry . Use barge [1]."
    assert [(item.n, item.external_id) for item in answer.citations] == [(1, "other.md")]


async def stored_event(sessions: Sessions) -> uuid.UUID:
    async with sessions.begin() as session:
        await inbox.store(session, "test", "Ev1", "C1:1", {})
        return (await session.execute(select(Inbox.id))).scalar_one()


async def test_a_stored_event_is_answered_once(desk: Desk) -> None:
    event = await stored_event(desk.sessions)
    first = await desk.ask(inbox_id=event)
    again = await desk.stream(inbox_id=event)
    assert again == [Done(first)]
    assert len(desk.model.asked) == len(await desk.rows()) == 1
    assert desk.counted("almanac_answers_total", platform="test", outcome="answered") == 1


async def test_two_attempts_at_once_show_one_answer(desk: Desk) -> None:
    event = await stored_event(desk.sessions)
    both = await asyncio.gather(desk.ask(inbox_id=event), desk.ask(inbox_id=event))
    assert both[0].id == both[1].id
    [row] = await desk.rows()
    assert row.id == both[0].id


async def test_what_was_retrieved_is_kept_with_the_answer(desk: Desk) -> None:
    await desk.ask()
    [row] = await desk.rows()
    assert [item["rank"] for item in row.retrieval] == [1, 2]
    first = row.retrieval[0]
    assert first["external_id"] == "rollback.md"
    assert {"chunk_id", "document_id", "ordinal", "bm25", "cosine", "bm25_rank", "vector_rank", "score"} < set(first)
    assert row.audience == ["everyone"]


async def votes(sessions: Sessions) -> list[tuple[str, int, str | None]]:
    async with sessions() as session:
        rows = await session.execute(select(VoteRow).order_by(VoteRow.person))
        return [(vote.person, vote.value, vote.reason) for vote in rows.scalars()]


async def test_a_second_vote_replaces_the_first(desk: Desk) -> None:
    answer = await desk.ask()
    for vote in (
        Vote(answer.id, "mia", 1),
        Vote(answer.id, "mia", -1, "too old"),
        Vote(answer.id, "tom", 1),
        Vote(answer.id, "mia", 1),
    ):
        async with desk.sessions.begin() as session:
            assert await answers.save_vote(session, vote)
    assert await votes(desk.sessions) == [("mia", 1, "too old"), ("tom", 1, None)]
    async with desk.sessions() as session:
        assert await answers.votes_of(session, "mia", [answer.id]) == {answer.id: 1}
        snapshot = (await session.execute(select(VoteRow.retrieval).limit(1))).scalar_one()
    assert snapshot == (await desk.rows())[0].retrieval


async def test_a_vote_on_no_answer_is_told(desk: Desk) -> None:
    async with desk.sessions.begin() as session:
        assert not await answers.save_vote(session, Vote(uuid.uuid4(), "mia", 1))
    assert await votes(desk.sessions) == []


FOLLOW_UP = "And how do I roll back a service in staging?"


async def test_a_follow_up_is_searched_with_the_question_before(desk: Desk) -> None:
    await desk.ask(conversation="c1")
    await desk.ask(FOLLOW_UP, conversation="c1")
    brief = desk.model.asked[-1]
    assert brief.question == FOLLOW_UP
    assert brief.standalone == f"{ASKED}\n{FOLLOW_UP}"
    assert [turn.question for turn in brief.turns] == [ASKED]
    await desk.ask(FOLLOW_UP, conversation="c2")
    assert desk.model.asked[-1].turns == ()
    assert desk.model.asked[-1].standalone == FOLLOW_UP


async def test_filters_are_no_part_of_what_is_asked_and_are_said(desk: Desk) -> None:
    answer = await desk.ask(f"{ASKED} title:rolling")
    assert (answer.outcome, desk.model.asked[-1].question) == (Outcome.ANSWERED, ASKED)
    assert answer.text.endswith("*Filtered: title rolling*")
    [row] = await desk.rows()
    assert row.question == f"{ASKED} title:rolling"
    given = await desk.ask(filters=Filters(titles=("rolling",)))
    assert given.text == answer.text


async def test_filters_that_leave_nothing_are_said_and_can_be_lifted(desk: Desk) -> None:
    nothing = await desk.ask(f"{ASKED} title:holidays", conversation="c1")
    assert nothing.outcome is Outcome.NOT_IN_DOCUMENTS
    assert nothing.text == (
        "Nothing was found with the filters: title holidays. "
        "Reply “without filters” to search everything, or ask again without them."
    )
    again = await desk.ask("Without filters!", conversation="c1")
    assert (again.outcome, desk.model.asked[-1].question) == (Outcome.ANSWERED, ASKED)
    assert "iltered" not in again.text
    assert [row.question for row in await desk.rows()] == [f"{ASKED} title:holidays", ASKED]
    unheard = await desk.ask("Without filters!", conversation="c2")
    assert desk.model.asked[-1].question != ASKED or unheard.outcome is Outcome.NOT_IN_DOCUMENTS


@pytest.mark.parametrize(
    ("filter_", "said"),
    [
        ("after:soon", "`after:soon` is no date that I understand"),
        ("source:pay", "`source:pay` names no source that can be searched here; there are: handbook."),
    ],
)
async def test_a_filter_that_is_wrong_is_one_sentence_without_a_reference(desk: Desk, filter_: str, said: str) -> None:
    answer = await desk.ask(f"{ASKED} {filter_}")
    assert answer.text.startswith(said)
    assert (answer.outcome, answer.reference, desk.model.asked) == (Outcome.FAILED, None, [])
    chatter = await desk.ask(f"{ASKED} after:soon", unprompted=True)  # nobody asked us: no reason to complain
    assert "after:soon" not in chatter.text


async def test_what_failed_is_no_turn_of_the_conversation(desk: Desk) -> None:
    await desk.ask(conversation="c1", model=FakeModel(error=ModelError("Away.")))
    await desk.ask(FOLLOW_UP, conversation="c1", model=FakeModel())
    [brief] = desk.model.asked
    assert brief.turns == ()


@pytest.mark.parametrize(
    ("question", "leans"),
    [
        ("And how long does it take?", True),
        ("What about staging?", True),
        ("Why?", True),
        ("Does that need approval from the platform team?", True),
        ("Who owns the ledger service?", False),
        ("How do I rotate the database password?", False),
    ],
)
def test_only_a_question_that_leans_is_joined(question: str, leans: bool) -> None:
    turns = (Turn("Old?", "Old."), Turn("How do I deploy the ledger?", "With ferry."))
    assert standalone(question, turns) == (f"How do I deploy the ledger?\n{question}" if leans else question)
    assert standalone(question, ()) == question


async def test_outcomes_and_stages_are_counted(desk: Desk) -> None:
    await desk.ask()
    await desk.ask(model=FakeModel(error=RuntimeError("x")))
    for outcome in ("answered", "failed"):
        assert desk.counted("almanac_answers_total", platform="test", outcome=outcome) == 1
    assert desk.counted("almanac_stage_seconds_count", stage="search") == 2
    assert desk.counted("almanac_stage_seconds_count", stage="total") == 2


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What all loggers write, as it would reach the operator."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    configure_logs("DEBUG", "json")
    structlog.configure(cache_logger_on_first_use=False)
    written = io.StringIO()
    root.handlers[0].setStream(written)  # type: ignore[attr-defined]
    yield written
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


async def test_logs_hold_the_outcome_and_never_the_question(desk: Desk, logged: io.StringIO) -> None:
    secret = "Where is quetzalcoatl buried, roll back the service?"
    await desk.ask(secret)
    await desk.ask(secret, model=FakeModel(error=ModelError("Away.")))
    await desk.ask(secret, model=FakeModel(error=RuntimeError("boom")))
    written = logged.getvalue()
    assert '"outcome":"answered"' in written.replace(": ", ":")
    assert "boom" in written  # the traceback is for the operator
    assert "quetzalcoatl" not in written


async def test_an_error_of_the_database_does_not_repeat_the_question(desk: Desk) -> None:
    question = Question("quetzalcoatl\0", "mia", Audience.everyone(), "test", "c")
    answer = Answer(uuid.uuid4(), Outcome.FAILED, "secret text")
    async with desk.sessions() as session:
        with pytest.raises(DataError, match="NUL") as caught:
            await answers.save(session, question, answer, [])
    assert "quetzalcoatl" not in str(caught.value)
    assert "secret text" not in str(caught.value)


@pytest.mark.parametrize("odd", ["\0", "\ud800"], ids=["nul", "surrogate"])
async def test_characters_that_postgres_cannot_hold_still_get_an_answer(desk: Desk, odd: str) -> None:
    answer = await desk.ask(f"How do I{odd} roll back the parcel-tracker service?")
    assert answer.outcome is Outcome.ANSWERED
    answer = await desk.ask(model=FakeModel(f"Run{odd} `ferry rollback` [1]."))
    assert answer.outcome is Outcome.ANSWERED
    assert len(await desk.rows()) == 2

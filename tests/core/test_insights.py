"""What administrators are told: counts by day and outcome, latency by stage, gaps; nothing private or taken back."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text

from assistant.answering.gaps import gaps
from assistant.answering.messages import Answer, Citation, Question, Vote
from assistant.answering.outcomes import Outcome
from assistant.database import answers, insights
from assistant.database.session import Sessions
from assistant.knowledge.audience import Audience
from assistant.knowledge.embedding import TransformerEmbedder

SINCE = datetime.now(UTC) - timedelta(days=30)
EVERYONE = Audience.everyone()


async def keep(
    sessions: Sessions, question: str, outcome: Outcome = Outcome.ANSWERED, *, asker: str = "slack:T1:U1",
    days_ago: float = 0, vote: int = 0, reason: str | None = None, platform: str = "slack", unprompted: bool = False,
    cites: tuple[str, ...] = (), **more: Any,
) -> uuid.UUID:  # fmt: skip
    """Store a question with its answer, as the use case would."""
    asked = Question(question, asker, EVERYONE, platform, "T1:C1", unprompted=unprompted)
    cited = tuple(
        Citation(n, title, f"https://docs.example/{title}", n, "quote", 100 + len(title), title)
        for n, title in enumerate(cites, start=1)
    )
    answer = Answer(uuid.uuid4(), outcome, "Text.", citations=cited, **more)
    async with sessions.begin() as session:
        await answers.save(session, asked, answer, [])
        if vote:
            await answers.save_vote(session, Vote(answer.id, "slack:T1:U9", vote, reason))
        moved = {"id": answer.id, "days": days_ago}
        await session.execute(
            text("UPDATE answers SET created_at = now() - make_interval(secs => 86400 * :days) WHERE id = :id"), moved
        )
    return answer.id


async def test_days_count_questions_people_outcomes_and_thumbs(sessions: Sessions) -> None:
    await keep(sessions, "One?", asker="slack:T1:U1", vote=1)
    await keep(sessions, "Two?", asker="slack:T1:U1", vote=-1)
    await keep(sessions, "Three?", Outcome.NOT_IN_DOCUMENTS, asker="slack:T1:U2")
    await keep(sessions, "Old?", days_ago=3)
    await keep(sessions, "Older than asked for?", days_ago=40)
    async with sessions() as session:
        found = await insights.days(session, SINCE)
    assert [(day.questions, day.people, day.up, day.down) for day in found] == [(1, 1, 0, 0), (3, 2, 1, 1)]
    assert insights.total(found) == {"answered": 3, "not_in_documents": 1}


async def test_what_was_overheard_in_silence_or_taken_back_does_not_count(sessions: Sessions) -> None:
    await keep(sessions, "Overheard?", Outcome.NOT_IN_DOCUMENTS, unprompted=True)
    await keep(sessions, "Answered unasked?", unprompted=True)
    gone = await keep(sessions, "Deleted?")
    async with sessions.begin() as session:
        await answers.withdraw(session, gone)
        found = await insights.days(session, SINCE)
        open_questions = await insights.unanswered(session, SINCE)
    assert sum(day.questions for day in found) == 1
    assert open_questions == []


async def test_the_day_begins_where_the_zone_says(sessions: Sessions) -> None:
    answer = await keep(sessions, "Late?")
    async with sessions.begin() as session:
        moved = text("UPDATE answers SET created_at = '2026-11-20 23:30:00+00' WHERE id = :id")
        await session.execute(moved, {"id": answer})
        utc = await insights.days(session, datetime(2026, 11, 1, tzinfo=UTC))
        berlin = await insights.days(session, datetime(2026, 11, 1, tzinfo=UTC), "Europe/Berlin")
    assert (utc[0].day.day, berlin[0].day.day) == (20, 21)


async def test_latency_is_told_by_stage(sessions: Sessions) -> None:
    for milliseconds in (10.0, 20.0, 30.0):
        await keep(sessions, "?", timings_ms={"search": milliseconds, "total": 10 * milliseconds})
    await keep(sessions, "?", timings_ms={"total": 400.0})
    async with sessions() as session:
        found = {it.stage: it for it in await insights.latencies(session, SINCE)}
    assert (found["search"].questions, found["search"].p50_ms) == (3, 20.0)
    assert (found["total"].questions, found["total"].p50_ms) == (4, 250.0)
    assert found["total"].p95_ms > 380


async def test_open_questions_are_those_without_an_answer_and_those_voted_down(sessions: Sessions) -> None:
    await keep(sessions, "Answered?", vote=1)
    await keep(sessions, "Nothing?", Outcome.NOT_IN_DOCUMENTS, days_ago=2)
    await keep(sessions, "Hidden?", Outcome.HIDDEN_BY_PERMISSIONS, days_ago=1)
    await keep(sessions, "Wrong?", vote=-1, reason="outdated")
    await keep(sessions, "Only for one?", vote=-1, private=True)
    async with sessions() as session:
        found = await insights.unanswered(session, SINCE)
    assert [(it.question, it.voted_down, it.reason) for it in found] == [
        ("Wrong?", True, "outdated"), ("Hidden?", False, None), ("Nothing?", False, None),
    ]  # fmt: skip


async def test_documents_are_counted_once_an_answer(sessions: Sessions) -> None:
    await keep(sessions, "?", cites=("rollback", "rollback"), vote=1)
    await keep(sessions, "?", cites=("rollback", "oncall"), vote=-1)
    await keep(sessions, "?", cites=("salaries!",), private=True)
    async with sessions() as session:
        found = await insights.cited(session, SINCE)
    assert [(it.title, it.answers, it.up, it.down) for it in found] == [("rollback", 2, 1, 1), ("oncall", 1, 0, 1)]


async def test_gaps_put_together_what_asks_for_the_same(sessions: Sessions, embedder: TransformerEmbedder) -> None:
    same = (
        "How do I rotate the signing keys of the billing service?",
        "Where is the procedure to rotate billing's signing keys?",
        "rotating the signing key for billing",
    )
    for question in (*same, "What is on the canteen's menu today?", "Who won the football match?"):
        await keep(sessions, question, Outcome.NOT_IN_DOCUMENTS)
    async with sessions() as session:
        found = await gaps(embedder.embed, await insights.unanswered(session, SINCE))
    assert [len(gap.questions) for gap in found] == [3, 1, 1]
    assert {it.question for it in found[0].questions} == set(same)
    assert found[0].name in same
    assert await gaps(embedder.embed, []) == []

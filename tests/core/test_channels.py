"""What a channel's people chose, who chose it, and what a person sees of the whole."""

from __future__ import annotations

import uuid

import pytest

from assistant.answering.messages import Answer, Question, Usage, Vote
from assistant.answering.outcomes import Outcome
from assistant.answering.unprompted import asks_something
from assistant.database import answers, audit, failures, overview, runs
from assistant.database.channels import Channels, ChannelSettings
from assistant.database.session import Sessions
from assistant.knowledge.audience import Audience
from assistant.roles import Roles
from tests.core.parts import Page, WordEmbedder, shelve

ANNA = "slack:T1:U1"


async def test_settings_are_kept_and_in_force_at_once(sessions: Sessions) -> None:
    clock = [0.0]
    channels = Channels(sessions, lambda: clock[0])
    other = Channels(sessions, lambda: clock[0])
    assert await channels.of("slack", "T1:C1") == await other.of("slack", "T1:C1") == ChannelSettings()
    chosen = ChannelSettings("sure", (3, 4), False, "Like a pirate.", "de", "S042")
    await channels.change("slack", "T1:C1", chosen, ANNA)
    assert await channels.of("slack", "T1:C1") == chosen
    assert await channels.of("teams", "T1:C1") == ChannelSettings()
    assert await other.of("slack", "T1:C1") == ChannelSettings()  # what it knows may be ten seconds old
    clock[0] += 11
    assert await other.of("slack", "T1:C1") == chosen


async def test_a_change_is_written_down_with_what_it_changed(sessions: Sessions) -> None:
    channels = Channels(sessions)
    await channels.change("slack", "C1", ChannelSettings(persona="Short."), ANNA)
    await channels.change("slack", "C1", ChannelSettings(persona="Short.", language="fr"), "slack:T1:U2")
    async with sessions() as session:
        last, first = await audit.recent(session)
    assert (first.person, first.action, first.target, first.details) == (ANNA, "settings", "C1", {"persona": "Short."})
    assert last.details == {"language": "fr"}


def test_settings_of_another_version_are_read_as_far_as_they_are_known() -> None:
    assert ChannelSettings.restore({"answer": "sure", "sources": [1], "later": True}) == ChannelSettings("sure", (1,))


def test_administrators_are_named_or_granted() -> None:
    roles = Roles([ANNA])
    assert roles.is_admin(ANNA)
    assert not roles.is_admin("slack:T1:U2")
    roles.grant("slack:T1:U2")
    assert roles.is_admin("slack:T1:U2")
    roles.revoke("slack:T1:U2")
    roles.revoke(ANNA)
    assert roles.is_admin(ANNA)
    assert not roles.is_admin("slack:T1:U2")


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("How do I roll back the payments service?", True),
        ("hi all, does anybody know where the runbook for Kafka is", True),
        ("Weiß jemand, wo das Runbook liegt?", True),
        ("where is the runbook for kafka", True),
        ("¿Quién está de guardia hoy?", True),
        ("Deployed v2.3 to production.", False),
        ("thanks!", False),
        ("ok?", False),
        ("see https://example.com/a?b=c for the notes", False),
        ("```\nselect * from a where b = ?\n```", False),
        ("> how do I do this?\nsolved", False),
        ("Is " + "very " * 200 + "long?", False),
    ],
)
def test_a_question_is_told_from_talk(text: str, asks: bool) -> None:
    assert asks_something(text) is asks


async def answered(sessions: Sessions, text: str, outcome: Outcome, asker: str = ANNA, **more: object) -> uuid.UUID:
    question = Question(text, asker, Audience.everyone(), "slack", "T1:C1:1", **more)  # type: ignore[arg-type]
    answer = Answer(uuid.uuid4(), outcome, "Text.", usage=Usage(10, 10, 0.25))
    async with sessions.begin() as session:
        assert await answers.save(session, question, answer, [])
    return answer.id


async def test_a_person_sees_what_they_may_read_and_what_they_asked(sessions: Sessions) -> None:
    await shelve(
        sessions,
        WordEmbedder(),
        Page("a.md", "A", ("One.",)),
        Page("b.md", "B", ("Two.",), readers=("user:slack:T1:U9",)),
    )
    await answered(sessions, "Mine?", Outcome.ANSWERED)
    await answered(sessions, "Theirs?", Outcome.ANSWERED, "slack:T1:U2")
    taken_back = await answered(sessions, "Taken back?", Outcome.ANSWERED)
    async with sessions.begin() as session:
        await answers.withdraw(session, taken_back)
        mine = await overview.readable_sources(session, Audience.everyone())
        wider = await overview.readable_sources(session, Audience.person("slack", "T1:U9"))
        asked = await overview.questions_of(session, ANNA)
    assert [source.documents for source in mine] == [1]
    assert [source.documents for source in wider] == [2]
    assert mine[0].synced_at is not None
    assert [one.question for one in asked] == ["Mine?"]


async def test_an_administrator_sees_how_it_goes(sessions: Sessions) -> None:
    source_id = await shelve(sessions, WordEmbedder(), Page("a.md", "A", ("One.",)))
    good = await answered(sessions, "Known?", Outcome.ANSWERED)
    await answered(sessions, "Unknown?", Outcome.NOT_IN_DOCUMENTS)
    await answered(sessions, "Overheard?", Outcome.NOT_IN_DOCUMENTS, unprompted=True)
    async with sessions.begin() as session:
        await failures.record_failure(session, source_id, "broken.pdf", None, "the file is empty")
        await runs.create(session, "ingest", {"paths": []})
        await answers.save_vote(session, Vote(good, ANNA, 1))
        await answers.save_vote(session, Vote(good, "slack:T1:U2", -1))
    async with sessions() as session:
        view = await overview.of_admin(session)
    assert [asked.question for asked in view.unanswered] == ["Unknown?"]
    assert view.failures == [("handbook", "broken.pdf", "the file is empty")]
    assert view.failed == {source_id: 1}
    assert (view.answers_today, view.cost_today, view.cost_30_days) == (3, 0.75, 0.75)
    assert (view.votes_up, view.votes_down, len(view.runs)) == (1, 1, 1)

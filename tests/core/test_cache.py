"""An answer is given again to the same question over the same passages, and to nobody who may not read all of them."""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from assistant.answering import citations as citing
from assistant.answering.cache import FIRST, AnswerCache, Manner
from assistant.answering.likeness import likeness
from assistant.answering.messages import Answer, Question, Usage, Vote
from assistant.answering.outcomes import Outcome
from assistant.database import answers, documents, passages
from assistant.database.session import Sessions
from assistant.knowledge.audience import Audience
from assistant.knowledge.filters import Filters
from assistant.knowledge.search import Hit, Searcher
from assistant.settings import load_settings
from assistant.telemetry import Metrics
from tests.core.parts import Page, WordEmbedder, document_ids, prepared, shelve

EMBEDDER = WordEmbedder()
PASSAGES = 10
ENGLISH = Manner("en")
PAGES = (
    Page("rollback.md", "Rolling back", ("Run ferry rollback to roll back a deployment.", "Then look at the graphs.")),
    Page("deploy.md", "Deploying", ("Run ferry deploy to deploy a service.", "A deployment takes a minute.")),
    Page("oncall.md", "On call", ("Who is on call is in the rota.",)),
)
ASKED = "How do I roll back a deployment?"


class Desk:
    """Searches, and answers as a model would that cites the first passages."""

    def __init__(self, sessions: Sessions, **settings: Any) -> None:
        self.sessions = sessions
        self.searcher = Searcher(sessions, EMBEDDER)
        self.metrics = Metrics()
        self.cache = self.of(**settings)

    def of(self, model: str = "m", **settings: Any) -> AnswerCache:
        configured = load_settings(_env_file=None, **settings)
        return AnswerCache(self.sessions, EMBEDDER, configured, self.metrics, model=model, passages=PASSAGES)

    async def hits(self, question: Question) -> tuple[Hit, ...]:
        return (await self.searcher.search(question.text, audience=question.audience, limit=20)).hits

    async def answer(self, question: Question, hits: Sequence[Hit], cited: int = 2, **changed: Any) -> Answer:
        """Stored, as an answer is before it can be kept."""
        citations = tuple(citing.citation(n, hit, hit.text) for n, hit in enumerate(hits[:cited], start=1))
        answer = Answer(
            uuid.uuid4(), Outcome.ANSWERED, f"Answer to {question.text} [1]", citations, usage=Usage(9, 9, 1)
        )
        answer = replace(answer, **changed)
        async with self.sessions.begin() as session:
            await answers.save(session, question, answer, [])
        return answer

    async def asked(
        self, question: Question, manner: Manner = ENGLISH, cache: AnswerCache | None = None, **changed: Any
    ):  # type: ignore[no-untyped-def]
        """What the cache gives; else an answer is made and kept."""
        cache = cache or self.cache
        hits = await self.hits(question)
        found = await cache.find(question, question.text, hits, manner, uuid.uuid4())
        if found is None:
            made = await self.answer(question, hits)
            await cache.keep(question, question.text, hits, manner, made)
        return found


def asks(words: str = ASKED, *readers: str, **changed: Any) -> Question:
    audience = Audience(frozenset({"everyone", *readers}))
    return replace(Question(words, "slack:T1:U1", audience, "slack", "T1:C1:1"), **changed)


@pytest.fixture
async def desk(sessions: Sessions) -> Desk:
    await shelve(sessions, EMBEDDER, *PAGES)
    return Desk(sessions)


async def test_the_same_question_is_answered_once(desk: Desk) -> None:
    assert await desk.asked(asks()) is None
    for said in (ASKED, "how can I roll back a deployment", "Hi! How do we roll back deployments, please?"):
        again = await desk.asked(asks(said))
        assert again is not None, said
        assert (again.outcome, again.usage.cost_usd) == (Outcome.ANSWERED, 0)
        assert again.text == f"Answer to {ASKED} [1]"
        assert [citation.external_id for citation in again.citations]
    assert desk.metrics.cache_lookups.labels("hit")._value.get() == 3


@pytest.mark.parametrize(
    "other",
    [
        "How do I not roll back a deployment?",
        "Who may roll back a deployment?",
        "When do I roll back a deployment?",
        "How do I roll back 2 deployments?",
        "How do I roll back a deployment on staging?",
        "How do I deploy a roll back?",
        "How do I roll out a deployment?",
        "How was a deployment rolled back?",
        "Must I roll back a deployment?",
        "How do I roll back the deployment today?",
    ],
)
async def test_another_question_is_not_answered_by_it(desk: Desk, other: str) -> None:
    await desk.asked(asks())
    assert await desk.asked(asks(other)) is None


def test_words_that_turn_a_question_are_told_apart() -> None:
    pairs = [
        ("How do I log in?", "How do I log out?"),
        ("Can I get my VPN account before my first day?", "Can I get my VPN account after my first day?"),
        ("Should I restart it?", "Can I restart it?"),
        ("How many replicas are there?", "How long are replicas there?"),
        ("migrate from Postgres to MySQL", "migrate from MySQL to Postgres"),
        ("Is ERR_CONN_42 fatal?", "Is ERR_CONN_43 fatal?"),
        ("Why isn't Ben on call?", "Why is Ben on call?"),
        ("Muss ich die App neu starten?", "Muss ich die App nicht neu starten?"),
    ]
    for one, other in pairs:
        assert likeness(one).key != likeness(other).key, (one, other)
    same = [
        ("What is the rota?", "what's the rota"),
        ("How do I deploy a service?", "How can we deploy services"),
        ("What's the best way to page Ben?", "what is the way to page Ben?"),
    ]
    for one, other in same:
        assert likeness(one).key == likeness(other).key, (one, other)


@pytest.mark.parametrize(
    ("changed", "manner"),
    [
        ({"persona": "like a pirate"}, ENGLISH),
        ({"language": "de"}, ENGLISH),
        ({}, Manner("de")),
        ({}, Manner("en", form="json")),
        ({"sources": (1,)}, ENGLISH),
        ({}, Manner("en", Filters(titles=("deploy",)))),
        ({}, Manner("en", in_conversation=True)),
        ({"unprompted": True}, ENGLISH),
        ({"replaces": uuid.UUID(int=1)}, ENGLISH),
    ],
    ids=str,
)
async def test_another_manner_of_asking_is_another_question(desk: Desk, changed: Any, manner: Manner) -> None:
    await desk.asked(asks())
    assert await desk.asked(asks(**changed), manner) is None
    assert await desk.asked(asks()) is not None


async def test_another_model_answers_for_itself(desk: Desk) -> None:
    await desk.asked(asks())
    assert await desk.asked(asks(), cache=desk.of(model="m-2")) is None


async def test_hours_say_how_long(desk: Desk, sessions: Sessions) -> None:
    off = desk.of(cache_hours=0)
    await desk.asked(asks(), cache=off)
    assert await desk.asked(asks(), cache=off) is None
    await desk.asked(asks())
    async with sessions.begin() as session:
        await session.execute(text("UPDATE cached_answers SET kept_at = now() - interval '25 hours'"))
    assert await desk.asked(asks()) is None
    async with sessions() as session:  # and what is too old is gone
        assert (await session.execute(text("SELECT count(*) FROM cached_answers"))).scalar_one() == 1


@pytest.mark.parametrize(
    "changed", [{"private": True}, {"outcome": Outcome.STOPPED}, {"calls": ("a call",)}, {"citations": ()}]
)
async def test_what_must_not_be_kept_is_not(desk: Desk, changed: dict[str, Any]) -> None:
    question = asks()
    hits = await desk.hits(question)
    answer = replace(await desk.answer(question, hits), **changed)
    assert not await desk.cache.keep(question, question.text, hits, ENGLISH, answer)
    assert await desk.cache.find(question, question.text, hits, ENGLISH, uuid.uuid4()) is None


async def test_an_answer_that_is_voted_down_is_not_given_again(desk: Desk, sessions: Sessions) -> None:
    """Also where the vote is on a copy of it; a new answer takes its place."""
    await desk.asked(asks())
    again = await desk.asked(asks())
    assert again is not None
    async with sessions.begin() as session:
        await answers.save(session, asks(), again, [])
        await answers.save_vote(session, Vote(again.id, "slack:T1:U2", -1))
    assert await desk.asked(asks()) is None
    third = await desk.asked(asks())
    assert third is not None
    async with sessions.begin() as session:
        await answers.save(session, asks(), third, [])
        await answers.save_vote(session, Vote(third.id, "slack:T1:U2", 1))
    assert await desk.asked(asks()) is not None


async def test_a_question_that_is_taken_back_takes_its_answer_along(desk: Desk, sessions: Sessions) -> None:
    await desk.asked(asks())
    async with sessions.begin() as session:
        await session.execute(text("UPDATE answers SET withdrawn_at = now()"))
    assert await desk.asked(asks()) is None


async def test_a_document_that_changes_or_goes_or_comes_ends_it(desk: Desk, sessions: Sessions) -> None:
    await desk.asked(asks())
    assert await desk.asked(asks()) is not None
    await shelve(
        sessions, EMBEDDER, replace(PAGES[0], passages=("Run ferry rollback --now to roll back a deployment.",))
    )
    assert await desk.asked(asks()) is None
    assert await desk.asked(asks()) is not None
    source_id = await shelve(sessions, EMBEDDER, Page("new.md", "Roll back", ("To roll back a deployment, call Ben.",)))
    assert await desk.asked(asks()) is None  # something new that answers it
    newer = await desk.asked(asks())
    assert newer is not None
    assert "new.md" in {citation.external_id for citation in newer.citations}
    ids = await document_ids(sessions, source_id)
    async with sessions.begin() as session:
        await documents.remove(session, [ids["new.md"]])
    older = await desk.asked(asks())  # all is as it was before: so is the answer
    assert older is not None
    assert "new.md" not in {citation.external_id for citation in older.citations}


async def test_a_database_that_is_away_is_a_miss(desk: Desk, sessions: Sessions) -> None:
    hits = await desk.hits(asks())
    async with sessions.begin() as session:
        await session.execute(text("DROP TABLE cache_uses, cached_answers"))
    assert await desk.cache.find(asks(), ASKED, hits, ENGLISH, uuid.uuid4()) is None
    assert not await desk.cache.keep(asks(), ASKED, hits, ENGLISH, await desk.answer(asks(), hits))


GROUPS = ("group:a", "group:b", "group:c")
WORDS = "roll back deployment service ferry graph rota alert queue key".split()


def random_page(name: str, chance: random.Random) -> Page:
    readers = chance.choice([("everyone",), *((group,) for group in GROUPS), GROUPS[:2]])
    texts = tuple(" ".join(chance.choices(WORDS, k=6)) for _ in range(chance.randint(1, 2)))
    return Page(name, f"Page {name}", texts, readers)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_nobody_is_given_what_rests_on_a_passage_they_may_not_read(sessions: Sessions, seed: int) -> None:
    """A company in motion: pages come, change, move to other readers and go, while people of all groups ask."""
    chance = random.Random(seed)
    desk = Desk(sessions)
    source_id = await shelve(sessions, EMBEDDER, *(random_page(f"{n}.md", chance) for n in range(12)))
    kept: dict[str, tuple[frozenset[str], dict[int, str]]] = {}  # by its text: who asked, and what the model read
    hits_given = shared = 0
    for step in range(110):
        name = f"{chance.randrange(14)}.md"
        if step % 6 == 0:
            ready = await prepared(random_page(name, chance), EMBEDDER)
            async with sessions.begin() as session:
                await documents.replace(session, source_id, ready)
        elif step % 17 == 0 and (gone := (await document_ids(sessions, source_id)).get(name)):
            async with sessions.begin() as session:
                await documents.remove(session, [gone])
        asked = f"How do I {' '.join(chance.sample(WORDS[:4], 2))}?"
        question = asks(asked, *chance.sample(GROUPS, chance.randint(0, 2)))
        hits = await desk.hits(question)
        found = await desk.cache.find(question, asked, hits, ENGLISH, uuid.uuid4())
        if found is None:
            words = f"{seed} {step} [1]"
            answer = await desk.answer(question, hits, cited=chance.randint(1, 3), text=words)
            if await desk.cache.keep(question, asked, hits, ENGLISH, answer):
                kept[words] = (question.audience.principals, {hit.chunk_id: hit.text for hit in hits[:PASSAGES]})
            continue
        hits_given += 1
        asker_then, read = kept[found.text]
        shared += asker_then != question.audience.principals
        async with sessions() as session:
            readable = await passages.readable(session, list(read), question.audience)
            now = {row.id: row.text for row in await session.execute(text("SELECT id, text FROM chunks"))}
        assert set(read) == readable, (step, found.text)
        assert {citation.chunk_id for citation in found.citations} <= readable
        assert all(now[chunk] == words for chunk, words in read.items())
        assert {hit.chunk_id for hit in hits[:FIRST]} <= set(read)
    assert hits_given > 5  # it is used at all,
    assert shared > 0  # also across audiences

"""Hybrid search: nobody finds what is not theirs, scores mean what they say, and the statistics stay exact."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import replace

import pytest
from sqlalchemy import select, text

from assistant.database import documents, statistics
from assistant.database.session import Sessions
from assistant.database.tables import Chunk, CorpusStatistics, Term
from assistant.knowledge.audience import Audience
from assistant.knowledge.ranking import BM25, DENSE, FINAL
from assistant.knowledge.search import Hit, Searcher
from tests.core.parts import Page, WordEmbedder, document_ids, hit, prepared, shelve

EMBEDDER = WordEmbedder()
EVERYONE = Audience.everyone()
WORDS = "deploy rollback ferry ledger queue cache disk token alert shift backup invoice node pager release".split()


def audience(*principals: str) -> Audience:
    return Audience(frozenset(principals))


def pages(random_: random.Random, count: int) -> list[Page]:
    """Small documents, each for some people or groups."""
    people = ["everyone", *(f"user:{letter}" for letter in "abcd"), "group:x", "group:y"]
    return [
        Page(
            f"{number}.md",
            random_.choice(WORDS),
            tuple(" ".join(random_.choices(WORDS, k=random_.randint(2, 30))) for _ in range(random_.randint(1, 3))),
            readers=tuple(random_.sample(people, random_.randint(1, 3))),
        )
        for number in range(count)
    ]


async def found(sessions: Sessions, question: str, who: Audience = EVERYONE, limit: int = 100) -> tuple[Hit, ...]:
    return (await Searcher(sessions, EMBEDDER).search(question, audience=who, limit=limit)).hits


async def test_an_empty_index_gives_nothing(sessions: Sessions) -> None:
    result = await Searcher(sessions, EMBEDDER).search("deploy", audience=EVERYONE)
    assert result.hits == ()
    assert result.term_weights == {}


async def test_a_private_document_is_found_by_its_reader_alone(sessions: Sessions) -> None:
    secret = Page("s.md", "Salaries", ("The salary of an engineer.",), readers=("user:a",))
    await shelve(sessions, EMBEDDER, secret, Page("o.md", "Open", ("The salary day is Friday.",)))
    assert {hit.external_id for hit in await found(sessions, "salary", audience("user:a", "everyone"))} == {
        "s.md",
        "o.md",
    }
    for others in (EVERYONE, audience("user:b", "everyone"), audience("user:A"), audience("user:a "), audience("a")):
        assert "s.md" not in {hit.external_id for hit in await found(sessions, "salary engineer", others)}
    assert await found(sessions, "salary", audience()) == ()


@pytest.mark.parametrize("seed", [11, 12])
async def test_no_hit_is_ever_outside_the_audience_and_none_inside_is_missed(sessions: Sessions, seed: int) -> None:
    random_ = random.Random(seed)
    library = pages(random_, 60)
    await shelve(sessions, EMBEDDER, *library)
    readers = {page.external_id: set(page.readers) for page in library}
    everybody = [*sorted(set().union(*readers.values())), "user:nobody", "%", "user:_"]
    for _ in range(25):
        who = audience(*random_.sample(everybody, random_.randint(1, 4)))
        question = " ".join(random_.sample(WORDS, random_.randint(1, 3)))
        hits = await found(sessions, question, who)
        assert all(readers[hit.external_id] & who.principals for hit in hits)
        visible = sum(len(page.passages) for page in library if set(page.readers) & who.principals)
        assert len(hits) == min(visible, 100)  # a filter must not starve the approximate scan


async def test_access_that_is_taken_away_counts_from_the_next_question(sessions: Sessions) -> None:
    page = Page("a.md", "Guide", ("How to deploy.", "How to roll back."), readers=("user:a", "user:b"))
    source_id = await shelve(sessions, EMBEDDER, page)
    document_id = (await document_ids(sessions, source_id))["a.md"]
    assert len(await found(sessions, "deploy", audience("user:b"))) == 2
    async with sessions.begin() as session:
        await documents.update_access(session, document_id, ("user:a",), "https://new.example/a", None)
    assert await found(sessions, "deploy", audience("user:b")) == ()
    assert {hit.url for hit in await found(sessions, "deploy", audience("user:a"))} == {"https://new.example/a"}


async def test_scores_lie_between_0_and_1_and_fall(sessions: Sessions) -> None:
    library = [replace(page, readers=("everyone",)) for page in pages(random.Random(5), 30)]
    await shelve(sessions, EMBEDDER, *library)
    for question in ("deploy rollback", "ledger", "unheard word", "how do I"):
        hits = await found(sessions, question)
        scores = [hit.score for hit in hits]
        assert scores == sorted(scores, reverse=True)
        assert all(-1e-6 <= score <= 1 + 1e-6 for score in scores)
        assert all(-1 <= hit.cosine <= 1 + 1e-6 and hit.bm25 >= 0 for hit in hits)
        assert {hit.bm25_rank for hit in hits if hit.bm25 > 0} == set(range(1, 1 + sum(hit.bm25 > 0 for hit in hits)))


async def test_one_passage_alone_has_a_score(sessions: Sessions) -> None:
    await shelve(sessions, EMBEDDER, Page("a.md", "Guide", ("How to deploy.",)))
    [only] = await found(sessions, "deploy")
    assert 0 <= only.score <= 1
    assert only.cosine > 0.3
    assert (only.bm25_rank, only.vector_rank) == (1, 1)


async def test_a_question_of_stop_words_is_found_by_its_vector(sessions: Sessions) -> None:
    await shelve(sessions, EMBEDDER, Page("a.md", "Guide", ("How to deploy.",)))
    result = await Searcher(sessions, EMBEDDER).search("how do I do that?", audience=EVERYONE)
    assert [hit.external_id for hit in result.hits] == ["a.md"]
    assert result.hits[0].bm25 == 0
    assert result.term_weights == {}


async def test_the_limit_holds(sessions: Sessions) -> None:
    await shelve(sessions, EMBEDDER, *(Page(f"{n}.md", "Guide", (f"How to deploy {n}.",)) for n in range(12)))
    assert len(await found(sessions, "deploy", limit=5)) == 5
    assert len(await found(sessions, "deploy", limit=50)) == 12


async def test_a_larger_limit_only_adds_behind_and_an_arm_alone_finds_alone(sessions: Sessions) -> None:
    random_ = random.Random(9)
    library = [
        Page(f"{number}.md", "Guide", (" ".join(random_.choices(WORDS, k=random_.randint(3, 12))),))
        for number in range(200)
    ]
    await shelve(sessions, EMBEDDER, *library)
    searcher = Searcher(sessions, EMBEDDER)
    for question in ("deploy rollback", "ledger cache token"):
        deep = await found(sessions, question, limit=200)
        for limit in (5, 60, 120):
            fewer = await found(sessions, question, limit=limit)
            assert [(hit.chunk_id, hit.score) for hit in fewer] == [(hit.chunk_id, hit.score) for hit in deep[:limit]]
        assert len(deep) > FINAL.candidates * 2
        assert [hit.score for hit in deep] == sorted((hit.score for hit in deep), reverse=True)
        assert deep[-1].score >= 0
        words = await searcher.ranked(BM25).search(question, audience=EVERYONE, limit=200)
        assert {hit.bm25_rank for hit in words.hits} == set(range(1, len(words.hits) + 1))
        assert 0 < len(words.hits) < 200
        near = await searcher.ranked(DENSE).search(question, audience=EVERYONE, limit=200)
        assert [hit.vector_rank for hit in near.hits] == list(range(1, 201))


ODD = ["'; DROP TABLE chunks; --", "{1:2}/3", "\\", "%_%", "🙂 🚢", "x" * 20_000, "deploy\ud800", "deploy\0"]


@pytest.mark.parametrize("question", ODD, ids=range(len(ODD)))
async def test_no_text_of_a_question_breaks_the_search(sessions: Sessions, question: str) -> None:
    await shelve(sessions, EMBEDDER, Page("a.md", "Guide", ("How to deploy.",)))
    assert len(await found(sessions, question)) == 1


@pytest.mark.parametrize(
    ("changed", "link"),
    [
        ({}, None),
        ({"url": "https://x/a"}, "https://x/a"),
        ({"url": "https://x/a", "anchor": "usage"}, "https://x/a#usage"),
        ({"url": "file:///x/A.PDF", "page": 3}, "file:///x/A.PDF#page=3"),
        ({"url": "file:///x/a.xlsx", "page": 3}, "file:///x/a.xlsx"),
    ],
)
def test_a_link_leads_to_the_passage(changed: dict[str, object], link: str | None) -> None:
    assert hit(1, "text", "Handbook", **changed).link == link


async def test_a_new_version_and_a_removal_count_at_once(sessions: Sessions) -> None:
    page = Page("a.md", "Guide", ("Deploy with ferry.", "Roll back with ferry."))
    source_id = await shelve(sessions, EMBEDDER, page)
    await shelve(sessions, EMBEDDER, replace(page, passages=("Deploy with barge.",)))
    assert [hit.text for hit in await found(sessions, "deploy ferry")] == ["Deploy with barge."]
    async with sessions.begin() as session:
        await documents.remove(session, list((await document_ids(sessions, source_id)).values()))
    assert await found(sessions, "deploy") == ()
    await exact(sessions)


async def exact(sessions: Sessions) -> None:
    """The stored statistics are what a count from scratch gives."""
    async with sessions() as session:
        chunks = (await session.execute(select(Chunk.terms, Chunk.frequencies, Chunk.length))).all()
        stored = {term: count for term, count in await session.execute(select(Term.term, Term.chunks)) if count}
        row = (await session.execute(select(CorpusStatistics))).scalar_one()
    assert all(sum(chunk.frequencies) == chunk.length and list(chunk.terms) == sorted(chunk.terms) for chunk in chunks)
    assert stored == dict(Counter(term for chunk in chunks for term in chunk.terms))
    assert (row.chunks, row.length) == (len(chunks), sum(chunk.length for chunk in chunks))


async def test_statistics_stay_exact_through_any_changes(sessions: Sessions) -> None:
    random_ = random.Random(3)
    source_id = await shelve(sessions, EMBEDDER)
    for _ in range(12):
        for page in random_.sample(pages(random_, 12), 4):
            await shelve(sessions, EMBEDDER, page)
        known = await document_ids(sessions, source_id)
        gone = random_.sample(sorted(known.values()), len(known) // 3)
        async with sessions.begin() as session:
            await documents.remove(session, gone)
        await exact(sessions)


async def weights(sessions: Sessions) -> list[tuple[int, str]]:
    async with sessions() as session:
        rows = await session.execute(text("SELECT document_id, ordinal, weights::text FROM chunks ORDER BY 1, 2"))
        return [(row[1], row[2]) for row in rows]


async def test_weights_that_drifted_are_what_a_new_index_would_hold(sessions: Sessions) -> None:
    library = pages(random.Random(8), 20)
    await shelve(sessions, EMBEDDER, *library)
    before = await weights(sessions)
    async with sessions.begin() as session:
        assert await statistics.reweigh_if_drifted(session)
    after = await weights(sessions)
    assert after != before
    async with sessions.begin() as session:
        assert not await statistics.reweigh_if_drifted(session)  # nothing has moved since
    await shelve(sessions, EMBEDDER, *library)  # written with the real mean from the start
    assert await weights(sessions) == after


async def test_writers_at_the_same_time_wait_for_each_other(sessions: Sessions) -> None:
    random_ = random.Random(4)
    source_id = await shelve(sessions, EMBEDDER)
    library = pages(random_, 8)
    ready = [await prepared(page, EMBEDDER) for page in library]

    async def write(order: list[int]) -> None:
        for number in order:
            async with sessions.begin() as session:
                await documents.replace(session, source_id, ready[number])

    async def take_away() -> None:
        for _ in range(6):
            ids = await document_ids(sessions, source_id)
            async with sessions.begin() as session:
                await documents.remove(session, sorted(ids.values(), reverse=True)[:3])
                await statistics.reweigh_if_drifted(session)

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(write(random_.sample(range(8), 8)))
        group.create_task(take_away())
    await exact(sessions)


async def test_readers_see_the_old_version_or_the_new_never_half(sessions: Sessions) -> None:
    old = Page("a.md", "Guide", tuple(f"Deploy old {n}." for n in range(5)))
    new = replace(old, passages=tuple(f"Deploy new {n}." for n in range(5)))
    source_id = await shelve(sessions, EMBEDDER, old)
    ready = [await prepared(page, EMBEDDER) for page in (new, old)]

    async def swap() -> None:
        for number in range(12):
            async with sessions.begin() as session:
                await documents.replace(session, source_id, ready[number % 2])

    swapping = asyncio.create_task(swap())
    seen: set[str] = set()
    while not swapping.done():
        versions = Counter(hit.text.split()[1] for hit in await found(sessions, "deploy"))
        assert list(versions.values()) == [5]
        seen |= set(versions)
    await swapping
    assert seen == {"old", "new"}

"""BM25's candidates are those of an exact search, and what finds them is kept exact through any changes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from assistant.database import documents, statistics
from assistant.database.session import Sessions
from assistant.knowledge import impact
from assistant.knowledge.impact import CEILINGS, TIERS, mark, marks, tier, unmark
from assistant.knowledge.lexical import K1, query_terms
from tests.core.parts import Page, WordEmbedder, document_ids, prepared, shelve

EMBEDDER = WordEmbedder()
VOCABULARY = [f"word{number}" for number in range(400)]
FREQUENT = [1 / (place + 2) for place in range(len(VOCABULARY))]  # as in a language: few stand everywhere, many rarely


def library(random_: random.Random, count: int) -> list[Page]:
    """Pages of passages of very different lengths, in which words come once or often."""

    def passage() -> str:
        words = random_.choices(VOCABULARY, FREQUENT, k=random_.randint(3, 60))
        return " ".join(word for word in words for _ in range(random_.choice((1, 1, 1, 2, 4))))

    return [
        Page(
            f"{number}.md",
            "Page",
            tuple(passage() for _ in range(20)),
            readers=("user:a",) if random_.random() < 0.2 else ("everyone",),
        )
        for number in range(count)
    ]


_QUESTION = """
WITH question AS (
    SELECT term, ln(1 + (n.chunks - t.chunks + 0.5) / (t.chunks + 0.5))::float8 AS idf
    FROM corpus_statistics n, unnest(CAST(:terms AS integer[])) AS asked(term) JOIN terms t USING (term)
)
SELECT array_agg(term ORDER BY term) AS terms, array_agg(idf ORDER BY term) AS idfs,
       '{' || string_agg(term || ':' || idf, ',' ORDER BY term) || '}/1000000000' AS vector
FROM question"""

_EXACT = """
SELECT id, -(weights <#> CAST(:vector AS sparsevec)) AS bm25 FROM chunks
WHERE readers && CAST(:who AS text[]) AND terms && CAST(:terms AS integer[])
AND (CAST(:documents AS bigint[]) IS NULL OR document_id = ANY(:documents))
ORDER BY bm25 DESC, id LIMIT :most"""

_CANDIDATES = """
SELECT id, bm25 FROM lexical_candidates(:terms, :idfs, CAST(:vector AS sparsevec), :ceilings, CAST(:who AS text[]),
                                        CAST(:documents AS bigint[]), :most)"""


async def both(
    sessions: Sessions, words: str, who: Sequence[str], most: int, only: Sequence[int] | None = None
) -> tuple[list[Any], list[Any]]:
    """The exact search's and the function's (id, score), best first."""
    async with sessions() as session:
        question = (await session.execute(text(_QUESTION), {"terms": query_terms(words)})).one()
        parameters = {
            **question._asdict(), "who": list(who), "documents": only, "most": most, "ceilings": list(CEILINGS),
        }  # fmt: skip
        exact = (await session.execute(text(_EXACT), parameters)).all()
        return list(exact), list((await session.execute(text(_CANDIDATES), parameters)).all())


def same(exact: Sequence[Any], found: Sequence[Any]) -> bool:
    """Whether both name the same chunks; where scores are equal to six digits, either order will do."""
    scores = [row.bm25 for row in exact]
    if [row.bm25 for row in found] != pytest.approx(scores, rel=1e-5):
        return False
    last = scores[-1] if scores else 0.0
    sure = {row.id for row in exact if row.bm25 > last * (1 + 1e-5)}
    return sure <= {row.id for row in found} and len({row.id for row in found}) == len(found)


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_candidates_are_those_of_an_exact_search(sessions: Sessions, seed: int) -> None:
    random_ = random.Random(seed)
    source_id = await shelve(sessions, EMBEDDER, *library(random_, 150))  # 3,000 passages
    ids = sorted((await document_ids(sessions, source_id)).values())
    for _ in range(60):
        words = " ".join(random_.choices(VOCABULARY, FREQUENT, k=random_.choice((1, 3, 6, 9))))
        who = random_.choice((["everyone"], ["user:a"], ["everyone", "user:a"]))
        only = random_.choice((None, None, random_.sample(ids, 15)))
        exact, found = await both(sessions, words, who, random_.choice((1, 10, 60, 200)), only)
        assert same(exact, found), (words, who, only)


async def test_few_chunks_are_looked_at(sessions: Sessions) -> None:
    """Where there are many, most are never scored: else this would be no more than an exact search."""
    random_ = random.Random(3)
    await shelve(sessions, EMBEDDER, *library(random_, 150))
    async with sessions() as session:
        count = "SELECT sum(idx_tup_fetch) FROM pg_stat_xact_user_tables WHERE relname = 'chunks'"
        words = " ".join(VOCABULARY[place] for place in (2, 9, 30, 200))
        question = (await session.execute(text(_QUESTION), {"terms": query_terms(words)})).one()
        parameters = {
            **question._asdict(), "who": ["everyone"], "documents": None, "most": 10, "ceilings": list(CEILINGS),
        }  # fmt: skip
        await session.execute(text("SET LOCAL enable_seqscan = off"))
        before = (await session.execute(text(count))).scalar_one()
        found = (await session.execute(text(_CANDIDATES), parameters)).all()
        looked_at = (await session.execute(text(count))).scalar_one() - before
        holding = (
            await session.execute(text("SELECT count(*) FROM chunks WHERE terms && :terms"), parameters)
        ).scalar_one()
    assert len(found) == 10
    assert looked_at < holding / 2


async def recount(sessions: Sessions) -> tuple[dict[int, tuple[int, ...]], dict[int, tuple[int, ...]]]:
    """Term -> (chunks, tier 1, ...): as stored, and as counted from the stored weights."""
    async with sessions() as session:
        stored = (await session.execute(text("SELECT * FROM terms WHERE chunks <> 0"))).all()
        rows = (await session.execute(text("SELECT terms, heavy, weights::text AS weights FROM chunks"))).all()
    counts: dict[int, Counter[int]] = {}
    for row in rows:
        weights = [float(pair.split(":")[1]) for pair in row.weights[1 : row.weights.index("}")].split(",")]
        assert sorted(row.heavy) == sorted(marks(row.terms, weights))
        for term, weight in zip(row.terms, weights, strict=True):
            counts.setdefault(term, Counter())[tier(weight)] += 1
    counted = {
        term: (sum(some.values()), *(some[number] for number in range(1, TIERS + 1))) for term, some in counts.items()
    }
    return {row.term: tuple(row[1:]) for row in stored}, counted


async def test_marks_and_counts_stay_exact_through_any_changes(sessions: Sessions) -> None:
    random_ = random.Random(4)
    pages = library(random_, 12)
    source_id = await shelve(sessions, EMBEDDER, *pages)
    for _ in range(8):
        ids = await document_ids(sessions, source_id)
        async with sessions.begin() as session:
            change = random_.choice(("replace", "remove", "access", "move", "reweigh"))
            name = random_.choice(sorted(ids))
            if change == "remove":
                await documents.remove(session, [ids[name]])
            elif change == "access":
                await documents.update_access(session, ids[name], ("user:a",), None, None)
            elif change == "move":
                await documents.move(session, source_id, [(name, f"moved-{random_.random()}.md")])
            elif change == "replace":
                [page] = library(random_, 1)
                new = Page(name, "Page", page.passages[: random_.randint(1, 9)], readers=page.readers)
                await documents.replace(session, source_id, await prepared(new, EMBEDDER))
            else:
                await session.execute(text("UPDATE corpus_statistics SET weighted_length = weighted_length * 1.5"))
                assert await statistics.reweigh_if_drifted(session)
        stored, counted = await recount(sessions)
        assert stored == counted, change
    words = " ".join(VOCABULARY[:6])
    exact, found = await both(sessions, words, ["everyone", "user:a"], 60)
    assert same(exact, found)


def test_a_mark_tells_term_and_tier() -> None:
    numbers = [mark(term, of_tier) for term in (1, 77, 999_999_999, 10**9) for of_tier in range(1, TIERS + 1)]
    assert len(set(numbers)) == len(numbers)
    assert all(-(2**31) <= number < 2**31 for number in numbers)
    assert [unmark(number) for number in numbers[:4]] == [(1, 1), (1, 2), (1, 3), (1, 4)]
    assert all(mark(*unmark(number)) == number for number in numbers)


def test_a_tier_ends_where_the_next_begins() -> None:
    weights = np.linspace(0.0, K1 + 1, 997)[:-1]
    for weight in weights:
        place = tier(weight)
        assert weight <= CEILINGS[place]
        assert place == 0 or weight >= CEILINGS[place - 1]
    assert {tier(weight) for weight in weights} == set(range(impact.TIERS + 1))

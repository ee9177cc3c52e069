"""The stages of ranking by hand-worked examples, and copies in a real index."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from assistant.database.session import Sessions
from assistant.knowledge.audience import Audience
from assistant.knowledge.embedding import unpacked
from assistant.knowledge.ranking import BM25, DENSE, FINAL, HYBRID, LONG, Candidates, Ranking, ranked, words_of
from assistant.knowledge.search import Searcher
from tests.core.parts import WordEmbedder
from tests.core.test_search import Page, shelve

QUESTION = np.array([1.0, 0.0], np.float32)


def at(*degrees: float) -> np.ndarray:
    """Unit vectors in the plane, shape (n, 2)."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def candidates(
    bm25: list[float], degrees: list[float], documents: list[int], deeper: tuple[int, ...] = ()
) -> Candidates:
    vectors = at(*degrees)
    places = np.arange(len(bm25))
    return Candidates(
        np.array(bm25), (vectors @ QUESTION).astype(float), np.array(documents), np.isin(places, deeper), vectors
    )


def test_plain_hybrid_is_the_weighted_sum_over_the_range() -> None:
    found = Candidates(np.array([4.0, 2.0, 0.0]), np.array([0.1, 0.5, 0.3]), np.arange(3), np.zeros(3, bool))
    order, scores = ranked(HYBRID, found, QUESTION)
    assert scores == pytest.approx([0.4, 0.4 * 0.5 + 0.6, 0.6 * 0.5])
    assert order == [1, 0, 2]
    assert ranked(BM25, found, QUESTION)[0] == [0, 1, 2]
    assert ranked(DENSE, found, QUESTION)[0] == [1, 2, 0]


def test_by_deviation_each_arm_counts_by_how_far_its_scores_lie_apart() -> None:
    bm25, cosine = np.array([9.0, 1.0, 0.0, 0.0]), np.array([0.1, 0.4, 0.2, 0.5])
    _, scores = ranked(Ranking(0.5, "deviation"), Candidates(bm25, cosine, np.arange(4), np.zeros(4, bool)), QUESTION)
    fused = 0.5 * bm25 / bm25.std() + 0.5 * (cosine - 0.1) / cosine.std()
    assert scores == pytest.approx(fused / (0.5 * 9 / bm25.std() + 0.5 * 0.4 / cosine.std()))


def test_a_document_whose_other_passages_are_near_lifts_its_passage() -> None:
    # The first two are equally near; the second's document has another passage that is nearer still.
    found = candidates([0, 0, 0, 0], [40, 40, 5, 80], [1, 2, 2, 3])
    alone, _ = ranked(DENSE, found, QUESTION)
    assert alone == [2, 0, 1, 3]
    order, scores = ranked(replace(DENSE, document=0.3), found, QUESTION)
    assert order == [2, 1, 0, 3]
    assert scores.min() >= 0
    assert scores.max() <= 1


def test_a_document_whose_other_passages_hold_the_words_lifts_its_passage() -> None:
    # The first two hold the words equally; the second's document has another passage that holds them more.
    found = candidates([2, 2, 3, 0], [40, 40, 40, 40], [1, 2, 2, 3])
    words = replace(BM25, share=0.5)
    assert ranked(words, found, QUESTION)[0] == [2, 0, 1, 3]
    order, scores = ranked(replace(words, document=0.3), found, QUESTION)
    assert order == [2, 1, 0, 3]
    # 0.7 of 2, 2, 3, 0 and 0.3 of their documents' 2, 2.5, 2.5, 0; the vectors are equal, and add nothing
    assert scores == pytest.approx(np.array([2, 2.15, 2.85, 0]) / 2.85)


def test_feedback_leans_towards_what_ranks_first() -> None:
    # 30 degrees to either side are equally near; what is first lies on one of them.
    found = candidates([0, 0, 0], [-30, 30, 20], [1, 2, 3])
    assert ranked(DENSE, found, QUESTION)[0] == [2, 0, 1]
    order, _ = ranked(replace(DENSE, feedback=0.3, feedback_passages=1), found, QUESTION)
    assert order == [2, 1, 0]


def test_what_is_deeper_stands_behind_and_changes_nothing() -> None:
    near = candidates([3, 1, 0], [50, 10, 30], [1, 2, 3])
    more = candidates([3, 1, 0, 9, 2], [50, 10, 30, 0, 20], [1, 2, 3, 2, 4], deeper=(3, 4))
    for ranking in (BM25, DENSE, HYBRID, FINAL):
        order, scores = ranked(ranking, near, QUESTION)
        deep_order, deep_scores = ranked(ranking, more, QUESTION)
        assert deep_order[:3] == order
        assert deep_scores[:3] == pytest.approx(scores)
        assert (deep_scores[3:] <= scores.min() + 1e-9).all()


def test_one_candidate_equal_scores_and_missing_vectors_have_scores() -> None:
    for found in (
        candidates([1], [20], [1]),
        candidates([1, 1, 1], [20, 20, 20], [1, 1, 2]),
        replace(candidates([1, 0], [20, 30], [1, 2]), vectors=np.zeros((2, 2), np.float32)),
        replace(candidates([1, 0], [20, 30], [1, 2]), vectors=None),
    ):
        for ranking in (BM25, DENSE, HYBRID, FINAL):
            order, scores = ranked(ranking, found, QUESTION)
            assert sorted(order) == list(range(len(scores)))
            assert np.isfinite(scores).all()
            assert ((scores >= 0) & (scores <= 1 + 1e-6)).all()


def test_vectors_are_read_as_postgres_sends_them() -> None:
    rows = at(10, 200)
    sent = [np.array([2, 0], ">i2").tobytes() + row.astype(">f2").tobytes() for row in rows]
    assert unpacked(sent, 2) == pytest.approx(rows, abs=1e-3)


def test_copies_are_the_same_words_and_under_another_title_only_when_long() -> None:
    long = " ".join(f"step{number}" for number in range(LONG))
    assert words_of("A", (), long) == words_of("B", ("C",), long.upper() + "!")
    assert words_of("A", (), "The lead is Ana.") != words_of("B", (), "The lead is Ana.")
    assert words_of("A", ("B",), "The lead is Ana.") == words_of("A", ("B",), "the lead is **Ana**")
    assert words_of("A", (), "step one two") != words_of("A", (), "step one two two")


async def test_ten_copies_of_a_passage_are_shown_once_and_others_take_their_places(sessions: Sessions) -> None:
    copy = "To deploy the ledger service, ask the cache team for a token and roll back on any error."
    others = [Page(f"o{number}.md", "Guide", (f"Ledger and deploy number {number}.",)) for number in range(6)]
    await shelve(sessions, WordEmbedder(), *(Page(f"c{n}.md", "Deploy", (copy,)) for n in range(10)), *others)
    searcher = Searcher(sessions, WordEmbedder())
    hits = (await searcher.search("deploy ledger token", audience=Audience.everyone(), limit=5)).hits
    assert len(hits) == 5
    assert sum(hit.text == copy for hit in hits) == 1
    every = (await searcher.ranked(HYBRID).search("deploy ledger token", audience=Audience.everyone(), limit=30)).hits
    assert sum(hit.text == copy for hit in every) == 10


async def test_the_vectors_of_the_index_reach_the_stages(sessions: Sessions) -> None:
    embedder = WordEmbedder()
    await shelve(
        sessions, embedder, *(Page(f"{n}.md", "Guide", (f"deploy ledger {n}", f"cache {n}")) for n in range(9))
    )
    final = Searcher(sessions, embedder)
    plain = final.ranked(replace(FINAL, document=0.0, feedback=0.0))
    found = [(await one.search("deploy", audience=Audience.everyone(), limit=18)).hits for one in (final, plain)]
    assert {hit.chunk_id for hit in found[0]} == {hit.chunk_id for hit in found[1]}
    assert {hit.chunk_id: hit.score for hit in found[0]} != {hit.chunk_id: hit.score for hit in found[1]}

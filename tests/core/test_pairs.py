"""Words side by side: what counts as a pair, what of a passage is found, and what it changes in a real index."""

from __future__ import annotations

import pytest

from assistant.database.session import Sessions
from assistant.knowledge.audience import Audience
from assistant.knowledge.lexical import plain_terms, term_id
from assistant.knowledge.pairs import asked, share
from assistant.knowledge.ranking import FEEDBACK, FIRST, PAIRS
from assistant.knowledge.search import Searcher
from tests.core.parts import WordEmbedder
from tests.core.test_search import Page, shelve


def idf(**weights: float) -> dict[int, float]:
    return {term_id(term): weight for term, weight in weights.items()}


def test_terms_are_stemmed_parts_without_function_words() -> None:
    assert plain_terms("How do I roll back kube-proxy's releases?") == ["roll", "back", "kube", "proxi", "s", "releas"]
    assert plain_terms("") == []


def test_a_pair_weighs_what_its_more_common_word_does() -> None:
    pairs = asked("Where is the trust store of the ledger?", idf(trust=3.0, store=1.0, ledger=2.0))
    assert pairs == {("trust", "store"): pytest.approx(0.5), ("store", "ledger"): pytest.approx(0.5)}
    assert asked("trust trust", idf(trust=3.0)) == {}
    assert asked("trust", idf(trust=3.0)) == {}
    assert asked("trust store", {}) == {}


def test_a_share_is_of_the_weight_and_no_pair_reaches_over_two_texts() -> None:
    pairs = asked("rolling back releases", idf(roll=1.0, back=3.0, releas=3.0))
    assert pairs == {("roll", "back"): pytest.approx(0.25), ("back", "releas"): pytest.approx(0.75)}
    assert share(pairs, ["To roll it back, ask."]) == pytest.approx(0.25)  # "it" does not part them
    assert share(pairs, ["Rolled back: release 7", "back releases"]) == pytest.approx(1.0)
    assert share(pairs, ["back", "releases roll"]) == 0
    assert share({}, ["roll back"]) == 0


async def test_of_equal_words_those_side_by_side_come_first_and_scores_keep_falling(sessions: Sessions) -> None:
    apart = [Page(f"a{n}.md", "Guide", ("The store keeps the ledger in trust.",)) for n in range(3)]
    together = Page("t.md", "Guide", ("The ledger keeps in the trust store.",))
    other = Page("z.md", "Guide", ("Another ledger.",))
    await shelve(sessions, WordEmbedder(), *apart, together, other)
    searcher = Searcher(sessions, WordEmbedder())
    plain = searcher.ranked(FEEDBACK)
    before = (await plain.search("trust store", audience=Audience.everyone())).hits
    after = (await searcher.ranked(PAIRS).search("trust store", audience=Audience.everyone())).hits
    assert after[0].external_id == "t.md"
    assert {hit.chunk_id for hit in after} == {hit.chunk_id for hit in before}
    assert [hit.score for hit in after] == [hit.score for hit in before]
    assert before[0].external_id != "t.md"


async def test_the_first_places_are_the_same_however_many_are_asked_for(sessions: Sessions) -> None:
    pages = [
        Page(f"p{n}.md", "Ledger", (f"Ledger item {n}: " + ("trust store" if n % 3 else "store for trust") + " here.",))
        for n in range(FIRST + 10)
    ]
    await shelve(sessions, WordEmbedder(), *pages)
    searcher = Searcher(sessions, WordEmbedder()).ranked(PAIRS)
    deep = [hit.chunk_id for hit in (await searcher.search("trust store", audience=Audience.everyone(), limit=28)).hits]
    for limit in (1, 5, FIRST, FIRST + 3):
        found = (await searcher.search("trust store", audience=Audience.everyone(), limit=limit)).hits
        assert [hit.chunk_id for hit in found] == deep[:limit]
    assert len(set(deep)) == 28

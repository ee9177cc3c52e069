"""Words as they are indexed, and BM25 against the same formula written plainly."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections import Counter

import pytest

from assistant.database import statistics
from assistant.database.session import Sessions
from assistant.database.tables import TERM_SPACE
from assistant.knowledge.audience import Audience
from assistant.knowledge.lexical import (
    frequencies,
    plain_terms,
    query_terms,
    saturate,
    sparse_literal,
    term_id,
    tokens,
)
from assistant.knowledge.ranking import BM25
from assistant.knowledge.search import Searcher
from tests.core.parts import Page, WordEmbedder, shelve


def idf(documents: int, holding: int) -> float:
    """Robertson-Sparck Jones weight, never negative (Lucene's form): what the SQL is held against."""
    return math.log(1 + (documents - holding + 0.5) / (holding + 0.5))


def test_a_worked_example() -> None:
    """Three chunks of 4, 8 and 12 words, mean 8; "deploy" stands in two of them, once and three times."""
    assert idf(3, 2) == pytest.approx(math.log(1 + 1.5 / 2.5))
    assert idf(3, 2) == pytest.approx(0.4700, abs=1e-4)
    # length 4: norm = 1.2 * (0.25 + 0.75 * 0.5) = 0.75; 1 * 2.2 / 1.75
    assert saturate([1], 4, 8.0) == pytest.approx([1.257143])
    # length 12: norm = 1.2 * (0.25 + 0.75 * 1.5) = 1.65; 3 * 2.2 / 4.65
    assert saturate([3], 12, 8.0) == pytest.approx([1.419355])
    assert idf(3, 3) > 0  # a word of every chunk never counts against one


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kube-proxy", {"kube", "proxi", "kube-proxi"}),
        ("ERR_CONN_42", {"err", "conn", "42", "err_conn_42"}),
        ("max_connections", {"max", "connect", "max_connect"}),
        ("getHTTPCode", {"get", "http", "code", "gethttpcod"}),
        ("v1.2.3", {"v1", "2", "3", "v1.2.3"}),
        ("/etc/ferry/config.yaml", {"etc", "ferri", "config", "yaml", "etc/ferry/config.yaml"}),
        ("utf8 k8s v2", {"utf8", "k8s", "v2"}),
        ("C++ and C#", {"c"}),
        ("the service's owner", {"servic", "owner"}),
        ("deploying deployed deploys", {"deploy"}),
    ],
)
def test_compounds_give_themselves_and_their_parts(text: str, expected: set[str]) -> None:
    assert set(tokens(text)) == expected


@pytest.mark.parametrize(
    ("asked", "written"),
    [
        ("max connections", "set max_connections to 200"),
        ("kube proxy", "restart kube-proxy"),
        ("http code", "call getHTTPCode()"),
        ("ERR_CONN_42", "what err_conn_42 means"),
        ("Naïve café", "nai\u0308ve cafe\u0301"),
        ("ﬁle", "file"),
        ("don’t", "don't panic"),
        ("PostgreSQL’s", "the PostgreSQL's owner"),
    ],
)
def test_a_question_finds_the_other_spelling(asked: str, written: str) -> None:
    assert set(query_terms(asked)) <= set(frequencies(written))


def test_a_compound_shares_its_parts_with_words_that_stand_apart() -> None:
    shared = set(query_terms("max_connections")) & set(frequencies("raise the max connections"))
    assert shared == {term_id("max"), term_id("connect")}


def test_stop_words_say_nothing() -> None:
    assert tokens("How do I do this, and what's that? Can't you tell me, please?") == []
    assert query_terms("") == []
    assert tokens("...--- ___ !!") == []


def test_words_that_only_look_like_stop_words_stay() -> None:
    assert "uptim" in tokens("uptime")
    assert "404" in tokens("a 404")


def test_compatible_forms_of_a_character_are_one() -> None:
    assert tokens("ｄｅｐｌｏｙ ①") == tokens("deploy 1")
    assert tokens("Ⅳ") == tokens("iv")


def test_terms_keep_their_numbers_in_every_process() -> None:
    assert term_id("deploy") == 453_354_747  # another number would lose every index that is stored
    code = "from assistant.knowledge.lexical import query_terms; print(query_terms('roll back kube-proxy'))"
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"}
    )
    assert other.stdout.strip() == str(query_terms("roll back kube-proxy"))
    assert all(1 <= number <= TERM_SPACE for number in map(term_id, ("", "ä", "x" * 10_000)))


def test_words_of_title_and_headings_count_in() -> None:
    counts = frequencies("Deploy, then deploy again.", "Deploy guide")
    assert counts[term_id("deploy")] == 4
    assert counts[term_id("guid")] == 2


def test_the_literal_is_sorted_as_it_was_given() -> None:
    assert sparse_literal([3, 12], [0.5, 1.25]) == f"{{3:0.5,12:1.25}}/{TERM_SPACE}"


WORDS = "deploy rollback ferry ledger queue cache disk token alert shift backup invoice kube-proxy node".split()


def library(random_: random.Random) -> list[Page]:
    """Forty documents of one to four passages with words drawn unevenly, so that scores spread."""
    weights = [1 / (place + 1) for place in range(len(WORDS))]
    return [
        Page(
            f"{number}.md",
            f"Guide {number}",
            tuple(
                " ".join(random_.choices(WORDS, weights, k=random_.randint(3, 60)))
                for _ in range(random_.randint(1, 4))
            ),
        )
        for number in range(40)
    ]


def plain_bm25(pages: list[Page], question: str) -> dict[tuple[str, int], float]:
    """Robertson's formula over the same passages, with nothing shared but the words."""
    texts = {
        (page.external_id, ordinal): Counter(tokens(text) + tokens(page.title) * 2)
        for page in pages
        for ordinal, text in enumerate(page.passages)
    }
    mean = sum(sum(counts.values()) for counts in texts.values()) / len(texts)
    scores: dict[tuple[str, int], float] = {}
    for key, counts in texts.items():
        length = sum(counts.values())
        for word in set(tokens(question)):
            holding = sum(word in other for other in texts.values())
            weight = math.log(1 + (len(texts) - holding + 0.5) / (holding + 0.5))
            part = counts[word] * 2.2 / (counts[word] + 1.2 * (0.25 + 0.75 * length / mean))
            scores[key] = scores.get(key, 0.0) + weight * part
    return scores


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_postgres_scores_as_the_formula_says(sessions: Sessions, seed: int) -> None:
    random_ = random.Random(seed)
    pages = library(random_)
    await shelve(sessions, WordEmbedder(), *pages)
    async with sessions.begin() as session:
        assert await statistics.reweigh_if_drifted(session)
    searcher = Searcher(sessions, WordEmbedder(), BM25)
    for _ in range(8):
        question = " ".join(random_.sample([*WORDS, "unheard"], random_.randint(1, 4)))
        plain = plain_bm25(pages, question)
        found = await searcher.search(question, audience=Audience.everyone(), limit=20)
        hits = [((hit.external_id, hit.ordinal), hit.bm25) for hit in found.hits]
        assert len(hits) == 20
        for key, score in hits:
            assert score == pytest.approx(plain[key], abs=1e-3)
        best = sorted(plain.values(), reverse=True)[:20]
        assert [plain[key] for key, _ in hits] == pytest.approx(best, abs=1e-3)  # equal ranks, but for ties
        for word in set(tokens(question)):
            holding = sum(word in tokens(f"{page.title} {text}") for page in pages for text in page.passages)
            total = sum(len(page.passages) for page in pages)
            assert found.term_weights[term_id(word)] == pytest.approx(idf(total, holding))


def test_what_is_remembered_of_a_word_stays_as_it_was() -> None:
    """Terms of a word are remembered; what is done with a result changes no later one, nor does a word's length."""
    for text in ("kube-proxy", "Don’t getUrl", "ERR_CONN_42 ERR_CONN_42"):
        first = tokens(text)
        wanted = list(first)
        first.append("more")
        first.clear()
        assert tokens(text) == wanted
    long = "-".join(["running", "walked"] * 5)
    assert tokens(long) == [*["run", "walk"] * 5, long.removesuffix("ed")]
    assert plain_terms("x" * 50 + " running") == ["x" * 50, "run"]

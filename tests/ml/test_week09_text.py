"""Week 9: chunkers, BM25, fusion and measures, against bm25s, ir-measures and examples worked by hand."""

import random
import re

import bm25s
import ir_measures
import numpy as np
import pytest
from ir_measures import nDCG

from ml.lesson import data_folder
from ml.week09_retrieval import chunk_study, chunking, exercises
from ml.week09_retrieval.bm25 import BM25, METHODS, tokenise
from ml.week09_retrieval.data import Page, feedback_pages
from ml.week09_retrieval.fusion import min_max, reciprocal_rank_fusion, weighted_fusion
from ml.week09_retrieval.metrics import ndcg_at, recall_at

CHUNKERS = {
    "fixed": lambda text, size: chunking.fixed(text, size),
    "overlapping": lambda text, size: chunking.fixed(text, size, size // 3),
    "sentences": lambda text, size: chunking.sentences(text, size),
    "sentence window": lambda text, size: chunking.sentences(text, size, size // 3),
    "recursive": chunking.recursive,
    "markdown": chunking.markdown,
}
PARTS = [
    *("# Head\n", "## Sub\n", "#nothing", "```\n# code\n```\n", "- item\n", "word", "A sentence. ", "Is it? "),
    *("Dr. Who e.g. here.", "naïve 中文。", "3.5 V!", "x" * 70, "\n\n", "\n", "\r\n", "\u2028", "\t", " "),
]


def random_text(seed):
    generator = random.Random(seed)
    return "".join(generator.choice(PARTS) for _ in range(generator.randrange(0, 60)))


@pytest.mark.parametrize("chunker", CHUNKERS.values(), ids=CHUNKERS)
def test_chunkers_lose_nothing_and_keep_the_limit(chunker):
    for seed in range(150):
        text, size = random_text(seed), random.Random(seed).choice([1, 7, 40, 200])
        chunks = chunker(text, size)
        covered = set()
        for chunk in chunks:
            assert chunk.text == text[chunk.start : chunk.end]
            assert chunk.text == chunk.text.strip()
            assert 0 < len(chunk.text) <= size
            covered.update(range(chunk.start, chunk.end))
        assert all(text[place].isspace() for place in set(range(len(text))) - covered)
        assert [chunk.start for chunk in chunks] == sorted(chunk.start for chunk in chunks)


@pytest.mark.skipif(data_folder("govuk_docs") is None, reason="needs shared/data/govuk_docs")
def test_chunkers_on_real_pages():
    paths = sorted((data_folder("govuk_docs") / "docs").rglob("*.md"))[:80]
    for path in paths:
        text = path.read_text()
        for chunker in CHUNKERS.values():
            chunks = chunker(text, 500)
            covered = np.zeros(len(text), dtype=bool)
            for chunk in chunks:
                covered[chunk.start : chunk.end] = True
            assert max(len(chunk.text) for chunk in chunks) <= 500
            assert "".join(np.array(list(text))[~covered]).strip() == ""


def test_overlap_repeats_the_end_of_the_chunk_before():
    text = "".join(chr(97 + place % 26) for place in range(100))
    chunks = chunking.fixed(text, 40, 10)
    assert [(chunk.start, chunk.end) for chunk in chunks] == [(0, 40), (30, 70), (60, 100)]
    windows = chunking.sentences("One is here. Two is here. Three is here. Four is here.", 28, 15)
    assert [chunk.text for chunk in windows] == [
        "One is here. Two is here.",
        "Two is here. Three is here.",
        "Three is here. Four is here.",
    ]


def test_sentences_end_where_english_ends_them():
    text = 'Dr. Smith paid 3.5 million, e.g. in cash. "Did he?" Yes! See Fig. 2.\n\nA new paragraph'
    found = [text[start:end] for start, end in chunking.sentence_spans(text)]
    assert found == [
        "Dr. Smith paid 3.5 million, e.g. in cash.",
        '"Did he?"',
        "Yes!",
        "See Fig. 2.",
        "A new paragraph",
    ]


def test_recursive_takes_the_coarsest_border_that_helps():
    text = "First one. Second one.\n\nThird paragraph is short.\n\nFourth."
    assert [chunk.text for chunk in chunking.recursive(text, 40)] == [
        "First one. Second one.",
        "Third paragraph is short.\n\nFourth.",
    ]
    assert [chunk.text for chunk in chunking.recursive("aaaa bbbb. cccc dddd", 10)] == ["aaaa bbbb.", "cccc dddd"]
    assert [chunk.text for chunk in chunking.recursive("abcdefghij", 4)] == ["abcd", "efgh", "ij"]


def test_markdown_never_crosses_a_heading_and_names_those_above():
    text = "# Deploy\n\n## Rollback\n\nPress the button.\n\n```sh\n# not a heading\n```\n\n## Alerts ##\n\nCall Ada."
    first, second = chunking.markdown(text, 200)
    assert first.headings == ("Deploy", "Rollback")
    assert "# not a heading" in first.text
    assert second.headings == ("Deploy", "Alerts")
    assert second.indexed == "Deploy > Alerts\n## Alerts ##\n\nCall Ada."
    assert chunking.markdown("plain", 10, "Title")[0].indexed == "Title\nplain"


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (-1, 0), (10, 10), (10, -1)])
def test_chunkers_refuse_impossible_sizes(size, overlap):
    for chunker in (chunking.fixed, chunking.sentences):
        with pytest.raises(ValueError, match="overlap"):
            chunker("text", size, overlap)


@pytest.mark.parametrize("method", METHODS)
def test_bm25_equals_bm25s(method):
    generator = np.random.default_rng(0)
    for k1, b, delta in [(1.5, 0.75, 0.5), (0.9, 0.4, 1.0), (2.0, 1.0, 0.2), (1.2, 0.0, 0.5)]:
        words = [f"w{number}" for number in range(60)]
        documents = [generator.choice(words, size=generator.integers(1, 50), p=_zipf(60)).tolist() for _ in range(80)]
        ours = BM25(documents, method, k1, b, delta)
        theirs = bm25s.BM25(method=method, k1=k1, b=b, delta=delta, dtype="float64")
        theirs.index(documents, show_progress=False)
        for _ in range(30):
            query = generator.choice([*words, "unseen"], size=generator.integers(1, 8)).tolist()
            np.testing.assert_allclose(ours.scores(query), theirs.get_scores(query), atol=1e-9, rtol=0)


def _zipf(count):
    weights = 1 / np.arange(1, count + 1)
    return weights / weights.sum()


@pytest.mark.skipif(data_folder("scifact") is None, reason="needs shared/data/scifact")
def test_bm25_ranks_real_abstracts_as_bm25s_does():
    from ml.week09_retrieval.data import scifact

    collection = scifact()
    documents = [tokenise(text) for text in list(collection.documents.values())[:600]]
    ours, theirs = BM25(documents), bm25s.BM25(method="lucene", dtype="float64")
    theirs.index(documents, show_progress=False)
    for text in list(collection.queries.values())[:40]:
        expected = theirs.get_scores(tokenise(text))
        np.testing.assert_allclose(ours.scores(tokenise(text)), expected, atol=1e-9, rtol=0)
        scores, ids = ours.search(tokenise(text), 10)
        np.testing.assert_allclose(scores, np.sort(expected)[::-1][: len(scores)], atol=1e-5)
        np.testing.assert_allclose(expected[ids], scores, atol=1e-5)


def test_bm25_by_hand():
    # N = 3, df(rollback) = 1, |d| = 2, average = 2: idf = ln(1 + 2.5 / 1.5), tf part = 1 / (1 + 1.5)
    index = BM25([["rollback", "deploy"], ["deploy", "deploy"], ["alert", "page"]])
    assert index.scores(["rollback"])[0] == pytest.approx(np.log(1 + 2.5 / 1.5) / 2.5)
    scores, ids = index.search(["deploy"], 10)
    assert ids.tolist() == [1, 0]  # two mentions before one; the document without the word is not shown
    assert scores[0] > scores[1]


def test_bm25_of_odd_input():
    assert BM25([[], []]).search(["x"], 5)[1].tolist() == []
    assert BM25([["a"]], k1=0).scores(["a", "a"]).tolist() == pytest.approx([2 * np.log(1 + 0.5 / 1.5)])
    for method in METHODS:
        assert BM25([["a"], ["b"], ["a", "c"]], method).search([], 5)[1].tolist() == []
        assert 1 not in BM25([["a"], ["b"], ["a", "c"], ["d"]], method).search(["c", "a"], 5)[1]
    with pytest.raises(ValueError, match="method"):
        BM25([["a"]], "bm26")
    with pytest.raises(ValueError, match="k1"):
        BM25([["a"]], k1=-1)


def test_rrf_by_hand():
    # a: 1/61 + 1/63, b: 1/62 + 1/61, c: 1/63, d: 1/62
    fused = reciprocal_rank_fusion([["a", "b", "c"], ["b", "d", "a"]])
    assert fused == [
        ("b", pytest.approx(1 / 62 + 1 / 61)),
        ("a", pytest.approx(1 / 61 + 1 / 63)),
        ("d", pytest.approx(1 / 62)),
        ("c", pytest.approx(1 / 63)),
    ]
    assert reciprocal_rank_fusion([]) == []
    assert [name for name, _ in reciprocal_rank_fusion([["x"], ["y"]])] == ["x", "y"]  # a tie keeps its order
    with pytest.raises(ValueError, match="twice"):
        reciprocal_rank_fusion([["a", "a"]])
    with pytest.raises(ValueError, match="negative"):
        reciprocal_rank_fusion([["a"]], k=-1)


def test_weighted_fusion_by_hand():
    fused = weighted_fusion([{"a": 30.0, "b": 20.0, "c": 10.0}, {"b": 0.9, "d": 0.4}], [0.4, 0.6])
    assert fused == [("b", pytest.approx(0.4 * 0.5 + 0.6)), ("a", pytest.approx(0.4)), ("c", 0.0), ("d", 0.0)]
    assert min_max({"a": 3.0, "b": 3.0}) == {"a": 1.0, "b": 1.0}
    assert min_max({}) == {}
    with pytest.raises(ValueError, match="weights"):
        weighted_fusion([{"a": 1.0}], [0.5, 0.5])


def test_ndcg_equals_ir_measures():
    generator = np.random.default_rng(1)
    names = [f"d{number}" for number in range(30)]
    for _ in range(60):
        judged = {name: int(generator.integers(0, 3)) for name in names[:12]} | {"d29": 1}
        ranking = generator.permutation(names)[: generator.integers(1, 30)].tolist()
        run = {"q": {name: float(-place) for place, name in enumerate(ranking)}}
        expected = ir_measures.calc_aggregate([nDCG @ 10], {"q": judged}, run)[nDCG @ 10]
        assert ndcg_at(ranking, judged) == pytest.approx(expected)
    with pytest.raises(ValueError, match="undefined"):
        ndcg_at(["a"], {})


def test_recall_by_hand():
    exact = np.array([[1, 2, 3], [4, 5, 6]])
    assert recall_at(np.array([[3, 9, 1], [7, 8, -1]]), exact, 3) == pytest.approx(2 / 6)
    with pytest.raises(ValueError, match="columns"):
        recall_at(exact, exact, 4)


def test_coverage_counts_the_characters_of_the_answer():
    answer = "Tea must steep for three minutes."
    text = f"# Drinks\n\n## Coffee\n\nCoffee is ground fine.\n\n## Tea\n\n{answer}\n"
    start = text.index(answer)
    page = Page("Drinks", text, [("How long must tea steep?", start, start + len(answer))])
    assert chunk_study.coverage([page], chunk_study.CHUNKERS["markdown"], 400) == 1
    assert chunk_study.coverage([page], lambda page, size: [chunking.Chunk(0, 20, page.text[:20])], 400) == 0
    half = [chunking.Chunk(start, start + 16, text[start : start + 16])]
    assert chunk_study.coverage([page], lambda page, size: half, 400) == pytest.approx(16 / len(answer))


@pytest.mark.skipif(data_folder("feedbackqa") is None, reason="needs shared/data/feedbackqa")
def test_pages_are_put_together_with_their_answers():
    pages = feedback_pages(("WHO",))
    assert sum(len(page.questions) for page in pages) > 50
    for page in pages:
        assert page.text.startswith(f"# {page.title}\n\n## ")
        for _, start, end in page.questions:
            assert page.text[:start].rstrip().splitlines()[-1].startswith("## ")
            assert re.match(r"\n(\n## |\Z)", page.text[end:])


def test_exercise_published_bm25_plus():
    documents = [["a"] * 9 + ["b"], ["a", "c"], ["c", "d"], ["d", "e"]]
    index = BM25(documents, "bm25+", delta=1.0)
    published = exercises.published_scores(index, ["a", "b"])
    assert published[2] == 0  # no word in common: nothing, where bm25s gives it delta
    shared = np.flatnonzero(published)
    gaps = index.scores(["a", "b"])[shared] - published[shared]
    assert gaps[0] == pytest.approx(0)  # it holds both words
    assert gaps[1] == pytest.approx(index.idf(1) * 1.0)  # the absent b gave it delta

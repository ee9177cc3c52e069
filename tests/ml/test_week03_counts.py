"""Week 3: one-hot vectors, the vocabulary, windows, co-occurrence counts, PPMI and SVD."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

from ml.week03_embeddings import corpus, onehot
from ml.week03_embeddings.cooccurrence import count, ppmi, svd_vectors, truncated_svd
from ml.week03_embeddings.negative_sampling import Settings
from ml.week03_embeddings.vocabulary import Encoded, NoiseSampler, Vocabulary
from ml.week03_embeddings.windows import bags, fixed_pairs, skip_pairs
from ml.week03_embeddings.with_gensim import train


@pytest.fixture(scope="module")
def news() -> corpus.Corpus:
    return corpus.news()


@pytest.fixture(scope="module")
def vocabulary(news: corpus.Corpus) -> Vocabulary:
    return Vocabulary.of(news.pieces)


def random_text(seed: int, size: int = 7) -> Encoded:
    rng = np.random.default_rng(seed)
    return Encoded(rng.integers(0, size, 60), np.sort(rng.integers(0, 6, 60)))


def test_one_hot_words_are_all_equally_unlike() -> None:
    rows = onehot.one_hot(np.arange(5), 5)
    distances = np.linalg.norm(rows[:, None] - rows[None], axis=2)
    assert np.allclose(distances, math.sqrt(2) * (1 - np.eye(5)))


def test_an_embedding_is_a_linear_layer_on_one_hot_input_and_its_gradient_a_sum_of_rows() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    ids, matrix, g = rng.integers(0, 9, 30), rng.normal(size=(9, 4)), rng.normal(size=(30, 4))
    table = torch.tensor(matrix, requires_grad=True)
    looked_up = torch.nn.functional.embedding(torch.tensor(ids), table)
    looked_up.backward(torch.tensor(g))
    assert np.allclose(onehot.one_hot(ids, 9) @ matrix, looked_up.detach())
    assert np.allclose(onehot.sparse_one_hot(ids, 9).toarray(), onehot.one_hot(ids, 9))
    assert np.allclose(onehot.sum_rows(ids, g, 9), table.grad)
    slow = np.zeros((9, 4))
    np.add.at(slow, ids, g)
    assert np.allclose(onehot.sum_rows(ids, g, 9), slow)


@pytest.mark.parametrize("ids", [[3], [-1, 0]])
def test_a_word_outside_the_vocabulary_has_no_one_hot_vector(ids: list[int]) -> None:
    with pytest.raises(ValueError, match=r"must lie in 0\.\.2"):
        onehot.one_hot(np.array(ids), 3)


def test_words_keep_their_apostrophes_and_lose_everything_else() -> None:
    assert corpus.words("Don't PANIC: it's 4:00pm, e.g. 'quoted'.") == [
        "don't",
        "panic",
        "it's",
        "pm",
        "e",
        "g",
        "quoted",
    ]


def test_the_vocabulary_is_sorted_by_count_then_by_name() -> None:
    vocabulary = Vocabulary.of(["b a c a".split(), "b d".split()], minimum=1)
    assert vocabulary.words == ["a", "b", "c", "d"]
    assert vocabulary.counts.tolist() == [2, 2, 1, 1]
    text = vocabulary.encode([["a", "?", "b"], [], ["d"]])
    assert (text.ids.tolist(), text.piece.tolist()) == ([0, 1, 3], [0, 0, 2])
    with pytest.raises(ValueError, match="No word occurs 3 times"):
        Vocabulary.of([["a", "a"]], minimum=3)


def test_counts_subsampling_and_noise_are_gensims(news: corpus.Corpus, vocabulary: Vocabulary) -> None:
    wv = (model := train(news, Settings(epochs=1, dimensions=2), skip_gram=True)).wv
    assert set(wv.index_to_key) == set(vocabulary.words)
    assert [wv.get_vecattr(word, "count") for word in vocabulary.words] == vocabulary.counts.tolist()
    kept = np.array([wv.get_vecattr(word, "sample_int") for word in vocabulary.words]) / (2**32 - 1)
    assert np.abs(kept - vocabulary.keep_probability(1e-3)).max() < 1e-6
    assert kept.min() < 0.2, "the frequent words are thinned out"
    noise = np.diff(model.cum_table, prepend=0) / (2**31 - 1)
    ours = vocabulary.noise()[[vocabulary.index[word] for word in wv.index_to_key]]
    assert np.abs(noise - ours).max() < 1e-8


def test_subsampling_keeps_the_share_it_promises() -> None:
    text = Encoded(np.repeat([0, 1], 20_000), np.zeros(40_000, dtype=int))
    thin = text.subsample(np.array([0.25, 1.0]), np.random.default_rng(0))
    share = np.bincount(thin.ids) / 20_000
    assert share[0] == pytest.approx(0.25, abs=0.01)
    assert share[1] == 1.0
    assert (Vocabulary(["a"], np.array([5])).keep_probability(0) == 1).all()


def test_the_noise_table_draws_count_to_the_three_quarters() -> None:
    vocabulary = Vocabulary(["a", "b", "c"], np.array([81, 16, 1]))
    assert vocabulary.noise() == pytest.approx(np.array([27, 8, 1]) / 36)
    drawn = NoiseSampler(vocabulary.noise()).draw((100, 2000), np.random.default_rng(0))
    assert drawn.shape == (100, 2000)
    assert np.bincount(drawn.ravel()) / drawn.size == pytest.approx(np.array([27, 8, 1]) / 36, abs=3e-3)


@pytest.mark.parametrize("seed", range(5))
def test_pairs_are_those_of_two_nested_loops(seed: int) -> None:
    text, window = random_text(seed), seed % 4 + 1
    expected = sorted(
        (int(text.ids[i]), int(text.ids[j]), j - i)
        for i in range(60)
        for j in range(i + 1, min(60, i + window + 1))
        if text.piece[i] == text.piece[j]
    )
    found = [row.tolist() for row in fixed_pairs(text, window)]
    assert sorted(zip(*found, strict=True)) == expected


def test_a_neighbour_at_distance_d_is_used_in_proportion() -> None:
    window, rng = 4, np.random.default_rng(0)
    text = Encoded(np.arange(4000), np.zeros(4000, dtype=int))
    centre, context = skip_pairs(text, window, rng)
    used = np.bincount(np.abs(centre - context))[1:] / (2 * 4000)
    assert used == pytest.approx([1.0, 0.75, 0.5, 0.25], abs=0.02)


def test_bags_and_skip_pairs_hold_the_same_neighbours() -> None:
    text = random_text(3)
    skipped = skip_pairs(text, 3, np.random.default_rng(5))
    centre, context = bags(text, 3, np.random.default_rng(5))  # the same generator draws the same windows
    row, place = np.nonzero(context >= 0)
    from_bags = sorted(zip(centre[row].tolist(), context[row, place].tolist(), strict=True))
    assert from_bags == sorted(zip(*(part.tolist() for part in skipped), strict=True))
    assert (context >= 0).any(axis=1).all()


def test_windows_need_a_width() -> None:
    for make in (lambda t, w: fixed_pairs(t, w), lambda t, w: bags(t, w, np.random.default_rng(0))):
        with pytest.raises(ValueError, match="must be 1 or more"):
            make(random_text(0), 0)


def test_counts_by_hand() -> None:
    text = Encoded(np.array([0, 1, 0, 2, 2]), np.array([0, 0, 0, 0, 1]))  # "a b a c" and "c"
    assert count(text, 3, window=2).toarray().tolist() == [[2, 2, 1], [2, 0, 1], [1, 1, 0]]
    assert count(text, 3, window=2, harmonic=True).toarray().tolist() == [[1, 2, 1], [2, 0, 0.5], [1, 0.5, 0]]


def test_ppmi_by_hand() -> None:
    counts = sparse.csr_matrix(np.array([[0.0, 6.0], [2.0, 2.0]]))
    plain = ppmi(counts, smoothing=1.0).toarray()
    # P(0, 1) = 0.6 against P(0) P(1) = 0.6 * 0.8; P(1, 0) = 0.2 against 0.4 * 0.2; P(1, 1) = 0.2 against 0.4 * 0.8.
    assert plain == pytest.approx(np.array([[0, math.log(0.6 / 0.48)], [math.log(0.2 / 0.08), 0]]))
    assert ppmi(counts, smoothing=1.0, shift=math.log(2)).toarray()[1, 0] == pytest.approx(math.log(0.2 / 0.08 / 2))
    share = 2**0.75 / (2**0.75 + 8**0.75)  # smoothing makes the rare context look less rare
    assert ppmi(counts).toarray()[1, 0] == pytest.approx(math.log(0.2 / (0.4 * share)))


def test_the_truncated_svd_is_numpys_and_no_worse_than_scikit_learns(
    vocabulary: Vocabulary, news: corpus.Corpus
) -> None:
    matrix = ppmi(count(vocabulary.encode(news.pieces), len(vocabulary)))[:400, :500]
    u, s, vt = truncated_svd(matrix, 20, np.random.default_rng(0), rounds=10)
    _, exact, _ = np.linalg.svd(matrix.toarray())
    assert np.abs(s / exact[:20] - 1).max() < 1e-3
    assert np.allclose(u.T @ u, np.eye(20), atol=1e-10)
    assert np.allclose(vt @ vt.T, np.eye(20), atol=1e-10)
    ours = np.linalg.norm(matrix - u * s @ vt)
    a, b, c = randomized_svd(matrix, 20, n_iter=10, random_state=0)
    assert ours <= 1.001 * np.linalg.norm(matrix - a * b @ c)
    assert ours <= 1.001 * np.sqrt((exact[20:] ** 2).sum()), "Eckart and Young: the best that any rank 20 can do"


def test_the_svd_of_a_low_rank_matrix_is_exact() -> None:
    rng = np.random.default_rng(1)
    low = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 30))
    u, s, vt = truncated_svd(low, 3, rng)
    assert np.allclose(u * s @ vt, low)
    assert svd_vectors(sparse.csr_matrix(low), 2, rng, power=0).shape == (40, 2)
    with pytest.raises(ValueError, match="has no 31 singular values"):
        truncated_svd(low, 31, rng)

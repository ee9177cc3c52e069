"""Answers to the README's exercises: each a function that changes or measures one thing.

They take their corpus or vectors as an argument, so that the reader may try others and the tests small ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ml.week03_embeddings import cbow, skipgram
from ml.week03_embeddings.corpus import Corpus
from ml.week03_embeddings.evaluation import agreement
from ml.week03_embeddings.negative_sampling import Settings, loss_and_gradients
from ml.week03_embeddings.vectors import WordVectors
from ml.week03_embeddings.vocabulary import Vocabulary
from ml.week03_embeddings.with_gensim import in_our_order, train


def batch_sizes(corpus: Corpus, settings: Settings, sizes: Sequence[int]) -> list[tuple[int, float, float]]:
    """Exercise 1: (batch, mean loss of the last epoch, agreement with gensim) of skip-gram; nan where it diverged."""
    vocabulary = Vocabulary.of(corpus.pieces)
    text = vocabulary.encode(corpus.pieces)
    reference = in_our_order(train(corpus, settings, skip_gram=True), vocabulary)
    rows = []
    for size in sizes:
        with np.errstate(all="ignore"):  # a batch that is too large overflows: that is what we want to see
            trained = skipgram.train(text, vocabulary, replace(settings, batch=size))
        alike = float("nan")
        if trained.losses[-1] < (settings.negatives + 1) * np.log(2):  # what all answers "one half" cost
            vectors = WordVectors(vocabulary.words, trained.vectors)
            alike = agreement(vectors, reference, vocabulary.words[100:500])
        rows.append((size, trained.losses[-1], alike))
    return rows


def cbow_gradients(corpus: Corpus, settings: Settings, factor: float = 6.0) -> dict[str, tuple[float, float]]:
    """Exercise 2: agreement with gensim's CBOW and with its skip-gram, of word2vec's update and of the true gradient.

    ``factor``: how much higher the rate of the third row is; with window 5 a word has 6 neighbours on average.
    """
    vocabulary = Vocabulary.of(corpus.pieces)
    text, frequent = vocabulary.encode(corpus.pieces), vocabulary.words[100:500]
    references = [in_our_order(train(corpus, settings, skip_gram), vocabulary) for skip_gram in (False, True)]
    ways = {
        "undivided, as word2vec": (settings, False),
        "true gradient": (settings, True),
        f"true gradient, rate x {factor:g}": (replace(settings, rate=settings.rate * factor), True),
    }
    found = {}
    for name, (chosen, divide) in ways.items():
        trained = cbow.train(text, vocabulary, chosen, divide=divide)
        vectors = WordVectors(vocabulary.words, trained.vectors)
        with_cbow, with_skip_gram = (agreement(vectors, reference, frequent) for reference in references)
        found[name] = with_cbow, with_skip_gram
    return found


def factorised_pmi(
    counts: np.ndarray, negatives: int, steps: int = 4000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Exercise 3: (scores v u^T after training, PMI - log K), both (V, V), for a dense count matrix above zero.

    Skip-gram's *expected* loss with noise in proportion to count (power 1), by gradient descent with momentum: each
    pair (w, c) is a case of ``loss_and_gradients`` whose ``used`` holds how often it is true and how often it is noise.
    ValueError for a zero count, whose PMI would be minus infinity.
    """
    if (counts <= 0).any():
        raise ValueError("Every pair must have been seen: log 0 has no finite optimum.")
    size = len(counts)
    true = counts / counts.sum()  # (V, V), P(w, c)
    noise = negatives * true.sum(axis=1, keepdims=True) * true.sum(axis=0)  # (V, V), K P(w) P(c)
    w, c = (grid.ravel() for grid in np.indices((size, size)))  # (V^2,), (V^2,)
    weight = np.stack([true.ravel(), noise.ravel()], axis=1) * size**2  # (V^2, 2), of the order of 1
    rng = np.random.default_rng(seed)
    v, u = rng.normal(size=(2, size, size)) / np.sqrt(size)  # (V, D) each, D = V: any matrix can be reached
    pace_v, pace_u = np.zeros_like(v), np.zeros_like(u)  # (V, D) each
    for _ in range(steps):
        _, dv, du = loss_and_gradients(v[w], np.stack([u[c], u[c]], axis=1), weight)  # (V^2, D), (V^2, 2, D)
        pace_v = 0.9 * pace_v - 0.02 * dv.reshape(size, size, size).sum(axis=1)  # (V, D), summed over c
        pace_u = 0.9 * pace_u - 0.02 * du.sum(axis=1).reshape(size, size, size).sum(axis=0)  # (V, D), summed over w
        v, u = v + pace_v, u + pace_u
    return v @ u.T, np.log(true / noise)  # (V, V), (V, V)


def inputs_win(vectors: WordVectors, questions: Sequence[tuple[str, str, str, str]]) -> dict[str, float]:
    """Exercise 4: who is nearest to b - a + c when nobody is barred: shares of a, b, c, the answer, another word."""
    known = [question for question in questions if all(word in vectors for word in question)]
    tally = dict.fromkeys(("a", "b", "c", "the answer", "another"), 0)
    for a, b, c, d in known:
        first = vectors.analogy(a, b, c, bar_inputs=False)[0][0]
        who = {d: "the answer", a: "a", b: "b", c: "c"}  # an input that is the answer too counts as the input
        tally[who.get(first, "another")] += 1
    return {name: count / max(1, len(known)) for name, count in tally.items()}

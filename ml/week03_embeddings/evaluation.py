"""Are the vectors any good? Human judgements, analogies, topics, and one set of vectors against another.

* Rank correlation with people: WordSim-353 (Finkelstein et al. 2002, relatedness) and SimLex-999 (Hill, Reichart and
  Korhonen 2015, similarity: "coffee" and "cup" are related, not similar). gensim packages both.
* Analogies: Mikolov's 19,544 questions ("questions-words.txt", packaged too).
* Topic-neighbour precision: of a topic word's nearest topic words, the share of the same topic. For small corpora,
  where the two above have little to say.
* Agreement: the rank correlation between two models' similarities of the same word pairs. Two runs of *one* method with
  different seeds give the ceiling that any re-implementation can hope for.

Left out: downstream tasks, which is where embeddings earn their keep (week 9).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ml.lesson import LessonError
from ml.week03_embeddings.corpus import Corpus, gensim_file
from ml.week03_embeddings.vectors import WordVectors

# What the news corpus of 2001 is about, chosen by reading it; every word occurs there 5 times or more.
NEWS_TOPICS: dict[str, list[str]] = {
    "cricket": "test wicket wickets tailenders waugh warne innings bowler match africa lee runs".split(),
    "Afghan war": "taliban kabul bin laden qaeda tora bora alliance northern kandahar afghanistan".split(),
    "Middle East": "israeli palestinian arafat gaza hamas israel sharon jerusalem suicide palestinians".split(),
    "bush fires": "fire firefighters blaze rural blazes homes crews burning winds fires".split(),
    "aviation": "qantas airline ansett unions virgin flight passengers aircraft".split(),
    "economy": "economy rates growth reserve economic interest unemployment".split(),
}


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1 (n,); equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)  # (n,), (distinct,)
    last = np.cumsum(counts)  # (distinct,), the highest rank among the equals
    return (last - (counts - 1) / 2)[inverse]  # (n,)


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation of two (n,): Pearson's correlation of the ranks, in -1..1."""
    x, y = ranks(a), ranks(b)  # (n,), (n,)
    x, y = x - x.mean(), y - y.mean()
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


def agreement(one: WordVectors, other: WordVectors, words: Sequence[str]) -> float:
    """Rank correlation between two models' cosines over all pairs of ``words``."""
    pairs = np.triu_indices(len(words), 1)  # two of (n (n - 1) / 2,)
    return spearman(one.similarities(words)[pairs], other.similarities(words)[pairs])


def topic_precision(vectors: WordVectors, topics: Mapping[str, Sequence[str]], count: int = 3) -> float:
    """Mean share of same-topic words among each topic word's ``count`` nearest topic words (unknown ones skip)."""
    labelled = [(word, topic) for topic, members in topics.items() for word in members if word in vectors]
    topic = np.array([name for _, name in labelled])  # (n,)
    cosine = vectors.similarities([word for word, _ in labelled])  # (n, n)
    np.fill_diagonal(cosine, -np.inf)
    nearest = np.argsort(-cosine, axis=1)[:, :count]  # (n, count)
    return float((topic[nearest] == topic[:, None]).mean())


def chance_precision(vectors: WordVectors, topics: Mapping[str, Sequence[str]]) -> float:
    """What ``topic_precision`` expects of random vectors."""
    sizes = np.array([sum(word in vectors for word in members) for members in topics.values()])  # (topics,)
    return float((sizes * (sizes - 1)).sum() / (sizes.sum() * (sizes.sum() - 1)))


def document_topics(corpus: Corpus, least: int = 12, share: float = 0.8, size: int = 8) -> dict[str, list[str]]:
    """Topics without a hand: for each document, its words of 4 letters or more that stand nearly only in it.

    Of those with ``least`` occurrences in it, ``share`` or more of all, the ``size`` most frequent; a document that has
    fewer is left out.
    """
    inside: dict[str, dict[str, int]] = {}
    overall: dict[str, int] = {}
    for piece, label in zip(corpus.pieces, corpus.labels, strict=True):
        counts = inside.setdefault(label, {})
        for word in piece:
            counts[word] = counts.get(word, 0) + 1
            overall[word] = overall.get(word, 0) + 1
    topics = {}
    for label, counts in inside.items():
        own = [(n, word) for word, n in counts.items() if n >= least and n >= share * overall[word] and len(word) > 3]
        if len(own) >= size:
            topics[label] = [word for _, word in sorted(own, reverse=True)[:size]]
    return topics


def judged_pairs(name: str) -> list[tuple[str, str, float]]:
    """(word, word, human score) of gensim's copy of ``wordsim353`` (.tsv) or ``simlex999`` (.txt)."""
    files = {"wordsim353": "wordsim353.tsv", "simlex999": "simlex999.txt"}
    if name not in files:
        raise ValueError(f"There is no judged set {name}; there are {', '.join(files)}.")
    rows = [line.split("\t") for line in gensim_file(files[name]).read_text("utf-8").splitlines()]
    return [(row[0].lower(), row[1].lower(), float(row[2])) for row in rows if not row[0].startswith("#")]


def correlation_with_people(vectors: WordVectors, pairs: Sequence[tuple[str, str, float]]) -> tuple[float, int]:
    """Rank correlation of cosines and human scores, and the number of pairs of which both words are known."""
    known = [(vectors.similarity(a, b), score) for a, b, score in pairs if a in vectors and b in vectors]
    if len(known) < 3:
        raise LessonError(f"Only {len(known)} judged pairs are in the vocabulary: too few for a correlation.")
    cosine, score = np.array(known).T  # (n,), (n,)
    return spearman(cosine, score), len(known)


def read_analogies(path: Path | None = None) -> dict[str, list[tuple[str, str, str, str]]]:
    """Section -> questions (a, b, c, d), "a is to b as c is to d", in lower case; Mikolov's by default."""
    sections: dict[str, list[tuple[str, str, str, str]]] = {}
    for line in (path or gensim_file("questions-words.txt")).read_text("utf-8").splitlines():
        if line.startswith(":"):
            section = sections.setdefault(line[1:].strip(), [])
        elif len(parts := line.lower().split()) == 4:
            section.append((parts[0], parts[1], parts[2], parts[3]))
    return sections


def analogy_accuracy(
    vectors: WordVectors, questions: Sequence[tuple[str, str, str, str]], bar_inputs: bool = True, batch: int = 256
) -> tuple[float, int]:
    """Share of questions with d as the first answer, and how many had all four words (0.0 where none had)."""
    known = [vectors.ids(q) for q in questions if all(word in vectors for word in q)]
    right = 0
    for start in range(0, len(known), batch):
        a, b, c, d = np.array(known[start : start + batch]).T  # (B,) each
        query = vectors.unit[b] - vectors.unit[a] + vectors.unit[c]  # (B, D)
        score = query @ vectors.unit.T  # (B, V), cosine times |query|, which does not change the order
        if bar_inputs:
            score[np.arange(len(a))[:, None], np.stack([a, b, c], axis=1)] = -np.inf
        right += int((score.argmax(axis=1) == d).sum())
    return right / max(1, len(known)), len(known)

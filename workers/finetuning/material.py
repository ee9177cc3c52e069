"""What the gate measures with: held-out texts, questions with their passages, pairs; as ``measure.json``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from assistant.errors import AlmanacError
from assistant.evaluation.lines import evenly, objects

TEXTS, WINDOWS, QUESTIONS, PAIRS, MAX_TOKENS = 40, 1, 12, 100, 64


class BadQuestions(AlmanacError):
    """A file of questions cannot be read; the sentence names the line."""


def wanted(
    model: Path,
    before: Path | None,
    after: Path,
    rows: Sequence[Mapping[str, Any]],
    pairs: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """``rows``: held out, {id, kind: document, text} or {id, kind: answer, messages, …}; an even part of each is taken.
    ``pairs``: {id, messages, chosen, rejected}."""
    texts = [{"id": row["id"], "text": row["text"]} for row in rows if row["kind"] == "document"]
    questions = [question(row) for row in rows if row["kind"] == "answer"]
    return {
        "model": str(model), "before": None if before is None else str(before), "after": str(after),
        "texts": list(evenly(texts, TEXTS)), "windows": WINDOWS, "questions": list(evenly(questions, QUESTIONS)),
        "max_tokens": MAX_TOKENS, "pairs": list(evenly(pairs, PAIRS)),
    }  # fmt: skip


def question(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of kind ``answer`` as a question to be answered again: its last message is the reference."""
    *asked, reference = row["messages"]
    said = asked[-1]["content"] if asked else ""
    return {
        "id": row["id"], "messages": asked, "reference": reference["content"],
        "question": row.get("question") or said, "passages": list(row.get("passages") or [said]),
    }  # fmt: skip


def read_rows(path: Path) -> list[dict[str, Any]]:
    """A file of held-out rows."""
    return [row for _, row in objects(path, BadQuestions)]


def read_questions(path: Path, messages_of: Any) -> list[dict[str, Any]]:
    """JSON Lines of {question, passages, reference} as rows of kind ``answer``; raises ``BadQuestions``.

    ``messages_of(question, passages)``: how the model is asked.
    """
    found = []
    for place, row in objects(path, BadQuestions):
        if not isinstance(row.get("question"), str) or not isinstance(row.get("passages"), list):
            raise BadQuestions(f"{place}: a question needs question, passages and reference.")
        passages = [str(passage) for passage in row["passages"]]
        messages = [*messages_of(row["question"], passages), _assistant(str(row.get("reference") or ""))]
        about = {"id": str(row.get("id") or place), "kind": "answer", "messages": messages}
        found.append({**about, "question": row["question"], "passages": passages})
    return found


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}

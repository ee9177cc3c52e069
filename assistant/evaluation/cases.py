"""Questions with what a good answer to them is: from a JSON Lines file, or from a collection with its documents.

A line of a file holds {id, question} and any of: ``reference`` (an answer that is right), ``sources`` (the documents
that it should cite, any of them), ``words`` (what the answer must hold), ``unanswerable``, ``turns`` (earlier
[{question, answer}] of the conversation). A collection is one of ``assistant.evaluation.collection`` whose queries may
have an ``answer``, beside an ``unanswerable.jsonl`` if there is one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from assistant.answering.messages import Turn
from assistant.errors import AlmanacError
from assistant.evaluation.collection import identifier, read_collection

TURN_FIELD = "last_turn"  # asked with the turns before it
UNANSWERABLE = "unanswerable.jsonl"
_SPEAKER = re.compile(r"^\|(\w+)\|:\s?", re.MULTILINE)


class BadCases(AlmanacError):
    """The file holds no cases that can be measured; the sentence names the line."""


@dataclass(frozen=True, slots=True)
class AnswerCase:
    """``sources``: external ids, any of which is right; ``words``: what the answer must hold, all of it."""

    id: str
    question: str
    reference: str = ""
    sources: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    unanswerable: bool = False
    turns: tuple[Turn, ...] = ()


@dataclass(frozen=True, slots=True)
class CaseSet:
    """``subject`` names the set: runs of the same one are compared. ``folder``: documents that go with it."""

    subject: str
    cases: tuple[AnswerCase, ...]
    folder: Path | None = None
    documents: int = 0
    remarks: tuple[str, ...] = ()

    def first(self, most: int | None) -> CaseSet:
        """``most`` of the cases, evenly spread."""
        if most is None or most >= len(self.cases):
            return self
        step = len(self.cases) / most
        return replace(self, cases=tuple(self.cases[int(place * step)] for place in range(most)))


def read_file(path: Path) -> CaseSet:
    """Raises ``BadCases``."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not UTF-8"
        raise BadCases(f"{path} cannot be read ({reason}).") from None
    cases: dict[str, AnswerCase] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            case = _case(f"{path}, line {number}", line)
            if case.id in cases:
                raise BadCases(f"{path}, line {number}: the id {case.id} stands in the file twice.")
            cases[case.id] = case
    if not cases:
        raise BadCases(f"{path} holds no cases.")
    return CaseSet(path.stem, tuple(cases.values()))


def read_folder(folder: Path, *, split: str | None = None, field: str = "text") -> CaseSet:
    """A judged collection's queries, and what it says cannot be answered; raises ``BadCollection`` or ``BadCases``."""
    collection = read_collection(folder, split=split, text=field)
    rows = {identifier(row): row for row in _rows(folder / "queries.jsonl")}
    cases = [
        AnswerCase(
            query, text, _words(rows.get(query, {}), "answer"), tuple(collection.judged[query]),
            turns=_history(rows.get(query, {}), text) if field == TURN_FIELD else (),
        )
        for query, text in collection.queries.items()
    ]  # fmt: skip
    if (folder / UNANSWERABLE).is_file():
        for row in _rows(folder / UNANSWERABLE):
            cases.append(AnswerCase(identifier(row), _words(row, "text"), unanswerable=True))
    seen = {case.id: case for case in cases if case.question}
    subject = collection.name if field == "text" else f"{collection.name}.{field}"
    return CaseSet(subject, tuple(seen.values()), folder, collection.documents - collection.empty, collection.remarks)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if line.strip():
            yield _object(f"{path}, line {number}", line)


def _object(place: str, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise BadCases(f"{place}: this is not JSON ({str(error).partition(':')[0]}).") from None
    if not isinstance(row, dict) or not identifier(row):
        raise BadCases(f"{place}: this is no object with an id.")
    return row


def _case(place: str, line: str) -> AnswerCase:
    row = _object(place, line)
    question = _words(row, "question") or _words(row, "text")
    if not question:
        raise BadCases(f"{place}: there is no question.")
    unanswerable = bool(row.get("unanswerable", row.get("answerable") is False))
    reference = _words(row, "reference") or _words(row, "answer")
    sources, words = (_strings(place, row, name) for name in ("sources", "words"))
    return AnswerCase(identifier(row), question, reference, sources, words, unanswerable, _turns(place, row))


def _words(row: Mapping[str, Any], field: str) -> str:
    return str(row.get(field) or "").strip()


def _strings(place: str, row: Mapping[str, Any], field: str) -> tuple[str, ...]:
    values = row.get(field) or []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise BadCases(f"{place}: {field} is no list of texts.")
    return tuple(values)


def _turns(place: str, row: Mapping[str, Any]) -> tuple[Turn, ...]:
    turns = row.get("turns") or []
    if not isinstance(turns, list) or not all(isinstance(turn, dict) and _words(turn, "question") for turn in turns):
        raise BadCases(f"{place}: turns is no list of objects with a question.")
    return tuple(Turn(_words(turn, "question"), _words(turn, "answer")) for turn in turns)


def _history(row: Mapping[str, Any], last: str) -> tuple[Turn, ...]:
    """``|user|: …`` lines as turns, less the last question itself."""
    parts = _SPEAKER.split(_words(row, "history"))[1:]  # speaker, text, speaker, text, …
    turns: list[Turn] = []
    for speaker, text in zip(parts[::2], parts[1::2], strict=True):
        if speaker == "user":
            turns.append(Turn(text.strip(), ""))
        elif turns:
            turns[-1] = replace(turns[-1], answer=text.strip())
    if turns and turns[-1].question == last:
        turns.pop()
    return tuple(turns)

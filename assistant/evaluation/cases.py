"""Questions with what a good answer to them is: from a JSON Lines file, or from a collection with its documents.

A line of a file holds {id, question} and any of: ``reference`` (an answer that is right), ``sources`` (the documents
that it should cite, any of them), ``words`` (what the answer must hold), ``unanswerable``, ``turns`` (earlier
[{question, answer}] of the conversation). A collection is one of ``assistant.evaluation.collection`` whose queries may
have an ``answer``, beside an ``unanswerable.jsonl`` if there is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from assistant.answering.messages import Turn
from assistant.errors import AlmanacError
from assistant.evaluation.collection import identifier, queries_of, read_collection
from assistant.evaluation.lines import evenly, objects

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
        kept = evenly(self.cases, most)
        return self if kept is self.cases else replace(self, cases=tuple(kept))


def read_file(path: Path) -> CaseSet:
    """Raises ``BadCases``."""
    cases: dict[str, AnswerCase] = {}
    for place, row in _rows(path):
        case = _case(place, row)
        if case.id in cases:
            raise BadCases(f"{place}: the id {case.id} stands in the file twice.")
        cases[case.id] = case
    if not cases:
        raise BadCases(f"{path} holds no cases.")
    return CaseSet(path.stem, tuple(cases.values()))


def read_folder(folder: Path, *, split: str | None = None, field: str = "text") -> CaseSet:
    """A judged collection's queries, and what it says cannot be answered; raises ``BadCollection`` or ``BadCases``."""
    collection = read_collection(folder, split=split, text=field)
    rows = {identifier(row): row for _, row in _rows(queries_of(folder, split))}
    cases = [
        AnswerCase(
            query, text, _words(rows.get(query, {}), "answer"), tuple(collection.judged[query]),
            turns=_history(rows.get(query, {}), text) if field == TURN_FIELD else (),
        )
        for query, text in collection.queries.items()
    ]  # fmt: skip
    if (folder / UNANSWERABLE).is_file():
        for _, row in _rows(folder / UNANSWERABLE):
            cases.append(AnswerCase(identifier(row), _words(row, "text"), unanswerable=True))
    seen = {case.id: case for case in cases if case.question}
    subject = collection.name if field == "text" else f"{collection.name}.{field}"
    return CaseSet(subject, tuple(seen.values()), folder, collection.documents - collection.empty, collection.remarks)


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for place, row in objects(path, BadCases):
        if not identifier(row):
            raise BadCases(f"{place}: this is no object with an id.")
        yield place, row


def _case(place: str, row: Mapping[str, Any]) -> AnswerCase:
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

"""What a model is trained on, collected from the index and from votes, and written with a card that accounts for it.

Only what everybody may read who may ask the model: it can say to anyone what it has learned. Documents are for all
(``readers``), carry no label that narrows them, and are split between training and measuring as wholes. An answer is
used where more people voted it up than down, of people who take part, in a conversation that is not private, resting
on passages that are still there and for all. Secrets and personal data are replaced before anything is written.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from assistant.answering import prompts
from assistant.database import training_texts
from assistant.database.session import Sessions
from assistant.database.training_texts import Readable, Upvoted
from assistant.errors import AlmanacError
from assistant.guardrails.redacting import redact
from assistant.knowledge.audience import EVERYONE
from assistant.knowledge.search import Hit
from workers.finetuning.data_card import DataCard, card, markdown
from workers.finetuning.duplicates import Seen
from workers.finetuning.writing import write_whole

Chosen = Literal["documents", "answers", "both"]

HELD_OUT = 0.1
SHORTEST = 200  # characters of a document: shorter ones are stubs, and lists of links
OPEN_LABELS = frozenset({"public", "general", "internal", "unrestricted", "none"})  # who may read decides, as before
CHARACTERS = 4  # a token, to keep within ``max_tokens`` without a tokenizer
TRAIN_FILE, HELD_OUT_FILE, CARD_FILE, WORDS_FILE = "train.jsonl", "held_out.jsonl", "data_card.json", "DATA.md"
_MARKER = re.compile(r"\[(\d{1,3})\]")


class NothingToLearn(AlmanacError):
    """No text is left that a model may be trained on; the sentence says why."""


@dataclass
class Collected:
    """Rows for training and for measuring, what was left out and why (a count each), and where they are from."""

    chosen: str
    readers: tuple[str, ...]
    train: list[dict[str, Any]] = field(default_factory=list)
    held_out: list[dict[str, Any]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    redacted: Counter[str] = field(default_factory=Counter)
    sources: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)


async def collect(
    sessions: Sessions,
    chosen: str = "documents",
    readers: Sequence[str] = (EVERYONE,),
    held_out: float = HELD_OUT,
    max_tokens: int | None = None,
) -> Collected:
    """All that may be used. ``readers``: a document must name one of them; ``held_out``: the share of documents that is
    not trained on; ``max_tokens``: about so much of documents, evenly chosen. Raises NothingToLearn."""
    if chosen not in ("documents", "answers", "both"):
        raise AlmanacError(f"A model is trained on documents, answers or both, and not on {chosen}.")
    found = Collected(chosen, tuple(sorted(readers)))
    async with sessions() as session:
        answers = await training_texts.upvoted(session) if chosen != "documents" else []
        shelf = _Shelf(found)
        if chosen != "answers":
            async for some in training_texts.documents(session):
                await asyncio.to_thread(shelf.take, some)  # the event loop keeps the run's lease
    await asyncio.to_thread(_rows, found, shelf.usable, answers, held_out, max_tokens)
    return found


def write(collected: Collected, folder: Path) -> DataCard:
    """``train.jsonl``, ``held_out.jsonl``, ``data_card.json`` and ``DATA.md``; the same rows make the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    train, held_out = _lines(collected.train), _lines(collected.held_out)
    made = card(collected, train, held_out)
    write_whole(folder / TRAIN_FILE, train)
    write_whole(folder / HELD_OUT_FILE, held_out)
    write_whole(folder / CARD_FILE, json.dumps(made, indent=1, sort_keys=True, ensure_ascii=False).encode())
    write_whole(folder / WORDS_FILE, markdown(made).encode())
    return made


def messages(question: str, passages: Sequence[str]) -> list[dict[str, str]]:
    """What the model is asked, in training as when it answers: the rules, the passages with their numbers, the
    question."""
    return _asked(question, [("", (), text) for text in passages])


def _asked(question: str, passages: Iterable[tuple[str, tuple[str, ...], str]]) -> list[dict[str, str]]:
    shown = [
        prompts.passage(number, _hit(title, headings, text))
        for number, (title, headings, text) in enumerate(passages, start=1)
    ]
    asked = "Passages:\n\n{}\n\nQuestion: {}".format("\n\n".join(shown), question)
    return [{"role": "system", "content": prompts.SYSTEM}, {"role": "user", "content": asked}]


def _hit(title: str, headings: tuple[str, ...], text: str) -> Hit:
    """A passage as search would give it to the prompt."""
    return Hit(
        chunk_id=0, document_id=0, external_id="", title=title or "Document", url=None, text=text,
        heading_path=headings, anchor=None, page=None, ordinal=0, bm25=0.0, cosine=0.0, bm25_rank=None,
        vector_rank=None, score=0.0,
    )  # fmt: skip


def text_of(document: Readable) -> str:
    """The title, and each passage under the headings that it does not share with the one before."""
    lines = [f"# {document.title.strip()}"]
    above: tuple[str, ...] = ()
    for part in document.parts:
        common = 0
        while common < min(len(above), len(part.headings)) and above[common] == part.headings[common]:
            common += 1
        lines += [f"{'#' * min(6, at + 2)} {part.headings[at]}" for at in range(common, len(part.headings))]
        lines.append(part.text.strip())
        above = part.headings
    return "\n\n".join(line for line in lines if line)


def is_held_out(name: str, share: float) -> bool:
    """By the hash of a document's name: the same on every machine, and whatever else there is."""
    value = int.from_bytes(hashlib.sha256(f"held out/{name}".encode()).digest()[:8], "big")
    return value < share * 2**64


class _Shelf:
    """The documents that may be used, each text once: (document without its parts, text)."""

    def __init__(self, found: Collected) -> None:
        self._found, self._seen = found, Seen()
        self.usable: list[tuple[Readable, str]] = []

    def take(self, documents: Sequence[Readable]) -> None:
        for document in documents:
            reason = _why_not(document, self._found.readers)
            text = "" if reason else text_of(document)
            if not reason and len(text) < SHORTEST:
                reason = f"documents shorter than {SHORTEST} characters"
            if not reason and (again := self._seen.is_new(text)):
                reason = f"documents that repeat another ({again})"
            if reason:
                self._found.left_out[reason] += 1
            else:
                self.usable.append((replace(document, parts=()), text))


def _rows(
    found: Collected,
    usable: Sequence[tuple[Readable, str]],
    answers: Sequence[Upvoted],
    held_out: float,
    max_tokens: int | None,
) -> None:
    _documents(found, usable, held_out, max_tokens)
    _answers(found, answers, held_out)
    _both_parts(found)


def _documents(
    found: Collected, usable: Sequence[tuple[Readable, str]], held_out: float, max_tokens: int | None
) -> None:
    for document, text in _within(found, usable, max_tokens):
        clean = _without_secrets(found, text)[0]
        row = {"id": f"{document.kind}:{document.external_id}", "kind": "document", "text": clean}
        out = is_held_out(document.external_id, held_out)
        (found.held_out if out else found.train).append(row)
        _account(found, document, len(clean))


def _why_not(document: Readable, readers: Sequence[str]) -> str | None:
    label = document.details.get("sensitivity") or document.details.get("classification")
    if not set(document.readers) & set(readers):
        return "documents that not everybody may read"
    if label and str(label).strip().casefold() not in OPEN_LABELS:
        return "documents with a label that narrows them"
    return None


def _within(
    found: Collected, usable: Sequence[tuple[Readable, str]], max_tokens: int | None
) -> list[tuple[Readable, str]]:
    """Those that fit, chosen by the hash of their names; in the order they came in."""
    if max_tokens is None:
        return list(usable)
    order = sorted(range(len(usable)), key=lambda at: hashlib.sha256(usable[at][0].external_id.encode()).digest())
    kept: set[int] = set()
    used = 0
    for at in order:
        used += len(usable[at][1]) // CHARACTERS
        if used > max_tokens and kept:
            break
        kept.add(at)
    if len(kept) < len(usable):
        found.left_out[f"documents beyond {max_tokens:,} tokens"] += len(usable) - len(kept)
    return [usable[at] for at in sorted(kept)]


def _answers(found: Collected, answers: Sequence[Upvoted], held_out: float) -> None:
    newest: dict[str, Upvoted] = {}
    for answer in answers:  # the oldest first: a later answer to the same question replaces an earlier one
        reason = _why_not_answer(answer, found.readers)
        key = " ".join(answer.question.casefold().split())
        if reason:
            found.left_out[reason] += 1
        else:
            found.left_out["older answers to the same question"] += key in newest
            newest[key] = answer
    for answer in newest.values():
        row = _answer_row(found, answer)
        # What rests on a document that is held out is held out, too: it would tell what that says.
        out = any(is_held_out(cited.external_id, held_out) for cited in answer.cited)
        (found.held_out if out else found.train).append(row)
    found.left_out += Counter()  # without those of which there are none


def _why_not_answer(answer: Upvoted, readers: Sequence[str]) -> str | None:
    reasons = (
        (answer.private, "private answers"),
        (answer.withdrawn, "answers whose question was taken back"),
        (answer.opted_out, "answers to people who do not take part"),
        (not answer.cited, "answers that cite nothing"),
        (any(cited.text is None for cited in answer.cited), "answers whose passages are gone, or are a tool's"),
        (
            any(cited.text is not None and not set(cited.readers) & set(readers) for cited in answer.cited),
            "answers that rest on what not everybody may read",
        ),
    )
    return next((reason for holds, reason in reasons if holds), None)


def _answer_row(found: Collected, answer: Upvoted) -> dict[str, Any]:
    """Question, passages in the order of their numbers, and the answer, whose numbers follow that order."""
    cited = sorted({one.number: one for one in answer.cited}.values(), key=lambda one: one.number)
    places = {one.number: place for place, one in enumerate(cited, start=1)}
    said = _MARKER.sub(lambda mark: f"[{places[int(mark[1])]}]" if int(mark[1]) in places else "", answer.text)
    question, said, *texts = _without_secrets(found, answer.question, said, *(one.text or "" for one in cited))
    shown = [(one.title, one.headings, text) for one, text in zip(cited, texts, strict=True)]
    turns = [*_asked(question, shown), {"role": "assistant", "content": said.strip()}]
    row = {"id": f"answer:{answer.id}", "kind": "answer", "messages": turns}
    return {**row, "question": question, "passages": texts}


def _without_secrets(found: Collected, *texts: str) -> tuple[str, ...]:
    changed = redact(texts, frozenset({"secrets", "pii"}))
    for name in changed.values:
        found.redacted[name.strip("<>").rpartition("_")[0]] += 1
    return tuple(changed.texts)


def _account(found: Collected, document: Readable, characters: int) -> None:
    key = (document.kind, document.source)
    day = document.day.isoformat()
    one = found.sources.setdefault(
        key, {"documents": 0, "characters": 0, "from": day, "to": day, "licences": Counter(), "owners": Counter()}
    )
    one["documents"] += 1
    one["characters"] += characters
    one["from"], one["to"] = min(one["from"], day), max(one["to"], day)
    for what, names in (("licences", ("licence", "license")), ("owners", ("owner",))):
        stated = next((str(document.details[name]) for name in names if document.details.get(name)), "not stated")
        one[what][stated[:80]] += 1


def _both_parts(found: Collected) -> None:
    """There must be something to train on and something to measure with: where chance left one empty, a row moves."""
    rows = len(found.train) + len(found.held_out)
    if rows < 2:
        why = "; ".join(f"{count} {reason}" for reason, count in sorted(found.left_out.items()))
        raise NothingToLearn(
            f"There is nothing to train on: {rows} texts are usable{f' (left out: {why})' if why else ''}."
        )
    given, taken = (found.train, found.held_out) if not found.held_out else (found.held_out, found.train)
    if not taken:
        chosen = min(given, key=lambda row: hashlib.sha256(row["id"].encode()).digest())
        given.remove(chosen)
        taken.append(chosen)


def _lines(rows: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)

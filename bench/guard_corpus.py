"""The texts that the guard learns from and is measured on, each with its source: shared data, and what is made here.

A source (or a family of made ones) is left out as a whole when the guard is measured, so that what counts is how it
does on texts of a kind that it has not seen.
"""

from __future__ import annotations

import base64
import codecs
import hashlib
import json
import random
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SLOT = re.compile(r"\{(\w+)\}")
PER_FAMILY = 420
_LEET = str.maketrans("aeiost", "431057")
_ALIKE = str.maketrans("aeopcxi", "аеорсхі")


@dataclass(frozen=True, slots=True)
class Row:
    """``label`` 1: an attack. ``source`` is what may be left out. ``made``: written for the training."""

    text: str
    label: int
    source: str
    made: bool = False


class Phrases:
    """Fills the templates of ``guard_phrases.toml``."""

    def __init__(self, seed: int) -> None:
        self.data: dict[str, Any] = tomllib.loads(Path(__file__).with_name("guard_phrases.toml").read_text("utf-8"))
        self.slots = {**self.data["slots"], **self.data["slots_more"], **self.data["task_languages"]}
        self.random = random.Random(seed)

    def fill(self, template: str) -> str:
        persona = self.random.choice(self.slots["persona"])  # one name in all of a text
        for _ in range(4):
            template = _SLOT.sub(lambda match: persona if match[1] == "persona" else self._pick(match[1]), template)
        return template.replace("  ", " ").strip()

    def _pick(self, slot: str) -> str:
        return str(self.random.choice(self.slots[slot])) if slot in self.slots else "{" + slot + "}"

    def family(self, templates: list[str], count: int) -> list[str]:
        found = {self.fill(self.random.choice(templates)) for _ in range(count)}
        return [self._vary(text) for text in sorted(found)]

    def _vary(self, text: str) -> str:
        """As people type: all small, without the full stop, with a slip."""
        if (dice := self.random.random()) < 0.15:
            text = text.lower()
        elif dice < 0.2:
            text = text.upper()
        if self.random.random() < 0.3:
            text = text.rstrip(".!")
        if self.random.random() < 0.15 and len(text) > 12:
            place = self.random.randrange(2, len(text) - 2)
            text = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
        return text

    def coated(self, text: str) -> str:
        """The text in one of the coats that ``normalising`` takes off."""
        coat = self.random.randrange(8)
        if coat == 0:
            return f"Decode and follow: {base64.b64encode(text.encode()).decode()}"
        if coat == 1:
            return text.lower().translate(_LEET)
        if coat == 2:
            return "\u200b".join(text)
        if coat == 3:
            return text.translate(_ALIKE)
        if coat == 4:
            return "  ".join(" ".join(word) for word in text.split())
        if coat == 5:
            return f"Read this with rot13 and do it: {codecs.encode(text, 'rot13')}"
        if coat == 6:
            return f"Follow this hex: {text.encode().hex()}"
        return f"Reverse this and obey: {text[::-1]}"


def kept_for_tests(row: Row) -> bool:
    """A source as a whole, and every eighth text of the others: never in the stored weights."""
    return not row.made and (row.source == "PINT" or hashlib.sha256(row.text.encode()).hexdigest()[0] in "01")


def made(seed: int = 7) -> Iterator[Row]:
    """Attacks and harmless texts that were written for the training."""
    phrases = Phrases(seed)
    attacks: list[str] = []
    for family, templates in phrases.data["attack"].items():
        texts = phrases.family(templates, PER_FAMILY)
        attacks += texts
        yield from (Row(text, 1, f"made attack {family}", True) for text in texts)
    for language, templates in phrases.data["attack_languages"].items():
        count = len(templates) * (6 if language == "other" else 24)
        texts = phrases.family(templates, count)
        yield from (Row(text, 1, f"made attack {language.rstrip('2')}", True) for text in texts)
    short = [text for text in attacks if len(text) < 200]
    yield from (
        Row(phrases.coated(text), 1, "made attack coats", True) for text in phrases.random.sample(short, PER_FAMILY)
    )
    harmless: list[str] = []
    for family, templates in phrases.data["benign"].items():
        texts = phrases.family(templates, PER_FAMILY)
        harmless += texts
        yield from (Row(text, 0, f"made harmless {family}", True) for text in texts)
    for text in phrases.random.sample(harmless, PER_FAMILY):
        yield Row(phrases.coated(text), 0, "made harmless coats", True)


def prompts(data: Path) -> Iterator[Row]:
    """The labelled prompts; attacks that are none in a person's own question are left out."""
    for row in _lines(data / "injection/prompts.jsonl"):
        if row.get("indirect_only"):
            continue
        source = str(row["source"])
        yield Row(row["text"], row["label"], "PINT" if source.startswith("PINT") else source)


def indirect(data: Path) -> Iterator[Row]:
    """Attacks that are some only inside a document."""
    for row in _lines(data / "injection/prompts.jsonl"):
        if row.get("indirect_only"):
            yield Row(row["text"], 1, row["source"])
    yield from (Row(row["goal"], 1, "agentdojo") for row in _lines(data / "agentdojo/injection_tasks.jsonl"))


def everyday(data: Path, seed: int = 7) -> Iterator[Row]:
    """What people ask and write without any ill will: questions, requests to tools, talk, pages."""
    chance = random.Random(seed)
    yield from (Row(row["text"], 0, "mtrag") for row in _lines(data / "mtrag_cloud/queries.jsonl"))
    questions = [row["text"] for row in _lines(data / "feedbackqa/queries.jsonl")]
    yield from (Row(text, 0, "feedbackqa") for text in chance.sample(questions, 600))
    for name in ("simple_python", "multiple", "parallel", "simple_java", "multi_turn_base"):
        rows = list(_lines(data / f"bfcl/{name}.jsonl"))
        for row in chance.sample(rows, min(120, len(rows))):
            yield Row(row["question"][0][0]["content"], 0, "bfcl")
    yield from (Row(row["prompt"], 0, "agentdojo tasks") for row in _lines(data / "agentdojo/user_tasks.jsonl"))
    pairs = [row["prompt"] for row in _lines(data / "hh_rlhf/pairs.jsonl")]
    for prompt in chance.sample(pairs, 900):
        said = [part.partition("\n\nAssistant:")[0].strip() for part in prompt.split("\n\nHuman:") if part.strip()]
        yield Row(chance.choice(said), 0, "hh_rlhf")
    # An order to whoever reads a document is a wish where the person says it.
    yield from (Row(row.text, 0, "wishes") for row in indirect(data) if row.source == "BIPIA-text-train")
    yield from documents(data, chance)


def documents(data: Path, chance: random.Random) -> Iterator[Row]:
    """Passages of pages, letters, tables and code."""
    for source, file in (("govuk", "govuk_docs/corpus.jsonl"), ("cloud docs", "mtrag_cloud/corpus.jsonl")):
        for row in chance.sample(list(_lines(data / file)), 250):
            start = chance.randrange(max(1, len(row["text"]) - 900))
            yield Row(row["text"][start : start + chance.choice((300, 900, 2_500))], 0, source)
    for row in chance.sample(list(_lines(data / "injection/bipia_contexts.jsonl")), 250):
        yield Row(str(row["context"])[:2_500], 0, "bipia contexts")
    for row in _lines(data / "agentdojo/documents.jsonl"):
        if text := str(row.get("body") or row.get("content") or row.get("description") or ""):
            yield Row(text, 0, "agentdojo documents")


def document_orders(count: int, seed: int = 11) -> list[str]:
    """Sentences that give orders to whoever reads a document."""
    phrases = Phrases(seed)
    texts = set()
    for _ in range(count):
        lead = phrases.random.choice(phrases.data["document_orders"]["lead"])
        order = phrases.fill(phrases.random.choice(phrases.data["document_orders"]["order"]))
        order = order if lead else order[0].upper() + order[1:]
        close = " -->" if lead.startswith("<!--") else "</INFORMATION>" if lead.startswith("<INF") else ""
        texts.add(f"{lead}{order}{close}")
    return sorted(texts)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        yield from (json.loads(line) for line in file if line.strip())

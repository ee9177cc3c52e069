"""Supported and unsupported sentences, made from data that has none labelled.

The idea: a reference answer's sentences are supported by the passages that people marked as relevant to its question.
Unsupported ones are made: *shuffled* (the passages of another conversation), *same topic* (the passages of another turn
of the same conversation), and *corrupted* (the right passages, but a number changed, or a denial put in or taken out of
the sentence). The last is what a model's invention looks like, and the hardest.

SciFact gives claims with their evidence. People wrote some of its claims to be *refuted* by that evidence, and the
BEIR version does not say which: "supported" there means "there is evidence about it".

Left out: what a judge would do with the noise: a reference answer holds sentences that no passage supports.
"""

from __future__ import annotations

import csv
import json
import random
import re
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from ml.week11_guardrails.grounding import NUMBER, denies, numbers, sentences, words


class Case(NamedTuple):
    """A ``sentence`` and ``passages``, of one ``kind``; a split keeps each ``group`` on one side."""

    sentence: str
    passages: tuple[str, ...]
    kind: str  # supported, shuffled, same topic, number changed, denied
    group: str


def read_lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def read_relevant(path: Path) -> dict[str, list[str]]:
    """query id -> ids of its relevant passages."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    with path.open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            if int(row["score"]) > 0:
                found[row["query-id"]].append(row["corpus-id"])
    return dict(found)


def change_number(sentence: str, rng: random.Random, held: set[str]) -> str | None:
    """``sentence`` with one number changed to one that ``held`` has not; None where it has no number."""
    found = list(NUMBER.finditer(sentence))
    if not found:
        return None
    match = rng.choice(found)
    digits = match[0]
    while digits.replace(",", "") in held or digits == match[0]:
        place = rng.choice([i for i, c in enumerate(digits) if c.isdigit()])
        digits = digits[:place] + rng.choice("123456789") + digits[place + 1 :]
        if digits.replace(",", "") in held:
            digits += rng.choice("123456789")
    return sentence[: match.start()] + digits + sentence[match.end() :]


def deny(sentence: str) -> str | None:
    """``sentence`` with a denial taken out or put in behind its first auxiliary; None where there is neither."""
    if denies(sentence):
        turned = re.sub(
            r"\b(?:not|never) |\bcannot\b|n't\b", lambda m: "can" if m[0] == "cannot" else "", sentence, count=1
        )
    else:
        auxiliary = r"\b(is|are|was|were|can|will|must|may|should|has|have|does|do)\b(?! not)"
        turned = re.sub(auxiliary, r"\1 not", sentence, count=1)
    return turned if denies(turned) != denies(sentence) else None


def from_conversations(folder: Path, questions: int, seed: int = 0) -> list[Case]:
    """Cases of the first ``questions`` answered questions of mtrag_cloud, grouped by conversation."""
    rng = random.Random(seed)
    relevant = read_relevant(folder / "qrels.tsv")
    asked = [row for row in read_lines(folder / "queries.jsonl") if row["id"] in relevant][:questions]
    wanted = {id for row in asked for id in relevant[row["id"]]}
    text = {
        row["id"]: f"{row['title']}\n{row['text']}"
        for row in read_lines(folder / "corpus.jsonl")
        if row["id"] in wanted
    }
    cases: list[Case] = []
    for row in asked:
        group = row["id"].split("<")[0]
        own = tuple(text[id] for id in relevant[row["id"]])
        same = [q for q in asked if q["id"].startswith(group) and not set(relevant[q["id"]]) & set(relevant[row["id"]])]
        others = [q for q in asked if not q["id"].startswith(group)]
        for sentence in sentences(row["answer"]):
            if len(set(words(sentence))) < 4:
                continue
            cases.append(Case(sentence, own, "supported", group))
            for kind, pool in (("shuffled", others), ("same topic", same)):
                if pool:
                    other = relevant[rng.choice(pool)["id"]]
                    cases.append(Case(sentence, tuple(text[id] for id in other), kind, group))
            for kind, turned in (
                ("number changed", change_number(sentence, rng, numbers(" ".join(own)))),
                ("denied", deny(sentence)),
            ):
                if turned:
                    cases.append(Case(turned, own, kind, group))
    return cases


def from_claims(folder: Path, claims: int, seed: int = 0) -> list[Case]:
    """Cases of the first ``claims`` test claims of SciFact, each with an abstract of evidence and with another one."""
    rng = random.Random(seed)
    relevant = read_relevant(folder / "qrels.tsv")
    asked = [row for row in read_lines(folder / "queries.jsonl") if row["id"] in relevant][:claims]
    text = {row["id"]: f"{row['title']}\n{row['text']}" for row in read_lines(folder / "corpus.jsonl")}
    cases = []
    for row in asked:
        own = relevant[row["id"]][0]
        other = relevant[rng.choice([q for q in asked if own not in relevant[q["id"]]])["id"]][0]
        cases.append(Case(row["text"], (text[own],), "supported", row["id"]))
        cases.append(Case(row["text"], (text[other],), "shuffled", row["id"]))
        if turned := deny(row["text"]):
            cases.append(Case(turned, (text[own],), "denied", row["id"]))
    return cases

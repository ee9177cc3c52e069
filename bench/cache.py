"""How far a question may be from an earlier one whose answer it is given: false hits and hits, by threshold.

    python -m bench.cache [--shared ../shared/data]

False hits are counted on real questions of which one telling thing is changed (a word for the one nearest to it, an
antonym, the place, the number, the question word, a negation, the direction), hits on the same questions said
otherwise, and on real pairs of questions that people wrote to one passage. What is found for them is left out, so that
this bounds what the cache does: it also asks that the passages be the same.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from assistant.answering.likeness import likeness
from assistant.knowledge.audience import Audience
from assistant.knowledge.embedding import TransformerEmbedder
from assistant.knowledge.lexical import STOP_WORDS, tokens
from assistant.knowledge.search import Searcher
from bench.world import ROOT, corpus, server

THRESHOLDS = (0.85, 0.9, 0.93, 0.95, 0.97, 0.98)
ANTONYMS = """enable disable;start stop;before after;increase decrease;add remove;install uninstall;open close;on off;
in out;up down;local remote;public private;maximum minimum;max min;client server;read write;train serve;input output;
allow deny;first last;head worker;cpu gpu;sync async;import export;save load;employer employee;adult child;with without;
school university;open closed;more less;healthy sick;staging production;upload download;child parent"""
SWAP = {a: b for pair in ANTONYMS.replace("\n", "").split(";") for a, b in (pair.split(), pair.split()[::-1])}
PLACES = ("on staging", "for contractors", "with Kubernetes", "on Windows", "for children", "in Germany", "over VPN")
ASKED = {"who": "when", "when": "where", "where": "why", "how": "why", "why": "how", "many": "long", "which": "who"}
_LINKS = "from|to|for|with|and|of|in|than|into"
Change = Callable[[str, random.Random], str]


def changed_word(mapping: dict[str, str]) -> Change:
    def change(question: str, _: random.Random) -> str:
        return re.sub(
            r"\b(" + "|".join(mapping) + r")\b", lambda m: mapping[m[0].lower()], question, count=1, flags=re.I
        )

    return change


CONTRASTS: dict[str, Change] = {
    "antonym": changed_word(SWAP),
    "place": lambda question, chance: f"{question.rstrip(' ?.')} {chance.choice(PLACES)}?",
    "number": lambda question, _: re.sub(r"\d+", lambda m: str(int(m[0]) + 1), question, count=1),
    "question word": changed_word(ASKED),
    "negation": lambda question, _: re.sub(
        r"\b(can|do|does|is|are|should|will)\b( \w+)?", r"\1\2 not", question, count=1, flags=re.I
    ),
    "time": changed_word({"is": "was", "are": "were", "will": "did", "do": "did", "does": "did"}),
    "direction": lambda question, _: re.sub(
        rf"\b({_LINKS}) (\w+) ({_LINKS}) (\w+)\b",
        lambda m: m[0] if {m[2].lower(), m[4].lower()} & STOP_WORDS else f"{m[1]} {m[4]} {m[3]} {m[2]}",
        question, count=1,
    ),
}  # fmt: skip
PARAPHRASES: dict[str, Change] = {
    "case and signs": lambda question, _: question.lower().rstrip(" ?."),
    "politeness": lambda question, _: f"Hi, {question[:1].lower()}{question[1:].rstrip(' ?')}, please? Thanks!",
    "how": lambda question, chance: re.sub(
        r"\bhow (?:do|can|should|would|could) (?:i|we|you)\b",
        lambda m: chance.choice([w for w in ("how do I", "how can I", "how do we", "how to") if w != m[0].lower()]),
        question, count=1, flags=re.I,
    ),
    "articles": lambda question, _: re.sub(r"\b(?:the|a|an) ", "", question),
    "contraction": changed_word({"what is": "what's", "who is": "who's", "how is": "how's", "cannot": "can't"}),
    "number of nouns": lambda question, _: re.sub(r"\b([a-z]{5,})s\b(?= |\?|$)", r"\1", question, count=1),
    "filler": lambda question, _: re.sub(r"^(how|what|where|when|who)\b", r"I want to know \1", question, flags=re.I),
}  # fmt: skip


async def main(shared: Path) -> None:
    embedder = TransformerEmbedder(None, 1)
    await embedder.load()
    chance = random.Random(7)
    asked = questions(shared)
    sample = chance.sample(asked, min(1_200, len(asked)))
    nearest = await near_words(embedder, asked)

    def neighbour(question: str, _: random.Random) -> str:
        words = [word for word in re.findall(r"[A-Za-z]{3,}", question) if word.lower() in nearest]
        return question.replace(words[-1], nearest[words[-1].lower()], 1) if words else question

    groups: dict[str, list[tuple[str, str]]] = {}
    for name, change in {"nearest word": neighbour, **CONTRASTS}.items():
        groups[f"differ: {name}"] = changed(sample, change, chance)
    for name, change in PARAPHRASES.items():
        groups[f"same: {name}"] = changed(sample, change, chance)
    print(f"{len(sample)} questions; share accepted by cosine alone / with the same words and kind")
    totals: dict[str, list[tuple[float, bool]]] = {"differ": [], "same": []}
    for name, pairs in groups.items():
        found = await compared(embedder, pairs)
        totals[name.partition(":")[0]] += found
        show(name, found)
    for name, found in totals.items():
        show(f"{name}: all", found)
    for name, pairs in (await real_pairs(embedder, shared)).items():
        show(name, await compared(embedder, pairs))
    await over_pages(embedder, chance)
    await embedder.close()


async def over_pages(embedder: TransformerEmbedder, chance: random.Random) -> None:
    """How often a question said otherwise also finds the same passages, with the product's own search."""
    asked = [row["question"] for row in lines(ROOT / "tests/data/govuk_questions.jsonl")]
    pairs = [pair for change in PARAPHRASES.values() for pair in changed(asked, change, chance)]
    pairs = [(one, other) for one, other in pairs if likeness(one).key == likeness(other).key]
    same = dict.fromkeys((3, 5, 8, 10), 0)
    equal = 0
    with server() as url:
        async with corpus(url, "govuk", embedder) as filled:
            searcher = Searcher(filled.sessions, embedder)
            found = {
                text: [
                    hit.chunk_id for hit in (await searcher.search(text, audience=Audience.everyone(), limit=20)).hits
                ]
                for text in dict.fromkeys(text for pair in pairs for text in pair)
            }
    for one, other in pairs:
        seen, now = found[one][:10], found[other]
        equal += seen == now[:10]
        for first in same:
            same[first] += set(seen) <= set(now) and set(now[:first]) <= set(seen)
    shares = ", ".join(f"first {first}: {count / len(pairs):.1%}" for first, count in same.items())
    print(
        f"{len(pairs)} pairs over govuk_docs that pass by their words: the same ten in order {equal / len(pairs):.1%}; "
    )
    print(f"all ten found again, and the first of now among them: {shares}")


def changed(sample: list[str], change: Change, chance: random.Random) -> list[tuple[str, str]]:
    pairs = ((question, change(question, chance)) for question in sample)
    return [(one, other) for one, other in pairs if one != other]


async def compared(embedder: TransformerEmbedder, pairs: list[tuple[str, str]]) -> list[tuple[float, bool]]:
    """Each pair's cosine, and whether the words and the kind of question are the same."""
    if not pairs:
        return []
    one, other = [np.asarray(await embedder.embed([pair[side] for pair in pairs])) for side in (0, 1)]
    cosines = np.sum(one * other, axis=1)
    alike = [likeness(a).key == likeness(b).key for a, b in pairs]
    return [(float(cosine), same) for cosine, same in zip(cosines, alike, strict=True)]


def show(name: str, found: list[tuple[float, bool]]) -> None:
    if not found:
        return
    cells = []
    for threshold in THRESHOLDS:
        alone = sum(cosine >= threshold for cosine, _ in found) / len(found)
        guarded = sum(cosine >= threshold and same for cosine, same in found) / len(found)
        cells.append(f"{threshold:g}: {alone:6.1%} /{guarded:6.1%}")
    print(f"{name:38} {len(found):5}  " + "  ".join(cells))


def questions(shared: Path) -> list[str]:
    found = []
    for name in ("eval-dataset-v1", "eval-dataset-v2-alpha", "routing-dataset-test"):
        found += [row["question"] for row in lines(shared / "ray_questions" / f"{name}.jsonl")]
    found += [row["text"] for row in lines(shared / "feedbackqa/queries.jsonl") if row["split"] == "test"]
    return [question for question in dict.fromkeys(found) if 4 <= len(question.split()) <= 30]


async def near_words(embedder: TransformerEmbedder, asked: list[str]) -> dict[str, str]:
    """For each word of the questions, the one with another stem that is nearest to it."""
    counts = collections.Counter(
        word for question in asked for word in set(re.findall(r"[a-z]{3,}", question.lower())) - STOP_WORDS
    )
    words = [word for word, count in counts.items() if count > 1]
    vectors = np.asarray(await embedder.embed(words))
    order = np.argsort(-(vectors @ vectors.T), axis=1)[:, 1:30]
    stems = [tokens(word) for word in words]
    return {
        word: next((words[at] for at in order[row] if stems[at] != stems[row]), word) for row, word in enumerate(words)
    }


async def real_pairs(embedder: TransformerEmbedder, shared: Path) -> dict[str, list[tuple[str, str]]]:
    """FeedbackQA's questions that are near each other, by whether people wrote them to one passage."""
    rows = lines(shared / "feedbackqa/queries.jsonl")
    texts, ids = [row["text"] for row in rows], [row["id"] for row in rows]
    relevant: dict[str, set[str]] = collections.defaultdict(set)
    for line in (shared / "feedbackqa/qrels.tsv").read_text().splitlines()[1:]:
        query, passage, _ = line.split("\t")
        relevant[query].add(passage)
    vectors = np.concatenate(
        [np.asarray(await embedder.embed(texts[at : at + 512])) for at in range(0, len(texts), 512)]
    )
    near = np.argwhere(np.triu(vectors @ vectors.T, 1) >= THRESHOLDS[0])
    found: dict[str, list[tuple[str, str]]] = {"real: one passage": [], "real: different passages": []}
    for a, b in near:
        same = relevant[ids[a]] & relevant[ids[b]]
        if texts[a].casefold().strip(" ?.") != texts[b].casefold().strip(" ?."):
            found["real: one passage" if same else "real: different passages"].append((texts[a], texts[b]))
    return found


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    asyncio.run(main(parser.parse_args().shared))

"""What the guards cost and catch, on ../shared/data: ``python -m bench.guarding [support|pii|secrets|speed]``.

``support``: reference answers of IBM's documentation with the passages that answer them, sentence by sentence: how
many good ones would be dropped, and how many wrong ones are caught (a number changed, a name changed, a denial put in,
sentences of other documents). ``pii``: spans found by kind. ``secrets``: false alarms on a handbook. ``speed``: prompts
a second, and what one question takes beyond its embedding.
"""

from __future__ import annotations

import asyncio
import csv
import json
import os
import random
import re
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from assistant.guardrails import injection, pii, secrets
from assistant.guardrails.guards import Guards
from assistant.guardrails.support import Support, bare
from assistant.knowledge.embedding import TransformerEmbedder
from assistant.knowledge.sentences import split_units
from assistant.settings import Settings

DATA = Path(os.environ.get("ALMANAC_DATA") or Path(__file__).resolve().parents[1] / "../shared/data").resolve()
_NUMBER = re.compile(r"\d+")
_NAME = re.compile(r"(?<=[a-z,] )([A-Z][a-zA-Z]{3,})")


def rows(path: str) -> Iterator[dict[str, Any]]:
    with (DATA / path).open(encoding="utf-8") as file:
        yield from (json.loads(line) for line in file if line.strip())


def cloud_pairs() -> list[tuple[str, str]]:
    """(sentence of a reference answer, the passages that answer its question)."""
    corpus = {row["id"]: f"{row.get('title', '')}\n{row['text']}" for row in rows("mtrag_cloud/corpus.jsonl")}
    relevant: dict[str, list[str]] = defaultdict(list)
    with (DATA / "mtrag_cloud/qrels.tsv").open(encoding="utf-8") as file:
        for row in csv.reader(file, delimiter="\t"):
            if row[0] != "query-id" and int(row[2]) > 0 and row[1] in corpus:
                relevant[row[0]].append(corpus[row[1]])
    pairs = []
    for row in rows("mtrag_cloud/queries.jsonl"):
        for answer in _answers(row):
            ground = "\n\n".join(relevant[row["id"]])
            pairs += [(bare(unit.text), ground) for unit in split_units(answer) if unit.kind != "heading" and ground]
    return [(claim, ground) for claim, ground in pairs if len(claim.split()) >= 4]


def _answers(row: dict[str, Any]) -> list[str]:
    value = row.get("reference_answers") or row.get("answers") or row.get("answer") or row.get("reference_answer") or ""
    return [value] if isinstance(value, str) else [str(item) for item in value]


def extractive_pairs(count: int = 400) -> list[tuple[str, str]]:
    """(sentence, the page's part that holds it), as the model that only quotes makes them."""
    chance, pairs = random.Random(3), []
    for row in rows("govuk_docs/corpus.jsonl"):
        passage = row["text"][:2_000]
        sentences = [
            unit.text for unit in split_units(passage) if unit.kind == "sentence" and len(unit.text.split()) > 5
        ]
        pairs += [
            (sentence, f"{row['title']}\n{passage}") for sentence in chance.sample(sentences, min(2, len(sentences)))
        ]
    return chance.sample(pairs, min(count, len(pairs)))


def spoiled(pairs: list[tuple[str, str]]) -> dict[str, list[tuple[str, str]]]:
    """Wrong sentences: what each kind of mistake makes of the good ones that it can be made in."""
    chance = random.Random(5)
    grounds = [ground for _, ground in pairs]
    wrong: dict[str, list[tuple[str, str]]] = defaultdict(list)
    names = sorted({match for claim, _ in pairs for match in _NAME.findall(claim)})
    for claim, ground in pairs:
        if match := _NUMBER.search(claim):
            number = str(int(match.group()) * 2 + 7)
            wrong["number changed"].append((claim[: match.start()] + number + claim[match.end() :], ground))
        if match := _NAME.search(claim):
            other = chance.choice([name for name in names if name.lower() not in ground.lower()] or ["Frobnicator"])
            wrong["name changed"].append((claim[: match.start()] + other + claim[match.end() :], ground))
        if match := re.search(r"\b(?:is|are|can|must|will|should)\b", claim):
            wrong["denied"].append((f"{claim[: match.end()]} not{claim[match.end() :]}", ground))
        wrong["of another document"].append((claim, chance.choice([other for other in grounds if other != ground])))
    return wrong


async def support() -> None:
    embedder = TransformerEmbedder(None, 2)
    checker = Support(embedder)
    for name, pairs in (("reference answers", cloud_pairs()), ("quoted", extractive_pairs())):
        judged = await checker.judge(pairs)
        dropped = [(pair, against) for pair, (_, against) in zip(pairs, judged, strict=True) if against]
        print(f"{name}: {len(dropped)} of {len(pairs)} good sentences dropped ({len(dropped) / len(pairs):.1%})")
        print("   why:", Counter(against.partition(":")[0] for _, against in dropped).most_common())
        if "-v" in sys.argv:
            print(*(f"   - {against} | {claim[:150]}" for (claim, _), against in dropped[:40]), sep="\n")
        for kind, wrong in spoiled(pairs).items():
            caught = sum(bool(against) for _, against in await checker.judge(wrong))
            print(f"   {kind}: {caught} of {len(wrong)} caught ({caught / len(wrong):.1%})")
    await embedder.close()


def personal() -> None:
    found, all_of, wrong = Counter[str](), Counter[str](), Counter[str]()
    for row in rows("pii/pii.jsonl"):
        spans = pii.find(row["text"])
        for truth in row["spans"]:
            kind = truth["type"].removeprefix("US_DRIVER_").replace("LICENSE", "DRIVER_LICENSE")
            all_of[truth["type"]] += 1
            found[truth["type"]] += any(
                span.kind == kind and span.start < truth["end"] and truth["start"] < span.end for span in spans
            )
        wrong.update(
            span.kind for span in spans
            if not any(span.start < truth["end"] and truth["start"] < span.end for truth in row["spans"])
        )  # fmt: skip
    for kind, total in all_of.most_common():
        print(f"{kind}: {found[kind]} of {total} found, {wrong[kind]} found where nothing is")


def handbook() -> None:
    texts = [row["text"] for name in ("govuk_docs", "mtrag_cloud") for row in rows(f"{name}/corpus.jsonl")]
    for name, find in (("secrets", secrets.find), ("pii", pii.find)):
        started = time.perf_counter()
        kinds = Counter(span.kind for text in texts for span in find(text))
        seconds = time.perf_counter() - started
        size = sum(map(len, texts)) / 1e6
        found = f"{sum(kinds.values())} in {size:.1f} million characters: {kinds.most_common()}"
        print(f"{name}: {found}; {size / seconds:.2f} million a second")


async def speed() -> None:
    embedder = TransformerEmbedder(None, 2)
    guards = Guards.open(embedder, Settings(_env_file=None))  # type: ignore[call-arg]
    texts = [row["text"] for row in rows("injection/prompts.jsonl")]
    await guards.questions(texts[:64])
    started = time.perf_counter()
    for start in range(0, len(texts), 256):
        await guards.questions(texts[start : start + 256])
    print(f"{len(texts) / (time.perf_counter() - started):.0f} prompts a second")
    short = [text for text in texts if len(text) < 200][:300]
    took = []
    for text in short:
        started = time.perf_counter()
        injection.judged(found := injection.prepared(text), await _zero(len(found)))
        took.append(1000 * (time.perf_counter() - started))
    print(f"a question beyond its embedding: median {statistics.median(took):.2f} ms, 99 %: {sorted(took)[-3]:.2f} ms")
    pages = [row["text"][:2_000] for row in rows("govuk_docs/corpus.jsonl")][:200]
    started = time.perf_counter()
    await guards.untrusted(pages)
    print(f"a passage of 2,000 characters: {1000 * (time.perf_counter() - started) / len(pages):.1f} ms")
    await embedder.close()


async def _zero(count: int) -> Any:
    import numpy as np

    return np.zeros((count, 384), dtype=np.float32)


def main() -> None:
    asked = [name for name in sys.argv[1:] if not name.startswith("-")] or ["support", "pii", "secrets", "speed"]
    if "support" in asked:
        asyncio.run(support())
    if "pii" in asked:
        personal()
    if "secrets" in asked:
        handbook()
    if "speed" in asked:
        asyncio.run(speed())


if __name__ == "__main__":
    main()

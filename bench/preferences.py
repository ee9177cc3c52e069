"""What is learned from FeedbackQA's votes and judgements, held out by question and by agency, and with voters who lie.

``python -m bench.preferences [--queries N]`` prints one JSON document, an entry for each arm. Votes are those on half
of the questions (or of the other agencies); measured is on the pairs of the rest, and on N valid questions.
"alone": nothing but votes; else the training split's judgements teach, too. With a fifth of the voters hostile, what
they say is turned round, votes and judgements alike; a voter is who said one of 80 shares of it all.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from assistant.evaluation.measures import intervals
from assistant.evaluation.passages import Encoded
from assistant.evaluation.preferences import World, by_question, moved, ndcg, outcomes, silent
from assistant.evaluation.votes import read_part
from assistant.knowledge.embedding import TransformerEmbedder
from assistant.preferences.features import Asked, Shown
from assistant.preferences.memory import content_key
from assistant.preferences.model import Comparison, Learned, learn
from bench.world import DATA

VOTERS = 80
HOSTILE = 16
DRAWS = 3  # of who lies
SEED = 8


def domains(folder: Path) -> dict[str, str]:
    """What was asked -> the agency that it was asked of."""
    found: dict[str, str] = {}
    for name, field in (("feedback", "question"), ("pairs", "question"), ("queries", "text")):
        for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            found.setdefault(row[field].strip(), row["domain"])
    return found


def with_liars(said: Sequence[Comparison], hostile: int, seed: int) -> list[Comparison]:
    """The same with named voters; the first ``hostile`` of them say the opposite."""
    rng = np.random.default_rng(seed)
    whose = {question: int(rng.integers(VOTERS)) for question in sorted({one.asked.text for one in said})}

    def cast(one: Comparison) -> Comparison:
        voter = whose[one.asked.text]
        sides = (one.worse, one.better) if voter < hostile else (one.better, one.worse)
        return replace(one, voter=f"voter {voter}", better=sides[0], worse=sides[1])

    return [cast(one) for one in said]


@dataclass(frozen=True, slots=True)
class Ranked:
    """A judged question with the ranking's places."""

    query: str
    asked: Asked
    places: list[int]
    shown: list[Shown]


@dataclass(frozen=True, slots=True)
class Said:
    """Everything that was said: rated votes, pairs, judgements of the training split; and what is ranked."""

    world: World
    rated: list[Comparison]
    pairs: list[Comparison]
    judged: list[Comparison]
    ranked: list[Ranked]


async def gather(folder: Path, encode: Encoded, count: int) -> Said:
    part = read_part(folder)
    queries = part.collection.queries
    valid = [one for one in queries if "-valid-" in one] or list(queries)
    chosen = [valid[place] for place in np.random.default_rng(SEED).permutation(len(valid))[:count]]
    held = {content_key(queries[one]) for one in chosen} | {content_key(vote.question) for vote in part.votes}
    taught = [one for one in queries if "-train-" in one and content_key(queries[one]) not in held]
    world = await World.of(part, encode)
    ranked = []
    for query, question in zip(chosen, await encode.questions([queries[one] for one in chosen]), strict=True):
        asked = world.passages.asked(queries[query], question.vector)
        ranked.append(Ranked(query, asked, *world.passages.ranked(asked, question)))
    votes = [vote for vote in part.rated if content_key(vote.question) not in {content_key(queries[q]) for q in chosen}]
    return Said(
        world, await world.compared(votes), await world.compared(part.pairs), await world.chosen(taught, silent), ranked
    )


def measured(said: Said, taught: Sequence[Comparison], pairs: Sequence[Comparison], agency: str = "") -> dict[str, Any]:
    learned: Learned = learn(taught)
    by_cosine, by_learning = outcomes(learned, pairs)
    gain = by_question([one.asked.text for one in pairs], by_learning - by_cosine)
    own = [one for one in said.ranked if one.query.startswith(agency)]
    queries = [one.query for one in own]
    before = ndcg(said.world.part, queries, [one.places for one in own])
    after = ndcg(said.world.part, queries, [moved(learned, one.asked, one.places, one.shown) for one in own])
    change = intervals({"change": after - before})["change"]
    return {
        "pairs": len(pairs), "similarity": float(by_cosine.mean()), "learned": float(by_learning.mean()),
        "pairs_ci95": [gain.low, gain.high], "questions": len(own), "before": float(before.mean()),
        "after": float(after.mean()), "ndcg_ci95": [change.low, change.high],
    }  # fmt: skip


def arms(said: Said, domain: dict[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    rng = np.random.default_rng(SEED)
    second = {question for question in sorted({one.asked.text for one in said.rated}) if rng.random() < 0.5}
    votes = [one for one in said.rated if one.asked.text not in second]
    pairs = [one for one in said.pairs if one.asked.text in second]
    for name, taught in (("votes alone", votes), ("votes and judgements", [*votes, *said.judged])):
        yield name, measured(said, taught, pairs)
        for draw in range(DRAWS):
            lied = with_liars(taught, HOSTILE, draw)
            yield f"{name}, a fifth of the voters lie, draw {draw + 1}", measured(said, lied, pairs)
    for agency in sorted({domain[one.asked.text] for one in said.pairs}):
        there = [one for one in said.pairs if domain[one.asked.text] == agency]
        away = [one for one in (*said.rated, *said.judged) if domain[one.asked.text] != agency]
        yield f"{agency} kept out", measured(said, away, there, f"{agency}-")


async def main(count: int) -> dict[str, Any]:
    folder = DATA / "feedbackqa"
    embedder = TransformerEmbedder(None, threads=1)
    try:
        said = await gather(folder, Encoded(embedder), count)
    finally:
        await embedder.close()
    return dict(arms(said, domains(folder)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--queries", type=int, default=1_200)
    print(json.dumps(asyncio.run(main(parser.parse_args().queries)), indent=1))

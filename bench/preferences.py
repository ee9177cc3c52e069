"""What is learned from FeedbackQA's votes, held out by question and by agency, and with voters who lie.

``python -m bench.preferences [--queries N]`` prints one JSON document. Each agency is kept out once (the others' votes
teach), and the questions are halved once. With a fifth of the voters hostile, their votes are turned round; a voter is
who rated one of 80 shares of the questions. Of the judged questions, N valid ones are ranked in each part.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from assistant.evaluation.passages import Encoded
from assistant.evaluation.preferences import Part, Vote, evaluate, read_part
from assistant.knowledge.embedding import TransformerEmbedder
from bench.world import DATA

VOTERS = 80
HOSTILE = 16
SEED = 8


def _domains(folder: Path) -> dict[str, str]:
    """What was asked -> the agency that it was asked of."""
    found: dict[str, str] = {}
    for name, field in (("feedback", "question"), ("pairs", "question")):
        for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            found[row[field]] = row["domain"]
    return found


def cut(part: Part, voted: Callable[[str], bool], queries: list[str]) -> Part:
    """The votes on questions that are wanted, the whole corpus, and these of the judged queries."""
    whole = part.collection
    kept = replace(
        whole, queries={one: whole.queries[one] for one in queries}, judged={one: whole.judged[one] for one in queries}
    )
    pairs, rated = ([vote for vote in votes if voted(vote.question)] for votes in (part.pairs, part.rated))
    return Part(kept, part.passages, pairs, rated)


def with_liars(part: Part, hostile: int) -> Part:
    """The same with voters; the first ``hostile`` of them say the opposite."""
    rng = np.random.default_rng(SEED)
    whose = {question: int(rng.integers(VOTERS)) for question in sorted({vote.question for vote in part.rated})}

    def cast(vote: Vote) -> Vote:
        voter = whose[vote.question]
        better, worse = (vote.worse, vote.better) if voter < hostile else (vote.better, vote.worse)
        return replace(vote, voter=f"voter {voter}", better=better, worse=worse)

    return replace(part, rated=[cast(vote) for vote in part.rated])


def arms(part: Part, domain: dict[str, str], count: int) -> Iterator[tuple[str, Part, Part]]:
    rng = np.random.default_rng(SEED)
    valid = [one for one in part.collection.queries if "-valid-" in one] or list(part.collection.queries)
    some = [valid[place] for place in rng.permutation(len(valid))[:count]]
    second = {question for question in sorted(domain) if rng.random() < 0.5}
    halves = cut(part, lambda one: one not in second, []), cut(part, second.__contains__, some)
    yield "questions", *halves
    yield "questions, voters named", with_liars(halves[0], 0), halves[1]
    yield "questions, a fifth of the voters lie", with_liars(halves[0], HOSTILE), halves[1]
    for agency in sorted(set(domain.values())):
        inside = {question for question, of in domain.items() if of == agency}
        outside = set(domain) - inside
        own = [one for one in valid if one.startswith(f"{agency}-")][:count]
        yield agency, cut(part, outside.__contains__, []), cut(part, inside.__contains__, own)


async def main(count: int) -> dict[str, Any]:
    folder = DATA / "feedbackqa"
    part, domain = read_part(folder), _domains(folder)
    embedder = TransformerEmbedder(None, threads=1)
    encode = Encoded(embedder)
    try:
        return {
            name: (await evaluate(train, test, encode)).document() for name, train, test in arms(part, domain, count)
        }
    finally:
        await embedder.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--queries", type=int, default=600)
    print(json.dumps(asyncio.run(main(parser.parse_args().queries)), indent=1))

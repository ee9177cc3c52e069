"""Follow-ups on `mtrag_cloud`: the last turn alone, with what the conversation carries over, and as people rewrote it.

Every way of asking runs through the product's search, in each of its arms. ``shifted`` gives each question the history
of another conversation: what it loses is what carrying costs when the subject changes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assistant.answering.history import TURNS, carried, leans
from assistant.answering.messages import Turn
from assistant.evaluation.collection import read_collection
from assistant.evaluation.measures import intervals, per_query
from assistant.evaluation.retrieval import best_documents
from assistant.knowledge.audience import Audience
from assistant.knowledge.embedding import TransformerEmbedder
from assistant.knowledge.query import Carried
from assistant.knowledge.ranking import ARMS
from assistant.knowledge.search import Searcher
from bench.world import DATA, corpus, jsonl, server

NAME = "mtrag_cloud"
PASSAGES = 60  # that the first ten documents are taken from
AWAY = 3  # conversations further on lies the one whose history a shifted question gets


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with the turns before it, as the conversation went."""

    id: str
    conversation: str
    last: str
    rewrite: str
    turns: Sequence[Turn]


def conversations(rows: Sequence[Mapping[str, Any]]) -> list[Asked]:
    """Earlier answers are the reference ones, where the data has them."""
    answers = {row["id"]: str(row["answer"]) for row in rows}
    found = []
    for row in rows:
        conversation, _, number = str(row["id"]).rpartition("<::>")
        said = [turn.strip() for turn in re.split(r"\n?\|user\|: ", row["history"]) if turn.strip()][:-1]
        first = int(number) - len(said)
        turns = [
            Turn(text, answers.get(f"{conversation}<::>{place}", ""), "asker")
            for place, text in enumerate(said, start=first)
        ]
        found.append(Asked(row["id"], conversation, row["last_turn"], row["text"], turns[-TURNS:]))
    return found


def ways(asked: Sequence[Asked]) -> dict[str, dict[str, tuple[str, Sequence[Carried]]]]:
    """Way of asking -> query id -> what is searched for, and what is carried with it."""
    last = {one.conversation: one for one in asked}  # each conversation's last question has the longest history
    names = list(last)
    strange = {name: last[names[(place + AWAY) % len(names)]] for place, name in enumerate(names)}
    return {
        "last": {one.id: (one.last, ()) for one in asked},
        "carried": {one.id: (one.last, carried(one.last, one.turns, "asker")) for one in asked},
        "human": {one.id: (one.rewrite, ()) for one in asked},
        # what a language model's rewrite is worth, at its best: those that lean are rewritten, and all carry
        "rewritten": {
            one.id: (one.rewrite if leans(one.last) else one.last, carried(one.last, one.turns, "asker"))
            for one in asked
        },
        "shifted": {one.id: (one.last, carried(one.last, strange[one.conversation].turns, "asker")) for one in asked},
    }


async def measure() -> dict[str, Any]:
    collection = read_collection(DATA / NAME)
    rows = [row for row in jsonl(DATA / NAME / "queries.jsonl") if row["id"] in collection.judged]
    asked = conversations(rows)
    ids = [one.id for one in asked]
    values: dict[str, dict[str, Any]] = {}
    with server() as url:
        embedder = TransformerEmbedder(None, threads=2)
        async with corpus(url, NAME, embedder) as filled:
            for arm, ranking in ARMS.items():
                searcher = Searcher(filled.sessions, embedder, ranking)
                values[arm] = {}
                for way, questions in ways(asked).items():
                    ranked = {query: await _documents(searcher, *what) for query, what in questions.items()}
                    values[arm][way] = per_query(collection.judged, ranked, ids)["ndcg@10"]
        await embedder.close()
    alone = np.array([not one.turns or not leans(one.last) for one in asked])
    return {"queries": len(ids), "arms": {arm: _compared(found, alone) for arm, found in values.items()}}


async def _documents(searcher: Searcher, text: str, parts: Sequence[Carried]) -> list[str]:
    result = await searcher.search(text, audience=Audience.everyone(), limit=PASSAGES, carried=parts)
    return best_documents(result.hits)


def _compared(found: Mapping[str, Any], alone: Any) -> dict[str, Any]:
    """nDCG@10 of each way, also where questions stand alone; how much it is above the last turn (bootstrap, 95 %)."""
    above = intervals({way: values - found["last"] for way, values in found.items()})
    return {
        way: {
            "ndcg@10": float(values.mean()),
            "above_last": [above[way].mean, above[way].low, above[way].high],
            "ndcg@10_alone": float(values[alone].mean()),
        }
        for way, values in found.items()
    }


def report(result: dict[str, Any]) -> None:
    for arm, found in result["arms"].items():
        for way, values in found.items():
            mean, low, high = values["above_last"]
            print(
                f"follow-ups, {arm:7s} {way:9s} ndcg@10 {values['ndcg@10']:.3f}  above the last turn {mean:+.3f} "
                f"[{low:+.3f}, {high:+.3f}]  questions that stand alone {values['ndcg@10_alone']:.3f}"
            )


if __name__ == "__main__":
    report(asyncio.run(measure()))

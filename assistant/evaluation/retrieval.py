"""Every way of ranking on a judged collection, through the search that answers questions.

The arms are ``assistant.knowledge.ranking.ARMS``: a stage that is added there is measured here. ``final`` is the
searcher that answers use, whatever its settings; the others are it with other stages. Two passes:

    ranking    deep enough for the measures, several searches at once; the arms share what they read (``remembered``)
    timing     what a question costs: one search at a time, as many passages as an answer asks for, the arms in turn
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from assistant.database import evaluations
from assistant.database.session import Sessions, admit
from assistant.evaluation.collection import Collection
from assistant.evaluation.measures import DEEPEST, Floats, per_query
from assistant.evaluation.remembered import Remembered
from assistant.evaluation.telling import Tell, silently
from assistant.knowledge.audience import Audience
from assistant.knowledge.embedding import Embedder
from assistant.knowledge.ranking import ARMS, Ranking
from assistant.knowledge.search import Hit, Searcher

FINAL = "final"
PASSAGES = 10  # of one timed search
TIMED = 60  # searches of each arm
BLOCK = 1_000  # queries whose embeddings are kept (the embedder's cache holds twice as many)
FIRST_DEPTH, LAST_DEPTH = 200, 6_400  # passages, until they hold DEEPEST documents


@dataclass(frozen=True, slots=True)
class Arm:
    """``values``: measure -> value of each query, shape (queries,); ``search_ms``: of each timed search, without the
    embedding of its question."""

    values: Mapping[str, Floats]
    search_ms: Floats


@dataclass(frozen=True, slots=True)
class Evaluation:
    """``embed_ms``: the embedding of each timed question, alone. ``same``: an arm -> the earlier one that it is, here:
    no document is newer than another, or no model reorders."""

    arms: Mapping[str, Arm]
    embed_ms: Floats
    same: Mapping[str, str]


def best_documents(hits: Iterable[Hit]) -> list[str]:
    """Document ids, best first: a document ranks by its best passage."""
    return list(dict.fromkeys(hit.external_id for hit in hits))


async def evaluate(
    final: Searcher,
    embedder: Embedder,
    collection: Collection,
    tell: Tell = silently,
    rankings: Mapping[str, Ranking] = ARMS,
) -> Evaluation:
    """Run every arm on every query. ``embedder`` is the searchers'.

    ``final`` is measured with copies shown: a collection judges each of its texts by itself.
    """
    final = final.ranked(replace(final.ranking, collapse=False))
    named = {name: ranking for name, ranking in rankings.items() if name != FINAL} | {FINAL: final.ranking}
    # Arms whose stages do the same here are one: `final` is often another's, too.
    of_one_day = await one_day(final.sessions)
    does = {name: _effective(ranking, of_one_day, final.reranks) for name, ranking in named.items()}
    same = {name: next(first for first in named if does[first] == does[name]) for name in named}
    searchers = {name: final.ranked(named[name]) for name in dict.fromkeys(same.values())} | {same[FINAL]: final}
    queries = list(collection.queries)
    timed = random.Random(1).sample(queries, min(TIMED, len(queries)))  # noqa: S311 - which are timed is no secret
    texts = [collection.queries[query] for query in timed]
    embed_ms = await _time_embedding(embedder, texts, tell)
    ranked = await _rank(searchers, embedder, collection.queries, tell)
    search_ms = await _time_search(searchers, embedder, texts, tell)
    arms = {
        name: Arm(per_query(collection.judged, ranked[name], queries), search_ms[name])
        for name in searchers
    }  # fmt: skip
    twins = {name: first for name, first in same.items() if first != name}
    return Evaluation({name: arms[same[name]] for name in named}, embed_ms, twins)


async def one_day(sessions: Sessions) -> bool:
    """Whether no document is of another day than the others, as far as everyone may see."""
    async with sessions() as session:
        await admit(session, Audience.everyone())
        return await evaluations.of_one_day(session)


def _effective(ranking: Ranking, of_one_day: bool, reranks: bool) -> Ranking:
    """Without the stages that change nothing; votes have no say in what is measured."""
    recency, rerank = 0.0 if of_one_day else ranking.recency, ranking.rerank if reranks else 0
    return replace(ranking, preferences=0.0, recency=recency, rerank=rerank)


async def _rank(
    searchers: Mapping[str, Searcher], embedder: Embedder, queries: Mapping[str, str], tell: Tell
) -> dict[str, dict[str, list[str]]]:
    """Arm -> query id -> document ids."""
    ranked: dict[str, dict[str, list[str]]] = {name: {} for name in searchers}
    free = asyncio.Semaphore(os.cpu_count() or 2)
    done = 0

    async def rank(query: str, text: str) -> None:
        nonlocal done
        async with free:
            once = Remembered()
            for name, searcher in searchers.items():
                ranked[name][query] = await _documents(searcher.ranked(searcher.ranking, once), text)
        done += 1
        tell("Ranking", done, len(queries))

    for block in _blocks(list(queries)):
        await asyncio.gather(*(embedder.embed_query(queries[query]) for query in block))  # in a few batches
        async with asyncio.TaskGroup() as group:
            for query in block:
                group.create_task(rank(query, queries[query]))
    return ranked


async def _documents(searcher: Searcher, text: str) -> list[str]:
    """The first documents, of as many passages as that takes."""
    depth = FIRST_DEPTH
    while True:
        hits = (await searcher.search(text, audience=Audience.everyone(), limit=depth)).hits
        found = best_documents(hits)
        if len(found) >= DEEPEST or len(hits) < depth or depth >= LAST_DEPTH:
            return found[:DEEPEST]
        depth *= 2


async def _time_embedding(embedder: Embedder, texts: Sequence[str], tell: Tell) -> Floats:
    """Milliseconds of each text alone; none of them may have been embedded before."""
    await embedder.embed_query("The model is loaded with its first question.")
    times = np.zeros(len(texts))
    for place, text in enumerate(texts):
        tell("Embedding the questions", place, len(texts))
        start = time.perf_counter()
        await embedder.embed_query(text)
        times[place] = (time.perf_counter() - start) * 1000
    return times


async def _time_search(
    searchers: Mapping[str, Searcher], embedder: Embedder, texts: Sequence[str], tell: Tell
) -> dict[str, Floats]:
    """Arm -> milliseconds of each search. The arms take turns, so that what else the machine does meets all alike."""
    await asyncio.gather(*(embedder.embed_query(text) for text in texts))  # from here on out of the cache
    times = {name: np.zeros(len(texts)) for name in searchers}
    for place, text in enumerate(texts):
        tell("Timing", place, len(texts))
        for name, searcher in searchers.items():
            start = time.perf_counter()
            await searcher.search(text, audience=Audience.everyone(), limit=PASSAGES)
            times[name][place] = (time.perf_counter() - start) * 1000
    return times


def _blocks(queries: Sequence[str]) -> list[Sequence[str]]:
    return [queries[start : start + BLOCK] for start in range(0, len(queries), BLOCK)]

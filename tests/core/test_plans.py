"""How Postgres goes about a search as the reader's role: by the indexes made for it, whoever asks; never over all rows.

Row-level security can cost an index without a word. What the functions of the candidates do is not in a plan of the
statement that calls them, so the scans are counted, too: by Postgres itself, within the transaction of the search.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database import documents, hidden, hybrid, overview, passages, vectors
from assistant.database.conditions import EVERY, Condition, condition
from assistant.database.hybrid import Reads, Request
from assistant.database.scratch import settle
from assistant.database.session import Sessions, admit, create_engine, create_reading_engine, create_sessions
from assistant.database.vectors import Model
from assistant.knowledge.audience import EVERYONE, Audience
from assistant.knowledge.documents import text_hash
from assistant.knowledge.embedding import halfvec_literal
from assistant.knowledge.filters import Filters
from assistant.knowledge.lexical import query_terms
from assistant.knowledge.search import Searched, find
from tests.core.parts import Page, WordEmbedder, prepared, source

PAGES = 2_000
EMBEDDER = WordEmbedder()
PLACES = "harbour bridge tunnel depot garage office kitchen cellar tower garden library archive".split()
THINGS = "pump valve cable sensor meter lamp fan filter relay switch motor gauge pipe hinge crane lock".split()
SELDOM = "user:email:anna@example.com"  # may read one in a hundred
HALF = "group:confluence:half"
INDEXES = ("ix_chunks_terms", "ix_chunks_heavy", "ix_documents_readers", "uq_chunks_document_id_ordinal")


@dataclass(frozen=True, slots=True)
class Index:
    reading: Sessions
    model: Model


def page(number: int) -> Page:
    place, thing = PLACES[number % len(PLACES)], THINGS[number % len(THINGS)]
    readers = [EVERYONE] * (number % 10 != 0) + [HALF] * (number % 2) + [SELDOM] * (number % 100 == 0)
    said = f"The {thing} number {number} in the {place} is looked after by team {number % 37} each {number % 7} days."
    return Page(f"{number}.md", f"The {thing} of {place} {number}", (said, f"It is painted {number % 11}."),
                tuple(readers or ["user:nobody"]), f"https://docs.example/{number}")  # fmt: skip


@pytest.fixture(scope="module")
async def index(postgres_url: str, template: str) -> AsyncIterator[Index]:
    """Filled once, and only read by the tests."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE plans TEMPLATE "{template}"')  # type: ignore[call-overload]
    url = postgres_url.replace("/postgres?", "/plans?", 1)
    engine, reader = create_engine(url, pool_size=1), create_reading_engine(url, pool_size=2)
    model = await fill(create_sessions(engine))
    await settle(url)
    yield Index(create_sessions(reader), model)
    await engine.dispose()
    await reader.dispose()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP DATABASE plans WITH (FORCE)")


async def fill(sessions: Sessions) -> Model:
    source_id = await source(sessions, EMBEDDER)
    async with sessions.begin() as session:
        [model] = await vectors.models(session)
        for start in range(0, PAGES, 250):
            batch = [await prepared(page(number), EMBEDDER) for number in range(start, start + 250)]
            texts = {text_hash(chunk.embedded_text(one.document.title)): row for one in batch if one.vectors is not None
                     for chunk, row in zip(one.chunks, one.vectors, strict=True)}  # fmt: skip
            await vectors.write(session, model, list(texts), np.stack(list(texts.values())))
            await documents.replace_all(session, source_id, [replace(one, vectors=None) for one in batch])
        await vectors.index(session, model, 0)
    return model


async def request(words: str, who: Audience, only: Condition = EVERY) -> tuple[Request, Any]:
    vector = await EMBEDDER.embed_query(words)
    return Request(query_terms(words), halfvec_literal(vector), who, 60, 10, 0.45, only, (), True), vector


async def scans(session: AsyncSession, index: Index) -> dict[str, int]:
    """Of this transaction: whole scans of the two large tables, and uses of the indexes."""
    names = (*INDEXES, f"vectors_{index.model.id}_hnsw", f"pk_vectors_{index.model.id}")
    counted = {
        name: f"coalesce(pg_stat_get_xact_numscans(to_regclass('{name}')), 0)"
        for name in ("chunks", "documents", f"vectors_{index.model.id}", *names)
    }
    row = (await session.execute(text(f"SELECT {', '.join(counted.values())}"))).one()
    return dict(zip(counted, row, strict=True))


WHO = {
    "everyone": frozenset({EVERYONE}),
    "half": frozenset({HALF}),
    "a hundredth": frozenset({SELDOM}),
    "nobody": frozenset({"user:email:stranger@example.com"}),
}


async def test_no_search_reads_a_whole_table_and_each_arm_uses_its_index(index: Index) -> None:
    hnsw = f"vectors_{index.model.id}_hnsw"
    for name, principals in WHO.items():
        asked, vector = await request("valve in the cellar 77", Audience(principals))
        async with index.reading() as session:
            found = await find(Reads(session), index.model, asked, Searched(vector))
            counted = await scans(session, index)
        assert counted["chunks"] == counted["documents"] == counted[f"vectors_{index.model.id}"] == 0, (name, counted)
        assert bool(found.hits) == (name != "nobody")
        assert counted["ix_chunks_terms"] + counted["ix_chunks_heavy"] > 0, (name, counted)
        if name in ("everyone", "half"):
            assert counted[hnsw] > 0, (name, counted)
        elif name == "a hundredth":  # so few that all of them are compared
            assert counted["ix_documents_readers"] > 0, (name, counted)
            assert counted["uq_chunks_document_id_ordinal"] > 0, (name, counted)


async def test_a_search_with_filters_reads_the_documents_once_and_no_passage_needlessly(index: Index) -> None:
    for filters in (Filters(authors=("ann",)), Filters(titles=("crane",)), Filters(after=None, titles=("valve",))):
        asked, vector = await request("valve in the cellar 77", Audience(WHO["half"]), condition(filters))
        async with index.reading() as session:
            await find(Reads(session), index.model, asked, Searched(vector))
            counted = await scans(session, index)
        assert counted["chunks"] == counted[f"vectors_{index.model.id}"] == 0, (filters, counted)


async def test_what_is_hidden_is_counted_by_the_index(index: Index) -> None:
    vector = halfvec_literal(await EMBEDDER.embed_query("valve in the cellar 77"))
    async with index.reading() as session:
        await hidden.count(session, index.model, vector, Audience(WHO["a hundredth"]), 0.1)
        counted = await scans(session, index)
    assert counted["chunks"] == counted[f"vectors_{index.model.id}"] == 0, counted
    assert counted[f"vectors_{index.model.id}_hnsw"] > 0, counted


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


async def test_the_plans_of_what_is_read_under_the_policies_scan_no_chunks(index: Index) -> None:
    """The statement that joins the candidates to their rows, and the one that reads what they say."""
    asked, _ = await request("valve in the cellar 77", Audience(WHO["half"]))
    explained: list[list[dict[str, Any]]] = []
    async with index.reading() as session:
        rows = await hybrid.named(session, index.model, asked)
        await admit(session, asked.audience)
        ids = [row.id for row in rows]
        for statement, values in (
            (hybrid._statement(index.model, ""), _parameters(asked)),
            *(
                (hybrid._passages(model), {"ids": ids[:10], "readers": sorted(asked.audience.principals)})
                for model in (None, index.model)
            ),
        ):
            plan = await session.execute(text(f"EXPLAIN (FORMAT JSON) {statement.text}"), values)
            found = plan.scalar_one()
            explained.append(list(nodes((json.loads(found) if isinstance(found, str) else found)[0]["Plan"])))
    for plan in explained:
        whole = [node for node in plan if node["Node Type"] == "Seq Scan" and node["Relation Name"] != "terms"]
        assert [node["Relation Name"] for node in whole if node["Relation Name"] != "corpus_statistics"] == []
        used = {node.get("Index Name") for node in plan}
        assert "pk_chunks" in used
    assert {node.get("Function Name") for node in explained[0]} >= {
        "readable_lexical_candidates",
        f"vectors_{index.model.id}_nearest",
    }


def _parameters(asked: Request) -> dict[str, Any]:
    from assistant.knowledge.impact import CEILINGS

    return {
        "terms": list(asked.terms), "boosts": [1.0] * len(asked.terms), "vector": asked.vector,
        "lexical_candidates": 60, "semantic_candidates": 60, "candidates": 60, "ceilings": list(CEILINGS),
        "with_vectors": True,
    }  # fmt: skip


async def test_a_citation_is_opened_by_its_key(index: Index) -> None:
    async with index.reading() as session:
        view = await passages.around(session, 7, Audience(WHO["everyone"]))
        counted = await scans(session, index)
    assert view is not None
    assert counted["chunks"] == 0
    async with index.reading() as session:
        known = await overview.readable_sources(session, Audience(WHO["a hundredth"]))
        counted = await scans(session, index)
    assert [one.documents for one in known] == [PAGES // 100]
    assert counted["chunks"] == 0

"""Databases for measurements, filled by the real pipeline. They are kept in ``.almanac/bench`` from run to run."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from assistant.database.documents import ensure_statistics
from assistant.database.folders import folder_source
from assistant.database.migrate import upgrade
from assistant.database.session import Sessions, create_engine, create_sessions
from assistant.embedded import embedded_postgres
from assistant.evaluation.collection import items
from assistant.knowledge.embedding import TransformerEmbedder
from assistant.telemetry import configure_logs
from bench.places import DATA, HOME, ROOT
from workers.ingestion.pipeline import Ingestion, Report

MAX_BYTES = 50 * 2**20


@contextmanager
def server() -> Iterator[str]:
    configure_logs("WARNING", "console")
    HOME.mkdir(parents=True, exist_ok=True)
    with embedded_postgres(HOME) as url:
        yield url


@dataclass(frozen=True, slots=True)
class Corpus:
    """A filled database."""

    url: str
    sessions: Sessions
    report: Report


@asynccontextmanager
async def corpus(server_url: str, name: str, embedder: TransformerEmbedder) -> AsyncIterator[Corpus]:
    """``govuk`` and ``handbook`` are folders of pages; any other name is a BEIR-style folder of the shared data."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
            connection.execute(f'CREATE DATABASE "{name}"')  # type: ignore[call-overload]
    url = server_url.replace("/postgres?", f"/{name}?", 1)
    engine = create_engine(url)
    await upgrade(engine)
    sessions = create_sessions(engine)
    async with sessions.begin() as session:
        await ensure_statistics(session, embedder.name)
    report = Report()
    ingestion = Ingestion(sessions, embedder, MAX_BYTES)
    folder = {"govuk": DATA / "govuk_docs" / "docs", "handbook": ROOT / "assistant" / "sample" / "handbook"}.get(name)
    if folder is not None:
        await ingestion.ingest_path(folder, report)
    else:
        async with sessions.begin() as session:
            source_id, _ = await folder_source(session, f"/{name}")
        documents = {item.external_id: item for item, _ in items(DATA / name)}
        await ingestion.ingest_items(source_id, documents, report)
    yield Corpus(url, sessions, report)
    await engine.dispose()


def jsonl(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def qrels(folder: Path) -> dict[str, dict[str, int]]:
    """Query id -> document id -> relevance above 0."""
    judged: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels.tsv").read_text().splitlines()[1:]:
        query, document, relevance = line.split("\t")
        if float(relevance) > 0:
            judged.setdefault(query, {})[document] = round(float(relevance))
    return judged

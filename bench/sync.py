"""Ten thousand pages ingested, and synced again unchanged: ``python -m bench.sync [PAGES]``.

The pages are the beginnings of evaluation texts as Markdown files in a folder; the pipeline, the model and Postgres are
the real ones.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg

from assistant.database import documents, sources
from assistant.database.migrate import upgrade
from assistant.database.session import create_engine, create_sessions
from assistant.knowledge.embedding import TransformerEmbedder
from bench.world import DATA, MAX_BYTES, jsonl, server
from workers.ingestion.pipeline import Ingestion, Plan, Report
from workers.ingestion.sources.folder import SETTLED_SECONDS, Folder

PAGES = 10_000
WORDS = 80  # of a page: short ones, so that there is little to embed and the comparison is a hard one


class Counting:
    """The embedder, with a count of its calls."""

    def __init__(self, embedder: TransformerEmbedder) -> None:
        self._embedder = embedder
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._embedder, name)

    async def embed(self, texts: Sequence[str]) -> Any:
        self.calls += bool(texts)
        return await self._embedder.embed(texts)


def write_pages(folder: Path, pages: int) -> None:
    rows = [row for row in jsonl(DATA / "scifact" / "corpus.jsonl") if row["text"].strip()]
    for n in range(pages):
        row = rows[n % len(rows)]
        (folder / f"{n % 100:02}").mkdir(exist_ok=True)
        words = " ".join(row["text"].split()[:WORDS])
        text = f"# {row['title']} {n}\n\n{words}\n\nPage {n}.\n"
        (folder / f"{n % 100:02}" / f"{n:05}.md").write_text(text, encoding="utf-8")


async def measure(pages: int = PAGES) -> dict[str, float]:
    """Seconds of the first ingest and of three syncs of what is unchanged; calls of the embedder in these."""
    with server() as url, tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_pages(folder, pages)
        name = f"sync_{uuid.uuid4().hex[:8]}"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')  # type: ignore[call-overload]
        engine = create_engine(url.replace("/postgres?", f"/{name}?", 1))
        try:
            return await _measure(engine, folder, pages)
        finally:
            await engine.dispose()
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')  # type: ignore[call-overload]


async def _measure(engine: Any, folder: Path, pages: int) -> dict[str, float]:
    await upgrade(engine)
    sessions = create_sessions(engine)
    embedder = Counting(TransformerEmbedder(None, threads=2))
    await embedder.load()
    async with sessions.begin() as session:
        await documents.ensure_statistics(session, embedder.name)
        source_id, _ = await sources.ensure(session, "folder", str(folder), "pages", ("everyone",))
    await asyncio.sleep(SETTLED_SECONDS)
    first = await _timed(sessions, embedder, folder, source_id)
    assert first[1].added == pages, first
    before = embedder.calls
    again = [await _timed(sessions, embedder, folder, source_id) for _ in range(3)]
    assert all(report.unchanged == pages for _, report in again)
    await embedder.close()
    best = sorted(seconds for seconds, _ in again)[1]
    return {
        "pages": pages, "chunks": first[1].chunks, "first": first[0], "again": best, "times": first[0] / best,
        "calls": embedder.calls - before,
    }  # fmt: skip


async def _timed(sessions: Any, embedder: Any, folder: Path, source_id: int) -> tuple[float, Report]:
    report, began = Report(), time.perf_counter()
    ingestion = Ingestion(sessions, embedder, MAX_BYTES)
    await ingestion.sync(Folder(folder, MAX_BYTES), Plan(source_id, keep=True), report)
    return time.perf_counter() - began, report


def report(result: dict[str, float]) -> None:
    print(
        f"sync: {result['pages']:,.0f} pages ({result['chunks']:,.0f} chunks) in {result['first']:.1f} s; "
        f"unchanged again in {result['again']:.2f} s, {result['times']:.0f} times as fast, "
        f"{result['calls']:.0f} embedding calls"
    )


if __name__ == "__main__":
    report(asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else PAGES)))

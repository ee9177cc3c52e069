"""A worker's services without a model, on a fresh database: a source is added, synced, and looked at."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from sqlalchemy import select

from assistant.answering.answer import Answering
from assistant.database import documents, runs, sources
from assistant.database.session import Sessions, create_engine
from assistant.database.sources import SourceRow
from assistant.database.tables import Chunk, Document, DocumentFailure
from assistant.knowledge.audience import Audience
from assistant.knowledge.embedding import Vectors
from assistant.knowledge.search import Searcher
from assistant.services import Services
from assistant.settings import Settings
from assistant.telemetry import Metrics
from tests.core.parts import FakeModel, WordEmbedder
from tests.core.test_search import exact
from workers.execution import execute


class CountingEmbedder(WordEmbedder):
    """Remembers the passages that it was given, and how often; questions do not count."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.calls = 0

    async def embed(self, texts: Sequence[str]) -> Vectors:
        self.texts += texts
        self.calls += 1
        return await super().embed(texts)

    async def embed_query(self, text: str) -> Vectors:
        vector: Vectors = (await super().embed([text]))[0]
        return vector


class Station:
    def __init__(self, database_url: str, sessions: Sessions, home: Path, **settings: Any) -> None:
        values: dict[str, Any] = {"fetch_allowed_hosts": ("127.0.0.1",), "home": home, **settings}
        self.embedder = CountingEmbedder()
        self.sessions = sessions
        engine, metrics, model = create_engine(database_url), Metrics(), FakeModel()
        searcher = Searcher(sessions, self.embedder)
        answering = Answering(sessions, searcher, model, metrics, max_chars=200, timeout=20)
        configured = Settings(_env_file=None, **values)
        self.services = Services(configured, engine, sessions, self.embedder, searcher, model, answering, metrics)

    async def add(self, kind: str, location: str, **config: Any) -> int:
        async with self.sessions.begin() as session:
            source_id, _ = await sources.ensure(session, kind, location, kind, ("everyone",), config, 15)
        return source_id

    async def run(self, kind: str = "ingest", **arguments: Any) -> runs.RunRow:
        async with self.sessions.begin() as session:
            run_id = await runs.create(session, kind, arguments)
        return await self.work(run_id)

    async def work(self, run_id: uuid.UUID) -> runs.RunRow:
        await execute(self.services, run_id)
        async with self.sessions() as session:
            run = await runs.find(session, run_id)
        assert run is not None
        return run

    async def sync(self, source_id: int, kind: str = "ingest") -> dict[str, Any]:
        """Added, updated, unchanged, removed, failed; asserts that the run ended well."""
        run = await self.run(kind, source=source_id)
        assert run.state == "succeeded", run
        assert run.result is not None
        await exact(self.sessions)
        counts = {name: run.result[name] for name in ("added", "updated", "unchanged", "removed")}
        return {name: number for name, number in counts.items() if number} | (
            {"failed": len(run.result["failed"])} if run.result["failed"] else {}
        )

    async def row(self, source_id: int) -> SourceRow:
        async with self.sessions() as session:
            [row] = await sources.listed(session, source_id)
        return row

    async def held(self, source_id: int) -> dict[str, str]:
        """External id -> text."""
        async with self.sessions() as session:
            rows = await session.execute(
                select(Document.external_id, Chunk.text)
                .join(Chunk, Chunk.document_id == Document.id)
                .where(Document.source_id == source_id)
                .order_by(Document.external_id, Chunk.ordinal)
            )
            found: dict[str, str] = {}
            for external_id, text in rows:
                found[external_id] = f"{found[external_id]}\n{text}" if external_id in found else text
        return found

    async def readers(self, source_id: int) -> dict[str, tuple[str, ...]]:
        """External id -> readers; asserts that the chunks have the document's."""
        async with self.sessions() as session:
            rows = await session.execute(
                select(Document.external_id, Document.readers, Chunk.readers)
                .join(Chunk, Chunk.document_id == Document.id)
                .where(Document.source_id == source_id)
            )
            found = {}
            for external_id, readers, repeated in rows:
                assert readers == repeated
                found[external_id] = tuple(readers)
        return found

    async def details(self, source_id: int) -> dict[str, dict[str, Any]]:
        """External id -> what is known of the document."""
        async with self.sessions() as session:
            wanted = select(Document.external_id, Document.details).where(Document.source_id == source_id)
            return {row.external_id: row.details for row in await session.execute(wanted)}

    async def urls(self, source_id: int) -> dict[str, str | None]:
        async with self.sessions() as session:
            known = await documents.documents_of(session, source_id)
        return {external_id: document.url for external_id, document in known.items()}

    async def ids(self, source_id: int) -> dict[str, int]:
        async with self.sessions() as session:
            known = await documents.documents_of(session, source_id)
        return {external_id: document.id for external_id, document in known.items()}

    async def failures(self, source_id: int) -> dict[str, DocumentFailure]:
        async with self.sessions() as session:
            rows = (await session.execute(select(DocumentFailure))).scalars()
            return {row.external_id: row for row in rows if row.source_id == source_id}

    async def finds(self, query: str, *principals: str) -> list[str]:
        """External ids of what somebody with these principals finds."""
        audience = Audience(frozenset(principals or {"everyone"}))
        result = await self.services.searcher.search(query, audience=audience)
        return sorted({hit.external_id for hit in result.hits})


@asynccontextmanager
async def station(database_url: str, sessions: Sessions, home: Path, **settings: Any) -> AsyncIterator[Station]:
    found = Station(database_url, sessions, home, **settings)
    async with sessions.begin() as session:
        await documents.ensure_statistics(session, WordEmbedder.name)
    yield found
    await found.services.engine.dispose()


@asynccontextmanager
async def serving(handler: Any) -> AsyncIterator[str]:
    """A local HTTP server that answers every request with ``handler``; yields its address."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response: web.StreamResponse = await handler(request)
        return response

    application = web.Application(client_max_size=2**24)
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


class Faults:
    """What goes wrong next: the status, and headers, for requests whose path holds a word, so many times."""

    def __init__(self) -> None:
        self._waiting: list[tuple[str, int, Mapping[str, str], int]] = []

    def add(self, word: str, status: int, times: int = 1, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._waiting.append((word, status, named, times))

    def take(self, request: web.Request) -> web.Response | None:
        for place, (word, status, headers, times) in enumerate(self._waiting):
            if word in request.path_qs:
                if times <= 1:
                    self._waiting.pop(place)
                else:
                    self._waiting[place] = (word, status, headers, times - 1)
                return web.Response(status=status, headers=headers)
        return None

    def clear(self) -> None:
        self._waiting.clear()

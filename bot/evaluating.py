"""``almanac eval``: how good Almanac is, measured on data that has the right answers with it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.text import Text

from assistant.database import runs, sources
from assistant.database.scratch import scratch_schema, settle
from assistant.database.session import create_engine, create_sessions
from assistant.errors import AlmanacError
from assistant.evaluation.collection import Collection, read_collection
from assistant.knowledge.embedding import Embedder
from assistant.services import open_services
from assistant.settings import Settings
from bot import console as show
from bot.backend import command_settings, open_database
from bot.evaluating_tables import show_retrieval
from bot.worker_process import work_off

app = typer.Typer(
    help="Measure how good Almanac is, on data that comes with the right answers.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@app.callback()
def evaluation() -> None:
    """Measure how good Almanac is, on data that comes with the right answers."""


@app.command(
    epilog="Examples: almanac eval retrieval scifact/  ·  almanac eval retrieval nfcorpus/ --split dev --json  ·  "
    "almanac eval retrieval scifact/ --plot ranking.png"
)
def retrieval(
    folder: Annotated[Path, typer.Argument(help="corpus.jsonl, queries.jsonl and qrels.tsv (or qrels/test.tsv).")],
    split: Annotated[
        str | None, typer.Option(help="Judgements of this name: qrels/NAME.tsv or qrels_NAME.tsv.")
    ] = None,
    qrels: Annotated[Path | None, typer.Option(help="Judgements in this file.")] = None,
    field: Annotated[str, typer.Option(help="The field of queries.jsonl that is asked.")] = "text",
    limit_queries: Annotated[int | None, typer.Option(min=1, help="Ask only the first of the queries.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the result into this file (.png, .svg or .pdf).")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print exactly one JSON document to standard output.")] = False,
) -> None:
    """How well questions find their documents: BM25, vectors, both, and what answers use.

    The documents are read by the same workers as yours, into a schema of their own that is gone afterwards.
    """
    settings = command_settings()
    if plot is not None:
        _check_plot(plot)
    collection = read_collection(folder, split=split, qrels=qrels, text=field).first(limit_queries)
    err = show.error_console()
    for remark in collection.remarks:
        err.print(Text(remark, style="yellow"))
    result = asyncio.run(_stoppable(settings, collection, err))
    if json:
        show.print_json(result)
    else:
        show_retrieval(Console(highlight=False), result)
    if plot is not None:
        from assistant.evaluation.plot import draw  # matplotlib takes a second to import

        draw(result, plot)


def _check_plot(path: Path) -> None:
    """Before minutes of work rather than after."""
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise AlmanacError(f"{path} must end in .png, .svg or .pdf.")
    if not path.absolute().parent.is_dir():
        raise AlmanacError(f"{path.absolute().parent} is no folder.")


async def _stoppable(settings: Settings, collection: Collection, err: Console) -> dict[str, Any]:
    """A termination cleans up as Ctrl-C does."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await _evaluate(settings, collection, err)
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _evaluate(settings: Settings, collection: Collection, err: Console) -> dict[str, Any]:
    from assistant.evaluation.report import document  # numpy and the measures: half a second
    from assistant.evaluation.retrieval import evaluate

    began = time.monotonic()
    async with (
        open_database(settings) as database,
        scratch_schema(database) as url,
        open_services(settings, url) as services,
        _loading(services.embedder),
    ):
        with show.ingest_bar(err) as bar:
            loaded = await _load(url, collection, bar, bar.add_task("Reading", total=None, detail=""))
        for failure in loaded["failed"]:
            err.print(Text(f"{failure['path']} was not read: {failure['reason']}.", style="yellow"))
        ready = time.monotonic()
        with show.ingest_bar(err) as bar:
            task = bar.add_task("Starting the model", total=None, detail="")

            def tell(stage: str, done: int, total: int) -> None:
                bar.update(task, description=stage, completed=done, total=total)

            found = await evaluate(services.searcher, services.embedder, collection, tell)
    seconds = {"load": round(ready - began, 1), "search": round(time.monotonic() - ready, 1)}
    return document(collection, found, chunks=loaded["chunks"], failed_documents=loaded["failed"], seconds=seconds)


@asynccontextmanager
async def _loading(embedder: Embedder) -> AsyncIterator[None]:
    """Loads our model beside the worker's: both take seconds of one core, and there are two."""
    warm = asyncio.create_task(embedder.embed_query("warm"), name="load-model")
    try:
        yield
        await warm
    finally:
        warm.cancel()
        await asyncio.gather(warm, return_exceptions=True)


async def _load(url: str, collection: Collection, bar: Progress, task: TaskID) -> dict[str, Any]:
    """A run like those of every source, worked off by a worker process beside us."""
    engine = create_engine(url, pool_size=2)
    try:
        sessions = create_sessions(engine)
        held = collection.documents - collection.empty
        async with sessions.begin() as session:
            location = str(collection.folder.resolve())
            source_id, _ = await sources.ensure(
                session, "collection", location, collection.name, ("everyone",), {"documents": held}
            )
            run_id = await runs.create(session, "ingest", {"source": source_id})
        run = await work_off(url, sessions, run_id, lambda run: show.update_bar(bar, task, run.progress))
    except AlmanacError:  # its sentence names `almanac status`, which sees nothing of a scratch schema
        raise AlmanacError("The worker process died while it read the documents.") from None
    finally:
        await engine.dispose()
    if run.state != "succeeded" or run.result is None:
        raise AlmanacError(run.error or "The documents were not read to the end.")
    await settle(url)
    return run.result

"""``almanac eval``: how good Almanac is, measured on data that has the right answers with it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from assistant.errors import AlmanacError
from assistant.evaluation.collection import Collection, read_collection
from assistant.settings import Settings
from bot import console as show
from bot import evaluating_preferences, evaluating_suites
from bot.backend import command_settings, open_database
from bot.evaluating_index import load_of, scratch_services
from bot.evaluating_runs import stoppable
from bot.evaluating_tables import show_retrieval

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
    result = asyncio.run(stoppable(_evaluate(settings, collection, err)))
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


async def _evaluate(settings: Settings, collection: Collection, err: Console) -> dict[str, Any]:
    from assistant.evaluation.report import document  # numpy and the measures: half a second
    from assistant.evaluation.retrieval import evaluate

    began = time.monotonic()
    async with open_database(settings) as database, scratch_services(settings, database) as (services, url):
        loaded = await load_of(url, collection, err)
        ready = time.monotonic()
        with show.ingest_bar(err) as bar:
            task = bar.add_task("Starting the model", total=None, detail="")

            def tell(stage: str, done: int, total: int) -> None:
                bar.update(task, description=stage, completed=done, total=total)

            found = await evaluate(services.searcher, services.embedder, collection, tell)
    seconds = {"load": round(ready - began, 1), "search": round(time.monotonic() - ready, 1)}
    return document(collection, found, chunks=loaded["chunks"], failed_documents=loaded["failed"], seconds=seconds)


app.add_typer(evaluating_suites.app)
app.add_typer(evaluating_preferences.app)

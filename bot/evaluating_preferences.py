"""``almanac eval preferences``: whether learning from votes orders passages better, on votes it has not seen."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from assistant.settings import Settings
from bot import console as show
from bot.backend import command_settings
from bot.evaluating_runs import stoppable

app = typer.Typer()


@app.command(
    epilog="Example: almanac eval preferences --train votes/ --test held-out/ --json  ·  Each folder holds "
    "corpus.jsonl, queries.jsonl, qrels.tsv, pairs.jsonl and, if there is one, feedback.jsonl."
)
def preferences(
    train: Annotated[Path, typer.Option(help="The folder that is learned from.")],
    test: Annotated[Path, typer.Option(help="The folder that is measured on.")],
    json: Annotated[bool, typer.Option("--json", help="Print exactly one JSON document to standard output.")] = False,
) -> None:
    """Whether learning from votes puts passages in a better order than similarity alone."""
    found = asyncio.run(stoppable(_measure(command_settings(), train, test)))
    if json:
        show.print_json(found)
    else:
        _show(Console(highlight=False), found)


async def _measure(settings: Settings, train: Path, test: Path) -> dict[str, Any]:
    from assistant.evaluation.passages import Encoded  # numpy and the measures: half a second
    from assistant.evaluation.preferences import evaluate, read_part
    from assistant.knowledge.embedding import TransformerEmbedder

    parts = read_part(train), read_part(test)
    embedder = TransformerEmbedder(settings.embedding_model, threads=settings.model_threads)
    try:
        return (await evaluate(*parts, Encoded(embedder))).document()
    finally:
        await embedder.close()


def _show(console: Console, found: dict[str, Any]) -> None:
    pairs, ndcg = found["pairwise_accuracy"], found["ndcg@10"]
    table = Table("measure", "before", "after", "95 % of the change")
    table.add_row("pairs in order", f"{pairs['similarity']:.3f}", f"{pairs['learned']:.3f}", _interval(pairs["ci95"]))
    table.add_row("nDCG@10", f"{ndcg['before']:.3f}", f"{ndcg['after']:.3f}", _interval(ndcg["ci95"]))
    console.print(table)
    for name, effect in found["effects"].items():
        console.print(f"{name:>24} {effect:+.3f}")


def _interval(ends: list[float]) -> str:
    return f"{ends[0]:+.3f} to {ends[1]:+.3f}"

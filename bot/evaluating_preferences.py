"""``almanac eval preferences`` and ``reward``: whether what was learned from votes holds on votes it has not seen."""

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
    found = asyncio.run(stoppable(_measure(command_settings(), train, test, Console(stderr=True))))
    if json:
        show.print_json(found)
    else:
        _show(Console(highlight=False), found)


async def _measure(settings: Settings, train: Path, test: Path, console: Console) -> dict[str, Any]:
    from assistant.evaluation.passages import Encoded  # numpy and the measures: half a second
    from assistant.evaluation.preferences import evaluate, steps
    from assistant.evaluation.votes import read_part
    from assistant.knowledge.embedding import TransformerEmbedder

    parts = read_part(train), read_part(test)
    embedder = TransformerEmbedder(settings.embedding_model, threads=settings.model_threads)
    bar = show.ingest_bar(console)
    task = bar.add_task("Embedding and ranking", total=steps(*parts), detail="texts and questions")

    def done(count: int) -> None:
        bar.advance(task, count)

    try:
        with bar:
            return (await evaluate(*parts, Encoded(embedder, done), done)).document()
    finally:
        await embedder.close()


@app.command(
    epilog="Example: almanac eval reward --pairs preferred.jsonl --save reward.json  ·  Each line of the file holds "
    "prompt, chosen and rejected, and passages where there are some. Without --test, two fifths of the dialogues are "
    "held back to test on."
)
def reward(
    pairs: Annotated[Path, typer.Option(help="The file of pairs that is learned from.")],
    test: Annotated[Path | None, typer.Option(help="The file of pairs that is tested on.")] = None,
    save: Annotated[Path | None, typer.Option(help="Write what was learned here, for ALMANAC_REWARD.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print exactly one JSON document to standard output.")] = False,
) -> None:
    """Whether a reward model knows which of two answers people prefer."""
    from assistant.evaluation import rewards
    from assistant.evaluation.collection import BadCollection  # numpy and the measures: half a second

    taught = rewards.read_pairs(pairs)
    taught, held = (taught, rewards.read_pairs(test)) if test else rewards.halves(taught)
    if not taught or not held:
        raise BadCollection(f"{pairs} holds too few pairs to learn from some and test on others.")
    learned = rewards.learned(taught)
    if save is not None:
        save.write_text(learned.to_json() + "\n", encoding="utf-8")
    found = {name: one.document() for name, one in rewards.tested(learned, held).items()}
    if json:
        show.print_json({"learned_from": len(taught), "tested": found})
        return
    table = Table("pairs", "held out", "longer wins", "learned", "95 % of the gain", "length equal")
    for name, one in found.items():
        shares = (f"{one[key]:.3f}" for key in ("longer_wins", "learned"))
        table.add_row(name, str(one["pairs"]), *shares, _interval(one["ci95"]), f"{one['learned_length_equal']:.3f}")
    Console(highlight=False).print(table)


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

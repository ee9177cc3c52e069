"""How the terminal shows what an evaluation found. Nothing here decides anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

HEADS = {
    "ndcg@10": "nDCG@10", "ndcg@5": "nDCG@5", "recall@5": "R@5", "recall@10": "R@10", "recall@100": "R@100",
    "mrr@10": "MRR@10",
}  # fmt: skip
COMPARED = {"ndcg@10": "nDCG@10", "recall@100": "Recall@100"}


def show_retrieval(console: Console, result: Mapping[str, Any]) -> None:
    counts = f"{result['documents']:,} documents, {result['chunks']:,} passages, {result['queries']:,} queries"
    console.print(Text.assemble((result["collection"], "bold"), (f"  {counts}", "dim")))
    console.print()
    console.print(_measures(result["arms"]))
    console.print()
    console.print(_comparison(result["final_minus"]))
    console.print()
    embedding, seconds = result["embedding"], result["seconds"]
    notes = (
        "Milliseconds of one search for 10 passages, without the question's embedding, which adds "
        f"{embedding['p50_ms']:.1f} (p95: {embedding['p95_ms']:.1f}). "
        "Differences with 95 % paired bootstrap intervals. "
        "Copies are shown, because each text is judged by itself; answers and searches show a text once. "
        f"{_twins(result['same'])}"
        f"Loaded in {seconds['load']:.0f} s, searched in {seconds['search']:.0f} s."
    )
    console.print(Text(notes, style="dim"))


def _twins(same: Mapping[str, str]) -> str:
    """Which arms are one here."""
    return "".join(f"{name} does here what {first} does. " for name, first in same.items())


def _measures(arms: Mapping[str, Mapping[str, Any]]) -> Table:
    """The best value of each column is bold."""
    table = Table("Arm", box=None, pad_edge=False, header_style="dim")
    for head in (*HEADS.values(), "p50 ms", "p95 ms"):
        table.add_column(head, justify="right", no_wrap=True)
    best = {measure: max(arm[measure] for arm in arms.values()) for measure in HEADS}
    for name, arm in arms.items():
        cells = [Text(_short(arm[key]), style="bold" if arm[key] == best[key] else "") for key in HEADS]
        times = [Text(f"{arm[key]:.1f}", style="dim") for key in ("p50_ms", "p95_ms")]
        table.add_row(Text(name, style="green" if name == "final" else ""), *cells, *times)
    return table


def _comparison(final_minus: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table("final minus", box=None, pad_edge=False, header_style="dim")
    for head in COMPARED.values():
        table.add_column(head, justify="right", no_wrap=True)
    for name, differences in final_minus.items():
        table.add_row(name, *(_difference(differences[measure]) for measure in COMPARED))
    return table


def _difference(found: Mapping[str, float]) -> Text:
    """Coloured where the interval leaves no doubt about the sign."""
    style = "green" if found["low"] > 0 else "red" if found["high"] < 0 else ""
    interval = f" [{_signed(found['low'])}, {_signed(found['high'])}]"
    return Text.assemble((_signed(found["difference"]), style), (interval, "dim"))


def _short(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def _signed(value: float) -> str:
    rounded = f"{value:+.3f}"
    return rounded[0] + rounded[1:].removeprefix("0") if rounded not in ("+0.000", "-0.000") else "0"

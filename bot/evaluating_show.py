"""How the terminal shows an evaluation run and what changed since another. Nothing here decides anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

CASES = 30  # of a comparison that the terminal lists


def show_run(console: Console, run: Mapping[str, Any]) -> None:
    counts = f"{len(run['cases']):,} cases, {run['model']}, {run['seconds']:.0f} s"
    console.print(Text.assemble((f"{run['suite']}: {run['subject']}", "bold"), (f"  {counts}", "dim")))
    console.print()
    console.print(_metrics(run))
    for skipped in run["skipped"]:
        console.print(Text(f"Skipped {skipped['part']}: {skipped['reason']}", style="yellow"))
    for remark in run["remarks"]:
        console.print(Text(remark, style="dim"))
    console.print(Text(f"Run {run['run'][:8]}; `almanac eval accept {run['run'][:8]}` accepts it.", style="dim"))
    console.print()


def _metrics(run: Mapping[str, Any]) -> Table:
    compared = (run.get("compared") or {}).get("metrics", {})
    table = Table("Metric", box=None, pad_edge=False, header_style="dim")
    for head in ("", "95 %", "cases", *(("change",) if compared else ())):
        table.add_column(head, justify="right", no_wrap=True)
    for name, metric in run["metrics"].items():
        interval = "" if metric["unit"] == "usd" else f"{metric['low']:.3f} to {metric['high']:.3f}"
        cells: list[Text | str] = [
            Text(value(metric, metric["value"]), style="bold"),
            Text(interval, style="dim"),
            str(metric["cases"]),
        ]
        if compared:
            cells.append(change(compared[name]) if name in compared else Text("new", style="dim"))
        table.add_row(Text(metric["title"], style="" if metric["gate"] else "dim"), *cells)
    return table


def value(metric: Mapping[str, Any], number: float) -> str:
    if metric["unit"] == "usd":
        return f"${number:.5f}"
    return f"{number:.3f} s" if metric["unit"] == "seconds" else f"{number:.3f}"


def change(row: Mapping[str, Any]) -> Text:
    """Coloured where it is a loss or a gain of a metric that counts."""
    moved = row["difference"]
    style = "dim" if not row["gate"] or row["loss"] == 0 else "red" if row["loss"] > 0 else "green"
    return Text(f"{moved:+.3f}" if abs(moved) >= 0.0005 else "0", style=style)


def show_comparison(console: Console, compared: Mapping[str, Any]) -> None:
    other = compared["with"]
    name = str(other["run"] or "")[:8] or "the file"
    head = f"Since {name} ({other['model']}, {other['created_at'] or 'undated'}): {compared['shared_cases']} shared"
    head += f" cases, {compared['new_cases']} new, {compared['gone_cases']} gone"
    console.print(Text(head, style="bold"))
    if compared["missing"]:
        console.print(Text(f"Not measured this time: {', '.join(compared['missing'])}.", style="yellow"))
    table = Table("Metric", box=None, pad_edge=False, header_style="dim")
    for column in ("before", "after", "difference", "95 %"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in compared["metrics"].values():
        interval = Text(f"{row['low']:+.3f} to {row['high']:+.3f}", style="dim")
        table.add_row(row["title"], value(row, row["before"]), value(row, row["after"]), change(row), interval)
    console.print(table)
    console.print()
    _show_cases(console, compared["cases"])


def _show_cases(console: Console, cases: Sequence[Mapping[str, Any]]) -> None:
    if not cases:
        console.print(Text("No case changed.", style="dim"))
        return
    table = Table("Case", "Metric", box=None, pad_edge=False, header_style="dim")
    for column in ("before", "after"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in cases[:CASES]:
        style = "red" if row["loss"] > 0 else "green" if row["loss"] < 0 else ""
        title = Text(f"{row['title'][:60]}", style=style)
        title.append(f"  {row['id']}", style="dim")
        table.add_row(title, row["metric_title"], _number(row["before"]), _number(row["after"]))
    console.print(table)
    if len(cases) > CASES:
        console.print(Text(f"and {len(cases) - CASES:,} more (--json lists all)", style="dim"))
    console.print()


def _number(number: float | None) -> str:
    return "–" if number is None else f"{number:.3f}"


def show_runs(console: Console, runs: Sequence[Mapping[str, Any]]) -> None:
    if not runs:
        console.print(Text("Nothing was measured yet.", style="yellow"))
        return
    table = Table("Run", "Suite", "Subject", "Model", "Cases", "When", "Accepted", box=None, pad_edge=False)
    for run in runs:
        accepted = f"{run['accepted_at']:%Y-%m-%d %H:%M}" if run["accepted_at"] else ""
        when = f"{run['created_at']:%Y-%m-%d %H:%M}"
        table.add_row(run["id"][:8], run["suite"], run["subject"], run["model"], str(run["cases"]), when, accepted)
    console.print(table)

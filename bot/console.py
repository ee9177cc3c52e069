"""How the terminal shows things. Nothing here decides anything."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import orjson
from rich.console import Console, Group
from rich.live import Live
from rich.markdown import Markdown
from rich.padding import Padding
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

STAGES = {"searching": "Searching the documents", "writing": "Writing"}
MARKS = {
    "answered": "green", "not_in_documents": "yellow", "hidden_by_permissions": "yellow", "failed": "red",
    "over_limit": "yellow", "waiting_for_approval": "yellow",
}  # fmt: skip

WRITTEN = ("answered", "waiting_for_approval")  # outcomes whose text has its own colours


def print_json(document: Any) -> None:
    """Exactly one JSON document on standard output."""
    options = orjson.OPT_INDENT_2 if sys.stdout.isatty() else 0
    sys.stdout.buffer.write(orjson.dumps(document, default=str, option=options) + b"\n")
    sys.stdout.buffer.flush()


def print_value(answer: dict[str, Any]) -> None:
    """The value in the format that was asked for, alone on standard output. Why there is none is said beside it."""
    if answer["value"] is not None:
        print_json(answer["value"])
        return
    console = error_console()
    console.print(Markdown(answer["text"], style=MARKS.get(answer["outcome"], "white")))
    _show_sources(console, "Nearest pages", answer["nearest"])


def error_console() -> Console:
    return Console(stderr=True, highlight=False)


class AnswerView:
    """An answer while it comes: the stage, then the text, then the sources."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stage = "searching"
        self._text = ""
        self._live = Live(console=console, refresh_per_second=12, transient=True)

    def __enter__(self) -> AnswerView:
        self._live.start()
        self._show()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def event(self, name: str, data: dict[str, Any]) -> None:
        if name == "progress":
            self._stage = f"Asking {data['tool']}" if data.get("tool") else data["stage"]
        elif name == "delta":
            self._text += data["text"]
        self._show()

    def _show(self) -> None:
        busy = Spinner("dots", text=Text(STAGES.get(self._stage, self._stage), style="dim"))
        self._live.update(Group(Markdown(self._text), busy) if self._text else busy)


def show_answer(console: Console, answer: dict[str, Any]) -> None:
    """The final text with its sources, or the nearest ones."""
    style = MARKS.get(answer["outcome"], "white")
    console.print(Markdown(answer["text"], style="none" if answer["outcome"] in WRITTEN else style))
    for pending in answer.get("approvals") or ():
        console.print(_waits(pending))
    _show_sources(console, "Sources", answer["citations"])
    _show_sources(console, "Nearest pages", answer["nearest"])
    timings, usage = answer["timings_ms"], answer["usage"]
    parts = [answer["model"], f"{timings.get('total', 0) / 1000:.2f} s"]
    if usage["prompt_tokens"]:
        parts.append(f"{usage['prompt_tokens']:,} + {usage['completion_tokens']:,} tokens")
    if usage["cost_usd"]:
        parts.append(f"${usage['cost_usd']:.4f}")
    console.print(Text("  ·  ".join(part for part in parts if part), style="dim"))


def _waits(pending: dict[str, Any]) -> Panel:
    """A call that the answer waits for, and how to decide about it here."""
    from assistant.tools.showing import literal  # with the database's tables, which most answers need not load

    number = pending["id"].replace("-", "")[:8]
    lines = [Text.assemble((f"{name}  ", "cyan"), literal(value)) for name, value in pending["arguments"].items()]
    how = Text(f"almanac approvals approve {number}   ·   almanac approvals deny {number}", style="dim")
    title = Text.assemble((pending["title"], "bold"), "  waits for approval")
    return Panel(Group(*lines, how), title=title, title_align="left", border_style="yellow", expand=False)


def _show_sources(console: Console, title: str, citations: Sequence[dict[str, Any]]) -> None:
    if not citations:
        return
    lines: list[Any] = [Text(title, style="bold")]
    for citation in citations:
        place = " › ".join([citation["title"], *citation["heading_path"]])
        line = Text(f"[{citation['n']}] ", style="cyan")
        line.append(place, style=f"link {citation['url']}" if citation["url"] else "")
        asked = f"asked {citation['indexed'][:16].replace('T', ' ')} UTC" if citation.get("tool") else ""
        line.append(f"  {asked or citation['external_id']}", style="dim")
        lines.append(line)
    console.print(Padding(Group(*lines), (1, 0, 1, 0)))


def show_hits(console: Console, hits: Sequence[dict[str, Any]], note: str = "") -> None:
    """``note``: a sentence on the filters."""
    if not hits:
        console.print(Text(note or "Nothing was found.", style="yellow"))
        return
    if note:
        console.print(Text(note, style="dim"))
    for number, hit in enumerate(hits, start=1):
        head = Text(f"{number}. ", style="cyan")
        head.append(" › ".join([hit["title"], *hit["heading_path"]]), style="bold")
        ranks = f"score {hit['score']:.3f}  ·  bm25 {_rank(hit['bm25_rank'])}  ·  vector {_rank(hit['vector_rank'])}"
        excerpt = " ".join(hit["text"].split())
        body = Text(excerpt[:280] + ("…" if len(excerpt) > 280 else ""))
        console.print(head)
        console.print(Padding(Group(body, Text(f"{hit['external_id']}  ·  {ranks}", style="dim")), (0, 0, 1, 3)))


def _rank(rank: int | None) -> str:
    return "–" if rank is None else f"#{rank}"


def ingest_bar(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TextColumn("[dim]{task.fields[detail]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
    )


def update_bar(bar: Progress, task: Any, progress: dict[str, Any]) -> None:
    seconds = progress.get("seconds") or 0
    chunks = progress.get("chunks", 0)
    detail = f"{chunks:,} chunks" + (f", {chunks / seconds:.0f}/s" if seconds > 1 and chunks else "")
    if progress.get("failed"):
        detail += f", {progress['failed']} failed"
    bar.update(task, total=progress.get("total") or None, completed=progress.get("done", 0), detail=detail)


def show_ingested(console: Console, result: dict[str, Any]) -> None:
    counts = result["documents"]
    words = ", ".join(f"{number:,} {name}" for name, number in counts.items() if number) or "nothing new"
    line = Text("Documents: ", style="bold")
    line.append(f"{words}; {result['chunks']:,} chunks in {result['seconds']:.1f} s")
    console.print(line)
    if result["failed"]:
        table = Table("File", "Why it was not read", title="Failed", title_justify="left", title_style="bold red")
        for failure in result["failed"]:
            table.add_row(Text(failure["path"]), Text(failure["reason"]))
        console.print(table)


def show_status(console: Console, document: dict[str, Any]) -> None:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    running = document["running"]
    table.add_row("Running", running["web"] + f" (pid {running['pid']})" if running else "no")
    if running and "llm" in running:
        table.add_row("Model", f"{running['llm']['model']} at {running['llm']['url']}")
    for name in ("documents", "chunks", "sources", "failures", "answers"):
        table.add_row(name.capitalize(), f"{document[name]:,}")
    if document["outdated"]:
        table.add_row("Outdated", outdated_note(document["outdated"]))
    for name, version in document["versions"].items():
        table.add_row(name, str(version))
    for name, health in document["health"].items():
        table.add_row(name, Text(health, style="green" if health == "ok" else "red"))
    console.print(table)
    if document["runs"]:
        runs = Table("Run", "Kind", "State", "Progress", "Created", title="Last runs", title_justify="left")
        for run in document["runs"]:
            done = f"{run['progress'].get('done', 0)}/{run['progress'].get('total', 0)}"
            runs.add_row(str(run["id"])[:8], run["kind"], run["state"], done, f"{run['created_at']:%Y-%m-%d %H:%M:%S}")
        console.print(runs)


def outdated_note(documents: int) -> str:
    """One sentence about the documents that another text analysis made; empty where there are none."""
    if not documents:
        return ""
    count = "1 document was" if documents == 1 else f"{documents:,} documents were"
    return (
        f"{count} made by another version's text analysis: searched as before, and read again by the next sync of"
        " the source (a file that was shared in a conversation: once it is shared again)"
    )


def show_checks(console: Console, checks: Sequence[dict[str, Any]]) -> None:
    for check in checks:
        mark = Text("✓ " if check["ok"] else "✗ ", style="green" if check["ok"] else "red")
        if check.get("warning"):
            mark = Text("! ", style="yellow")
        mark.append(check["name"], style="bold")
        mark.append(f"  {check['detail']}", style="dim" if check["ok"] else "")
        console.print(mark)

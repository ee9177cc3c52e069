"""How the terminal shows sources, runs and failures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from assistant.commands.context import ago
from assistant.database.failures import FailureRow
from assistant.database.runs import RunRow
from assistant.database.sources import SourceRow


def show_sources(console: Console, found: Sequence[SourceRow]) -> None:
    if not found:
        console.print("There are no sources yet. `almanac sources add` adds one.")
        return
    table = Table("No.", "Name", "Kind", "Documents", "Failures", "Last read", "Next", box=None, padding=(0, 2, 0, 0))
    for row in found:
        failed = Text(f"{row.failures:,}", style="red" if row.failures else "")
        last, following = ago(row.synced_at, "en"), _until(row.next_sync_at)
        table.add_row(str(row.id), Text(row.name), row.kind, f"{row.documents:,}", failed, last, following)
    console.print(table)
    for row in found:
        if row.error:
            times = "" if row.failed_syncs < 2 else f" ({row.failed_syncs} times in a row)"
            console.print(Text(f"{row.id}  {row.name}: {row.error}{times}", style="red"))
        drift = {what: number for what, number in (row.drift or {}).items() if number}
        if drift:
            words = ", ".join(f"{number} {what}" for what, number in drift.items())
            when = ago(row.reconciled_at, "en")
            console.print(
                Text(f"{row.id}  {row.name} had drifted when it was compared {when}: {words}.", style="yellow")
            )


def show_runs(console: Console, found: Sequence[RunRow]) -> None:
    if not found:
        console.print("There have been no runs.")
        return
    table = Table("Run", "Kind", "State", "Done", "Attempts", "Begun", "Error", box=None, padding=(0, 2, 0, 0))
    for run in found:
        done = f"{run.progress.get('done', 0):,}/{run.progress.get('total', 0):,}"
        state = Text(run.state, style={"failed": "red", "succeeded": "green"}.get(run.state, ""))
        begun = ago(run.created_at, "en")
        table.add_row(run.id.hex[:8], run.kind, state, done, str(run.attempts), begun, Text(run.error or ""))
    console.print(table)


def show_failures(console: Console, failed: Sequence[FailureRow]) -> None:
    if not failed:
        return
    table = Table("Source", "Document", "Why it was not read", "Attempts", "Next", title="Failed", title_justify="left")
    for row in failed:
        following = _until(row.next_at) if row.next_at else "by hand"
        table.add_row(Text(row.source), Text(row.external_id), Text(row.reason), str(row.attempts), following)
    console.print(table)
    console.print(Text("`almanac runs retry` tries all of them again.", style="dim"))


def _until(when: datetime | None) -> str:
    if when is None:
        return "–"
    minutes = (when - datetime.now(UTC)).total_seconds() / 60
    if minutes < 1:
        return "now"
    return f"in {minutes:.0f} min" if minutes < 120 else f"in {minutes / 60:.0f} h"

"""What every evaluation ends in: it is kept, compared with the accepted run, shown, and judged by what it lost."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperCommand

from assistant.database import evaluations
from assistant.database.session import Sessions
from assistant.errors import AlmanacError
from bot import console as show
from bot.evaluating_show import show_comparison, show_run

T = TypeVar("T")
ACCEPTED = "accepted"
_RUN = re.compile(r"last|accepted|[0-9a-f]{4}[0-9a-f-]*|.*\.json", re.IGNORECASE)


class MayCompare(TyperCommand):
    """``--compare`` may stand alone, or before a run or a file of one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for place, word in enumerate(args):
            alone = word == "--compare" and not (place + 1 < len(args) and _RUN.fullmatch(args[place + 1]))
            if alone:
                args = [*args[: place + 1], ACCEPTED, *args[place + 1 :]]
                break
        return super().parse_args(ctx, args)


CompareOption = Annotated[
    str | None,
    typer.Option(
        "--compare",
        metavar="[RUN]",
        help="Show case by case what changed, since the accepted run, or since this one (the beginning of its id, "
        "`last`, or a file that --json wrote).",
    ),
]
LossOption = Annotated[
    float | None,
    typer.Option(min=0, help="Fail when a metric lost more than this since the run that is compared with, as 0.02."),
]
HtmlOption = Annotated[Path | None, typer.Option("--html", help="Write a report with plots into this file.")]


@dataclass(frozen=True, slots=True)
class Ends:
    """What is done with a run once it is measured."""

    compare: str | None = None
    max_loss: float | None = None
    html: Path | None = None
    json: bool = False

    def check(self) -> None:
        """Before minutes of work rather than after."""
        if self.html is not None and self.html.suffix.lower() not in (".html", ".htm"):
            raise AlmanacError(f"{self.html} must end in .html.")
        if self.html is not None and not self.html.absolute().parent.is_dir():
            raise AlmanacError(f"{self.html.absolute().parent} is no folder.")
        if self.compare is not None and self.compare.endswith(".json") and not Path(self.compare).is_file():
            raise AlmanacError(f"{self.compare} does not exist.")


async def stoppable(work: Coroutine[Any, Any, T]) -> T:
    """A termination cleans up as Ctrl-C does."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await work
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def keep(sessions: Sessions, measured: Any, ends: Ends) -> dict[str, Any]:
    """The run as a document, kept in the database, with what it is compared with; raises ``AlmanacError``."""
    from assistant.evaluation.comparing import compare, losses
    from assistant.evaluation.results import run_json

    document = run_json(measured)
    baseline = await _baseline(sessions, document, ends.compare)
    async with sessions.begin() as session:
        document["run"] = str(await evaluations.save(session, document))
    document["compared"] = None if baseline is None else compare(baseline, document)
    document["losses"] = []
    if document["compared"] is not None and ends.max_loss is not None:
        document["losses"] = losses(document["compared"], ends.max_loss)
    return document


async def _baseline(sessions: Sessions, document: dict[str, Any], asked: str | None) -> dict[str, Any] | None:
    """What the run is compared with: the one asked for, else the accepted one, if there is one."""
    from assistant.evaluation.comparing import read_baseline

    suite = document["suite"]
    if asked is not None and asked.endswith(".json"):
        return await asyncio.to_thread(read_baseline, Path(asked), suite)
    async with sessions() as session:
        if asked in (None, ACCEPTED):
            run_id = await evaluations.accepted(session, suite, document["subject"])
            if run_id is None:
                if asked is not None:
                    document["remarks"].append("Nothing was accepted yet, so there is nothing to compare with.")
                return None
        else:
            run_id = await evaluations.find(session, asked, suite)
        return await evaluations.load(session, run_id)


def finish(documents: Sequence[dict[str, Any]], ends: Ends) -> None:
    """Show the runs, write the report, and exit with 1 where more was lost than may be."""
    err = show.error_console()
    if ends.html is not None:
        from assistant.evaluation.html import write

        write(documents, ends.html)
    if ends.json:
        show.print_json(documents[0] if len(documents) == 1 else {"runs": list(documents)})
    else:
        console = Console(highlight=False)
        for document in documents:
            show_run(console, document)
            if document["compared"] is not None and ends.compare is not None:
                show_comparison(console, document["compared"])
        if ends.html is not None:
            err.print(Text(f"The report is in {ends.html}.", style="dim"))
    lost = [f"{document['suite']}: {sentence}" for document in documents for sentence in document["losses"]]
    if lost:
        raise AlmanacError("\n".join(lost))

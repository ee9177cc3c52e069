"""``almanac guard``: what the guard says of many prompts."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from assistant.errors import AlmanacError
from assistant.guardrails.guards import Guards
from assistant.guardrails.verdicts import Verdict
from assistant.knowledge.embedding import TransformerEmbedder
from assistant.settings import Settings
from bot import console as show
from bot.backend import command_settings

AT_ONCE = 256  # prompts; enough that their windows fill batches of one length
SHOWN = 60  # characters of a prompt in the table
_COLOURS = {"allow": "green", "flag": "yellow", "block": "red"}


def guard(
    file: Annotated[Path, typer.Argument(help="Prompts, one {id, text} a line (JSON).")],
    json_: Annotated[bool, typer.Option("--json", help="Print exactly one JSON document to standard output.")] = False,
) -> None:
    """Say of each prompt in a file whether it reads like an attack on the assistant.

    The verdict is allow, flag or block; the score is the probability of an attack; reasons say what was seen.
    """
    prompts = read_prompts(file)
    settings = command_settings(guard="block")
    started = time.perf_counter()
    verdicts = asyncio.run(_judge([text for _, text in prompts], settings))
    seconds = time.perf_counter() - started
    if json_:
        rows = [_row(prompt[0], verdict) for prompt, verdict in zip(prompts, verdicts, strict=True)]
        show.print_json(rows)
        return
    _show(prompts, verdicts, seconds)


def read_prompts(file: Path) -> list[tuple[str | int, str]]:
    """The (id, text) of each line; raises ``AlmanacError`` with the number of a line that is none."""
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError as error:
        raise AlmanacError(f"{file} cannot be read: {(error.strerror or 'unknown error').lower()}.") from None
    return [_prompt(file, number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def _prompt(file: Path, number: int, line: bytes) -> tuple[str | int, str]:
    try:
        row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except ValueError:  # of json and of the encoding
        raise AlmanacError(f"{file}, line {number}: not JSON.") from None
    except RecursionError:
        raise AlmanacError(f"{file}, line {number}: nested too deeply.") from None
    named = isinstance(row, dict) and isinstance(row.get("id"), str | int) and not isinstance(row["id"], bool)
    if not named or not isinstance(row.get("text"), str):
        raise AlmanacError(f'{file}, line {number}: expected {{"id": …, "text": "…"}}.')
    return row["id"], row["text"]


async def _judge(texts: Sequence[str], settings: Settings) -> list[Verdict]:
    embedder = TransformerEmbedder(None, settings.worker_threads)
    guards = Guards.open(embedder, settings)
    try:
        verdicts: list[Verdict] = []
        for start in range(0, len(texts), AT_ONCE):
            verdicts += await guards.questions(texts[start : start + AT_ONCE])
        return verdicts
    finally:
        await guards.close()
        await embedder.close()


def _row(identity: str | int, verdict: Verdict) -> dict[str, Any]:
    return {
        "id": identity, "verdict": verdict.verdict, "score": verdict.score, "reasons": list(verdict.reasons),
    }  # fmt: skip


def _show(prompts: Sequence[tuple[str | int, str]], verdicts: Sequence[Verdict], seconds: float) -> None:
    table = Table("id", "verdict", "score", "prompt", "reasons")
    for (identity, text), verdict in zip(prompts, verdicts, strict=True):
        short = " ".join(text.split())
        short = short if len(short) <= SHOWN else short[: SHOWN - 1] + "…"
        colour = _COLOURS[verdict.verdict]
        cells = (str(identity), Text(verdict.verdict, style=colour), f"{verdict.score:.3f}", Text(short))
        table.add_row(*cells, Text("; ".join(verdict.reasons)))
    console = Console()
    console.print(table)
    counts = {name: sum(verdict.verdict == name for verdict in verdicts) for name in ("allow", "flag", "block")}
    rate = len(verdicts) / seconds if seconds else 0.0
    console.print(
        f"{counts['allow']} allowed, {counts['flag']} flagged, {counts['block']} blocked; {rate:.0f} a second."
    )

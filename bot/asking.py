"""``almanac ask``, ``search`` and ``chat``: questions from the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import json as jsonlib
import sys
import uuid
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from assistant.errors import AlmanacError
from assistant.guardrails.formats import Format
from assistant.knowledge.filters import NO_FILTERS, Filters, from_arguments
from assistant.settings import Settings
from bot import console as show
from bot.backend import Backend, command_settings, open_backend
from bot.flags import JsonFlag

SourceOption = Annotated[
    list[str] | None, typer.Option("--source", help="Only this source (its name, kind or place); several: any of them.")
]
TitleOption = Annotated[list[str] | None, typer.Option("--title", help="Only documents with these words in the title.")]
AuthorOption = Annotated[list[str] | None, typer.Option("--author", help="Only documents by this person, or theirs.")]
AfterOption = Annotated[str | None, typer.Option("--after", help="Changed since 2026-05-01, 2026-05, 7d, …")]
BeforeOption = Annotated[str | None, typer.Option("--before", help="Last changed before that day.")]
BYTES = 1 << 20  # of a file with a schema


def ask(
    question: Annotated[str, typer.Argument(help="The question, in quotes.")],
    source: SourceOption = None,
    title: TitleOption = None,
    author: AuthorOption = None,
    after: AfterOption = None,
    before: BeforeOption = None,
    format: Annotated[
        Path | None, typer.Option(help="A file with a JSON schema: print a JSON value that fits it.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Ask one question and get a cited answer. Filters may stand in the question: source:runbooks"""
    settings = command_settings()
    filters = _filters(source, title, author, after, before)
    form = format_file(format) if format is not None else None
    answer = asyncio.run(_ask_once(settings, question, json or form is not None, filters, form))
    if json:
        show.print_json(answer)
    elif form is not None:
        show.print_value(answer)
    without = form is not None and not json and answer["value"] is None
    if answer["outcome"] == "failed" or without:
        raise typer.Exit(1)


def _filters(
    source: list[str] | None, title: list[str] | None, author: list[str] | None, after: str | None, before: str | None
) -> Filters:
    days = {"after": [after] if after is not None else [], "before": [before] if before is not None else []}
    return from_arguments({"source": source or [], "title": title or [], "author": author or [], **days})


async def _ask_once(
    settings: Settings, question: str, quiet: bool, filters: Filters, form: Format | None = None
) -> dict[str, Any]:
    if not question.strip():
        raise AlmanacError("The question is empty.")
    console = None if quiet else Console(highlight=False)
    async with open_backend(settings) as backend:
        return await _answer(backend, question, str(uuid.uuid4()), console, filters, form)


async def _answer(
    backend: Backend, question: str, conversation: str, console: Console | None, filters: Filters = NO_FILTERS,
    form: Format | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The final answer; shown as it comes where there is a console."""
    view = show.AnswerView(console) if console is not None else contextlib.nullcontext()
    answer: dict[str, Any] = {}
    with view as shown:
        async with aclosing(backend.ask(question, conversation, filters, form)) as events:
            async for name, data in events:
                if name == "done":
                    answer = data
                elif shown is not None:
                    shown.event(name, data)
    if not answer:
        raise AlmanacError("The answer broke off.")
    if console is not None:
        show.show_answer(console, answer)
    return answer


def search(
    query: Annotated[str, typer.Argument(help="Words to search for, in quotes.")],
    limit: Annotated[int, typer.Option("-k", "--limit", min=1, max=100, help="How many passages.")] = 10,
    source: SourceOption = None,
    title: TitleOption = None,
    author: AuthorOption = None,
    after: AfterOption = None,
    before: BeforeOption = None,
    json: JsonFlag = False,
) -> None:
    """Show the passages that a question would be answered from. Filters may stand in the words: title:deploy"""
    if not query.strip():
        raise AlmanacError("The question is empty; say what to search for.")
    settings = command_settings()
    filters = _filters(source, title, author, after, before)

    async def find() -> dict[str, Any]:
        async with open_backend(settings) as backend:
            return await backend.search(query, limit, filters)

    found = asyncio.run(find())
    if json:
        show.print_json({"query": query, **found})
    else:
        show.show_hits(Console(highlight=False), found["hits"], found["note"])


def chat(json: JsonFlag = False) -> None:
    """Hold a conversation: each question may lean on the ones before. With --json, questions come on standard input."""
    settings = command_settings()
    turns = asyncio.run(_chat(settings, quiet=json))
    if json:
        show.print_json({"turns": turns})


async def _chat(settings: Settings, quiet: bool) -> list[dict[str, Any]]:
    console = None if quiet else Console(highlight=False)
    conversation = str(uuid.uuid4())
    turns: list[dict[str, Any]] = []
    async with open_backend(settings) as backend:
        if console is not None:
            console.print(Text("Ask away. An empty line or Ctrl-D ends the conversation.", style="dim"))
        while question := await asyncio.to_thread(_read_question, console):
            answer = await _answer(backend, question, conversation, console)
            turns.append({"question": question, **answer})
    return turns


def _read_question(console: Console | None) -> str:
    try:
        if console is None:
            return sys.stdin.readline().strip()
        return console.input("[bold cyan]›[/] ").strip()
    except EOFError:
        return ""


def format_file(path: Path) -> Format:
    """The JSON schema of a file; raises ``AlmanacError`` with one sentence."""
    try:
        with path.open("rb") as file:
            raw = file.read(BYTES)
    except OSError as error:
        raise AlmanacError(f"{path} cannot be read ({error.strerror}).") from None
    try:
        return Format(jsonlib.loads(raw))
    except (ValueError, RecursionError):
        raise AlmanacError(f"{path} is no JSON.") from None

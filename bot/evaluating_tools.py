"""What ``almanac eval tools`` measures, and with what: the configured model, or the router alone."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from assistant.errors import AlmanacError
from assistant.settings import Settings
from bot import console as show

BUILT_IN = "built-in"


@dataclass(frozen=True, slots=True)
class ToolsWanted:
    """``path``: a folder of BFCL or AgentDojo, or a file of tasks; None: those that Almanac comes with."""

    path: Path | None = None
    categories: tuple[str, ...] = ()
    each: int | None = None
    at_once: int = 4

    @property
    def subject(self) -> str:
        return BUILT_IN if self.path is None else self.path.resolve().stem

    def tasks(self) -> list[Any]:
        """``assistant.evaluation.tool_cases.ToolTask``; raises ``AlmanacError`` with one sentence."""
        from assistant.evaluation import tool_cases
        from assistant.evaluation.tools import spread

        known = tool_cases.CATEGORIES
        if strange := [name for name in self.categories if name not in known]:
            raise AlmanacError(f"{strange[0]} is no category; there are {', '.join(known)}.")
        wanted = self.categories or known
        if self.path is None:
            found = tool_cases.read_file(tool_cases.BUILT_IN)
        elif self.path.is_dir():
            found = tool_cases.read_folder(self.path, wanted)
        else:
            found = tool_cases.read_file(self.path)
        chosen = spread([task for task in found if task.category in wanted], self.each)
        if not chosen:
            raise AlmanacError(f"{self.subject} holds no task of {', '.join(wanted)}.")
        return chosen


async def measure_tools(settings: Settings, wanted: ToolsWanted, err: Console) -> Any:
    """A ``assistant.evaluation.results.Measured``."""
    from assistant.evaluation import tools
    from assistant.evaluation.results import Measured

    tasks = wanted.tasks()
    began = time.monotonic()
    about: dict[str, Any] = {"tasks": len(tasks)}
    remarks: list[str] = []
    with show.ingest_bar(err) as bar:
        task = bar.add_task("Starting", total=len(tasks), detail="")

        def tell(stage: str, done: int, total: int) -> None:
            bar.update(task, description=stage, completed=done, total=total)

        if settings.has_model:
            async with _caller(settings) as (name, caller):
                cases = await tools.call_all(caller, tasks, at_once=wanted.at_once, tell=tell)
            metrics: Sequence[Any] = tools.METRICS
            about |= tools.published_summary(cases)
        else:
            async with _router(settings) as (name, router):
                cases = await tools.route_all(router, tasks, tell)
            metrics = tools.ROUTED
            remarks.append(
                "No language model is set, so the router alone was measured: which tool it chooses, without arguments."
            )
    return Measured(
        "tools", wanted.subject, name, metrics, cases, about=about, remarks=remarks, seconds=time.monotonic() - began
    )


@asynccontextmanager
async def _caller(settings: Settings) -> AsyncIterator[tuple[str, Any]]:
    """The configured model's name, and what asks it for calls."""
    from assistant.evaluation.tools import Chosen
    from assistant.models.client import OpenAIModel
    from assistant.models.functions import choose_calls

    model = OpenAIModel(settings)

    async def caller(messages: Sequence[Mapping[str, Any]], functions: Sequence[Mapping[str, Any]]) -> Chosen:
        calls = await choose_calls(model, messages, functions)
        readable = [(call.name, call.arguments) for call in calls if call.arguments is not None]
        return Chosen(readable, len(calls) - len(readable))

    try:
        yield model.name, caller
    finally:
        await model.close()


@asynccontextmanager
async def _router(settings: Settings) -> AsyncIterator[tuple[str, Any]]:
    """What chooses the tools that a model is given, and which embedding model it rests on."""
    from assistant.answering.routing import Router
    from assistant.knowledge.embedding import TransformerEmbedder

    embedder = TransformerEmbedder(settings.embedding_model, threads=settings.model_threads)
    try:
        await embedder.load()
        yield f"router, {embedder.name}", Router(embedder).choose
    finally:
        await embedder.close()
